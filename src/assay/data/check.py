"""What may be wrong with a data set: copies and near copies of images, contradicting labels, imbalance, odd sizes.

Shape key: N images, M pairs, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from assay.data.duplicates import clusters, equal_groups, near_pairs
from assay.data.load import load_source, source_of
from assay.data.sources.csv import CsvSource
from assay.data.sources.folder import FolderSource
from assay.data.survey import Step, Survey, look_at_examples, look_at_files
from assay.recipe.schema import CsvData, Data, FolderData

MOST_IMBALANCE = 10.0
"""Largest class over smallest, beyond which it is worth a word."""
ODD_ASPECT = 2.0
"""An image whose ratio of width to height is so many times the median one, or its inverse, loses half when cropped."""
_PAIRED_GROUP = 50
"""Copies of one image of which each is paired with each; of more, each with the first."""
MOST_NEAR_PAIRS = 2_000
"""Or a tenth of the images, if that is more. Where more pairs are nearly equal, as of handwritten ones, images are
alike because they are of one kind and not because they are copies; then the most alike are kept."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two images that are equal, or nearly so. ``first`` and ``second`` are positions in the survey."""

    first: int
    second: int
    similarity: float = 1.0
    mirrored: bool = False
    exact: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """Everything found out about a data set.

    Attributes:
        survey: its images.
        exact: pairs of equal images.
        near: pairs of nearly equal ones, most alike first.
        clusters: positions of images that equal one another, nearly and by way of others.
        odd_aspects: positions of images of unusual shape.
        near_above: similarity above which `near` holds every pair; 0 if it holds all that were found.
    """

    survey: Survey
    exact: tuple[Pair, ...]
    near: tuple[Pair, ...]
    clusters: tuple[tuple[int, ...], ...]
    odd_aspects: tuple[int, ...]
    near_above: float = 0.0

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return (*self.exact, *self.near)

    def across_splits(self, pair: Pair) -> bool:
        splits_N = self.survey.splits_N
        return splits_N[pair.first] != splits_N[pair.second]

    def conflicting(self, pair: Pair) -> bool:
        """Whether both images have different labels."""
        return bool(self.survey.labels_N[pair.first] != self.survey.labels_N[pair.second])

    def counts(self) -> dict[str, list[int]]:
        """Images of each class, by split."""
        survey = self.survey
        splits_N = np.array(survey.splits_N)
        return {
            split: np.bincount(survey.labels_N[splits_N == split], minlength=len(survey.classes)).tolist()
            for split in ("train", "val", "test")
            if (splits_N == split).any()
        }

    def imbalance(self) -> float:
        """Largest class over smallest, of all splits together; infinite where a class is empty."""
        count_K = np.sum(list(self.counts().values()), axis=0)
        return float("inf") if count_K.min() == 0 else float(count_K.max() / count_K.min())

    def absent(self) -> list[tuple[str, str]]:
        """Splits and the classes they lack."""
        return [
            (split, self.survey.classes[label])
            for split, counts in self.counts().items()
            for label, count in enumerate(counts)
            if not count
        ]

    def constant(self) -> list[int]:
        return np.flatnonzero(self.survey.constant_N).tolist()

    def sizes(self) -> list[tuple[tuple[int, int], int]]:
        """Heights and widths, the most frequent first."""
        return Counter((int(height), int(width)) for height, width in self.survey.sizes_N2).most_common()


def check(data: Data, *, mirrored: bool = True) -> Generator[Step, None, Findings]:
    """Look at every image of a data section and compare all with all.

    Images in files are read as they are, whatever ``data.size`` says; files that cannot be read are listed.

    Args:
        data: the data section.
        mirrored: also find near copies that are mirrored left and right.

    Returns:
        What was found, as the generator's value; it yields how far it is.

    Raises:
        InputError: the section names no usable data source, or one of points.
        DataError: the data set is missing, or there is no readable image in it.
    """
    if isinstance(data, FolderData | CsvData):
        source = source_of(data.model_copy(update={"on_bad": "skip"}))
        if not isinstance(source, FolderSource | CsvSource):
            raise TypeError(source)
        survey = yield from look_at_files(source.files(), data.source)
    else:
        survey = yield from look_at_examples(load_source(data), data.source)
    return (yield from findings_of(survey, mirrored=mirrored))


def findings_of(survey: Survey, *, mirrored: bool = True) -> Generator[Step, None, Findings]:
    """Compare the images of a survey."""
    groups = equal_groups(survey.digests_N)
    copies = {member for group in groups for member in group[1:]}
    single = np.array([at for at in range(len(survey.names_N)) if at not in copies], dtype=np.int64)
    group_of = {group[0]: group for group in groups}
    near: list[Pair] = []
    most = max(MOST_NEAR_PAIRS, len(survey.names_N) // 10)
    above = 0.0
    for part in near_pairs(survey.thumbnails_NTT[single], mirrored=mirrored):
        for (first, second), similarity, by_mirror in zip(
            single[part.pairs_M2].tolist(), part.similarity_M.tolist(), part.mirrored_M.tolist(), strict=True
        ):
            if similarity > above:
                pair = Pair(first=first, second=second, similarity=similarity, mirrored=by_mirror, exact=False)
                near += _with_copies(pair, group_of.get(first, [first]), group_of.get(second, [second]))
        if len(near) > most:
            above = sorted(pair.similarity for pair in near)[-most]
            near = [pair for pair in near if pair.similarity > above] or near[:most]
        yield Step(doing="comparisons", done=part.done, total=1.0)
    near.sort(key=lambda pair: (-pair.similarity, pair.first, pair.second))
    exact = [pair for group in groups for pair in _pairs_of_group(group)]
    return Findings(
        survey=survey,
        exact=tuple(exact),
        near=tuple(near),
        clusters=tuple(map(tuple, clusters([*groups, *((pair.first, pair.second) for pair in near)]))),
        odd_aspects=_odd_aspects(survey),
        near_above=above,
    )


def _with_copies(pair: Pair, firsts: Sequence[int], seconds: Sequence[int]) -> list[Pair]:
    """The pair with every copy of both; of very many copies, the pair alone."""
    if len(firsts) * len(seconds) > _PAIRED_GROUP:
        return [pair]
    return [replace(pair, first=min(a, b), second=max(a, b)) for a in firsts for b in seconds]


def _pairs_of_group(group: Sequence[int]) -> list[Pair]:
    if len(group) > _PAIRED_GROUP:
        return [Pair(first=group[0], second=other) for other in group[1:]]
    return [Pair(first=first, second=second) for at, first in enumerate(group) for second in group[at + 1 :]]


def _odd_aspects(survey: Survey) -> tuple[int, ...]:
    aspect_N = survey.sizes_N2[:, 1] / survey.sizes_N2[:, 0]
    relative_N = aspect_N / np.median(aspect_N)
    return tuple(np.flatnonzero((relative_N > ODD_ASPECT) | (relative_N < 1 / ODD_ASPECT)).tolist())


def to_json(findings: Findings) -> dict[str, Any]:
    """Findings as plain data, every pair included. The keys are a promise."""
    survey = findings.survey

    def image(position: int) -> dict[str, str]:
        return {
            "name": survey.names_N[position],
            "split": survey.splits_N[position],
            "class": survey.classes[int(survey.labels_N[position])],
        }

    def pairs(chosen: Sequence[Pair]) -> list[Mapping[str, Any]]:
        return [
            {
                "first": image(pair.first),
                "second": image(pair.second),
                "similarity": round(pair.similarity, 4),
                "mirrored": pair.mirrored,
                "across_splits": findings.across_splits(pair),
                "label_conflict": findings.conflicting(pair),
            }
            for pair in chosen
        ]

    imbalance = findings.imbalance()
    return {
        "source": survey.source,
        "images": len(survey.names_N),
        "classes": list(survey.classes),
        "counts": findings.counts(),
        "exact": pairs(findings.exact),
        "near": pairs(findings.near),
        "near_above": findings.near_above,
        "clusters": [[survey.names_N[member] for member in cluster] for cluster in findings.clusters],
        "imbalance": imbalance if np.isfinite(imbalance) else None,
        "absent": [{"split": split, "class": name} for split, name in findings.absent()],
        "sizes": [{"height": height, "width": width, "images": n} for (height, width), n in findings.sizes()],
        "odd_aspects": [survey.names_N[at] for at in findings.odd_aspects],
        "constant": [survey.names_N[at] for at in findings.constant()],
        "unreadable": [{"name": name, "reason": reason} for name, reason in survey.unreadable.items()],
        "remarks": list(survey.remarks),
    }
