import numpy as np
import pytest
import torch
from image_batches import random_batch
from scipy import stats
from torchvision.transforms import RandAugment, TrivialAugmentWide

from assay.data.augment.draws import Draws
from assay.data.augment.policies import BINS, apply_step, magnitude_table, policy_steps
from assay.data.augment.policy_operations import OPERATIONS, apply_operations
from assay.recipe.schema import Augment

DRAWS = Draws(seed=1, epoch=2, examples=30_000)


def torchvision_space(policy, height, width):
    if policy == "rand_augment":
        return RandAugment()._augmentation_space(BINS, (height, width))
    return TrivialAugmentWide()._augmentation_space(BINS)


@pytest.mark.parametrize("policy", ["rand_augment", "trivial_augment"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 41), (1, 200), (224, 224)])
def test_magnitudes_are_torchvisions(policy, height, width):
    table = magnitude_table(policy, height, width)
    space = torchvision_space(policy, height, width)
    assert {name.lower() for name in space} == {name.replace("_", "") for name in OPERATIONS}
    for name, (magnitudes, _) in space.items():
        ours = next(row for row, own in zip(table, OPERATIONS, strict=True) if own.replace("_", "") == name.lower())
        expected = magnitudes.double().numpy() * np.ones(BINS)
        np.testing.assert_array_equal(ours, np.trunc(expected) if name.startswith("Translate") else expected)


@pytest.mark.parametrize("policy", ["rand_augment", "trivial_augment"])
def test_the_same_operations_are_signed_as_in_torchvision(policy):
    """An operation is signed if the sign drawn makes a difference."""
    x_BCHW = random_batch((3, 32, 32), len(OPERATIONS))
    numbers = np.arange(len(OPERATIONS))
    step = policy_steps(Augment(policy=policy), Draws(seed=0, epoch=1, examples=len(numbers)))[0]
    results = []
    for negative in (False, True):
        changed = type(step)(
            operation_B=numbers, bin_B=np.full(len(numbers), 20), negative_B=np.full(len(numbers), negative)
        )
        results.append(apply_step(x_BCHW.clone(), changed, magnitude_table(policy, 32, 32)))
    differs = {name for name, one, other in zip(OPERATIONS, *results, strict=True) if not torch.equal(one, other)}
    signed = {name.lower() for name, (_, signed) in torchvision_space(policy, 32, 32).items() if signed}
    assert {name.replace("_", "") for name in differs} == signed


def test_rand_augment_draws_each_operation_equally_often_independently_in_each_step_and_keeps_to_its_bin():
    augment = Augment(policy="rand_augment", rand_augment_operations=3, rand_augment_magnitude=17)
    steps = policy_steps(augment, DRAWS)
    assert len(steps) == 3
    for step in steps:
        assert stats.chisquare(np.bincount(step.operation_B, minlength=14)).pvalue > 1e-3
        assert stats.binomtest(int(step.negative_B.sum()), 30_000).pvalue > 1e-3
        assert set(step.bin_B) == {17}
    pairs = np.bincount(steps[0].operation_B * 14 + steps[1].operation_B, minlength=196)
    assert stats.chisquare(pairs).pvalue > 1e-3


def test_trivial_augment_draws_one_operation_and_bin_each_equally_often():
    (step,) = policy_steps(Augment(policy="trivial_augment"), DRAWS)
    together = np.bincount(step.operation_B * BINS + step.bin_B, minlength=14 * BINS)
    assert stats.chisquare(together).pvalue > 1e-3
    assert stats.binomtest(int(step.negative_B.sum()), 30_000).pvalue > 1e-3


def test_steps_are_applied_one_after_another_with_the_magnitudes_of_their_bins():
    x_BCHW, table = random_batch((3, 16, 16), 60), magnitude_table("rand_augment", 16, 16)
    steps = policy_steps(Augment(policy="rand_augment"), Draws(seed=3, epoch=1, examples=60))
    chosen_B = np.random.default_rng(0).permutation(60)
    expected = x_BCHW.clone()
    for step in steps:
        for image, place in zip(expected, chosen_B, strict=True):
            operation, negative = step.operation_B[place], step.negative_B[place]
            magnitude = table[operation, 9]
            if negative and OPERATIONS[operation] not in ("posterize", "solarize"):
                magnitude = -magnitude
            apply_operations(image[None], np.array([operation]), np.array([magnitude]))
    changed = x_BCHW.clone()
    for step in steps:
        changed = apply_step(changed, step[chosen_B], table)
    assert torch.equal(changed, expected)
