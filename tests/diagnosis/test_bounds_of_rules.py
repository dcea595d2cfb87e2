"""What rules rest on: losses of knowing nothing, equal images, random labels, activations, inputs of a batch."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.source import Examples
from assay.data.survey import Step
from assay.diagnosis.before.bench import entropy, sampled
from assay.diagnosis.before.classes import missing_classes
from assay.diagnosis.before.copies import _equal
from assay.diagnosis.before.scores import squared_error_of_zero
from assay.diagnosis.recipe import OF_DATA, OF_THE_NETWORK, OF_TRAINING
from assay.recipe.schema import CrossEntropyLoss, SquaredErrorLoss
from assay.training.losses import build_loss

quick = settings(max_examples=30, deadline=None)


def test_the_page_of_the_doctor_names_every_rule():
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert [rule for rule in {**OF_DATA, **OF_THE_NETWORK, **OF_TRAINING} if f"`{rule}`" not in page] == []


@quick
@given(classes=st.integers(2, 50), smoothing=st.floats(0.0, 0.9))
def test_scores_of_zero_have_the_loss_of_knowing_nothing(classes, smoothing):
    scores_BK, labels_B = torch.zeros(4, classes, dtype=torch.float64), torch.arange(4) % classes
    minimised, _ = build_loss(SquaredErrorLoss(name="squared_error", label_smoothing=smoothing))(scores_BK, labels_B)
    assert float(minimised) == pytest.approx(squared_error_of_zero(smoothing, classes))
    minimised, _ = build_loss(CrossEntropyLoss(name="cross_entropy", label_smoothing=smoothing))(scores_BK, labels_B)
    assert float(minimised) == pytest.approx(math.log(classes))


@quick
@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_no_answer_that_ignores_the_inputs_is_better_than_the_entropy_of_the_labels(labels):
    labels_B = torch.tensor(labels)
    best = entropy(labels_B, 5)
    shares_K = torch.bincount(labels_B, minlength=5).double() / len(labels)
    for answer_K in (shares_K.clamp(min=1e-300), torch.full((5,), 0.2).double(), torch.rand(5).double().softmax(0)):
        loss = torch.nn.functional.cross_entropy(answer_K.log().expand(len(labels), 5), labels_B)
        assert best <= float(loss) + 1e-9
    assert 0.0 <= best <= math.log(5) + 1e-12


@quick
@given(
    seed=st.integers(0, 1000),
    shape=st.sampled_from([(1, 8, 8), (3, 5, 5), (1, 1, 3), (3, 32, 32)]),
    levels=st.sampled_from([2, 256]),
)
def test_equal_images_are_grouped_and_no_others(seed, shape, levels):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, levels, (60, *shape)).astype(np.uint8)
    images[generator.integers(0, 60, 15)] = images[generator.integers(0, 60, 15)]
    examples = Examples(inputs=images, labels_N=np.arange(60) % 2, classes=("a", "b"))
    work = _equal(examples, np.arange(60))
    assert isinstance(next(work), Step)
    with pytest.raises(StopIteration) as end:
        next(work)
    found = {tuple(group) for group in end.value.value.groups}
    by_content: dict[bytes, list[int]] = {}
    for at, image in enumerate(images):
        by_content.setdefault(image.tobytes(), []).append(at)
    assert found == {tuple(group) for group in by_content.values() if len(group) > 1}
    of_one_colour = [all(len(np.unique(channel)) == 1 for channel in image) for image in images]
    assert end.value.value.constant == sum(of_one_colour)


def test_images_whose_sums_are_equal_are_held_against_each_other():
    """Of two words whose highest bits differ, the differences are 2⁶³ times an odd number each, and cancel."""
    images = np.zeros((3, 1, 4, 4), dtype=np.uint8)
    images[1, 0, 1, 3] = images[1, 0, 3, 3] = 128
    images[2] = images[0]
    work = _equal(Examples(inputs=images, labels_N=np.arange(3) % 2, classes=("a", "b")), np.arange(3))
    next(work)
    with pytest.raises(StopIteration) as end:
        next(work)
    assert end.value.value.groups == [[0, 2]]


def test_a_sample_is_all_there_is_or_as_many_as_asked():
    np.testing.assert_array_equal(sampled(5, 10, 0, "a"), np.arange(5))
    some = sampled(100, 10, 0, "a")
    assert len(set(some.tolist())) == 10
    assert (np.sort(some) == some).all()
    assert sampled(100, 10, 0, "b").tolist() != some.tolist()
    np.testing.assert_array_equal(sampled(100, 10, 0, "a"), some)


def test_classes_are_missing_only_where_official_splits_say_so():
    inputs, labels_N = np.zeros((12, 1, 2, 2), dtype=np.uint8), np.arange(12) % 3
    keys = {"inputs": inputs, "labels_N": labels_N, "classes": ("a", "b", "c")}
    assert missing_classes(Examples(**keys)) == []
    assert missing_classes(Examples(**keys, test_indices=np.arange(3))) == []
    (finding,) = missing_classes(Examples(**keys, test_indices=np.flatnonzero(labels_N == 1)))
    assert finding.title == "A class is missing in training"
    assert "1 of 3 classes" in finding.seen
    assert "'b' (0 of 4)" in finding.seen
    split = {"test_indices": np.array([0, 1, 3, 4]), "val_indices": np.array([6, 7, 9, 10])}
    (finding,) = missing_classes(Examples(**keys, **split))
    assert finding.title == "Classes are missing in training"


# --- activations ------------------------------------------------------------------------------------------------------
