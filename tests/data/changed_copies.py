"""Made-up scenes, and the changes after which an image is still a near copy."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def scenes(count: int, side: int = 64, seed: int = 0) -> np.ndarray:
    """Pictures with edges and textures at all scales, (N, 3, H, W)."""
    rng = np.random.default_rng(seed)
    frequency = np.fft.fftfreq(side)
    falling = 1.0 / np.maximum(np.hypot(frequency[:, None], frequency), 1.0 / side)
    phases = np.fft.fft2(rng.normal(size=(count, 3, side, side)))
    waves = np.fft.ifft2(phases * falling).real
    waves += 0.5 * np.sign(waves) * waves.std()
    low, high = waves.min(axis=(1, 2, 3), keepdims=True), waves.max(axis=(1, 2, 3), keepdims=True)
    return (20 + 215 * (waves - low) / (high - low)).astype(np.uint8)


def picture(image_CHW: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image_CHW.transpose(1, 2, 0)))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def saved_again(image_CHW: np.ndarray) -> np.ndarray:
    content = io.BytesIO()
    picture(image_CHW).save(content, "JPEG", quality=60)
    return pixels(Image.open(content))


def resized(image_CHW: np.ndarray, factor: float) -> np.ndarray:
    side = round(image_CHW.shape[1] * factor)
    return pixels(picture(image_CHW).resize((side, side)))


def brightened(image_CHW: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(image_CHW * factor, 0, 255).astype(np.uint8)


def moved(image_CHW: np.ndarray, down: int, right: int) -> np.ndarray:
    return np.roll(image_CHW, (down, right), axis=(1, 2))


CHANGES = {
    "saved again": saved_again,
    "smaller": lambda image: resized(image, 0.8),
    "larger": lambda image: resized(image, 1.2),
    "brighter": lambda image: brightened(image, 1.1),
    "darker": lambda image: brightened(image, 0.9),
    "moved": lambda image: moved(image, 2, -1),
    "mirrored": lambda image: image[:, :, ::-1],
    "mirrored and saved again": lambda image: saved_again(image[:, :, ::-1]),
}
