"""Batches of images for the tests of augmentations: random ones, and those at which arithmetic goes wrong."""

import numpy as np
import torch
from hypothesis import strategies as st

EXTREME_SHAPES = ((1, 1, 1), (3, 1, 1), (3, 3, 200), (1, 200, 3), (3, 1, 9), (1, 2, 2), (3, 2, 7), (2, 5, 4), (4, 6, 6))


def shapes(*, channels=(1, 3)):
    """(C, H, W), small, often not square."""
    return st.tuples(st.sampled_from(channels), st.integers(1, 40), st.integers(1, 40))


@st.composite
def uint8_batches(draw, *, channels=(1, 3), most=8):
    """Random, constant, black, white, two-level and smooth images in one batch."""
    shape = draw(shapes(channels=channels))
    count = draw(st.integers(1, most))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return torch.from_numpy(np.stack([_image(generator, shape) for _ in range(count)]))


def _image(generator, shape):
    _, height, width = shape
    kind = generator.integers(7)
    if kind == 0:
        return np.full(shape, generator.integers(256), dtype=np.uint8)
    if kind == 1:
        return np.full(shape, generator.choice([0, 255]), dtype=np.uint8)
    if kind == 2:
        return generator.choice(generator.integers(0, 256, 2), shape).astype(np.uint8)
    if kind == 3:
        ramp = np.linspace(*generator.integers(0, 256, 2), height * width).reshape(height, width)
        return np.broadcast_to(ramp, shape).astype(np.uint8)
    low, high = np.sort(generator.integers(0, 256, 2))
    return generator.integers(low, high + 1, shape).astype(np.uint8)


def random_batch(shape, count=16, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8))


def scaled(x_BCHW, dtype=torch.float32):
    """uint8 images as floating-point ones from 0 to 1."""
    return x_BCHW.to(dtype) / 255
