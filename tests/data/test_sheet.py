"""Contact sheets are PNGs with every image on them, whatever the sizes and names."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from assay.data.sheet import Row, contact_sheet


def opened(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def plain(red: int, green: int, blue: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.broadcast_to(np.array([red, green, blue], dtype=np.uint8)[:, None, None], (3, height, width))


def area(sheet: np.ndarray, *colour: int) -> int:
    return int((sheet == np.array(colour)).all(axis=2).sum())


def test_small_images_are_enlarged_by_whole_factors() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, size=(3, 7, 5), dtype=np.uint8)
    sheet = opened(contact_sheet([Row(name="", images=[image])], cell=32))
    enlarged = image.repeat(4, axis=1).repeat(4, axis=2).transpose(1, 2, 0)
    places = [
        (top, left)
        for top in range(sheet.shape[0] - 28 + 1)
        for left in range(sheet.shape[1] - 20 + 1)
        if (sheet[top : top + 28, left : left + 20] == enlarged).all()
    ]
    assert len(places) == 1


def test_large_images_are_shrunk_to_the_cell() -> None:
    sheet = opened(contact_sheet([Row(name="wide", images=[plain(255, 0, 0, 100, 400)])], cell=40))
    assert area(sheet, 255, 0, 0) == 40 * 10


def test_every_image_of_every_row_is_there() -> None:
    rows = [Row(name=f"class {at}", images=[plain(10 * at, 200, 3), plain(10 * at, 100, 7)]) for at in range(25)]
    sheet = opened(contact_sheet(rows, captions=["one", "two"], note="25 classes", cell=16, rows_in_a_column=10))
    for at in range(25):
        assert area(sheet, 10 * at, 200, 3) == 16 * 16
        assert area(sheet, 10 * at, 100, 7) == 16 * 16


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_images_of_any_channels_are_shown(channels: int) -> None:
    image = np.full((channels, 8, 8), 77, dtype=np.uint8)
    assert area(opened(contact_sheet([Row(name="x", images=[image])], cell=8)), 77, 77, 77) >= 64


@pytest.mark.parametrize("name", ["", "a" * 500, "zwei\nZeilen\nund mehr", "猫 \x1b[31m", "\x00"])
def test_any_name_can_be_drawn(name: str) -> None:
    sheet = opened(contact_sheet([Row(name=name, images=[plain(1, 2, 250)])], captions=[name], note=name, cell=8))
    assert area(sheet, 1, 2, 250) == 64
    assert sheet.shape[1] < 400


def test_fewer_colours_make_a_smaller_file() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, size=(3, 32, 32), dtype=np.uint8) for _ in range(8)]
    whole, few = (contact_sheet([Row(name="noise", images=noise)], cell=32, colours=n) for n in (None, 64))
    assert len(few) < len(whole) / 2
    assert opened(few).shape == opened(whole).shape


def test_equal_sheets_have_equal_bytes() -> None:
    rows = [Row(name="a", images=[plain(5, 6, 7)])]
    assert contact_sheet(rows) == contact_sheet(rows)
