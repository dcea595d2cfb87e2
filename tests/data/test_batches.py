import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data import batches
from assay.data.batches import SplitData, batch_bounds, training_batches
from assay.data.normalize import apply, fit
from assay.data.on_device import Normalizer, RawExamples
from assay.recipe.schema import Augment
from assay.recipe.streams import stream


@given(examples=st.integers(1, 500), batch_size=st.integers(1, 600))
@settings(max_examples=300)
def test_batches_cover_every_example_once_and_none_is_single_unless_asked(examples, batch_size):
    bounds = batch_bounds(examples, batch_size)
    assert [i for start, stop in bounds for i in range(start, stop)] == list(range(examples))
    sizes = [stop - start for start, stop in bounds]
    assert all(size == batch_size for size in sizes[:-1])
    assert sizes[-1] <= batch_size + 1
    if batch_size > 1 and examples > 1:
        assert min(sizes) > 1


def test_a_single_last_example_joins_the_batch_before_it():
    assert batch_bounds(9, 4) == [(0, 4), (4, 9)]
    assert batch_bounds(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert batch_bounds(3, 1) == [(0, 1), (1, 2), (2, 3)]


def split_of(inputs, labels_N, normalize="none", indices_N=None):
    cpu = torch.device("cpu")
    if indices_N is None:
        indices_N = np.arange(len(labels_N))
    preprocessing = fit(inputs, indices_N, normalize, 1e-3)
    normalizer = Normalizer(preprocessing, dtype=torch.float32, device=cpu)
    labels = torch.from_numpy(labels_N[indices_N])
    return SplitData(RawExamples(inputs, cpu), normalizer, indices_N, labels), preprocessing


def images(count=23, shape=(3, 6, 5)):
    generator = np.random.default_rng(3)
    return generator.integers(0, 256, (count, *shape), dtype=np.uint8), np.arange(count) % 4


def test_every_epoch_has_the_order_of_its_own_substream():
    points_ND, labels_N = np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10)
    split, _ = split_of(points_ND, labels_N)
    drawn = list(training_batches(split, Augment(), classes=10, batch_size=4, epochs=2, seed=5))
    assert [len(y_B) for _, y_B in drawn] == [4, 4, 2] * 2
    for epoch in (1, 2):
        order = torch.cat([y_B for _, y_B in drawn[3 * (epoch - 1) : 3 * epoch]]).numpy()
        np.testing.assert_array_equal(order, stream(5, "order", epoch).permutation(10))
    for x_BD, y_B in drawn:
        np.testing.assert_array_equal(x_BD.numpy(), points_ND[y_B.numpy()])


@pytest.mark.parametrize("kept", [0, 2**26], ids=["normalised as they are taken", "kept normalised"])
def test_a_split_gives_its_own_examples_normalised_the_same_whether_kept_or_not(monkeypatch, kept):
    monkeypatch.setattr(batches, "_KEPT_NORMALISED", kept)
    images_NCHW, labels_N = images()
    indices_N = np.array([20, 3, 4, 11, 7])
    split, preprocessing = split_of(images_NCHW, labels_N, "channel", indices_N)
    expected = apply(preprocessing, images_NCHW[indices_N])
    parts = list(split.in_order(2))
    assert [len(y_B) for _, y_B in parts] == [2, 2, 1]
    np.testing.assert_array_equal(torch.cat([x_B for x_B, _ in parts]).numpy(), expected)
    np.testing.assert_array_equal(torch.cat([y_B for _, y_B in parts]).numpy(), labels_N[indices_N])
    np.testing.assert_array_equal(split.inputs(np.array([4, 0])).numpy(), expected[[4, 0]])


def test_memory_mapped_images_train_as_resident_ones(tmp_path):
    images_NCHW, labels_N = images()
    np.save(tmp_path / "images.npy", images_NCHW)
    mapped_NCHW = np.load(tmp_path / "images.npy", mmap_mode="r")
    augment = Augment(crop_padding=2, horizontal_flip=0.5)
    for one, other in zip(
        training_batches(split_of(images_NCHW, labels_N)[0], augment, classes=4, batch_size=8, epochs=2, seed=1),
        training_batches(split_of(mapped_NCHW, labels_N)[0], augment, classes=4, batch_size=8, epochs=2, seed=1),
        strict=True,
    ):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_augmented_batches_are_the_images_moved_and_mirrored_as_drawn_then_normalised():
    """Every augmented image is one of the few that padding by 1, cropping and mirroring allow; all of them occur."""
    images_NCHW, labels_N = images(count=40)
    split, preprocessing = split_of(images_NCHW, labels_N, "channel")
    padded_NCHW = np.pad(images_NCHW, ((0, 0), (0, 0), (1, 1), (1, 1)))
    allowed = [
        apply(preprocessing, np.ascontiguousarray(padded_NCHW[:, :, top : top + 6, left : left + 5][..., ::mirrored]))
        for top in range(3)
        for left in range(3)
        for mirrored in (1, -1)
    ]
    augment = Augment(crop_padding=1, horizontal_flip=0.5)
    seen = set()
    steps = training_batches(split, augment, classes=4, batch_size=8, epochs=20, seed=2)
    orders = [stream(2, "order", epoch).permutation(40) for epoch in range(1, 21)]
    for (x_BCHW, _), chosen_B in zip(steps, np.concatenate(orders).reshape(-1, 8), strict=True):
        for x_CHW, place in zip(x_BCHW.numpy(), chosen_B, strict=True):
            seen.add(next(k for k, changed in enumerate(allowed) if np.array_equal(changed[place], x_CHW)))
    assert seen == set(range(18))


def test_each_epoch_draws_anew_and_a_seed_repeats_itself():
    images_NCHW, labels_N = images()
    split, _ = split_of(images_NCHW, labels_N)
    augment = Augment(crop_padding=2, horizontal_flip=0.5)

    def epochs(seed):
        steps = training_batches(split, augment, classes=4, batch_size=23, epochs=2, seed=seed)
        return [x_BCHW[np.argsort(stream(seed, "order", e).permutation(23))] for e, (x_BCHW, _) in enumerate(steps, 1)]

    first, second = epochs(0)
    assert not torch.equal(first, second)
    assert torch.equal(first, epochs(0)[0])
    assert not torch.equal(first, epochs(1)[0])


def test_a_batch_worked_through_in_parts_is_the_same(monkeypatch):
    images_NCHW, labels_N = images()
    augment = Augment(crop_padding=2, rotation=20.0, contrast=0.3, noise=0.1, erasing=0.5, mixup=1.0, cutmix=1.0)
    split, _ = split_of(images_NCHW, labels_N, "channel")

    def first_batch():
        return next(training_batches(split, augment, classes=4, batch_size=23, epochs=1, seed=0))

    x_BCHW, y_BK = first_batch()
    monkeypatch.setattr(batches, "_VALUES_AT_ONCE", 1)
    monkeypatch.setattr(batches, "_FEWEST_AT_ONCE", 5)
    parts_BCHW, parts_BK = first_batch()
    assert torch.equal(parts_BCHW, x_BCHW)
    assert torch.equal(parts_BK, y_BK)
