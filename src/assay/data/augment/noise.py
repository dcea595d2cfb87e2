"""Gaussian noise that belongs to an image and not to its batch: counted out of a key of its own.

Bits come from SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), which gives
the n-th number of a key without those before it; two normal values come from each 64 bits by the polar form of Box and
Muller (1958). Values are made in float32 for every type of image, so that recipes in float64 get the same noise.

Shape key: B images in a batch, V values per image, P = ⌈V/2⌉ pairs of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from assay.data.augment.draws import Places

_INCREMENT = 0x9E3779B97F4A7C15 - 2**64
_FIRST_FACTOR = 0xBF58476D1CE4E5B9 - 2**64
_SECOND_FACTOR = 0x94D049BB133111EB - 2**64
_PAIRS_AT_A_TIME = {"cpu": 2**17}
"""Keeps to the cache of the CPU: 1 MiB of bits, which halves the time of a batch of CIFAR-10."""
_PAIRS_ELSEWHERE = 2**22
"""Bounds memory only: 32 MiB of bits."""


def add_noise(x_BCHW: Tensor, key_B: Places, deviation: float) -> Tensor:
    """Add Gaussian noise of this standard deviation to every value, in place; what leaves 0 to 1 is not cut off.

    Args:
        x_BCHW: images of a floating type.
        key_B: 64 bits per image; equal ones give equal noise.
        deviation: of the noise, in units of the images.
    """
    batch, values = len(x_BCHW), x_BCHW[0].numel()
    keys = torch.from_numpy(key_B).to(x_BCHW.device)
    images = max(1, 2 * _PAIRS_AT_A_TIME.get(x_BCHW.device.type, _PAIRS_ELSEWHERE) // values)
    for start in range(0, batch, images):
        part = x_BCHW[start : start + images]
        noise_BV = standard_normal(keys[start : start + images], values)
        part.add_(noise_BV.view(part.shape), alpha=deviation)
    return x_BCHW


def standard_normal(keys_B: Tensor, values: int) -> Tensor:
    """Normal values of mean 0 and deviation 1, (B, V) float32; the largest possible is 5.8.

    Args:
        keys_B: int64, 64 random bits each.
        values: V.
    """
    bits_BP = split_mix(keys_B, (values + 1) // 2)
    radius_BP = ((bits_BP >> 40) & 0xFFFFFF).add_(1).to(torch.float32).mul_(2.0**-24).log_().mul_(-2.0).sqrt_()
    angle_BP = (bits_BP & 0xFFFFFF).to(torch.float32).mul_(2.0 * math.pi * 2.0**-24)
    pairs_B2P = radius_BP.new_empty(len(keys_B), 2, radius_BP.shape[1])
    torch.mul(radius_BP, angle_BP.cos(), out=pairs_B2P[:, 0])
    torch.mul(radius_BP, angle_BP.sin_(), out=pairs_B2P[:, 1])
    return pairs_B2P.flatten(1)[:, :values]


def split_mix(keys_B: Tensor, count: int) -> Tensor:
    """The first numbers of SplitMix64 from each key, (B, count) int64 holding 64 bits; arithmetic wraps at 2⁶⁴."""
    steps = torch.arange(1, count + 1, device=keys_B.device).mul_(_INCREMENT)
    z = keys_B[:, None] + steps
    z.bitwise_xor_((z >> 30).bitwise_and_(2**34 - 1)).mul_(_FIRST_FACTOR)
    z.bitwise_xor_((z >> 27).bitwise_and_(2**37 - 1)).mul_(_SECOND_FACTOR)
    return z.bitwise_xor_((z >> 31).bitwise_and_(2**33 - 1))
