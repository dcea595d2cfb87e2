import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_batches import EXTREME_SHAPES, random_batch, scaled, uint8_batches
from torchvision.transforms.v2 import functional as torchvision

from assay.data.augment.colour import brightened, contrasted, saturated

CHANGES = {
    "brightness": (brightened, torchvision.adjust_brightness),
    "contrast": (contrasted, torchvision.adjust_contrast),
    "saturation": (saturated, torchvision.adjust_saturation),
}
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}


def assert_equal_torchvision(name, x_BCHW, factor_B):
    ours, theirs = CHANGES[name]
    changed = ours(x_BCHW.clone(), factor_B)
    assert changed.dtype == x_BCHW.dtype
    for one, image, factor in zip(changed, x_BCHW, factor_B, strict=True):
        torch.testing.assert_close(one, theirs(image, float(factor)), rtol=0, atol=TOLERANCE[x_BCHW.dtype])


@pytest.mark.parametrize("name", CHANGES)
@given(batch=uint8_batches(most=4), data=st.data(), dtype=st.sampled_from(list(TOLERANCE)))
@settings(max_examples=30, deadline=None)
def test_each_image_is_changed_by_its_factor_as_torchvision_does_it(name, batch, data, dtype):
    factor_B = data.draw(st.lists(st.floats(0, 2), min_size=len(batch), max_size=len(batch)))
    assert_equal_torchvision(name, scaled(batch, dtype), np.array(factor_B))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("shape", [shape for shape in EXTREME_SHAPES if shape[0] in (1, 3)])
def test_extreme_images_are_changed_as_torchvision_does_it(name, shape):
    assert_equal_torchvision(name, scaled(random_batch(shape)), np.linspace(0, 2, 16))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_factor_of_one_leaves_images_as_they_are(name, channels):
    x_BCHW = scaled(random_batch((channels, 5, 6)))
    changed = CHANGES[name][0](x_BCHW.clone(), np.ones(16))
    torch.testing.assert_close(changed, x_BCHW, rtol=0, atol=1e-7)


def test_images_without_three_channels_have_no_colour_to_lose_and_a_mean_over_all_values():
    x_BCHW = scaled(random_batch((2, 4, 5)))
    assert torch.equal(saturated(x_BCHW.clone(), np.zeros(16)), x_BCHW)
    means = x_BCHW.mean(dim=(1, 2, 3), keepdim=True).expand_as(x_BCHW)
    torch.testing.assert_close(contrasted(x_BCHW.clone(), np.zeros(16)), means)
