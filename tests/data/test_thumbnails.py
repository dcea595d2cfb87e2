"""Sheets of small images without any writing."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from assay.data.thumbnails import MOST_BYTES, Thumbnails, thumbnails


def noise(count: int, shape: tuple[int, int, int], seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(256, size=(count, *shape), dtype=np.uint8))


def pixels(sheet: Thumbnails) -> np.ndarray:
    with Image.open(io.BytesIO(sheet.content)) as image:
        assert image.format == "PNG"
        assert image.mode in ("P", "L")
        return np.asarray(image.convert("RGB"))


@given(count=st.integers(1, 20), height=st.integers(1, 12), width=st.integers(1, 12), columns=st.integers(1, 7))
def test_small_images_lie_in_their_tiles_unchanged(count: int, height: int, width: int, columns: int) -> None:
    images = noise(count, (1, height, width))
    sheet = thumbnails(images, side=max(height, width), columns=columns)
    assert (sheet.width, sheet.height, sheet.columns) == (width, height, columns)
    found = pixels(sheet)
    assert found.shape == (-(-count // columns) * height, columns * width, 3)
    for at, image_CHW in enumerate(images):
        row, column = divmod(at, columns)
        tile = found[row * height : (row + 1) * height, column * width : (column + 1) * width]
        assert np.array_equal(tile[:, :, 0], image_CHW[0])


def test_images_are_enlarged_by_whole_factors_and_large_ones_shrunk() -> None:
    assert thumbnails(noise(2, (1, 8, 6)), side=64).height == 64
    assert thumbnails(noise(2, (1, 8, 6)), side=64).width == 48
    wide = thumbnails(noise(2, (3, 100, 200)), side=40)
    assert (wide.width, wide.height) == (40, 20)


def test_of_other_than_three_channels_the_first_is_shown() -> None:
    (image_CHW,) = noise(1, (5, 4, 4))
    found = pixels(thumbnails([image_CHW], side=4, columns=1))
    assert np.array_equal(found[:, :, 0], image_CHW[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_sheets_stay_below_their_size_whatever_is_on_them(channels: int) -> None:
    sheet = thumbnails(noise(38, (channels, 224, 224)), side=40)
    assert len(sheet.content) <= MOST_BYTES
    assert sheet.width >= 24
    larger = thumbnails(noise(24, (channels, 64, 64)), side=64)
    assert len(larger.content) <= MOST_BYTES


def test_equal_images_give_equal_bytes() -> None:
    assert thumbnails(noise(5, (3, 9, 9)), side=9).content == thumbnails(noise(5, (3, 9, 9)), side=9).content
