"""Independent named streams of randomness, all fed by one seed.

Each stream is a Philox generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") whose key is a
hash of the seed and the stream's name. Streams do not disturb each other: a layer that draws dropout masks leaves the
order of examples as it was, so two arms with one seed share whatever both draw, and their comparison is paired.
"""

from __future__ import annotations

import hashlib
import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

StreamName = Literal["split", "init", "order", "augment", "dropout"]


def stream_key(seed: int, name: StreamName, *parts: str | int) -> int:
    """The 128-bit Philox key of a stream. ``parts`` name a substream: a parameter, a layer, an epoch."""
    text = "/".join(["assay", str(seed), name, *(str(part) for part in parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def stream(seed: int, name: StreamName, *parts: str | int) -> np.random.Generator:
    """A fresh generator at the start of a stream; equal arguments give equal draws.

    >>> stream(0, "init", "layers.0.weight").integers(100) == stream(0, "init", "layers.0.weight").integers(100)
    True
    """
    return np.random.Generator(np.random.Philox(key=stream_key(seed, name, *parts)))


def keep_mask(bits: np.random.BitGenerator, shape: tuple[int, ...], p: float) -> NDArray[np.bool_]:
    """Draw a dropout mask: each value is False, dropped, with probability ``p``, and True otherwise.

    The probability is exact to 2⁻³²: each value is a 32-bit number of the stream, two to each 64-bit draw, held against
    p·2³². Masks of two rates from one stream share their draws, so that what the higher keeps the lower keeps too.
    """
    values = math.prod(shape)
    threshold = np.uint32(min(round(p * 2**32), 2**32 - 1))
    draws = np.asarray(bits.random_raw((values + 1) // 2), dtype=np.uint64)
    kept: NDArray[np.bool_] = draws.view(np.uint32)[:values] >= threshold
    return kept.reshape(shape)
