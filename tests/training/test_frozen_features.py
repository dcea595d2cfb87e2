"""Training on what frozen layers give is training on images: the same numbers, the same model, and less work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from splits_of_arrays import split_of
from torch import nn
from torch.nn import functional

from assay.models.layers import Dropout
from assay.recipe.schema import Recipe, Train
from assay.training import fit
from assay.training import ground as ground_module
from assay.training.arithmetic import Arithmetic
from assay.training.engines.choose import build_engine
from assay.training.evaluate import evaluate
from assay.training.frozen_features import Cut, Tail, features_of, find_cut, kept_features
from assay.training.ground import ground_of
from assay.training.measure import Measurements
from assay.training.prepare import prepare_data
from assay.training.run import run_recipe
from assay.training.vitals import Watch

CPU = torch.device("cpu")
ARITHMETIC = Arithmetic(Train(), CPU)


def images(count=20):
    generator = torch.Generator().manual_seed(0)
    inputs_NCHW = torch.randint(0, 256, (count, 3, 6, 6), generator=generator, dtype=torch.uint8)
    return split_of(inputs_NCHW, torch.arange(count) % 4)


def named(**layers):
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    return model


class ByName(nn.Module):
    """A body, a head, and whatever a test does with what they give."""

    def __init__(self, body, head, forward):
        super().__init__()
        self.body, self.head = body, head
        self._forward = forward

    def forward(self, x_BCHW):
        return self._forward(self, x_BCHW)


def body(*more):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), *more, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())


def classifier(*before):
    return nn.Sequential(*before, nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))


def plainly(net, x_BCHW):
    return net.head(net.body(x_BCHW))


def frozen(model, *trained):
    """Everything but parameters whose names begin so."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(trained))
    return model


CONV = {"conv": nn.Conv2d(3, 4, 3), "flat": nn.Flatten()}
DROPOUT = Dropout(0.5, seed=0, layer="drop")
SQUEEZE = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))


@pytest.mark.parametrize(
    ("make", "cut"),
    [
        (
            lambda: frozen(ByName(body(), nn.Linear(16, 4), plainly), "head"),
            Cut(module="head"),
        ),
        (  # the ReLU after the trained layer belongs to the tail, and so does the dropout before it
            lambda: frozen(ByName(nn.Conv2d(3, 4, 3), SQUEEZE, lambda n, x: n.head(n.body(x)).flatten(1)), "head"),
            Cut(module="head", flatten=True),
        ),
        (
            lambda: frozen(ByName(body(), classifier(), plainly), "head.2"),
            Cut(module="head.2"),
        ),
        (
            # what is dropped before the frozen linear layer differs from step to step
            lambda: frozen(ByName(body(), classifier(nn.Dropout(0.5)), plainly), "head.3"),
            Cut(module="head"),
        ),
        (
            lambda: frozen(ByName(body(), classifier(nn.Linear(16, 16), nn.Dropout(0.5)), plainly), "head.4"),
            Cut(module="head", first=1),
        ),
        (
            lambda: frozen(ByName(body(), classifier(), plainly), "head"),
            Cut(module="head"),
        ),
        (
            lambda: frozen(named(**CONV, a=nn.Linear(64, 8), b=nn.Linear(8, 4)), "b"),
            Cut(module="b"),
        ),
        (
            lambda: frozen(named(**CONV, a=nn.Linear(64, 8), relu=nn.ReLU(), b=nn.Linear(8, 4)), "a", "b"),
            Cut(module="", first=2),
        ),
        (
            lambda: frozen(named(**CONV, a=nn.Linear(64, 8), drop=DROPOUT, b=nn.Linear(8, 4)), "b"),
            Cut(module="", first=3),
        ),
        (  # frozen batch normalisation stays in evaluation mode
            lambda: frozen(ByName(body(nn.BatchNorm2d(4)), nn.Linear(16, 4), plainly), "head"),
            Cut(module="head"),
        ),
        (  # as EfficientNet has it: what is dropped is dropped from the features themselves
            lambda: frozen(ByName(body(), nn.Sequential(nn.Dropout(0.5, True), nn.Linear(16, 4)), plainly), "head"),
            Cut(module="head"),
        ),
    ],
    ids=str,
)  # fmt: skip
def test_a_network_is_cut_before_the_first_trained_layer(make, cut):
    torch.manual_seed(1)
    model, split = make(), images()
    found = find_cut(model, ARITHMETIC, split)
    assert found == cut
    features_N = kept_features(features_of(model, found, ARITHMETIC, split, 7), len(split), 2**30)
    x_NCHW = split.inputs(np.arange(len(split)))
    with torch.no_grad():
        torch.testing.assert_close(Tail(model, found)(features_N), model(x_NCHW), rtol=1e-5, atol=1e-6)


def shared_weights():
    model = ByName(nn.Sequential(nn.Flatten(), nn.Linear(108, 108)), nn.Linear(108, 108), plainly)
    model.head.weight = model.body[1].weight
    return frozen(model, "body.1.weight", "head")


class ToldMore(nn.Linear):
    """A head that is told more than what it is called with."""

    told = 0.0

    def forward(self, x_BD):
        return super().forward(x_BD) + self.told


def tells_more(net, x_BCHW):
    feature_BD = net.body(x_BCHW)
    net.head.told = feature_BD[:, :4]
    return net.head(feature_BD)


def uses_what_is_trained(net, x_BCHW):
    return net.head(net.body(x_BCHW) + net.head.weight.detach().mean(dim=0))


def compares(net, x_BCHW):
    feature_BD = net.body(x_BCHW)
    return net.head(feature_BD - feature_BD.mean(dim=0))


def counts(net, x_BCHW):
    net.calls = getattr(net, "calls", 0) + net.training
    return net.head(net.body(x_BCHW) * (1 if net.calls < 100 else 2))


def counts_in_a_buffer(net, x_BCHW):
    net.body[1].num_batches_tracked.add_(int(net.training))
    return plainly(net, x_BCHW)


def head_of_body(forward, head=nn.Linear):
    return frozen(ByName(body(), head(16, 4), forward), "head")


def before_everything(layer):
    """A layer without parameters, which so is in no frozen one."""
    model = ByName(body(), nn.Linear(16, 4), lambda net, x_BCHW: net.head(net.body(net.layer(x_BCHW))))
    model.layer = layer
    return frozen(model, "head")


@pytest.mark.parametrize(
    "make",
    [
        lambda: ByName(body(), nn.Linear(16, 4), plainly),  # everything is trained
        lambda: frozen(ByName(body(), nn.Linear(16, 4), plainly)),  # nothing is
        lambda: frozen(ByName(body(), nn.Linear(16, 4), plainly), "body.0", "head"),
        lambda: frozen(ByName(nn.Flatten(), nn.Linear(108, 4), plainly), "head"),  # nothing would be spared
        lambda: frozen(ByName(body(), nn.Linear(16, 16), lambda n, x: n.head(n.body(x)) + n.body(x)), "head"),
        lambda: frozen(ByName(body(), nn.Linear(16, 16), lambda n, x: n.head(n.head(n.body(x)))), "head"),
        lambda: frozen(ByName(body(), nn.Linear(16, 4), lambda n, x: n.head(n.body(x)).relu()), "head"),
        lambda: frozen(ByName(body(), nn.Linear(16, 4), lambda n, x: n.head(n.body(x) * torch.rand(1))), "head"),
        lambda: frozen(ByName(body(), nn.Linear(16, 4), lambda n, x: n.head(n.body(x) * (1 + n.training))), "head"),
        lambda: head_of_body(lambda n, x: n.head(n.body(x)) * (1 + n.training)),
        lambda: head_of_body(lambda n, x: functional.dropout(n.head(n.body(x)), 0.5, n.training)),
        lambda: head_of_body(lambda n, x: n.head(functional.dropout(n.body(x), 1e-9, n.training))),
        lambda: head_of_body(tells_more, ToldMore),
        lambda: head_of_body(uses_what_is_trained),
        lambda: head_of_body(compares),
        lambda: head_of_body(counts),
        lambda: head_of_body(counts_in_a_buffer),
        shared_weights,
        lambda: before_everything(nn.BatchNorm2d(3, affine=False)),
        lambda: before_everything(nn.Dropout(1e-9)),  # too little for a few examples to show it
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_cut_is_left_whole(make):
    torch.manual_seed(1)
    assert find_cut(make(), ARITHMETIC, images()) is None


def test_a_batch_norm_that_learns_while_its_block_is_frozen_cannot_be_cached():
    model = frozen(ByName(body(), nn.Linear(16, 4), plainly), "head", "body.1.bias")
    assert find_cut(model, ARITHMETIC, images()) is None


def test_looking_for_a_cut_changes_nothing():
    model = frozen(ByName(body(), classifier(nn.Dropout(0.5)), plainly), "head")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert find_cut(model, ARITHMETIC, images()) is not None
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_a_network_that_cannot_be_copied_is_left_whole():
    class Lonely(nn.Sequential):
        def __deepcopy__(self, memo):
            raise RuntimeError("there is only one of me")

    model = frozen(Lonely(nn.Flatten(), nn.Linear(108, 5), nn.Linear(5, 4)), "2")
    assert find_cut(model, ARITHMETIC, images()) is None


# --- runs -------------------------------------------------------------------------------------------------------------

LENET = {"name": "lenet5", "norm": "batch", "dropout": 0.3}


def recipe(**sections):
    made = {
        "data": {"source": "digits"},
        "model": LENET,
        "freeze": {"all_but": ["linear*", "output"]},
        "train": {"epochs": 3, "batch_size": 64},
        **sections,
    }
    return Recipe.model_validate(made)


def two_runs(**sections):
    """The same recipe on features and on images."""
    freeze = sections.pop("freeze", {"all_but": ["linear*", "output"]})
    cached = recipe(freeze=freeze, **sections)
    data = prepare_data(cached, CPU)
    assert not ground_of(cached, build_engine(cached, data, CPU), data).of_images
    whole = recipe(freeze={**freeze, "cache_features": False}, **sections)
    assert ground_of(whole, build_engine(whole, data, CPU), data).of_images
    return run_recipe(cached, fingerprint="cached"), run_recipe(whole, fingerprint="whole")


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"freeze": {"all_but": ["head"]}},
        {"averaging": {"name": "ema", "decay": 0.9}},
        {"averaging": {"name": "lookahead", "every": 3}, "loss": {"l2": 1e-3}},
        {"train": {"epochs": 3, "batch_size": 64, "keep": "best", "channels_last": True, "clip_norm": 0.5}},
        {"evaluate": {"shift": 1, "views": "mirrored"}},
    ],
    ids=["plain", "head", "ema", "lookahead", "best", "views"],
)
def test_a_run_on_features_equals_one_on_images(sections):
    cached, whole = two_runs(**sections)
    for ours, theirs in zip(cached.history, whole.history, strict=True):
        for field in ("lr", "running_train_loss", "train_loss", "train_accuracy", "val_loss", "gradient_norm"):
            assert getattr(ours, field) == pytest.approx(getattr(theirs, field), rel=1e-3, abs=1e-6), field
    assert cached.weights.keys() == whole.weights.keys()
    for name, array in whole.weights.items():
        np.testing.assert_allclose(cached.weights[name], array, rtol=2e-3, atol=2e-5, err_msg=name)
    for split in ("val", "test"):
        np.testing.assert_allclose(
            cached.predictions[split].probabilities_NC, whole.predictions[split].probabilities_NC, atol=1e-3
        )
    timed = {"seconds", "inference_seconds"}
    for name, value in whole.record.metrics.items():
        if name not in timed:
            assert cached.record.metrics[name] == pytest.approx(value, rel=5e-3, abs=1e-6), name
    assert cached.record.trainable_parameters == whole.record.trainable_parameters < whole.record.parameters


def test_frozen_layers_are_not_computed_in_training(monkeypatch):
    calls = []
    forward = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: calls.append(len(x)) or forward(self, x))
    monkeypatch.setattr(Watch, "after_epoch", lambda *_, **__: None)  # which looks at the whole network now and then
    counts = []
    for epochs in (2, 6):
        calls.clear()
        run_recipe(recipe(train={"epochs": epochs, "batch_size": 64}), fingerprint="x")
        counts.append(sum(calls))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    "sections",
    [
        {"freeze": {}},
        {"augment": {"horizontal_flip": 0.5}},
        {
            "model": {"name": "cifar_resnet", "depth": 8, "width": 2},
            "freeze": {"all_but": ["head"]},
            "train": {"epochs": 3, "smaller_first": [{"epochs": 1, "side": 6}]},
        },
        {"train": {"epochs": 0}},
        {"freeze": {"depth": 5}, "train": {"epochs": 0}},
        {"freeze": {"layers": ["linear1"]}},
    ],
    ids=str,
)
def test_images_are_taken_where_features_may_change_or_are_not_asked_for(sections):
    asked = recipe(**sections)
    data = prepare_data(asked, CPU)
    assert ground_of(asked, build_engine(asked, data, CPU), data).of_images


def test_features_that_take_too_much_memory_are_not_kept(monkeypatch):
    few = run_recipe(recipe(), fingerprint="x")
    monkeypatch.setattr(ground_module, "MOST_BYTES", 2**18)
    run = run_recipe(recipe(), fingerprint="x")
    assert [note for note in run.record.notes if "frozen" in note] == [
        "What the frozen layers give was computed anew for each batch: of the train split alone it takes 0.0 GiB, and "
        "0.0 GiB may be kept."
    ]
    assert not [note for note in few.record.notes if "frozen" in note]
    assert run.record.metrics["test_accuracy"] == pytest.approx(few.record.metrics["test_accuracy"], abs=1e-9)


def test_the_features_of_both_splits_share_the_memory_allowed(monkeypatch):
    asked = recipe()
    data = prepare_data(asked, CPU)
    whole = ground_of(asked, build_engine(asked, data, CPU), data)
    sizes = [split.inputs(np.arange(len(split))).nbytes for split in (whole.train, whole.val)]
    monkeypatch.setattr(ground_module, "MOST_BYTES", sum(sizes))
    assert not ground_of(asked, build_engine(asked, data, CPU), data).of_images
    monkeypatch.setattr(ground_module, "MOST_BYTES", sum(sizes) - 1)
    ground = ground_of(asked, build_engine(asked, data, CPU), data)
    assert ground.of_images
    assert ground.notes[0].startswith("What the frozen layers give was computed anew for each batch: of the val split")


def test_the_time_of_the_training_split_s_features_is_training(monkeypatch):
    made = fit.ground_of

    def slowly(*arguments):
        ground = made(*arguments)
        assert ground.seconds > 0
        return replace(ground, seconds=1000.0)

    monkeypatch.setattr(fit, "ground_of", slowly)
    seconds = [epoch.seconds for epoch in run_recipe(recipe(), fingerprint="x").history]
    assert seconds[0] > 1000 > seconds[1]


def test_what_is_kept_of_the_validation_split_is_what_the_whole_model_says_of_its_images():
    asked = recipe()
    data = prepare_data(asked, CPU)
    engine = build_engine(asked, data, CPU)
    ground = ground_of(asked, engine, data)
    on_features = evaluate(ground.scores, ground.val)
    measurements = Measurements(asked, engine, data, replace(ground, scores=lambda x_B: 2 * ground.scores(x_B)))
    kept = measurements.completed(measurements.after_epoch())
    assert kept.val is not None
    assert kept.val.loss == pytest.approx(on_features.loss, rel=1e-5)
    assert measurements.after_epoch().val.loss != pytest.approx(on_features.loss, rel=1e-3)


def test_the_whole_model_is_measured_in_evaluation_mode_after_a_step_on_features():
    asked = recipe(model={**LENET, "dropout": 0.9})
    data = prepare_data(asked, CPU)
    engine = build_engine(asked, data, CPU)
    ground = ground_of(asked, engine, data)
    x_B, _ = next(data.splits["val"].in_order(16))
    feature_B, _ = next(ground.val.in_order(16))
    batch = (ground.train.inputs(np.arange(32)), ground.train.labels_of(np.arange(32)))
    for _ in range(2):
        list(engine.steps([batch]))
        torch.testing.assert_close(engine.scores(x_B), ground.scores(feature_B), rtol=1e-4, atol=1e-5)
        assert torch.equal(engine.scores(x_B), engine.scores(x_B))
    list(engine.steps([batch]))
    assert engine.model.get_submodule("dropout1").training  # as training left it


# --- what is frozen stays ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize(
    ("freeze", "stays"),
    [
        ({"depth": 2}, ("conv1", "conv2")),
        ({"all_but": ["head"]}, ("conv1", "conv2", "linear1", "linear2")),
        ({"layers": ["conv2", "conv2_norm"]}, ("conv2",)),  # within what is trained
    ],
    ids=str,
)
def test_weights_and_running_statistics_of_frozen_layers_do_not_move(freeze, stays, cache):
    section = {**freeze, "cache_features": cache}
    before = run_recipe(recipe(freeze=section, train={"epochs": 0}), fingerprint="x").weights
    after = run_recipe(recipe(freeze=section, train={"epochs": 2}), fingerprint="x").weights
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    still = {name for name in before if name.partition(".")[0].removesuffix("_norm") in stays}
    assert not moved & still
    assert {name for name in before if "running" in name} & still
    assert moved == set(before) - still


def test_a_layer_partly_frozen_goes_on_learning_statistics():
    section = {"layers": ["conv1_norm.weight"]}
    before = run_recipe(recipe(freeze=section, train={"epochs": 0}), fingerprint="x").weights
    after = run_recipe(recipe(freeze=section, train={"epochs": 1}), fingerprint="x").weights
    assert np.array_equal(before["conv1_norm.weight"], after["conv1_norm.weight"])
    assert not np.array_equal(before["conv1_norm.running_mean"], after["conv1_norm.running_mean"])


def test_a_network_frozen_whole_is_measured_as_it_is():
    run = run_recipe(recipe(freeze={"layers": ["*"]}, train={"epochs": 0}), fingerprint="x")
    assert (run.record.trainable_parameters, run.record.status) == (0, "completed")
    free = run_recipe(recipe(freeze={}, train={"epochs": 0}), fingerprint="x")
    assert run.record.metrics["test_accuracy"] == free.record.metrics["test_accuracy"]
