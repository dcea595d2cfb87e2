import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_batches import EXTREME_SHAPES, random_batch, scaled, uint8_batches
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as torchvision

from assay.data.augment.draws import Draws
from assay.data.augment.rectangles import Rectangles, crops
from assay.data.augment.resampling import resized_crop, rotated

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-12}
"""Positions are known to some 1e-7 of the image's width, and the steepest edge of pixels is from 0 to 1."""


def windows_of(seed, count, height, width):
    generator = np.random.default_rng(seed)
    height_B, width_B = generator.integers(1, height + 1, count), generator.integers(1, width + 1, count)
    top_B, left_B = generator.integers(0, height - height_B + 1), generator.integers(0, width - width_B + 1)
    return Rectangles(top_B=top_B, left_B=left_B, height_B=height_B, width_B=width_B)


def assert_crops_equal_torchvision(x_BCHW, windows):
    for one, place in zip(resized_crop(x_BCHW, windows), range(len(x_BCHW)), strict=True):
        sides = (windows.top_B, windows.left_B, windows.height_B, windows.width_B)
        window = [int(side[place]) for side in sides]
        smoothed = x_BCHW.shape[3] > 1  # torch's smoothing resize repeats the first pixel of images one pixel wide
        expected = torchvision.resized_crop(x_BCHW[place], *window, list(x_BCHW.shape[2:]), antialias=smoothed)
        torch.testing.assert_close(one, expected, rtol=0, atol=TOLERANCE[x_BCHW.dtype])


@given(uint8_batches(most=4), st.integers(0, 2**32 - 1), st.sampled_from(list(TOLERANCE)))
@settings(max_examples=40, deadline=None)
def test_each_images_window_is_enlarged_as_torchvision_does_it(batch, seed, dtype):
    x_BCHW = scaled(batch, dtype)
    assert_crops_equal_torchvision(x_BCHW, windows_of(seed, len(batch), *batch.shape[2:]))


@pytest.mark.parametrize("shape", EXTREME_SHAPES)
def test_windows_of_extreme_images_are_enlarged_as_torchvision_does_it(shape):
    assert_crops_equal_torchvision(scaled(random_batch(shape)), windows_of(1, 16, *shape[1:]))


def test_the_whole_image_as_its_window_is_the_image():
    x_BCHW = scaled(random_batch((3, 17, 9)), torch.float64)
    draws = Draws(seed=0, epoch=1, examples=16)
    whole = crops(draws, 17, 9, (1.0, 1.0), (9 / 17, 9 / 17))
    torch.testing.assert_close(resized_crop(x_BCHW, whole), x_BCHW, rtol=0, atol=1e-12)


def assert_turned_as_by_torchvision(x_BCHW, degrees_B):
    for one, image, degrees in zip(rotated(x_BCHW, degrees_B), x_BCHW, degrees_B, strict=True):
        expected = torchvision.rotate(image, float(degrees), InterpolationMode.BILINEAR)
        torch.testing.assert_close(one, expected, rtol=0, atol=TOLERANCE[x_BCHW.dtype])


@given(uint8_batches(most=4), st.data(), st.sampled_from(list(TOLERANCE)))
@settings(max_examples=40, deadline=None)
def test_each_image_is_turned_by_its_angle_as_torchvision_does_it(batch, data, dtype):
    degrees_B = data.draw(st.lists(st.floats(-180, 180), min_size=len(batch), max_size=len(batch)))
    assert_turned_as_by_torchvision(scaled(batch, dtype), np.array(degrees_B))


@pytest.mark.parametrize("shape", EXTREME_SHAPES)
def test_extreme_images_are_turned_as_torchvision_does_it(shape):
    assert_turned_as_by_torchvision(scaled(random_batch(shape)), np.linspace(-180, 180, 16))


def test_quarter_turns_of_a_square_image_are_exact_and_counter_clockwise():
    x_BCHW = scaled(random_batch((3, 8, 8), count=4), torch.float64)
    turned = rotated(x_BCHW, np.array([0.0, 90.0, 180.0, -90.0]))
    for quarters, (one, image) in enumerate(zip(turned, x_BCHW, strict=True)):
        torch.testing.assert_close(one, torch.rot90(image, quarters, (1, 2)), rtol=0, atol=1e-12)


def test_what_comes_in_from_outside_is_black():
    turned = rotated(torch.ones(1, 1, 21, 21), np.array([45.0]))[0, 0]
    assert turned[0, 0] == turned[-1, -1] == turned[0, -1] == turned[-1, 0] == 0.0
    assert turned[10, 10] == pytest.approx(1.0)
