"""Muon against torch's own for matrices, its Newton–Schulz steps against what they do to singular values."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from assay.errors import InvalidValueError
from assay.recipe.schema import MuonOptimizer, Recipe
from assay.training.loop import set_learning_rate
from assay.training.muon import Muon, orthogonalised
from assay.training.optimizers import build_optimizer
from assay.training.run import run_recipe


def with_singular_values(rows: int, columns: int, values) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A matrix UΣVᵀ with these singular values, U, and V."""
    generator = torch.Generator().manual_seed(rows * 100 + columns)
    rank = min(rows, columns)
    u = torch.linalg.qr(torch.randn(rows, rank, generator=generator, dtype=torch.float64))[0]
    v = torch.linalg.qr(torch.randn(columns, rank, generator=generator, dtype=torch.float64))[0]
    return u @ torch.diag(torch.as_tensor(values, dtype=torch.float64)) @ v.T, u, v


@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    steps=st.integers(1, 6),
    scale=st.floats(1e-3, 1e3),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_each_step_maps_every_singular_value_by_its_polynomial_and_leaves_directions(rows, columns, steps, scale, data):
    rank = min(rows, columns)
    values = np.array(data.draw(st.lists(st.floats(0.05, 1.0), min_size=rank, max_size=rank)))
    matrix, u, v = with_singular_values(rows, columns, scale * values)
    expected = values / np.linalg.norm(values)
    for _ in range(steps):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    found = u.T @ orthogonalised(matrix, steps) @ v
    torch.testing.assert_close(found, torch.diag(torch.from_numpy(expected)), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("shape", [(16, 16), (64, 27), (10, 120), (1, 5)])
def test_singular_values_come_near_one(shape):
    generator = torch.Generator().manual_seed(5)
    near = torch.linalg.svdvals(orthogonalised(torch.randn(shape, generator=generator), 5))
    assert float(near.min()) > 0.6
    assert float(near.max()) < 1.3


def test_zeros_stay_zeros():
    assert torch.equal(orthogonalised(torch.zeros(3, 4), 5), torch.zeros(3, 4))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
@pytest.mark.parametrize("shape", [(12, 12), (24, 8), (8, 24)])
def test_on_a_matrix_it_is_torchs_muon(shape):
    """Which keeps a scaled momentum, of the same direction, and orthogonalises in bfloat16: hence the tolerance."""
    generator = torch.Generator().manual_seed(1)
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    settings = {"momentum": 0.9, "newton_schulz_steps": 5, "unit_filters": False, "sgd_momentum": 0.0}
    mine = Muon([{"params": [ours], "orthogonal": True}], lr=0.1, **settings)
    torchs = torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.0, nesterov=True, adjust_lr_fn="original")
    for _ in range(6):
        before = ours.detach().clone(), theirs.detach().clone()
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        mine.step()
        torchs.step()
        step, other = ours.detach() - before[0], theirs.detach() - before[1]
        assert float((step - other).norm() / other.norm()) < 0.03


def small_network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 12, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(12 * 16, 8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


ORTHOGONAL = {"3.weight", "6.weight"}


def orthogonal_in(model):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = build_optimizer(MuonOptimizer(name="muon"), model).param_groups
    return {names[id(parameter)] for group in groups if group["orthogonal"] for parameter in group["params"]}


def test_tokens_positions_and_scales_of_branches_are_not_orthogonalised():
    encoder = torchvision.models.VisionTransformer(8, 4, 2, 2, 8, 16, num_classes=3)
    layers = [f"encoder.layers.encoder_layer_{number}." for number in (0, 1)]
    of_a_layer = ("self_attention.in_proj_weight", "self_attention.out_proj.weight", "mlp.0.weight", "mlp.3.weight")
    assert orthogonal_in(encoder) == {layer + weight for layer in layers for weight in of_a_layer}
    block = torchvision.models.convnext.CNBlock(4, layer_scale=1.0, stochastic_depth_prob=0.0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), block, nn.Flatten(), nn.Linear(4, 2))
    assert orthogonal_in(model) == {f"1.block.{place}.weight" for place in (0, 3, 5)}


def test_a_parametrised_layer_is_a_layer():
    normed = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
    model = nn.Sequential(nn.Linear(4, 4), normed, nn.Bilinear(4, 4, 4), nn.Linear(4, 2))
    assert orthogonal_in(model) == {"1.parametrizations.weight.original", "2.weight"}
    attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
    model = nn.Sequential(nn.Linear(4, 4), attention, nn.Linear(4, 2))
    assert orthogonal_in(model) == {"1.in_proj_weight", "1.out_proj.weight"}


def test_filters_and_hidden_matrices_are_orthogonalised_and_nothing_else_is():
    model = small_network()
    optimizer = build_optimizer(MuonOptimizer(name="muon", lr=0.02, sgd_lr=0.1), model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {g["orthogonal"]: {names[id(p)] for p in g["params"]} for g in optimizer.param_groups}
    assert found == {True: ORTHOGONAL, False: set(names.values()) - ORTHOGONAL}
    set_learning_rate(optimizer, 0.01)  # half of lr, as a schedule may have it: sgd_lr follows
    assert {g["orthogonal"]: pytest.approx(g["lr"]) for g in optimizer.param_groups} == {True: 0.01, False: 0.05}


@pytest.mark.parametrize("frozen", [False, True], ids=["one hidden layer", "all between frozen"])
def test_a_network_without_hidden_layers_to_train_is_refused(frozen):
    sizes = [4, 8, 8, 3] if frozen else [4, 8, 3]
    model = nn.Sequential(*(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes)))
    if frozen:
        model[1].requires_grad_(False)
    with pytest.raises(InvalidValueError) as caught:
        build_optimizer(MuonOptimizer(name="muon"), model)
    assert str(caught.value) == (
        "optimizer.name muon needs layers with weights between the first and the last, and Sequential trains none.\n"
        "  Choose sgd, which is what muon is for all others, or a deeper model."
    )
    assert isinstance(build_optimizer(MuonOptimizer(name="muon"), model, trains=False), Muon)


def test_the_first_layer_with_weights_is_the_first_even_if_it_is_frozen():
    model = small_network()
    model[0].requires_grad_(False)
    optimizer = build_optimizer(MuonOptimizer(name="muon"), model)
    orthogonal = {id(p) for g in optimizer.param_groups for p in g["params"] if g["orthogonal"]}
    assert orthogonal == {id(model[3].weight), id(model[6].weight)}


@pytest.mark.parametrize("unit_filters", [False, True])
def test_a_network_moves_by_the_equations(unit_filters):
    model = small_network().double()
    reference = copy.deepcopy(model)
    section = MuonOptimizer(name="muon", lr=0.05, sgd_lr=0.1, sgd_momentum=0.8, momentum=0.9, unit_filters=unit_filters)
    optimizer = build_optimizer(section, model)
    others = [p for name, p in reference.named_parameters() if name not in ORTHOGONAL]
    sgd = torch.optim.SGD(others, lr=0.1, momentum=0.8, nesterov=True)
    velocity = {name: torch.zeros_like(p) for name, p in reference.named_parameters()}
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        for (name, mine), theirs in zip(model.named_parameters(), reference.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator, dtype=torch.float64)
            theirs.grad = mine.grad.clone()
            if name in ORTHOGONAL:
                velocity[name] = 0.9 * velocity[name] + theirs.grad
                rows, columns = len(mine), mine[0].numel()
                step = orthogonalised((theirs.grad + 0.9 * velocity[name]).reshape(rows, columns), 5)
                if unit_filters:
                    theirs.data *= rows**0.5 / theirs.data.norm()
                else:
                    step = step * max(1.0, rows / columns) ** 0.5
                theirs.data -= 0.05 * step.reshape(theirs.shape)
        set_learning_rate(optimizer, 0.05)
        optimizer.step()
        sgd.step()
    for (name, mine), theirs in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12, msg=name)


def test_filters_lying_channels_last_move_the_same():
    plain, other = small_network(), small_network().to(memory_format=torch.channels_last)
    optimizers = [build_optimizer(MuonOptimizer(name="muon"), model) for model in (plain, other)]
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        for mine, theirs in zip(plain.parameters(), other.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            theirs.grad = mine.grad.clone(memory_format=torch.preserve_format).to(
                memory_format=torch.channels_last if mine.ndim == 4 else torch.contiguous_format
            )
        for optimizer in optimizers:
            optimizer.step()
    for mine, theirs in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs.contiguous(), rtol=1e-5, atol=1e-6)


def test_parameters_without_a_gradient_stay():
    model = small_network()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    build_optimizer(MuonOptimizer(name="muon"), model).step()
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_its_state_comes_back_with_torchs_state_dict():
    first, second = small_network(), small_network()
    section = MuonOptimizer(name="muon", lr_factors={"8": 0.5})
    optimizers = [build_optimizer(section, model) for model in (first, second)]

    def step(model, optimizer, seed):
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()

    step(first, optimizers[0], 1)
    second.load_state_dict(first.state_dict())
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    step(first, optimizers[0], 2)
    step(second, optimizers[1], 2)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_it_learns_the_digits():
    recipe = Recipe.model_validate(
        {
            "data": {"source": "digits"},
            "model": {"name": "mlp", "widths": [48, 48, 48]},
            "optimizer": {"name": "muon", "lr": 0.02, "sgd_lr": 0.05},
            "schedule": {"name": "linear"},
            "train": {"epochs": 6, "batch_size": 64},
        }
    )
    run = run_recipe(recipe, fingerprint="f00d")
    assert run.record.metrics["val_accuracy"] > 0.9
    assert run.history[0].lr < 0.02
