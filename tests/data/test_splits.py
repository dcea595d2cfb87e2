import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.load import load_source
from assay.data.source import Examples
from assay.data.splits import allocate, make_splits, stratified
from assay.errors import DataError
from assay.recipe.schema import DigitsData

class_counts = st.lists(st.integers(3, 60) | st.integers(3, 2000), min_size=2, max_size=12)
shares = st.floats(0.01, 0.9)


def examples_of(count_K: list[int], test_indices=None) -> Examples:
    labels_N = np.random.default_rng(3).permutation(np.repeat(np.arange(len(count_K)), count_K))
    return Examples(
        inputs=np.zeros((len(labels_N), 1), dtype=np.float32),
        labels_N=labels_N,
        classes=tuple(f"class {k}" for k in range(len(count_K))),
        test_indices=test_indices,
    )


@given(counts=class_counts, validation=shares, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_every_example_is_in_one_split_and_every_class_in_every_split(counts, validation, seed):
    examples = examples_of(counts)
    splits = make_splits(examples, validation=validation, seed=seed)
    parts = [splits.train_N, splits.val_N, splits.test_N]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(sum(counts)))
    for part_N in parts:
        assert (np.bincount(examples.labels_N[part_N], minlength=len(counts)) >= 1).all()
        assert (np.diff(part_N) > 0).all()


@given(counts=class_counts, share=shares, left_over=st.integers(1, 2))
@settings(max_examples=300, deadline=None)
def test_allocation_keeps_its_bounds_its_total_and_the_quota_rule(counts, share, left_over):
    count_K = np.array(counts)
    taken_K = allocate(count_K, share, left_over=left_over)
    assert (taken_K >= 1).all()
    assert (taken_K <= count_K - left_over).all()
    wanted = round(share * int(count_K.sum()))
    assert taken_K.sum() == np.clip(wanted, len(counts), (count_K - left_over).sum())
    quota_K = share * count_K
    if (np.floor(quota_K) >= 1).all() and (np.ceil(quota_K) <= count_K - left_over).all():
        assert (np.abs(taken_K - quota_K) < 1).all()  # no bound binds: largest remainders stay within one of the quota


def test_largest_remainders_by_hand():
    assert allocate(np.array([10, 10, 25]), 0.25, left_over=1).tolist() == [3, 2, 6]  # quotas 2.5, 2.5, 6.25; total 11
    assert allocate(np.array([3, 3, 994]), 0.2, left_over=2).tolist() == [1, 1, 198]
    assert allocate(np.array([5, 5]), 0.9, left_over=1).tolist() == [4, 4]


def test_the_test_split_is_fixed_and_the_others_follow_the_seed():
    examples = load_source(DigitsData(source="digits"))
    first, again, second = (make_splits(examples, validation=0.2, seed=seed) for seed in (0, 0, 1))
    assert first.sizes() == {"train": 1150, "val": 288, "test": 359}
    np.testing.assert_array_equal(first.test_N, second.test_N)
    np.testing.assert_array_equal(first.val_N, again.val_N)
    overlap = len(np.intersect1d(first.val_N, second.val_N)) / len(first.val_N)
    assert 0.1 < overlap < 0.3  # independent draws of a fifth share a fifth


def test_a_smaller_validation_split_is_part_of_a_larger_one():
    examples = load_source(DigitsData(source="digits"))
    small, large = (make_splits(examples, validation=share, seed=4).val_N for share in (0.1, 0.3))
    assert set(small) < set(large)


def test_any_example_of_a_class_can_be_drawn():
    drawn = [stratified(np.zeros(4, dtype=np.int64), 0.25, np.random.default_rng(s), left_over=1)[0] for s in range(60)]
    assert set(drawn) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        (
            lambda labels_N: np.flatnonzero(labels_N == 0)[:2],
            r"at least 1 in the official test split; class 'class 1' has 0",
        ),
        (
            lambda labels_N: np.concatenate([np.flatnonzero(labels_N == 0)[:1], np.flatnonzero(labels_N == 1)[:4]]),
            r"at least 2 in the rest of the data; class 'class 1' has 1 there\. Add examples or leave the class out",
        ),
    ],
)
def test_an_official_split_that_starves_a_class_is_refused(taken, message):
    plain = examples_of([5, 5])
    with pytest.raises(DataError, match=message):
        make_splits(examples_of([5, 5], taken(plain.labels_N)), validation=0.2, seed=0)
