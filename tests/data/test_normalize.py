"""Each normalisation is what its equation says, sees training examples only, and can be repeated from its store."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from assay.data import normalize
from assay.data.batches import SplitData, training_batches
from assay.data.load import load_source
from assay.data.normalize import Preprocessing, apply, fit
from assay.data.on_device import Normalizer, RawExamples
from assay.errors import DataError, InvalidValueError, ShapeError
from assay.recipe.schema import Augment, Recipe
from assay.recipe.streams import stream
from assay.records import Run
from assay.studies.store.folder import FolderStore
from assay.testing.trials import made_up_recipe, made_up_run
from assay.training.run import run_recipe

KINDS = ("none", "channel", "pixel", "standard", "pca", "zca")
CPU = torch.device("cpu")

images = arrays.arrays(
    np.uint8, st.tuples(st.integers(2, 9), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)), unique=False
)


def everything(inputs):
    return np.arange(len(inputs))


def correlated_images(count=300, shape=(2, 3, 3), seed=0):
    """Images whose pixels depend on each other, as those of photographs do."""
    draws = np.random.default_rng(seed)
    size = int(np.prod(shape))
    values_ND = draws.normal(size=(count, size)) @ draws.normal(size=(size, size)) * 12 + 120
    return np.clip(values_ND, 0, 255).astype(np.uint8).reshape(count, *shape)


def correlated_points(count=200, features=5, seed=0):
    draws = np.random.default_rng(seed)
    return (draws.normal(size=(count, features)) @ draws.normal(size=(features, features)) + 40).astype(np.float32)


# --- affine kinds -----------------------------------------------------------------------------------------------------


@given(images)
@settings(max_examples=100, deadline=None)
def test_channel_gives_every_channel_mean_0_and_deviation_1_or_0_if_constant(images_NCHW):
    preprocessing = fit(images_NCHW, everything(images_NCHW), "channel", 1e-3)
    x_NCHW = apply(preprocessing, images_NCHW, np.float64)
    for channel in range(images_NCHW.shape[1]):
        raw, x = images_NCHW[:, channel], x_NCHW[:, channel]
        assert x.mean() == pytest.approx(0.0, abs=1e-9)
        assert x.std() == pytest.approx(0.0 if raw.min() == raw.max() else 1.0, abs=1e-9)
        assert (channel in preprocessing.facts["constant"]) == (raw.min() == raw.max())


@given(images)
@settings(max_examples=100, deadline=None)
def test_standard_does_so_for_every_pixel(images_NCHW):
    preprocessing = fit(images_NCHW, everything(images_NCHW), "standard", 1e-3)
    x_NCHW = apply(preprocessing, images_NCHW, np.float64)
    constant = images_NCHW.min(axis=0) == images_NCHW.max(axis=0)
    np.testing.assert_allclose(x_NCHW.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(x_NCHW.std(axis=0), np.where(constant, 0.0, 1.0), atol=1e-9)
    said = f"{constant.sum()} of {constant.size} values of an input are the same throughout the training split, "
    assert preprocessing.facts["remarks"] == ([said + "and are 0 to the network."] if constant.any() else [])


@given(images)
@settings(max_examples=50, deadline=None)
def test_pixel_subtracts_the_mean_image_and_divides_by_nothing(images_NCHW):
    preprocessing = fit(images_NCHW, everything(images_NCHW), "pixel", 1e-3)
    expected = images_NCHW / 255 - (images_NCHW / 255).mean(axis=0)
    np.testing.assert_allclose(apply(preprocessing, images_NCHW, np.float64), expected, atol=1e-12)


def test_the_equation_with_known_numbers():
    images_NCHW = np.array([0, 51, 102, 255], dtype=np.uint8).reshape(2, 2, 1, 1)  # channels: (0, 102) and (51, 255)
    preprocessing = fit(images_NCHW, everything(images_NCHW), "channel", 1e-3)
    np.testing.assert_allclose(preprocessing.facts["mean"], [0.2, 0.6])
    np.testing.assert_allclose(preprocessing.facts["deviation"], [0.2, 0.4])
    grey = np.full((1, 2, 1, 1), 153, dtype=np.uint8)
    np.testing.assert_allclose(apply(preprocessing, grey).ravel(), [2.0, 0.0], atol=1e-7)


def test_points_are_normalised_by_feature_and_a_far_mean_does_not_cancel():
    points_ND = np.array([[4e6, 7.0], [4e6 + 1, 7.0], [4e6 + 2, 7.0]], dtype=np.float32)
    preprocessing = fit(points_ND, everything(points_ND), "channel", 1e-3)
    assert preprocessing.facts["deviation"] == pytest.approx([np.sqrt(2 / 3), 1.0], rel=1e-12)
    assert preprocessing.facts["constant"] == [1]
    assert apply(preprocessing, points_ND)[:, 1].tolist() == [0.0, 0.0, 0.0]


def test_none_divides_pixels_and_leaves_points():
    images_NCHW = np.array([[[[0, 255]]]], dtype=np.uint8)
    assert apply(fit(images_NCHW, everything(images_NCHW), "none", 1e-3), images_NCHW).ravel().tolist() == [0.0, 1.0]
    points_ND = np.array([[3.5, -2.0]], dtype=np.float32)
    np.testing.assert_array_equal(apply(fit(points_ND, everything(points_ND), "none", 1e-3), points_ND), points_ND)


# --- whitening --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [correlated_images(), correlated_points()], ids=["images", "points"])
@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_whitened_training_inputs_have_the_identity_as_covariance(inputs, kind):
    preprocessing = fit(inputs, everything(inputs), kind, 1e-9)
    size = inputs[0].size
    assert preprocessing.output_shape == ((size,) if kind == "pca" else inputs.shape[1:])
    for dtype in (np.float32, np.float64):
        x = apply(preprocessing, inputs, dtype)
        assert x.dtype == dtype
        assert x.shape == (len(inputs), *preprocessing.output_shape)
        x_ND = x.reshape(len(inputs), -1).astype(np.float64)
        np.testing.assert_allclose(x_ND.mean(axis=0), 0.0, atol=1e-3)
        np.testing.assert_allclose(np.cov(x_ND.T, bias=True), np.eye(size), atol=1e-3)


def test_epsilon_shrinks_each_direction_by_its_own_variance():
    inputs = correlated_points(features=3)
    variance_D = np.linalg.eigvalsh(np.cov(inputs.T.astype(np.float64), bias=True))[::-1]
    x_ND = apply(fit(inputs, everything(inputs), "pca", 0.5), inputs, np.float64)
    expected = np.diag(variance_D / (variance_D + 0.5))
    np.testing.assert_allclose(np.cov(x_ND.T, bias=True), expected, atol=1e-6)


def test_zca_changes_inputs_as_little_as_whitening_can():
    """Of all whitenings zca is the nearest to the inputs (Kessy et al. 2018), as its matrix is symmetric, positive."""
    inputs = correlated_images()
    zca, pca = (fit(inputs, everything(inputs), kind, 1e-9) for kind in ("zca", "pca"))
    whitening_DD = zca.whitening.astype(np.float64)
    np.testing.assert_allclose(whitening_DD, whitening_DD.T, rtol=1e-5, atol=1e-7)
    assert np.linalg.eigvalsh(whitening_DD).min() > 0
    centred_ND = (inputs / 255 - (inputs / 255).mean(axis=0)).reshape(len(inputs), -1)
    near, far = (
        np.square(apply(found, inputs, np.float64).reshape(len(inputs), -1) - centred_ND).sum() for found in (zca, pca)
    )
    assert near < far


def test_the_sign_of_each_direction_is_fixed():
    inputs = correlated_images()
    whitening_DD = fit(inputs, everything(inputs), "pca", 1e-3).whitening
    largest_D = np.abs(whitening_DD).argmax(axis=0)
    assert (np.take_along_axis(whitening_DD, largest_D[None], axis=0) > 0).all()


def test_pixels_that_never_change_stay_0_when_whitened():
    inputs = correlated_images()
    inputs[:, 0, 0, 0] = 17
    x_NCHW = apply(fit(inputs, everything(inputs), "zca", 1e-3), inputs)
    assert np.isfinite(x_NCHW).all()
    np.testing.assert_allclose(x_NCHW[:, 0, 0, 0], 0.0, atol=1e-5)


def test_fewer_examples_than_values_are_remarked_on():
    inputs = correlated_images(count=18)
    assert fit(inputs, everything(inputs), "zca", 1e-3).facts["remarks"] == [
        "Whitening was fitted on 18 training examples of 18 values each: they have no variance in at least 1 "
        "of as many directions, and there data.whitening_epsilon 0.001 alone decides what becomes of other examples."
    ]
    assert fit(correlated_images(count=19), np.arange(19), "zca", 1e-3).facts["remarks"] == []


def test_inputs_too_large_to_whiten_are_refused_before_any_work():
    inputs = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (10**6, 3, 224, 224), (0, 0, 0, 0))
    with pytest.raises(DataError) as told:
        fit(inputs, everything(inputs), "zca", 1e-3)
    assert str(told.value) == (
        "data.normalize zca can whiten inputs of at most 4,096 values, got 3 × 224 × 224 = 150,528, for which it "
        "would need about 1,088 GB of memory. Make images smaller with data.size, or choose data.normalize channel, "
        "pixel or standard."
    )


@pytest.mark.skipif("ASSAY_DATA" not in os.environ, reason="needs CIFAR-10 in $ASSAY_DATA")
@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_cifar_10_is_whitened_to_the_identity(kind):
    """Centres of 12×12 of the first 10,000 images: 432 values each."""
    file = Path(os.environ["ASSAY_DATA"].split(os.pathsep)[0]) / "cifar-10-batches-bin" / "data_batch_1.bin"
    if not file.is_file():
        pytest.skip(f"needs {file.name} of CIFAR-10 in $ASSAY_DATA")
    rows = np.fromfile(file, np.uint8).reshape(-1, 3073)
    inputs = np.ascontiguousarray(rows[:, 1:].reshape(-1, 3, 32, 32)[:, :, 10:22, 10:22])
    preprocessing = fit(inputs, everything(inputs), kind, 1e-9)
    x_ND = apply(preprocessing, inputs).reshape(len(inputs), -1).astype(np.float64)
    np.testing.assert_allclose(np.cov(x_ND.T, bias=True), np.eye(432), atol=1e-3)


# --- what holds for all kinds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [correlated_images(), correlated_points()], ids=["images", "points"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_outside_the_training_examples_has_an_influence(inputs, kind):
    train_N = np.arange(0, len(inputs), 2)
    before = fit(inputs, train_N, kind, 1e-3)
    disturbed = inputs.copy()
    disturbed[1::2] = inputs[1::2].max()
    after = fit(disturbed, train_N, kind, 1e-3)
    assert after.facts == before.facts
    assert after.arrays.keys() == before.arrays.keys()
    for name, array in before.arrays.items():
        np.testing.assert_array_equal(after.arrays[name], array)


@pytest.mark.parametrize("inputs", [correlated_images(), correlated_points()], ids=["images", "points"])
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_and_tensors_are_normalised_alike(inputs, kind):
    preprocessing = fit(inputs, everything(inputs), kind, 1e-3)
    for dtype, tolerance in (("float32", 2e-4), ("float64", 1e-12)):
        normalizer = Normalizer(preprocessing, dtype=getattr(torch, dtype), device=CPU)
        expected = apply(preprocessing, inputs, dtype)
        found = normalizer(torch.from_numpy(inputs.copy()))
        assert found.shape == (len(inputs), *preprocessing.output_shape)
        assert found.dtype == getattr(torch, dtype)
        np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance, atol=tolerance)
        if inputs.ndim == 4:  # an augmentation has made it floating-point, divided by 255
            scaled = torch.from_numpy(inputs).to(getattr(torch, dtype)) / 255
            np.testing.assert_allclose(normalizer(scaled).numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("inputs", [correlated_images(), correlated_points()], ids=["images", "points"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_store_keeps_normalises_bit_for_bit_as_before(inputs, kind, tmp_path):
    preprocessing = fit(inputs, everything(inputs), kind, 1e-3)
    record = made_up_run(made_up_recipe()).record
    run = Run(record=record, preprocessing=preprocessing.facts, preprocessing_arrays=preprocessing.arrays)
    facts, kept = FolderStore(tmp_path).add(run).preprocessing()
    restored = Preprocessing(facts=facts, arrays=kept)
    assert restored.facts == preprocessing.facts
    np.testing.assert_array_equal(apply(restored, inputs), apply(preprocessing, inputs))
    normalizers = [Normalizer(found, dtype=torch.float32, device=CPU) for found in (preprocessing, restored)]
    x, again = (normalizer(torch.from_numpy(inputs.copy())) for normalizer in normalizers)
    assert torch.equal(x, again)


@pytest.mark.parametrize("kind", KINDS)
def test_facts_are_small_plain_json_and_arrays_hold_the_rest(kind):
    for inputs in (correlated_images(shape=(3, 8, 8)), correlated_points(features=100)):
        preprocessing = fit(inputs, everything(inputs), kind, 1e-3)
        assert json.loads(json.dumps(preprocessing.facts)) == preprocessing.facts
        assert len(json.dumps(preprocessing.facts)) < 1000
        assert all(isinstance(array, np.ndarray) for array in preprocessing.arrays.values())


class NeverWhole(np.ndarray):
    """Refuses to be taken as a whole, or more than 16 rows of it at once."""

    def __getitem__(self, index):
        found = super().__getitem__(index)
        assert found.ndim < self.ndim or len(found) <= 16
        return np.asarray(found)

    def __array_ufunc__(self, *args, **kwargs):
        raise AssertionError("taken as a whole")

    def __array_function__(self, *args, **kwargs):
        raise AssertionError("taken as a whole")


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_mapped_array_is_read_in_parts_with_the_same_result(kind, tmp_path, monkeypatch):
    inputs = correlated_images(count=90, shape=(1, 2, 2))
    inputs.tofile(tmp_path / "inputs")
    mapped = np.memmap(tmp_path / "inputs", np.uint8, "r", shape=inputs.shape)
    train_N = np.arange(1, 90, 2)
    parts_of = normalize.parts_of
    monkeypatch.setattr(normalize, "parts_of", lambda taken, positions_N, *_: parts_of(taken, positions_N, 64))
    assert fit(mapped, train_N, kind, 1e-3).facts == fit(inputs, train_N, kind, 1e-3).facts
    found = fit(mapped.view(NeverWhole), train_N, kind, 1e-3)
    monkeypatch.undo()
    expected = fit(inputs, train_N, kind, 1e-3)
    assert found.facts == expected.facts
    for name, array in expected.arrays.items():
        np.testing.assert_allclose(found.arrays[name], array, rtol=1e-4, atol=1e-7)


def test_inputs_of_another_shape_are_refused():
    preprocessing = fit(np.zeros((2, 1, 8, 8), dtype=np.uint8), np.arange(2), "standard", 1e-3)
    with pytest.raises(ShapeError, match=r"Inputs must have shape \(N, 1, 8, 8\), got \(2, 3, 8, 8\)\."):
        apply(preprocessing, np.zeros((2, 3, 8, 8), dtype=np.uint8))


@pytest.mark.parametrize(("kind", "missing"), [("pixel", "mean"), ("standard", "deviation"), ("zca", "whitening")])
def test_a_missing_array_is_named(kind, missing):
    inputs = correlated_images()
    preprocessing = fit(inputs, everything(inputs), kind, 1e-3)
    kept = {name: array for name, array in preprocessing.arrays.items() if name != missing}
    with pytest.raises(DataError, match=f"with data.normalize {kind} needs its array '{missing}', got"):
        apply(Preprocessing(facts=preprocessing.facts, arrays=kept), inputs)


def test_images_whitened_to_features_are_augmented_before():
    inputs = correlated_images(count=20, shape=(1, 6, 6))
    preprocessing = fit(inputs, everything(inputs), "pca", 1e-3)
    normalizer = Normalizer(preprocessing, dtype=torch.float32, device=CPU)
    split = SplitData(RawExamples(inputs, CPU), normalizer, everything(inputs), torch.zeros(20, dtype=torch.int64))
    upside_down = Augment(vertical_flip=1.0)
    for x_BD, _ in training_batches(split, upside_down, classes=2, batch_size=20, epochs=1, seed=0):
        order_N = stream(0, "order", 1).permutation(20)
        expected = apply(preprocessing, inputs[order_N][:, :, ::-1])
        np.testing.assert_allclose(x_BD.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("change", ["erasing", "mixup", "cutmix"])
def test_augmentations_of_normalised_images_do_not_go_with_pca(change):
    with pytest.raises(InvalidValueError) as told:
        Recipe.model_validate(
            {"data": {"source": "digits", "normalize": "pca"}, "model": {"name": "mlp"}, "augment": {change: 0.5}}
        )
    assert str(told.value) == (
        f"augment.{change} changes normalised images, and data.normalize pca makes features of them.\n"
        "  Choose data.normalize zca, or leave it out."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_its_remarks_reach_the_run(kind):
    recipe = Recipe.model_validate(
        {
            "data": {"source": "digits", "normalize": kind, "fraction": 0.03},
            "augment": {"horizontal_flip": 0.5},
            "model": {"name": "mlp", "widths": [8]},
            "train": {"epochs": 1},
        }
    )
    run = run_recipe(recipe, fingerprint="made")
    remarks = run.preprocessing["remarks"]
    assert bool(remarks) == (
        kind in ("standard", "pca", "zca")
    )  # some pixels are never inked; 35 examples of 64 values
    assert [note for note in remarks if note not in run.record.notes] == []
    examples, test = load_source(recipe.data), run.predictions["test"]
    preprocessing = Preprocessing(facts=run.preprocessing, arrays=run.preprocessing_arrays)
    x_ND = apply(preprocessing, examples.inputs[test.indices_N]).reshape(len(test.indices_N), -1)
    hidden_NH = np.maximum(x_ND @ run.weights["linear1.weight"].T + run.weights["linear1.bias"], 0)
    logits_NC = hidden_NH @ run.weights["output.weight"].T + run.weights["output.bias"]
    assert (logits_NC.argmax(axis=1) == test.predicted_N()).mean() > 0.99


# --- given, not fitted ------------------------------------------------------------------------------------------------


def test_imagenet_takes_the_published_numbers_and_none_of_the_data(tmp_path):
    images_NCHW = correlated_images(shape=(3, 4, 4))
    preprocessing = fit(images_NCHW, everything(images_NCHW), "imagenet", 1e-3)
    assert preprocessing.facts == fit(255 - images_NCHW, np.arange(3), "imagenet", 1e-3).facts
    x_NCHW = apply(preprocessing, images_NCHW, np.float64)
    red, green, blue = (images_NCHW[:, channel] / 255 for channel in range(3))
    expected_NCHW = np.stack([(red - 0.485) / 0.229, (green - 0.456) / 0.224, (blue - 0.406) / 0.225], axis=1)
    np.testing.assert_allclose(x_NCHW, expected_NCHW, rtol=1e-12, atol=1e-12)
    on_device = Normalizer(preprocessing, dtype=torch.float64, device=CPU)(torch.from_numpy(images_NCHW))
    np.testing.assert_allclose(on_device.numpy(), expected_NCHW, rtol=1e-12, atol=1e-12)
    assert preprocessing.facts["mean"] == [0.485, 0.456, 0.406]
    assert preprocessing.facts["constant"] == preprocessing.facts["remarks"] == []


@pytest.mark.parametrize(("shape", "said"), [((1, 8, 8), "1 × 8 × 8"), ((4, 2, 2), "4 × 2 × 2"), ((3,), "3")])
def test_imagenet_needs_three_channels(shape, said):
    inputs = np.zeros((5, *shape), dtype=np.uint8 if len(shape) == 3 else np.float32)
    with pytest.raises(InvalidValueError) as caught:
        fit(inputs, everything(inputs), "imagenet", 1e-3)
    assert str(caught.value) == (
        f"data.normalize imagenet needs images of three channels, red, green and blue, got inputs of shape {said}.\n"
        "  Set data.color to rgb where the source knows it, or choose data.normalize channel."
    )
