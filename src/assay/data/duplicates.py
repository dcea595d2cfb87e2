"""Equal and nearly equal images among any number, all compared with all.

Equal images are told by a digest of their pixels. Nearly equal ones (saved again, made larger or smaller, brightened,
moved by a pixel or two, mirrored) are found on grey thumbnails of 32 × 32 pixels in three steps, each of which costs
more per pair than the one before and sees far fewer pairs:

1. The spectrum: the magnitudes of low frequencies of the windowed thumbnail, which neither a small shift nor mirroring
   changes much. All pairs are compared by products of matrices, a block at a time, so nothing is missed by sorting or
   hashing and memory stays bounded.
2. The blurred thumbnails, as they are and mirrored.
3. Their details, what the blur takes away, at the best shift of up to two pixels. Two coasts are alike when blurred;
   their details are not.

All three compare by Pearson correlation, which ignores brightness and contrast. Thresholds are measured, see
`Thresholds`. Thumbnails without contrast correlate with nothing or everything and are left out.

Shape key: N images, C channels, H height, W width, T side of a thumbnail, F features, M pairs, Y and X offsets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from assay.data.in_parallel import available_cores

SIDE = 32
"""Side of a thumbnail."""
LEAST_CONTRAST = 1.0
"""Standard deviation in grey levels below which a thumbnail counts as flat."""

_FREQUENCIES = 6
"""Highest frequency compared, in waves per thumbnail: beyond it resizing by a fifth shows."""
_DETAIL_SIGMA = 1.5
"""Pixels of a thumbnail; what a blur of that width takes away is its detail."""
_DETAIL_SCALE = 24.0
"""Details are kept in 8 bits: so many steps to a standard deviation, cut at five of them."""
_SHIFT = 2
"""Pixels of a thumbnail by which details are moved either way to find the best match."""
_ROWS, _COLUMNS = 1024, 4096
"""Images compared with images in one product: it fits in a processor's cache."""
_PAIRS_AT_ONCE = 4096
_CHUNK = 4096


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Least correlations of the three steps.

    Measured on 1,500 images of CIFAR-10 changed by JPEG of quality 75 or 40, 0.8 times their size, 1.1 times their
    brightness, and shifts by up to two pixels of 32, and on all pairs of 10,000 others.
    """

    spectrum: float = 0.905
    blurred: float = 0.5
    detail: float = 0.78


@dataclass(frozen=True, kw_only=True)
class NearPairs:
    """Pairs found among the images compared so far.

    Attributes:
        done: share of all comparisons made, 0 to 1.
        pairs_M2: positions of both images, the smaller first, int64.
        similarity_M: correlation of their details.
        mirrored_M: whether one had to be mirrored.
    """

    done: float
    pairs_M2: NDArray[np.int64]
    similarity_M: NDArray[np.float32]
    mirrored_M: NDArray[np.bool_]


# --- one image --------------------------------------------------------------------------------------------------------


def content_digest(image_CHW: NDArray[np.uint8]) -> bytes:
    """16 bytes that identify an image's size and pixels. A grey image equals its RGB version."""
    if image_CHW.shape[0] == 3 and (image_CHW[0] == image_CHW[1]).all() and (image_CHW[0] == image_CHW[2]).all():
        image_CHW = image_CHW[:1]
    digest = hashlib.blake2b(repr(image_CHW.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image_CHW).data)
    return digest.digest()


def thumbnail(image_CHW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole image as grey (T, T), stretched: ITU-R 601-2 luma of three channels, the mean of any other number."""
    channels = len(image_CHW)
    if channels == 3:
        image = Image.fromarray(np.ascontiguousarray(image_CHW.transpose(1, 2, 0))).convert("L")
    else:
        image = Image.fromarray(image_CHW[0] if channels == 1 else image_CHW.mean(axis=0).astype(np.uint8))
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=4.0)
    return np.asarray(image)


def flat(thumbnails_NTT: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which thumbnails have too little contrast to be compared."""
    flat_N: NDArray[np.bool_] = thumbnails_NTT.std(axis=(1, 2)) < LEAST_CONTRAST
    return flat_N


# --- equal images -----------------------------------------------------------------------------------------------------


def equal_groups(digests_N: Sequence[bytes]) -> list[list[int]]:
    """Positions of images with the same digest, in groups of at least two, in order of their first."""
    groups: dict[bytes, list[int]] = {}
    for position, digest in enumerate(digests_N):
        groups.setdefault(digest, []).append(position)
    return [group for group in groups.values() if len(group) > 1]


def clusters(groups: Iterable[Sequence[int]]) -> list[list[int]]:
    """Groups that share an image joined into one, ascending, in order of their first."""
    parent: dict[int, int] = {}

    def root(member: int) -> int:
        top = parent.setdefault(member, member)
        while top != parent[top]:
            top = parent[top]
        while parent[member] != top:
            parent[member], member = top, parent[member]
        return top

    for group in groups:
        for member in group[1:]:
            first, second = root(group[0]), root(member)
            parent[max(first, second)] = min(first, second)
    joined: dict[int, list[int]] = {}
    for member in sorted(parent):
        joined.setdefault(root(member), []).append(member)
    return list(joined.values())


# --- nearly equal images ----------------------------------------------------------------------------------------------


def near_pairs(
    thumbnails_NTT: NDArray[np.uint8], *, thresholds: Thresholds | None = None, mirrored: bool = True
) -> Iterator[NearPairs]:
    """Compare all images with all, yielding what was found after each part of the work, for a progress bar.

    The caller leaves out copies of equal images first: many of them would make many pairs.

    Args:
        thumbnails_NTT: see `thumbnail`.
        thresholds: least correlations.
        mirrored: also find images that are nearly equal when one is mirrored left and right.
    """
    limits = thresholds or Thresholds()
    compared = np.flatnonzero(~flat(thumbnails_NTT))
    if len(compared) < 2:
        return
    prints = _Prints.of(thumbnails_NTT[compared])
    starts = range(0, len(compared), _ROWS)

    def found_from(start: int) -> _Found:
        return _compare_rows(prints, start, limits, mirrored)

    left = total = len(compared) * (len(compared) - 1) / 2
    with threadpool_limits(limits=1), ThreadPoolExecutor(workers()) as threads:
        for start, (pairs_M2, similarity_M, mirrored_M) in zip(starts, threads.map(found_from, starts), strict=True):
            beyond = max(0, len(compared) - start - _ROWS)
            left = beyond * (beyond - 1) / 2
            yield NearPairs(
                done=1.0 - left / total,
                pairs_M2=compared[pairs_M2],
                similarity_M=similarity_M,
                mirrored_M=mirrored_M,
            )


_Found = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]
"""Pairs (M, 2), similarities (M,), and whether mirrored (M,)."""


def workers() -> int:
    """Threads worth starting here."""
    return min(8, available_cores())


@dataclass(frozen=True, kw_only=True)
class _Prints:
    """What is compared of each image: unit vectors of the spectrum and of the blurred thumbnail, and details."""

    spectrum_NF: NDArray[np.float32]
    blurred_NTT: NDArray[np.float32]
    detail_NTT: NDArray[np.int8]

    @classmethod
    def of(cls, thumbnails_NTT: NDArray[np.uint8]) -> _Prints:
        parts = [
            cls._of_part(thumbnails_NTT[start : start + _CHUNK].astype(np.float32))
            for start in range(0, len(thumbnails_NTT), _CHUNK)
        ]
        return cls(
            spectrum_NF=np.concatenate([part.spectrum_NF for part in parts]),
            blurred_NTT=np.concatenate([part.blurred_NTT for part in parts]),
            detail_NTT=np.concatenate([part.detail_NTT for part in parts]),
        )

    @classmethod
    def _of_part(cls, grey_NTT: NDArray[np.float32]) -> _Prints:
        halves_NTT = grey_NTT.reshape(len(grey_NTT), SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4))
        blurred_NTT = _blurred(halves_NTT, 1.0)
        detail_NTT = grey_NTT - _blurred(grey_NTT, _DETAIL_SIGMA)
        deviation_N11 = np.maximum(detail_NTT.std(axis=(1, 2), keepdims=True), 1e-6)
        return cls(
            spectrum_NF=_spectra(grey_NTT),
            blurred_NTT=_unit(blurred_NTT.reshape(len(grey_NTT), -1)).reshape(blurred_NTT.shape),
            detail_NTT=np.clip(detail_NTT / deviation_N11 * _DETAIL_SCALE, -127, 127).round().astype(np.int8),
        )


def _unit(vectors_NF: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zero mean and unit length, so that products are correlations; zero where there is nothing but the mean."""
    centred_NF = vectors_NF - vectors_NF.mean(axis=1, keepdims=True)
    unit_NF: NDArray[np.float32] = centred_NF / np.maximum(np.linalg.norm(centred_NF, axis=1, keepdims=True), 1e-6)
    return unit_NF


def _blurred(images_NTT: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur, the image mirrored at its edge; as products with one matrix, which is fast for small images."""
    side = images_NTT.shape[1]
    reach = np.arange(-side, 2 * side)
    weights_TP = np.exp(-0.5 * np.square((reach[None] - np.arange(side)[:, None]) / sigma))
    before_TT, within_TT, after_TT = (weights_TP[:, start : start + side] for start in (0, side, 2 * side))
    blur_TT = before_TT[:, ::-1] + within_TT + after_TT[:, ::-1]
    matrix_TT = (blur_TT / blur_TT.sum(axis=1, keepdims=True)).astype(np.float32)
    blurred_NTT: NDArray[np.float32] = matrix_TT @ images_NTT @ matrix_TT.T
    return blurred_NTT


def _spectra(grey_NTT: NDArray[np.float32]) -> NDArray[np.float32]:
    """Roots of magnitudes of low frequencies, as unit vectors.

    The window keeps what enters or leaves at the edges from mattering. Of the two frequencies that mirroring swaps the
    smaller and the larger magnitude are taken. Roots keep the lowest frequencies from drowning the rest.
    """
    window_T = np.sqrt(np.hanning(SIDE + 2)[1:-1]).astype(np.float32)
    window_TT = np.outer(window_T, window_T)
    mean_N11 = (grey_NTT * window_TT).sum(axis=(1, 2), keepdims=True) / window_TT.sum()
    magnitude_NTT = np.abs(np.fft.fft2((grey_NTT - mean_N11) * window_TT)).astype(np.float32)
    low = np.arange(_FREQUENCIES + 1)
    right_NYX, left_NYX = magnitude_NTT[:, low[:, None], low], magnitude_NTT[:, low[:, None], -low]
    smaller_NF = np.minimum(right_NYX, left_NYX).reshape(len(grey_NTT), -1)[:, 1:]
    larger_NF = np.maximum(right_NYX, left_NYX)[:, 1:, 1:].reshape(len(grey_NTT), -1)
    return _unit(np.sqrt(np.concatenate([smaller_NF, larger_NF], axis=1)))


def _compare_rows(prints: _Prints, start: int, limits: Thresholds, mirrored: bool) -> _Found:
    """Pairs of images ``start`` to ``start + _ROWS`` with themselves and all later ones."""
    rows_RF = prints.spectrum_NF[start : start + _ROWS]
    found: list[_Found] = [_confirmed(prints, np.empty((0, 2), dtype=np.int64), limits, mirrored)]
    for left in range(start, len(prints.spectrum_NF), _COLUMNS):
        columns_SF = prints.spectrum_NF[left : left + _COLUMNS]
        candidates = np.flatnonzero((rows_RF @ columns_SF.T).ravel() > limits.spectrum)
        first, second = np.divmod(candidates, len(columns_SF))
        first, second = first + start, second + left
        later = first < second
        pairs_M2 = np.stack([first[later], second[later]], axis=1)
        found += [
            _confirmed(prints, pairs_M2[at : at + _PAIRS_AT_ONCE], limits, mirrored)
            for at in range(0, len(pairs_M2), _PAIRS_AT_ONCE)
        ]
    pairs, similarities, by_mirror = zip(*found, strict=True)
    return np.concatenate(pairs), np.concatenate(similarities), np.concatenate(by_mirror)


def _confirmed(prints: _Prints, pairs_M2: NDArray[np.int64], limits: Thresholds, mirrored: bool) -> _Found:
    """Those of the candidates that pass the second step and the third."""
    first_MTT, second_MTT = (prints.blurred_NTT[pairs_M2[:, side]] for side in (0, 1))
    ways = [(np.einsum("myx,myx->m", first_MTT, second_MTT) > limits.blurred, False)]
    if mirrored:
        ways.append((np.einsum("myx,myx->m", first_MTT, second_MTT[:, :, ::-1]) > limits.blurred, True))
    similarity_M = np.full(len(pairs_M2), -1.0, dtype=np.float32)
    mirrored_M = np.zeros(len(pairs_M2), dtype=np.bool_)
    for alike_M, by_mirror in ways:
        at = np.flatnonzero(alike_M)
        if not at.size:
            continue
        detail = _detail_similarity(prints.detail_NTT, pairs_M2[at], by_mirror)
        better = detail > similarity_M[at]
        similarity_M[at[better]] = detail[better]
        mirrored_M[at[better]] = by_mirror
    kept = similarity_M > limits.detail
    return pairs_M2[kept], similarity_M[kept], mirrored_M[kept]


def _detail_similarity(
    detail_NTT: NDArray[np.int8], pairs_M2: NDArray[np.int64], by_mirror: bool
) -> NDArray[np.float32]:
    """Correlation of the details of each pair at the best shift, border aside."""
    inner = slice(_SHIFT, SIDE - _SHIFT)
    first_MTT = detail_NTT[pairs_M2[:, 0]][:, inner, inner].astype(np.float32)
    second_MTT = detail_NTT[pairs_M2[:, 1]].astype(np.float32)
    if by_mirror:
        second_MTT = second_MTT[:, :, ::-1]
    norm_M = np.sqrt(np.einsum("myx,myx->m", first_MTT, first_MTT))
    best_M = np.full(len(pairs_M2), -1.0, dtype=np.float32)
    side = SIDE - 2 * _SHIFT
    for top in range(2 * _SHIFT + 1):
        for left in range(2 * _SHIFT + 1):
            moved_MTT = second_MTT[:, top : top + side, left : left + side]
            product_M = np.einsum("myx,myx->m", first_MTT, moved_MTT)
            moved_norm_M = np.sqrt(np.einsum("myx,myx->m", moved_MTT, moved_MTT))
            np.maximum(best_M, product_M / np.maximum(norm_M * moved_norm_M, 1e-6), out=best_M)
    return best_M
