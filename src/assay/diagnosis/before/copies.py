"""Images that are constant, or copies of one another, before they mislead a training.

Shape key: N images, M pairs.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.data.duplicates import Thresholds, equal_groups, near_pairs, thumbnail
from assay.data.source import Examples
from assay.data.survey import Step
from assay.diagnosis.before.bench import sampled
from assay.diagnosis.finding import Finding, Severity
from assay.records import Split
from assay.training.prepare import PreparedData

MOST_BYTES = 2**30
"""Of images that are held against each other byte by byte: a second's work. Of more, a random part is."""
MOST_NEAR = 8_000
"""Images that are compared by what they show: two seconds' work."""
NEAR = Thresholds(spectrum=0.97, blurred=0.95, detail=0.97)
"""Correlations above which two images are one, saved anew or brightened. `assay data check` goes lower, for people to
look at: of 8,000 digits of MNIST 35 pairs have details that correlate above 0.95 without being copies, none above
0.97."""
LEAKED, LEAKED_FAR = 0.001, 0.01
"""Share of the validation or test images: at a hundredth, accuracy may be off by as many points as arms differ."""
NEAR_LEAKED = 0.01
CONTRADICTING = 0.01
CONSTANT = 0.01
_PART = 2**24


@dataclass(frozen=True, kw_only=True, eq=False)
class Copies:
    """Groups of equal images among ``compared_N``, positions in the source."""

    compared_N: NDArray[np.int64]
    groups: list[list[int]]
    constant: int


def looking_for_copies(examples: Examples, data: PreparedData, seed: int) -> Generator[Step, None, list[Finding]]:
    """Findings of constant images, contradicting labels, and images in two splits. Of points there are none."""
    if examples.inputs.ndim != 4:
        return []
    used_N = np.sort(np.concatenate([split.indices_N for split in data.splits.values()]))
    most = max(1_000, MOST_BYTES // math.prod(examples.input_shape))
    compared_N = used_N[sampled(len(used_N), most, seed, "copies")]
    copies = yield from _equal(examples, compared_N)
    findings = _constant(copies) + _contradicting(copies, examples)
    split_of_N = _split_of(examples, data)
    findings += _leaks(copies, split_of_N, data)
    findings += yield from _near_leaks(examples, copies, split_of_N, data, seed)
    return findings


def _split_of(examples: Examples, data: PreparedData) -> NDArray[np.str_]:
    split_of_N = np.full(len(examples.inputs), "", dtype="<U5")
    for name, split in data.splits.items():
        split_of_N[split.indices_N] = name
    return split_of_N


def _equal(examples: Examples, compared_N: NDArray[np.int64]) -> Generator[Step, None, Copies]:
    """Equal images: those with equal sums of their bytes, as 64-bit numbers with random weights, are held against each
    other."""
    shape, values = examples.input_shape, math.prod(examples.input_shape)
    words = -(-values // 8)
    weights = np.random.Generator(np.random.Philox(key=0)).integers(0, 2**63, words, dtype=np.uint64) * 2 + 1
    per_part = max(1, _PART // values)
    sums, constant = [], 0
    for start in range(0, len(compared_N), per_part):
        images = np.take(examples.inputs, compared_N[start : start + per_part], axis=0)
        padded = np.zeros((len(images), words * 8), dtype=np.uint8)
        padded[:, :values] = images.reshape(-1, values)
        sums.append((padded.view(np.uint64) * weights).sum(axis=1, dtype=np.uint64))
        pixels = images.reshape(len(images), shape[0], -1)
        constant += int((pixels.max(axis=2) == pixels.min(axis=2)).all(axis=1).sum())
        yield Step(doing="copies", done=start + len(images), total=len(compared_N))
    by_content: dict[bytes, list[int]] = {}
    for group in equal_groups([one.tobytes() for one in np.concatenate(sums)]):
        for at in compared_N[group].tolist():
            by_content.setdefault(examples.inputs[at].tobytes(), []).append(at)
    groups = [group for group in by_content.values() if len(group) > 1]
    return Copies(compared_N=compared_N, groups=groups, constant=constant)


def _constant(copies: Copies) -> list[Finding]:
    if not copies.constant:
        return []
    share = copies.constant / len(copies.compared_N)
    return [
        Finding(
            rule="constant_images",
            severity="warning" if share > CONSTANT else "note",
            title="Some images are blank",
            seen=f"{copies.constant:,} of {len(copies.compared_N):,} images ({share:.2%}) are of one colour "
            "throughout.",
            why="They say nothing of their class.",
            cause="Files that were not written whole, or failed conversions.",
            cure="Leave them out; assay data check names them.",
        )
    ]


def _contradicting(copies: Copies, examples: Examples) -> list[Finding]:
    labels_N = np.asarray(examples.labels_N)
    torn = [group for group in copies.groups if len(set(labels_N[group].tolist())) > 1]
    if not torn:
        return []
    images = sum(map(len, torn))
    share = images / len(copies.compared_N)
    names = " and ".join(repr(examples.classes[label]) for label in np.unique(labels_N[torn[0]])[:2])
    return [
        Finding(
            rule="contradicting_labels",
            severity="warning" if share > CONTRADICTING else "note",
            title="Equal images have different labels",
            seen=f"{images:,} of {len(copies.compared_N):,} images ({share:.2%}) are equal to one of another class, "
            f"such as examples {', '.join(map(str, torn[0][:3]))}, of {names}.",
            why="At most one of the labels can be right, whatever the network says.",
            cause="Images that were collected twice, or labelled by different people.",
            cure="Look at them with assay data check, and keep one label for each image.",
        )
    ]


# --- images in two splits ---------------------------------------------------------------------------------------------


def _leaks(copies: Copies, split_of_N: NDArray[np.str_], data: PreparedData) -> list[Finding]:
    findings = []
    within = np.isin(split_of_N[copies.compared_N], ["val", "test"])
    for name in ("val", "test"):
        compared = int((split_of_N[copies.compared_N][within] == name).sum())
        leaked = [
            at for group in copies.groups if "train" in split_of_N[group] for at in group if split_of_N[at] == name
        ]
        if not leaked or not compared:
            continue
        share = len(leaked) / compared
        severity: Severity = "severe" if share >= LEAKED_FAR else "warning" if share >= LEAKED else "note"
        findings.append(_leak(name, len(leaked), compared, share, severity, leaked[:3]))
    return findings


def _leak(name: Split, leaked: int, compared: int, share: float, severity: Severity, such: list[int]) -> Finding:
    shown = {"val": "validation", "test": "test"}.get(name, name)
    return Finding(
        rule="split_leak",
        severity=severity,
        title=f"Some {shown} images are among the training images",
        seen=f"{leaked:,} of {compared:,} {shown} images ({share:.2%}) equal a training image, byte for byte: "
        f"examples {', '.join(map(str, such))}{', …' if leaked > len(such) else ''} of the source.",
        why=f"The network may know them by heart, so {shown} accuracy is too high.",
        cause="Images that are in the data more than once and were split at random, or a split whose parts overlap.",
        cure="Keep one copy of each image, or keep copies in one split; assay data check names them.",
    )


def _near_leaks(
    examples: Examples, copies: Copies, split_of_N: NDArray[np.str_], data: PreparedData, seed: int
) -> Generator[Step, None, list[Finding]]:
    """Images saved anew, brightened or moved: a sample, half of it from training, is compared with itself."""
    extra = {at for group in copies.groups for at in group[1:]}
    single_N = np.array([at for at in copies.compared_N.tolist() if at not in extra], dtype=np.int64)
    train_N = single_N[split_of_N[single_N] == "train"]
    held_N = single_N[split_of_N[single_N] != "train"]
    half = MOST_NEAR // 2
    train_N = train_N[sampled(len(train_N), MOST_NEAR - min(half, len(held_N)), seed, "near train")]
    held_N = held_N[sampled(len(held_N), half, seed, "near held out")]
    chosen_N = np.concatenate([train_N, held_N])
    thumbnails = []
    for at, position in enumerate(chosen_N):
        thumbnails.append(thumbnail(np.asarray(examples.inputs[position])))
        if at % 500 == 0:
            yield Step(doing="thumbnails", done=at, total=len(chosen_N))
    alike: set[int] = set()
    for part in near_pairs(np.stack(thumbnails), thresholds=NEAR, mirrored=False):
        for first, second in part.pairs_M2:
            if first < len(train_N) <= second:
                alike.add(int(second))
        yield Step(doing="near copies", done=part.done, total=1.0)
    trained = int((split_of_N == "train").sum())
    estimate = len(alike) / len(held_N) * trained / len(train_N)
    if estimate < NEAR_LEAKED or len(alike) < 3:
        return []
    such = chosen_N[sorted(alike)[:3]].tolist()
    return [
        Finding(
            rule="near_copies",
            severity="warning",
            title="Some held-out images are nearly equal to training images",
            seen=f"{len(alike):,} of {len(held_N):,} validation and test images nearly equal one of {len(train_N):,} "
            f"training images, such as examples {', '.join(map(str, such))} of the source; of all {trained:,} it would "
            f"be about {min(1.0, estimate):.1%}.",
            why="The network may know them by heart, so that accuracy is too high.",
            cause="Pictures taken or saved several times, frames of one film, or images of so little variety that some "
            "are alike by chance.",
            cure="Look at them with assay data check; keep what belongs together in one split.",
        )
    ]
