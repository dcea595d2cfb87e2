import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_batches import EXTREME_SHAPES
from scipy import stats

from assay.data.augment.draws import Draws
from assay.data.augment.rectangles import Rectangles, crops, erase, erasures, patches

DRAWS = Draws(seed=5, epoch=1, examples=20_000)
SIDES = st.tuples(st.integers(1, 60), st.integers(1, 60))
BOUNDS = st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)).map(lambda pair: tuple(sorted(pair)))
RATIOS = st.tuples(st.floats(0.1, 10.0), st.floats(0.1, 10.0)).map(lambda pair: tuple(sorted(pair)))


def sides_of(rectangles):
    return np.stack([rectangles.top_B, rectangles.left_B, rectangles.height_B, rectangles.width_B], axis=1)


def szegedy_window(place, draws, height, width, area, ratio):
    """One image's window, try by try, as torchvision's RandomResizedCrop finds it."""
    top, left = (draws.uniform(f"resized_crop_{side}")[place] for side in ("top", "left"))
    for attempt in range(10):
        share = draws.between(area, "resized_crop_area", attempt)[place] * height * width
        shape = draws.log_between(ratio, "resized_crop_ratio", attempt)[place]
        wide, tall = round(math.sqrt(share * shape)), round(math.sqrt(share / shape))
        if 0 < wide <= width and 0 < tall <= height:
            return [int(top * (height - tall + 1)), int(left * (width - wide + 1)), tall, wide]
    tall, wide = height, width
    if width / height < ratio[0]:
        tall = round(width / ratio[0])
    elif width / height > ratio[1]:
        wide = round(height * ratio[1])
    return [(height - tall) // 2, (width - wide) // 2, tall, wide]


@given(SIDES, BOUNDS, RATIOS, st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_windows_are_those_found_image_by_image(size, area, ratio, seed):
    draws = Draws(seed=seed, epoch=1, examples=20)
    expected = [szegedy_window(place, draws, *size, area, ratio) for place in range(20)]
    assert sides_of(crops(draws, *size, area, ratio)).tolist() == expected


def zhong_rectangle(place, draws, height, width, probability, area, ratio):
    """One image's rectangle, try by try, as torchvision's RandomErasing finds it."""
    top, left = (draws.uniform(f"erasing_{side}")[place] for side in ("top", "left"))
    if draws.uniform("erasing")[place] < probability:
        for attempt in range(10):
            share = draws.between(area, "erasing_area", attempt)[place] * height * width
            shape = draws.log_between(ratio, "erasing_ratio", attempt)[place]
            tall, wide = round(math.sqrt(share * shape)), round(math.sqrt(share / shape))
            if tall < height and wide < width:
                return [int(top * (height - tall + 1)), int(left * (width - wide + 1)), tall, wide]
    return [int(top * (height + 1)), int(left * (width + 1)), 0, 0]


@given(SIDES, st.floats(0, 1), BOUNDS, RATIOS, st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_erased_rectangles_are_those_found_image_by_image(size, probability, area, ratio, seed):
    draws = Draws(seed=seed, epoch=1, examples=20)
    expected = [zhong_rectangle(place, draws, *size, probability, area, ratio) for place in range(20)]
    assert sides_of(erasures(draws, *size, probability, area, ratio)).tolist() == expected


def test_windows_have_uniform_areas_log_uniform_ratios_and_lie_anywhere():
    """A large image, so that whole pixels hardly matter, and shapes that all fit, so that none is drawn again."""
    windows = crops(DRAWS, 4000, 4000, (0.1, 0.5), (0.5, 2.0))
    areas = windows.height_B * windows.width_B / 4000**2
    assert stats.kstest(areas, stats.uniform(0.1, 0.4).cdf).pvalue > 1e-3
    logs = np.log(windows.width_B / windows.height_B)
    assert stats.kstest(logs, stats.uniform(-math.log(2), 2 * math.log(2)).cdf).pvalue > 1e-3
    for start, size in ((windows.top_B, windows.height_B), (windows.left_B, windows.width_B)):
        assert stats.kstest((start + 0.5) / (4001 - size), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(areas, logs)[0, 1]) < 4 / math.sqrt(20_000)


def test_every_place_of_a_window_is_equally_likely():
    windows = crops(DRAWS, 8, 8, (0.25, 0.25), (1.0, 1.0))
    assert set(windows.height_B) == set(windows.width_B) == {4}
    places = np.bincount(windows.top_B * 5 + windows.left_B, minlength=25)
    assert stats.chisquare(places).pvalue > 1e-3


def test_rectangles_are_erased_with_their_probability_and_of_uniform_area():
    rectangles = erasures(DRAWS, 4000, 4000, 0.25, (0.02, 0.33), (0.3, 3.3))
    erased = rectangles.height_B > 0
    assert abs(erased.mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 20_000)
    areas = (rectangles.height_B * rectangles.width_B)[erased] / 4000**2
    assert stats.kstest(areas, stats.uniform(0.02, 0.31).cdf).pvalue > 1e-3
    logs = np.log(rectangles.height_B[erased] / rectangles.width_B[erased])
    assert stats.kstest(logs, stats.uniform(math.log(0.3), math.log(11)).cdf).pvalue > 1e-3


@pytest.mark.parametrize("shape", EXTREME_SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_rectangle_and_nothing_else_is_set_to_0(shape, dtype):
    draws = Draws(seed=2, epoch=3, examples=16)
    rectangles = erasures(draws, *shape[1:], 1.0, (0.02, 0.9), (0.3, 3.3))
    x_BCHW = torch.full((16, *shape), -2.5, dtype=dtype)
    expected = x_BCHW.clone()
    for image, (top, left, tall, wide) in zip(expected, sides_of(rectangles), strict=True):
        image[:, top : top + tall, left : left + wide] = 0.0
    assert torch.equal(erase(x_BCHW, rectangles), expected)


def test_a_shape_as_large_as_the_image_is_never_erased():
    assert not erasures(Draws(seed=0, epoch=1, examples=50), 8, 8, 1.0, (1.0, 1.0), (1.0, 1.0)).height_B.any()


@given(SIDES, st.floats(0, 1), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
@settings(max_examples=200, deadline=None)
def test_a_patch_lies_in_the_image_and_is_no_larger_than_its_share(size, share, down, right):
    patch = patches(np.array([share]), np.array([down]), np.array([right]), *size)
    (top, left, tall, wide), (height, width) = sides_of(patch)[0], size
    assert 0 <= top <= top + tall <= height
    assert 0 <= left <= left + wide <= width
    assert tall <= math.sqrt(share) * height
    assert wide <= math.sqrt(share) * width
    reach = int(math.sqrt(share) / 2 * height)
    assert tall == min(int(down * height) + reach, height) - max(int(down * height) - reach, 0)


def test_chosen_rectangles_are_those_of_the_chosen_images():
    numbers = np.arange(5)
    rectangles = Rectangles(top_B=numbers, left_B=numbers + 10, height_B=numbers + 20, width_B=numbers + 30)
    assert sides_of(rectangles[np.array([3, 0])]).tolist() == [[3, 13, 23, 33], [0, 10, 20, 30]]
