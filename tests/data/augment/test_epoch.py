import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_batches import EXTREME_SHAPES, random_batch, scaled
from scipy import stats

from assay.data.augment import epoch as epoch_module
from assay.data.augment.epoch import EpochAugmentation
from assay.data.batches import SplitData, training_batches
from assay.data.normalize import fit
from assay.data.on_device import Normalizer, RawExamples
from assay.recipe.schema import AUGMENTATIONS, Augment

ALONE = {
    "crop_padding": {"crop_padding": 2},
    "reflected": {"crop_padding": 2, "crop_fill": "reflect"},
    "horizontal_flip": {"horizontal_flip": 0.5},
    "alternating_flip": {"alternating_flip": True},
    "vertical_flip": {"vertical_flip": 0.5},
    "rand_augment": {"policy": "rand_augment"},
    "trivial_augment": {"policy": "trivial_augment"},
    "resized_crop_area": {"resized_crop_area": (0.1, 1.0)},
    "rotation": {"rotation": 30.0},
    "brightness": {"brightness": 0.5},
    "contrast": {"contrast": 0.5},
    "saturation": {"saturation": 0.5},
    "noise": {"noise": 0.1},
    "erasing": {"erasing": 0.5},
}
MIXING = {"mixup": {"mixup": 0.5}, "cutmix": {"cutmix": 1.0}}
EVERYTHING = {
    "crop_padding": 2,
    "horizontal_flip": 0.5,
    "vertical_flip": 0.5,
    "policy": "rand_augment",
    "resized_crop_area": (0.3, 1.0),
    "rotation": 20.0,
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.2,
    "noise": 0.05,
    "erasing": 0.3,
}
IMAGES = random_batch((3, 9, 12), 24)


def of_epoch(keys, *, examples=24, seed=1, epoch=1, dtype=torch.float32):
    return EpochAugmentation(Augment(**keys), examples=examples, classes=4, seed=seed, epoch=epoch, dtype=dtype)


def changed(augmentation, places, images=IMAGES):
    """As a split changes its images, with nothing for the normalisation."""
    places = np.array(places)
    x_BCHW = augmentation.images(images[places].clone(), places)
    dtype = torch.float32 if x_BCHW.dtype == torch.uint8 else x_BCHW.dtype
    x_BCHW = scaled(x_BCHW, dtype) if x_BCHW.dtype == torch.uint8 else x_BCHW
    return augmentation.normalised_images(x_BCHW, places)


@given(st.permutations(range(24)), st.sets(st.integers(1, 23)), st.booleans())
@settings(max_examples=15, deadline=None)
def test_images_are_the_same_in_whatever_batches_and_order_they_come(order, cuts, one_augmentation):
    together = changed(of_epoch(EVERYTHING), range(24))
    augmentation = of_epoch(EVERYTHING)
    bounds = [0, *sorted(cuts), 24]
    for start, stop in itertools.pairwise(bounds):
        part = changed(augmentation if one_augmentation else of_epoch(EVERYTHING), order[start:stop])
        torch.testing.assert_close(part, together[order[start:stop]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ALONE)
def test_each_augmentation_changes_images_by_their_place_alone(name):
    together = changed(of_epoch(ALONE[name]), range(24))
    assert not torch.equal(together, scaled(IMAGES))
    alone = torch.cat([changed(of_epoch(ALONE[name]), [place]) for place in range(24)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ALONE)
def test_each_epoch_and_seed_draws_anew_and_a_seed_repeats_itself(name):
    first = changed(of_epoch(ALONE[name]), range(24))
    assert torch.equal(first, changed(of_epoch(ALONE[name]), range(24)))
    assert not torch.equal(first, changed(of_epoch(ALONE[name], epoch=2), range(24)))
    assert not torch.equal(first, changed(of_epoch(ALONE[name], seed=2), range(24)))


def streams_of(keys):
    """The keys of all streams that an epoch's augmentation reads, by what they are for."""
    streams = {}
    real = epoch_module.Draws._stream

    class Recorded(epoch_module.Draws):
        def _stream(self, *parts):
            streams[parts] = tuple(real(self, *parts).bit_generator.state["state"]["key"].tolist())
            return real(self, *parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epoch_module, "Draws", Recorded)
        augmentation = of_epoch(keys)
        augmentation.mixed(changed(augmentation, range(24)), torch.zeros(24, dtype=torch.int64), np.arange(24))
    return streams


@pytest.mark.parametrize("name", {**ALONE, **MIXING})
def test_other_augmentations_do_not_disturb_what_is_drawn(name):
    """Whatever is drawn for one augmentation alone is drawn for it beside all others, too, and for no other."""
    keys = {**ALONE, **MIXING}[name]
    beside = {**EVERYTHING, **MIXING["mixup"], **MIXING["cutmix"], **keys}
    beside |= {"horizontal_flip": 0.0} if "alternating_flip" in keys else {}
    streams = streams_of(beside)
    assert streams_of(keys).items() <= streams.items()
    assert len(set(streams.values())) == len(streams)
    for other, its_keys in {**ALONE, **MIXING}.items():
        if {name, other} != {"crop_padding", "reflected"} and name != other:
            assert not set(streams_of(keys).values()) & set(streams_of(its_keys).values())
    assert not streams_of({})


def test_nothing_on_leaves_images_and_labels_as_they_are():
    augmentation = of_epoch({})
    places, y_B = np.arange(24), torch.arange(24) % 4
    x_BCHW = augmentation.images(IMAGES.clone(), places)
    assert torch.equal(x_BCHW, IMAGES)
    assert x_BCHW.dtype == torch.uint8
    normalised = torch.randn(24, 3, 9, 12)
    assert torch.equal(augmentation.normalised_images(normalised.clone(), places), normalised)
    mixed, labels = augmentation.mixed(normalised.clone(), y_B, places)
    assert torch.equal(mixed, normalised)
    assert torch.equal(labels, y_B)


def test_keys_of_augmentations_that_are_off_are_accepted_and_change_nothing():
    off = {
        "crop_fill": "reflect",
        "rand_augment_operations": 3,
        "rand_augment_magnitude": 20,
        "resized_crop_ratio": (0.5, 2.0),
        "erasing_area": (0.1, 0.2),
        "erasing_ratio": (0.5, 2.0),
    }
    assert not Augment(**off).active
    assert torch.equal(of_epoch(off).images(IMAGES.clone(), np.arange(24)), IMAGES)


@pytest.mark.parametrize("name", {**ALONE, **MIXING})
def test_each_augmentation_is_told_to_be_active(name):
    assert Augment(**{**ALONE, **MIXING}[name]).active
    assert set({**ALONE, **MIXING}[name]) & set(AUGMENTATIONS)


@pytest.mark.parametrize("first", [1, 2, 7])
def test_every_image_is_mirrored_in_exactly_one_of_two_epochs_in_a_row(first):
    mirrored = [
        (changed(of_epoch({"alternating_flip": True}, epoch=epoch), range(24)) == scaled(IMAGES.flip(3)))
        .flatten(1)
        .all(1)
        for epoch in (first, first + 1)
    ]
    assert (mirrored[0] ^ mirrored[1]).all()
    assert 0 < mirrored[0].sum() < 24


@pytest.mark.parametrize("shape", EXTREME_SHAPES)
@pytest.mark.parametrize("name", [name for name in ALONE if name != "reflected"])
def test_images_of_any_shape_are_changed_without_fail(name, shape):
    images = random_batch(shape, 30)
    images[0], images[1] = 0, 255
    x_BCHW = changed(of_epoch(ALONE[name], examples=30), range(30), images)
    assert x_BCHW.shape == images.shape
    assert x_BCHW.isfinite().all()
    if name != "noise":
        assert x_BCHW.min() >= 0
        assert x_BCHW.max() <= 1


@pytest.mark.parametrize("name", ALONE)
def test_float64_gives_the_same_images_more_precisely(name):
    single = changed(of_epoch(ALONE[name]), range(24))
    double = of_epoch(ALONE[name], dtype=torch.float64).images(IMAGES.clone(), np.arange(24))
    assert double.dtype in (torch.uint8, torch.float64)
    if double.dtype == torch.float64:
        torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)


def test_saturation_leaves_grey_images_as_they_are():
    grey = random_batch((1, 6, 6), 24)
    assert torch.equal(changed(of_epoch({"saturation": 1.0}), range(24), grey), scaled(grey))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 3), ("vertical_flip", 2)])
def test_images_are_mirrored_with_their_probability(name, axis, probability):
    images = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2).repeat(20_000, 1, 1, 1)
    x_BCHW = changed(of_epoch({name: probability}, examples=20_000), range(20_000), images)
    mirrored = (x_BCHW == scaled(images).flip(axis)).flatten(1).all(1)
    assert stats.binomtest(int(mirrored.sum()), 20_000, probability).pvalue > 1e-3


@pytest.mark.parametrize("strength", ["brightness", "contrast", "saturation"])
def test_factors_are_uniform_about_1(strength):
    """Read off an image of two pixels whose values differ by an amount that the factor multiplies."""
    image = {
        "brightness": [[80, 40]] * 3,
        "contrast": [[120, 136]] * 3,
        "saturation": [[120, 120], [128, 128], [124, 124]],
    }[strength]
    images = torch.tensor(image, dtype=torch.uint8).view(1, 3, 1, 2).repeat(20_000, 1, 1, 1)
    x_BCHW = changed(of_epoch({strength: 0.4}, examples=20_000), range(20_000), images)
    if strength == "saturation":
        factors = (x_BCHW[:, 1, 0, 0] - x_BCHW[:, 0, 0, 0]) / (8 / 255)
    else:
        factors = (x_BCHW[:, 0, 0, 1] - x_BCHW[:, 0, 0, 0]) / ((image[0][1] - image[0][0]) / 255)
    assert stats.kstest(factors.numpy(), stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3


def test_offsets_of_windows_are_equally_likely_and_independent():
    images = torch.arange(25, dtype=torch.uint8).add(1).view(1, 1, 5, 5).repeat(20_000, 1, 1, 1)
    x_BCHW = changed(of_epoch({"crop_padding": 2}, examples=20_000), range(20_000), images)
    centres = (x_BCHW[:, 0, 2, 2] * 255).round().long() - 1
    assert stats.chisquare(np.bincount(centres.numpy(), minlength=25)).pvalue > 1e-3


def test_angles_are_uniform_either_way():
    """The first principal axis of a bar, turned."""
    images = torch.zeros(4000, 1, 41, 41, dtype=torch.uint8)
    images[:, :, 18:23, 6:35] = 255
    x_BHW = changed(of_epoch({"rotation": 40.0}, examples=4000), range(4000), images)[:, 0].double()
    axis = torch.arange(41, dtype=torch.float64) - 20
    across, down = axis[None, :], -axis[:, None]
    xy, xx, yy = ((x_BHW * product).sum((1, 2)) for product in (across * down, across**2, down**2))
    degrees = np.degrees(0.5 * torch.atan2(2 * xy, xx - yy).numpy())
    assert stats.kstest(degrees, stats.uniform(-40, 80).cdf).pvalue > 1e-3


def split_of(images, labels_N, dtype):
    preprocessing = fit(images.numpy(), np.arange(len(images)), "channel", 1e-3)
    normalizer = Normalizer(preprocessing, dtype=dtype, device=torch.device("cpu"))
    raw = RawExamples(images.numpy(), torch.device("cpu"))
    return SplitData(raw, normalizer, np.arange(len(images)), labels_N)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("keys", [{}, EVERYTHING, {"mixup": 0.4}, {**EVERYTHING, "mixup": 0.4, "cutmix": 1.0}], ids=str)
def test_training_gets_batches_of_its_own_type_and_probabilities_when_images_are_mixed(keys, dtype):
    split = split_of(IMAGES, torch.arange(24) % 4, dtype)
    batches = list(training_batches(split, Augment(**keys), classes=4, batch_size=10, epochs=2, seed=0))
    assert [len(x_BCHW) for x_BCHW, _ in batches] == [10, 10, 4] * 2
    for x_BCHW, y_B in batches:
        assert x_BCHW.dtype == dtype
        if "mixup" in keys:
            assert y_B.shape == (len(x_BCHW), 4)
            assert y_B.dtype == dtype
        else:
            assert y_B.shape == (len(x_BCHW),)


def test_what_is_erased_is_0_after_normalisation():
    split = split_of(IMAGES, torch.arange(24) % 4, torch.float32)
    (batch,) = training_batches(split, Augment(erasing=1.0), classes=4, batch_size=24, epochs=1, seed=0)
    erased = (batch[0] == 0).all(dim=1)
    assert (erased.sum(dim=(1, 2)) > 0).double().mean() > 0.9
    assert erased.double().mean() < 0.4


WHOLE = {**ALONE, **MIXING, "everything": EVERYTHING, "both": {"mixup": 0.5, "cutmix": 1.0}}


def on_device(keys, device, dtype=torch.float32):
    augmentation, places = of_epoch(keys, dtype=dtype), np.arange(24)
    x_BCHW = augmentation.images(IMAGES.to(device, copy=True), places)
    x_BCHW = augmentation.normalised_images(x_BCHW.to(dtype), places)
    return augmentation.mixed(x_BCHW, (torch.arange(24) % 4).to(device), places)


@pytest.mark.parametrize("name", WHOLE)
def test_everything_is_made_on_the_device_of_the_images(name):
    """The meta device computes nothing, but refuses to work together with tensors of another device."""
    x_BCHW, y_B = on_device(WHOLE[name], "meta")
    assert x_BCHW.device.type == y_B.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", WHOLE)
def test_a_gpu_gives_the_images_of_the_cpu(name):
    (x_BCHW, y_B), (expected_BCHW, expected_B) = (on_device(WHOLE[name], device) for device in ("cuda", "cpu"))
    different = (x_BCHW.cpu() - expected_BCHW).abs() > 1e-4 * expected_BCHW.abs().max()
    assert different.double().mean() < 0.002  # positions half-way between two pixels may fall to the other one
    torch.testing.assert_close(y_B.cpu(), expected_B)
