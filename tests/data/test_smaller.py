import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.data.batches import SplitData, training_batches
from assay.data.normalize import fit
from assay.data.on_device import Normalizer, RawExamples
from assay.data.smaller import scaled_down, scaled_size, share_of_pixels, side_at
from assay.recipe.schema import Augment, SmallerImages

PARTS = [SmallerImages(epochs=2, side=4), SmallerImages(epochs=1, side=6)]


def test_parts_follow_one_another_and_then_images_keep_their_size():
    assert [side_at(PARTS, epoch) for epoch in range(1, 6)] == [4, 4, 6, None, None]
    assert side_at((), 1) is None


def test_pixels_seen_are_a_share_of_an_image_until_it_keeps_its_size():
    assert [share_of_pixels(PARTS, epoch, (3, 8, 16)) for epoch in range(1, 5)] == [0.25, 0.25, 9 / 16, 1.0]
    assert share_of_pixels(PARTS, 1, (3, 4, 4)) == 1.0  # already small enough
    assert share_of_pixels((), 1, (2,)) == 1.0


@given(height=st.integers(4, 300), width=st.integers(4, 300), side=st.integers(4, 300))
def test_the_shorter_side_becomes_the_one_asked_for_and_proportions_stay(height, width, side):
    h, w = scaled_size(height, width, side)
    if side >= min(height, width):
        assert (h, w) == (height, width)
    else:
        assert min(h, w) == side
        assert abs(h * width - w * height) <= max(height, width)  # as near as whole pixels allow


def test_images_already_small_enough_are_handed_through():
    x_BCHW = torch.rand(2, 3, 5, 8)
    assert scaled_down(x_BCHW, 5) is x_BCHW
    assert scaled_down(x_BCHW, 9) is x_BCHW


def triangle_weights(before: int, after: int) -> np.ndarray:
    """Antialiased linear interpolation along one side: each pixel the mean, in the weights of a triangle as wide as two
    of its own pixels, of those it covers."""
    scale = before / after
    weights = np.zeros((after, before))
    for i in range(after):
        centre = (i + 0.5) * scale
        for j in range(before):
            weights[i, j] = max(0.0, 1.0 - abs(j + 0.5 - centre) / scale)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("shape", "side"), [((12, 12), 6), ((9, 12), 6), ((10, 7), 4)])
def test_scaling_down_is_antialiased_linear_interpolation(shape, side):
    x_BCHW = torch.rand(2, 3, *shape, dtype=torch.float64)
    found = scaled_down(x_BCHW, side)
    rows, columns = (triangle_weights(before, after) for before, after in zip(shape, found.shape[2:], strict=True))
    expected = np.einsum("ij,bcjk,lk->bcil", rows, x_BCHW.numpy(), columns)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def batches(smaller_first=(), *, augment=None, skip=0, epochs=4):
    generator = np.random.default_rng(1)
    inputs, labels_N = generator.integers(0, 256, (10, 3, 8, 8), dtype=np.uint8), np.arange(10) % 4
    cpu, everything_N = torch.device("cpu"), np.arange(10)
    normalizer = Normalizer(fit(inputs, everything_N, "none", 1e-3), dtype=torch.float32, device=cpu)
    split = SplitData(RawExamples(inputs, cpu), normalizer, everything_N, torch.from_numpy(labels_N))
    drawn = training_batches(
        split,
        augment or Augment(),
        classes=4,
        batch_size=5,
        epochs=epochs,
        seed=7,
        smaller_first=smaller_first,
        skip=skip,
    )
    return list(drawn)


@pytest.mark.parametrize("augment", [Augment(), Augment(horizontal_flip=0.5, mixup=0.3)], ids=["plain", "augmented"])
def test_batches_of_each_epoch_are_the_usual_ones_scaled_down(augment):
    usual, smaller = batches(augment=augment), batches(PARTS, augment=augment)
    assert [tuple(x.shape[2:]) for x, _ in smaller] == [(4, 4)] * 4 + [(6, 6)] * 2 + [(8, 8)] * 2
    for (x, y), (x_small, y_small) in zip(usual, smaller, strict=True):
        assert torch.equal(y, y_small)
        assert torch.equal(x_small, scaled_down(x, x_small.shape[2]))


def test_going_on_after_some_batches_gives_the_sizes_of_the_epochs_left():
    whole = batches(PARTS)
    for skip in (1, 3, 5, 7):
        for (x, y), (x_later, y_later) in zip(whole[skip:], batches(PARTS, skip=skip), strict=True):
            assert torch.equal(x, x_later)
            assert torch.equal(y, y_later)
