"""Each operation against torchvision's own, image by image.

All are equal on the processors tried. Allowed to differ by one level are contrast, color and sharpness, whose sums may
lie on a whole level, and are cut to it or to the one below by the last bit of a float32.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_batches import EXTREME_SHAPES, random_batch, uint8_batches
from torchvision.transforms.v2 import functional as torchvision

from assay.data.augment.policies import magnitude_table
from assay.data.augment.policy_operations import OPERATIONS, apply_operations


def sheared(image, x=0.0, y=0.0):
    slopes = [math.degrees(math.atan(slope)) for slope in (x, y)]
    return torchvision.affine(image, angle=0.0, translate=[0, 0], scale=1.0, shear=slopes, center=[0, 0])


def shifted(image, x=0.0, y=0.0):
    return torchvision.affine(image, angle=0.0, translate=[int(x), int(y)], scale=1.0, shear=[0.0, 0.0])


BY_TORCHVISION = {
    "identity": lambda image, magnitude: image,
    "shear_x": lambda image, magnitude: sheared(image, x=magnitude),
    "shear_y": lambda image, magnitude: sheared(image, y=magnitude),
    "translate_x": lambda image, magnitude: shifted(image, x=magnitude),
    "translate_y": lambda image, magnitude: shifted(image, y=magnitude),
    "rotate": torchvision.rotate,
    "brightness": lambda image, magnitude: torchvision.adjust_brightness(image, 1.0 + magnitude),
    "contrast": lambda image, magnitude: torchvision.adjust_contrast(image, 1.0 + magnitude),
    "posterize": lambda image, magnitude: torchvision.posterize(image, int(magnitude)),
    "solarize": torchvision.solarize,
    "autocontrast": lambda image, magnitude: torchvision.autocontrast(image),
    "equalize": lambda image, magnitude: torchvision.equalize(image),
    "color": lambda image, magnitude: torchvision.adjust_saturation(image, 1.0 + magnitude),
    "sharpness": lambda image, magnitude: torchvision.adjust_sharpness(image, 1.0 + magnitude),
}
NEIGHBOURING = {"color", "sharpness", "contrast"}
POLICIES = ("rand_augment", "trivial_augment")


def assert_equal_torchvision(x_BCHW, operation_B, magnitude_B):
    changed = apply_operations(x_BCHW.clone(), operation_B, magnitude_B)
    assert changed.dtype == torch.uint8
    for one, image, number, magnitude in zip(changed, x_BCHW, operation_B, magnitude_B, strict=True):
        operation = OPERATIONS[number]
        expected = BY_TORCHVISION[operation](image, float(magnitude))
        difference = (one.int() - expected.int()).abs()
        allowed = 1 if operation in NEIGHBOURING else 0
        assert difference.max() <= allowed, (operation, magnitude, int(difference.max()))


def drawn(data, batch, operations=None):
    """An operation and a magnitude that a policy may draw, with its sign, for each image."""
    count, size = len(batch), batch.shape[2:]
    tables = [magnitude_table(policy, *size) for policy in POLICIES]
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    operation_B = generator.choice(np.arange(len(OPERATIONS)) if operations is None else operations, count)
    magnitudes = np.array([tables[generator.integers(2)][number, generator.integers(31)] for number in operation_B])
    signed = np.array([OPERATIONS[number] not in ("posterize", "solarize") for number in operation_B])
    return operation_B, np.where(signed & (generator.random(count) < 0.5), -magnitudes, magnitudes)


@pytest.mark.parametrize("operation", OPERATIONS)
@given(batch=uint8_batches(most=6), data=st.data())
@settings(max_examples=15, deadline=None)
def test_every_operation_is_torchvisions(operation, batch, data):
    assert_equal_torchvision(batch, *drawn(data, batch, [OPERATIONS.index(operation)]))


@given(batch=uint8_batches(most=30), data=st.data())
@settings(max_examples=15, deadline=None)
def test_operations_mixed_in_a_batch_are_torchvisions(batch, data):
    assert_equal_torchvision(batch, *drawn(data, batch))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), *(s for s in EXTREME_SHAPES if s[0] in (1, 3))], ids=str)
def test_every_bin_of_every_operation_is_torchvisions(policy, shape):
    table = magnitude_table(policy, *shape[1:])
    operation_B = np.repeat(np.arange(len(OPERATIONS)), 31)
    for sign in (1.0, -1.0):
        signs = np.where(np.isin(operation_B, [OPERATIONS.index(name) for name in ("posterize", "solarize")]), 1, sign)
        assert_equal_torchvision(random_batch(shape, len(operation_B), seed=4), operation_B, table.ravel() * signs)


def test_blends_fall_to_a_neighbouring_level_hardly_ever():
    x_BCHW, magnitude_B = random_batch((3, 32, 32), 200), np.linspace(-0.99, 0.99, 200)
    for operation in NEIGHBOURING:
        changed = apply_operations(x_BCHW.clone(), np.full(200, OPERATIONS.index(operation)), magnitude_B)
        expected = [BY_TORCHVISION[operation](x, m) for x, m in zip(x_BCHW, magnitude_B.tolist(), strict=True)]
        assert (changed != torch.stack(expected)).double().mean() < 1e-3


@pytest.mark.parametrize("operation", ["color", "contrast", "brightness", "sharpness", "equalize"])
def test_images_of_other_channel_counts_are_changed_without_fail(operation):
    x_BCHW = random_batch((2, 20, 20), 3)
    changed = apply_operations(x_BCHW.clone(), np.full(3, OPERATIONS.index(operation)), np.full(3, 0.5))
    assert changed.shape == x_BCHW.shape
    assert torch.equal(changed, x_BCHW) == (operation == "color")
