import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from assay.errors import InvalidValueError, ShapeError
from assay.models.build import build_model
from assay.models.initialise import GAINS
from assay.models.layers import Dropout, activation_layer
from assay.recipe.schema import (
    DefaultInit,
    KaimingInit,
    LeNet5Model,
    MlpModel,
    NormalInit,
    UserModel,
    XavierInit,
)

DEFAULT = DefaultInit(name="default")
IMAGE = (1, 8, 8)


def build(model, init=DEFAULT, *, seed=0, input_shape=IMAGE, classes=10) -> nn.Module:
    return build_model(model, init, seed=seed, input_shape=input_shape, classes=classes)


def mlp(**fields) -> MlpModel:
    return MlpModel.model_validate({"name": "mlp", **fields})


def lenet5(**fields) -> LeNet5Model:
    return LeNet5Model.model_validate({"name": "lenet5", **fields})


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# --- architecture ----------------------------------------------------------------------------------------------------


def test_an_mlp_computes_what_its_equations_say():
    model = build(mlp(widths=[5, 3], activation="tanh"), input_shape=(2, 2, 1), classes=4)
    p = {name: parameter.detach() for name, parameter in model.named_parameters()}
    x_BCHW = torch.randn(6, 2, 2, 1, generator=torch.Generator().manual_seed(0))
    hidden1 = torch.tanh(x_BCHW.reshape(6, 4) @ p["linear1.weight"].T + p["linear1.bias"])
    hidden2 = torch.tanh(hidden1 @ p["linear2.weight"].T + p["linear2.bias"])
    torch.testing.assert_close(model(x_BCHW), hidden2 @ p["output.weight"].T + p["output.bias"])


def test_an_mlp_without_hidden_layers_is_linear():
    model = build(mlp(widths=[]), input_shape=(3,), classes=2)
    assert [name for name, _ in model.named_parameters()] == ["output.weight", "output.bias"]


@pytest.mark.parametrize(
    ("name", "equation"),
    [
        ("relu", lambda x: np.maximum(x, 0)),
        ("leaky_relu", lambda x: np.maximum(x, 0.01 * x)),
        ("tanh", np.tanh),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("gelu", lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
        ("swish", lambda x: x / (1 + np.exp(-x))),
    ],
)
def test_activations_are_their_equations(name, equation):
    x = np.linspace(-6, 6, 101)
    np.testing.assert_allclose(activation_layer(name)(torch.from_numpy(x)).numpy(), equation(x), atol=1e-12)


@pytest.mark.parametrize("side", [28, 32])
def test_lenet5_has_the_classic_61706_parameters(side):
    assert count(build(lenet5(), input_shape=(1, side, side))) == 61_706


@given(
    height=st.integers(4, 70),
    width=st.integers(4, 70),
    channels=st.integers(1, 3),
    norm=st.sampled_from(["none", "batch"]),
    pooling=st.sampled_from(["max", "average", "subsample"]),
)
@settings(max_examples=25, deadline=None)
def test_lenet5_fits_any_image_of_at_least_4_by_4(height, width, channels, norm, pooling):
    model = build(lenet5(norm=norm, pooling=pooling), input_shape=(channels, height, width), classes=3)
    assert model.eval()(torch.zeros(2, channels, height, width)).shape == (2, 3)


def test_lenet5_on_digits_keeps_the_size_in_its_convolutions():
    model = build(lenet5())
    assert model.get_submodule("conv1")(torch.zeros(1, 1, 8, 8)).shape == (1, 6, 8, 8)
    assert model.get_parameter("linear1.weight").shape == (120, 16 * 2 * 2)


def test_lenet5_of_another_pooling_starts_at_the_same_weights_and_gives_something_else():
    models = [build(lenet5(pooling=pooling), input_shape=(3, 32, 32)) for pooling in ("max", "average", "subsample")]
    first, *others = (model.state_dict() for model in models)
    for other in others:
        assert list(other) == list(first)
        assert all(torch.equal(other[name], first[name]) for name in first)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = [model(x) for model in models]
    assert not any(torch.equal(logits[0], other) for other in logits[1:])
    assert not torch.equal(logits[1], logits[2])


@pytest.mark.parametrize("model", [mlp, lenet5])
def test_the_form_of_dropout_reaches_every_layer_of_it(model):
    for form in ("inverted", "vanilla"):
        layers = [layer for layer in build(model(dropout=0.5, dropout_form=form)).children() if type(layer) is Dropout]
        assert {layer.form for layer in layers} == {form}


@pytest.mark.parametrize("input_shape", [(2,), (1, 3, 8)])
def test_lenet5_refuses_what_is_no_image_or_too_small(input_shape):
    with pytest.raises(InvalidValueError) as caught:
        build(lenet5(), input_shape=input_shape)
    assert str(caught.value) == (
        f"model.name lenet5 needs images of at least 4×4 pixels, got inputs of shape {input_shape}.\n"
        "  Choose model.name: mlp, or another data.source."
    )


@pytest.mark.parametrize(
    ("model", "norm", "kinds"),
    [
        (mlp, "batch", [nn.BatchNorm1d]),
        (mlp, "layer", [nn.LayerNorm]),
        (lenet5, "batch", [nn.BatchNorm2d] * 2 + [nn.BatchNorm1d] * 2),
        (lenet5, "layer", [nn.GroupNorm] * 2 + [nn.LayerNorm] * 2),
    ],
)
def test_normalisation_follows_every_layer_but_the_last_and_precedes_its_activation(model, norm, kinds):
    layers = list(build(model(norm=norm)).children())
    norms = [i for i, layer in enumerate(layers) if isinstance(layer, tuple(kinds))]
    assert [type(layers[i]) for i in norms] == kinds
    for i in norms:
        assert isinstance(layers[i - 1], nn.Linear | nn.Conv2d)
        assert isinstance(layers[i + 1], nn.ReLU)


def test_layer_norm_of_images_is_over_all_values_of_one_example():
    model = build(lenet5(norm="layer"))
    x = torch.randn(3, 6, 8, 8, generator=torch.Generator().manual_seed(1)) * 5 + 2
    y = model.get_submodule("conv1_norm")(x)
    torch.testing.assert_close(y.mean(dim=(1, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(dim=(1, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)


# --- initialisation --------------------------------------------------------------------------------------------------


def test_layers_that_arms_share_start_alike():
    plain = build(mlp(widths=[64, 32]))
    others = [
        build(mlp(widths=[64, 32], norm="batch", dropout=0.5)),
        build(mlp(widths=[64, 32], activation="tanh")),
        build(mlp(widths=[64, 32, 16])),
    ]
    for other in others:
        for name in ("linear1.weight", "linear1.bias", "linear2.weight"):
            assert torch.equal(plain.get_parameter(name), other.get_parameter(name))
    assert not torch.equal(
        plain.get_parameter("linear1.weight"), build(mlp(widths=[64, 32]), seed=1).get_parameter("linear1.weight")
    )


@pytest.mark.parametrize("model", [mlp(widths=[300, 200]), lenet5()], ids=["mlp", "lenet5"])
def test_the_default_has_the_distribution_of_torchs_own(model):
    for layer in build(model, input_shape=(3, 32, 32)).children():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            theirs = copy.deepcopy(layer)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                theirs.reset_parameters()
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for one in (layer, theirs):
                assert one.weight.abs().max() <= bound
                assert one.bias.abs().max() <= bound
                tolerance = 4 / math.sqrt(one.weight.numel())
                assert one.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=tolerance)
                assert kurtosis(one.weight) == pytest.approx(1.8, rel=3 * tolerance)


def kurtosis(values: torch.Tensor) -> float:
    values = values.detach()
    return float(((values / values.std()) ** 4).mean())


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "gelu", "swish"])
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("scheme", ["kaiming", "xavier"])
def test_kaiming_and_xavier_have_their_deviation_distribution_and_zero_biases(scheme, distribution, activation):
    init = (KaimingInit if scheme == "kaiming" else XavierInit)(name=scheme, distribution=distribution)
    layer = build(mlp(widths=[500, 300], activation=activation), init).get_submodule("linear2")
    fans = 500 if scheme == "kaiming" else (500 + 300) / 2
    assert layer.weight.std().item() == pytest.approx(GAINS[activation] / math.sqrt(fans), rel=0.02)
    assert layer.weight.mean().item() == pytest.approx(0.0, abs=0.001)
    assert kurtosis(layer.weight) == pytest.approx(3.0 if distribution == "normal" else 1.8, abs=0.1)
    assert not layer.bias.any()


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_gains_are_those_of_torch(activation):
    assert GAINS[activation] == nn.init.calculate_gain(activation)


def test_the_gain_of_leaky_relu_is_that_of_its_slope():
    assert GAINS["leaky_relu"] == nn.init.calculate_gain("leaky_relu", 0.01)


def test_kaiming_counts_the_field_of_a_convolution():
    model = build(lenet5(), KaimingInit(name="kaiming"), input_shape=(3, 32, 32))
    assert model.get_parameter("conv2.weight").std().item() == pytest.approx(math.sqrt(2 / (6 * 25)), rel=0.05)


def test_normal_has_the_weight_scale_and_leaves_normalisation_alone():
    model = build(mlp(widths=[300], norm="batch"), NormalInit(name="normal", scale=0.03))
    assert model.get_parameter("linear1.weight").std().item() == pytest.approx(0.03, rel=0.03)
    assert torch.equal(model.get_parameter("norm1.weight"), torch.ones(300))
    assert not model.get_parameter("output.bias").any()


@pytest.mark.parametrize("init", [DEFAULT, KaimingInit(name="kaiming")])
def test_layers_of_one_shape_start_independently(init):
    model = build(mlp(widths=[64, 64, 64]), init)
    weights = [model.get_parameter(f"linear{number}.weight").detach().flatten() for number in (1, 2, 3)]
    correlations = torch.corrcoef(torch.stack(weights)) - torch.eye(3)
    assert correlations.abs().max() < 4 / math.sqrt(64 * 64)


def test_building_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    build(mlp())
    build(UserModel(name="own_networks:Tiny"))
    assert torch.equal(before, torch.random.get_rng_state())


# --- a user's own class ----------------------------------------------------------------------------------------------


def test_a_users_class_is_built_from_the_seed_alone_with_its_options():
    section = UserModel(name="own_networks:Tiny", options={"width": 9})
    first, again, other = (build(section, seed=seed) for seed in (3, 3, 4))
    assert first.get_parameter("hidden.weight").shape == (9, 64)  # a lazy layer, materialised
    for (name, one), (_, two) in zip(first.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(one, two), name
    assert not torch.equal(first.get_parameter("out.weight"), other.get_parameter("out.weight"))


def test_an_init_is_applied_to_the_linear_layers_of_a_users_class_only():
    model = build(UserModel(name="own_networks:Tiny", options={"width": 400}), NormalInit(name="normal", scale=0.5))
    assert model.get_parameter("hidden.weight").std().item() == pytest.approx(0.5, rel=0.05)
    assert not model.get_parameter("hidden.bias").any()
    assert torch.equal(model.get_parameter("norm.weight"), torch.ones(1, 400))


@pytest.mark.parametrize(
    ("section", "error", "message"),
    [
        (
            UserModel(name="own_networks:NoModule"),
            InvalidValueError,
            r"^model\.name must name a subclass of torch\.nn\.Module, got the class own_networks:NoModule\.",
        ),
        (
            UserModel(name="own_networks:Tiny", options={"depth": 3}),
            InvalidValueError,
            r"^model\.options must fit own_networks:Tiny, .* got \{'depth': 3\} \(got an unexpected .* 'depth'\)\.",
        ),
        (
            UserModel(name="own_networks:WrongOutput"),
            ShapeError,
            r"must give logits of shape \(batch, 10\), .* of 2 inputs of shape \(1, 8, 8\) it gave \(2, 11\)\.",
        ),
        (UserModel(name="own_networks:NotTensor"), ShapeError, r"it gave list\."),
    ],
)
def test_a_class_that_does_not_fit_is_refused(section, error, message):
    with pytest.raises(error, match=message):
        build(section)
