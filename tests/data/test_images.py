import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from assay.data.images import EXTENSIONS, ImageForm, decode
from assay.errors import DataError

RNG = np.random.default_rng(5)
PIXELS_HW3 = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
RGB = Image.fromarray(PIXELS_HW3)
OWN = ImageForm()
GREY = ImageForm(color="grey")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, bits: int, color: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG made by hand, for what Pillow does not write."""
    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    chunks = [(b"IHDR", head), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def luma(rgb: np.ndarray) -> np.ndarray:
    return np.floor(rgb @ np.array([0.299, 0.587, 0.114]) + 0.5)


# --- kinds of images --------------------------------------------------------------------------------------------------


def test_colour_stays_as_it_is_and_grey_is_its_luma():
    np.testing.assert_array_equal(decode(saved(RGB, "PNG"), OWN), PIXELS_HW3.transpose(2, 0, 1))
    grey = decode(saved(RGB, "PNG"), GREY)
    assert grey.shape == (1, 6, 9)
    np.testing.assert_allclose(grey[0], luma(PIXELS_HW3), atol=1)


def test_grey_becomes_three_equal_channels_or_stays_one():
    content = saved(Image.fromarray(PIXELS_HW3[:, :, 0]), "PNG")
    np.testing.assert_array_equal(decode(content, OWN), np.stack([PIXELS_HW3[:, :, 0]] * 3))
    np.testing.assert_array_equal(decode(content, GREY), PIXELS_HW3[None, :, :, 0])


def test_one_bit_is_black_and_white():
    bits = PIXELS_HW3[:, :, 0] > 127
    np.testing.assert_array_equal(decode(saved(Image.fromarray(bits), "PNG"), GREY)[0], np.where(bits, 255, 0))


def test_palettes_are_looked_up():
    image = RGB.quantize(16)
    expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    for kind in ("PNG", "GIF"):
        np.testing.assert_array_equal(decode(saved(image, kind), OWN), expected)


def test_transparent_palette_entries_become_white():
    image = RGB.quantize(8)
    opaque = np.asarray(image.convert("RGB"))
    entry = np.asarray(image)
    one = decode(saved(image, "PNG", transparency=3), OWN)
    np.testing.assert_array_equal(one, np.where(entry[..., None] == 3, 255, opaque).transpose(2, 0, 1))
    alphas = bytes([0, 255, 128, 255, 255, 255, 255, 255])
    several = decode(saved(image, "PNG", transparency=alphas), OWN)
    alpha = np.array(list(alphas))[entry][..., None] / 255
    np.testing.assert_allclose(several, (alpha * opaque + (1 - alpha) * 255).transpose(2, 0, 1), atol=1)


@pytest.mark.parametrize(("mode", "colours"), [("RGBA", 3), ("LA", 1)])
def test_alpha_is_laid_over_white(mode, colours):
    pixels = RNG.integers(0, 256, (5, 4, colours + 1), dtype=np.uint8)
    pixels[0, 0, -1], pixels[1, 1, -1] = 0, 255
    image = Image.fromarray(pixels)
    assert image.mode == mode
    alpha = pixels[..., -1:] / 255
    expected = np.broadcast_to(alpha * pixels[..., :-1] + (1 - alpha) * 255, (5, 4, 3))
    got = decode(saved(image, "PNG"), OWN).transpose(1, 2, 0)
    np.testing.assert_allclose(got, expected, atol=1)
    assert got[0, 0].tolist() == [255, 255, 255]
    assert got[1, 1].tolist() == np.broadcast_to(pixels[1, 1, :-1], 3).tolist()


def test_a_transparent_colour_becomes_white():
    content = png(2, 1, 8, 2, bytes([0, 1, 2, 3, 9, 8, 7]), (b"tRNS", struct.pack(">3H", 1, 2, 3)))
    assert decode(content, OWN)[:, 0].T.tolist() == [[255, 255, 255], [9, 8, 7]]
    grey = png(2, 1, 8, 0, bytes([0, 5, 6]), (b"tRNS", struct.pack(">H", 5)))
    assert decode(grey, GREY)[0, 0].tolist() == [255, 6]


def test_cmyk_jpeg_is_close_to_its_colour():
    smooth = RGB.resize((64, 64), Image.Resampling.BICUBIC)
    got = decode(saved(smooth.convert("CMYK"), "JPEG", quality=95), OWN)
    assert np.abs(got.astype(int) - np.asarray(smooth).transpose(2, 0, 1)).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits_is_divided_by_257_and_rounded(kind):
    values = np.array([[0, 128, 129, 257, 1000], [32768, 40000, 65406, 65407, 65535]], dtype=np.uint16)
    got = decode(saved(Image.fromarray(values), kind), GREY)
    np.testing.assert_array_equal(got[0], np.floor(values / 257 + 0.5))
    assert got[0, -1, -1] == 255


def test_big_endian_and_transparent_grey_of_16_bits():
    rows = b"\0" + struct.pack(">3H", 1000, 40000, 65535)
    content = png(3, 1, 16, 0, rows, (b"tRNS", struct.pack(">H", 1000)))
    assert decode(content, GREY)[0, 0].tolist() == [255, 156, 255]
    tiff = saved(Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 1000, 40000)), "TIFF")
    assert decode(tiff, GREY)[0, 0].tolist() == [4, 156]


def test_colour_of_16_bits_gives_its_upper_8():
    rows = b"\0" + struct.pack(">3H", 1000, 2000, 40000)
    assert decode(png(1, 1, 16, 2, rows), OWN)[:, 0, 0].tolist() == [1000 >> 8, 2000 >> 8, 40000 >> 8]
    with pytest.raises(DataError, match=r"^colour of 16 bits with a transparent colour is not read here$"):
        decode(png(1, 1, 16, 2, rows, (b"tRNS", struct.pack(">3H", 1, 2, 3))), OWN)


def test_pixels_without_a_stated_white_are_refused():
    with pytest.raises(DataError, match=r"^floating-point pixels have no stated white"):
        decode(saved(Image.fromarray(np.ones((2, 2), dtype=np.float32)), "TIFF"), OWN)
    with pytest.raises(DataError, match=r"^grey of 32 bits must have values from 0 to 65535, got -3 to 70000$"):
        decode(saved(Image.fromarray(np.array([[-3, 70000]], dtype=np.int32)), "TIFF"), OWN)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_the_first_frame_of_an_animation_counts(kind):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode(content, OWN)[:, 0, 0].tolist() == [255, 0, 0]


def test_the_first_of_several_pictures_in_a_jpeg_counts():
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    got = decode(saved(frames[0], "MPO", save_all=True, append_images=frames[1:]), OWN)
    assert np.abs(got[:, 8, 8].astype(int) - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_applied(orientation, kind):
    blocks = RGB.resize((9 * 16, 6 * 16), Image.Resampling.NEAREST)
    turn = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: np.rot90(x, -1),
        7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
        8: lambda x: np.rot90(x, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    got = decode(saved(blocks, kind, exif=exif, **options), OWN).transpose(1, 2, 0)
    expected = turn(np.asarray(blocks))
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).max() < 20


def test_damaged_exif_does_not_cost_the_image():
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05" + b"\xff" * 20
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = decode(saved(RGB, "JPEG", exif=exif), OWN)
    assert got.shape == (3, 6, 9)


@pytest.mark.parametrize("kind", ["BMP", "WEBP", "JPEG2000", "AVIF", "PPM"])
def test_other_formats_are_read(kind):
    feature = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}.get(kind)
    if feature and not features.check(feature):
        pytest.skip(f"this Pillow is built without {kind}")
    smooth = RGB.resize((32, 32), Image.Resampling.BICUBIC)
    got = decode(saved(smooth, kind), OWN)
    assert np.abs(got.astype(int) - np.asarray(smooth).transpose(2, 0, 1)).mean() < 12


def test_extensions_are_those_of_pillow_for_the_formats():
    Image.init()
    assert EXTENSIONS - {".avif", ".avifs"} <= set(Image.registered_extensions())


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_crop_scales_to_cover_and_cuts_at_the_centre():
    image = Image.new("RGB", (90, 30), "red")
    image.paste("blue", (30, 0, 60, 30))
    got = decode(saved(image, "PNG"), ImageForm(size=(10, 10)))
    assert got[:, 5, 5].tolist() == [0, 0, 255]
    assert got[:, 0, 4].tolist() == [0, 0, 255]
    whole = decode(saved(image, "PNG"), ImageForm(size=(10, 30), fit="stretch"))
    np.testing.assert_array_equal(got, whole[:, :, 10:20])  # up to the edge, cutting comes after scaling


def test_stretch_brings_each_side_to_its_length():
    got = decode(saved(RGB, "PNG"), ImageForm(size=(12, 5), fit="stretch"))
    assert got.shape == (3, 12, 5)
    np.testing.assert_array_equal(got.transpose(1, 2, 0), np.asarray(RGB.resize((5, 12), Image.Resampling.BILINEAR)))


def test_pad_keeps_the_whole_image_between_black_margins():
    got = decode(saved(Image.new("RGB", (40, 20), "white"), "PNG"), ImageForm(size=(20, 20), fit="pad"))
    assert got[:, 5:15].min() == 255
    assert got[:, :5].max() == 0
    assert got[:, 15:].max() == 0


def test_shrinking_counts_every_pixel():
    fine = np.indices((64, 64)).sum(axis=0) % 2 * 255  # a chessboard that sampling every eighth pixel would lose
    got = decode(saved(Image.fromarray(fine.astype(np.uint8)), "PNG"), ImageForm(size=(8, 8), color="grey"))
    assert np.abs(got.astype(int) - 127).max() <= 1


@given(
    own=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    fit=st.sampled_from(["crop", "stretch", "pad"]),
    color=st.sampled_from(["rgb", "grey"]),
)
@settings(max_examples=60, deadline=None)
def test_every_image_comes_to_the_size_asked_for(own, size, fit, color):
    form = ImageForm(size=size, fit=fit, color=color)
    got = decode(saved(Image.new("RGB", own, (200, 200, 200)), "PNG"), form)
    assert got.dtype == np.uint8
    assert got.shape == (form.channels, *size)
    assert got.max() == 200
    if fit != "pad":
        assert got.min() == 200


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("own", [(1, 1), (5000, 1), (1, 5000)])
def test_tiny_and_elongated_images(own, fit):
    got = decode(saved(Image.new("L", own, 77), "PNG"), ImageForm(size=(16, 24), fit=fit))
    assert got.shape == (3, 16, 24)
    assert got.max() == 77


def test_crop_is_that_of_pillow():
    got = decode(saved(RGB, "PNG"), ImageForm(size=(5, 4)))
    theirs = ImageOps.fit(RGB, (4, 5), Image.Resampling.BILINEAR)
    assert np.abs(got.transpose(1, 2, 0).astype(int) - np.asarray(theirs)).max() <= 1


# --- bad files --------------------------------------------------------------------------------------------------------

JPEG = saved(RGB.resize((64, 64)), "JPEG")
PNG = saved(RGB, "PNG")
WRONG_SUM = bytearray(PNG)
WRONG_SUM[PNG.index(b"IDAT") + 10] ^= 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"^the file is empty$"),
        (b"this is text, whatever its name", r"^it is no image of a format that is read here$"),
        (JPEG[: len(JPEG) // 2], r"^image file is truncated \(\d+ bytes not processed\)$"),
        (JPEG[:-2], r"^image file is truncated"),
        (JPEG[:20], r"."),
        (PNG[:-12], r"^image file is truncated \(a PNG without its end\)$"),
        (PNG[:-20], r"^image file is truncated \(in the PNG's chunk b'IDAT'\)$"),
        (bytes(WRONG_SUM), r"^the checksum of the PNG's chunk b'IDAT' is wrong$"),
        (png(20_000, 20_000, 8, 2, b""), r"^it says that it has more than 89,478,485 pixels, which is refused"),
        (png(10_000, 10_000, 8, 2, b""), r"^it says that it has more than 89,478,485 pixels, which is refused"),
        (png(0, 5, 8, 2, b""), r"."),
        (png(50, 50, 8, 2, b"\0" * 100), r"^image file is truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", r"^it is no image of a format"),
    ],
)
def test_bad_files_have_reasons(content, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=reason):
            decode(content, ImageForm(size=(8, 8)))


BYTES = [JPEG, PNG, *(saved(RGB.quantize(8), kind) for kind in ("GIF", "BMP")), saved(RGB, "WEBP"), saved(RGB, "PPM")]


@given(content=st.sampled_from(BYTES), data=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_gives_an_image_or_a_reason(content, data):
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        shape, reason = decode(bytes(damaged), ImageForm(size=(4, 4))).shape, ""
    except DataError as error:
        shape, reason = None, str(error)
    assert shape == (3, 4, 4) or reason
    assert "\n" not in reason
    assert " at 0x" not in reason


def test_threads_decode_at_once_and_leave_the_warning_filters_alone():
    before = list(warnings.filters)
    results: list[bool] = []

    def work() -> None:
        for _ in range(50):
            results.append(bool((decode(PNG, OWN) == PIXELS_HW3.transpose(2, 0, 1)).all()))
            with pytest.raises(DataError, match="89,478,485"):
                decode(png(10_000, 10_000, 8, 2, b""), OWN)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 200
    assert warnings.filters == before
