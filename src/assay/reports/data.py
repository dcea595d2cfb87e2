"""What the report says of the data: facts of each arm's examples, and what augmentation made of them.

Of each arm one run is looked at, as all have the same data, and one picture is read for each augmentation.
"""

from __future__ import annotations

import json
from typing import Any

from assay.recipe.schema import AUGMENTATIONS
from assay.records import RunRecord
from assay.reports.evidence import ArmEvidence, Evidence
from assay.reports.page import AugmentedSheet, ClassCount, DataEntry, DataSection, Setting, SplitSize
from assay.reports.pictures import picture_of
from assay.reports.words import value_text

AUGMENTED = "augmented.png"
"""The artefact a run keeps of its augmentation."""

MOST_ENTRIES = 12
MOST_SHEETS = 12
MOST_CLASSES = 100
MOST_LINES = 10

_HOW = {
    "crop_fill": "crop_padding",
    "resized_crop_ratio": "resized_crop_area",
    "erasing_area": "erasing",
    "erasing_ratio": "erasing",
}
"""Keys that say how, and those that switch what they belong to on; those of RandAugment are in the recipe below."""

_SPLITS = ("train", "val", "test")


def data_section(evidence: Evidence) -> DataSection:
    """Facts of the data, arms with the same ones together; empty for runs that did not keep any.

    Raises:
        StoreError: a stored picture cannot be read.
    """
    arms = [arm for arm in evidence.arms if arm.runs and arm.runs[0].record.data]
    groups: dict[str, list[ArmEvidence]] = {}
    for arm in arms:
        record = arm.runs[0].record
        groups.setdefault(_key([_name_of(record), record.data, record.classes]), []).append(arm)
    entries = [_entry(of[0].runs[0].record, tuple(arm.name for arm in of)) for of in groups.values()]
    sheets, more_sheets = _sheets(evidence, arms)
    remarks = []
    if len(entries) > MOST_ENTRIES:
        remarks.append(f"The first {MOST_ENTRIES} of {len(entries)} different data sets are shown.")
    if more_sheets:
        remarks.append(f"The first {MOST_SHEETS} augmentations are pictured; {more_sheets} more are not.")
    return DataSection(entries=tuple(entries[:MOST_ENTRIES]), sheets=sheets, remarks=tuple(remarks))


def _entry(record: RunRecord, arms: tuple[str, ...]) -> DataEntry:
    data = record.data
    counts = {split: data["counts"][split] for split in _SPLITS if split in data.get("counts", {})}
    skipped, remarks = list(data.get("skipped", ())), list(data.get("remarks", ()))
    classes = [
        ClassCount(name=name, counts=tuple(int(of[label]) for of in counts.values()))
        for label, name in enumerate(record.classes[:MOST_CLASSES])
        if all(label < len(of) for of in counts.values())
    ]
    return DataEntry(
        arms=arms,
        source=_name_of(record),
        shape=_shape(data.get("shape", ())),
        splits=tuple(_split_size(split, of) for split, of in counts.items()),
        classes=tuple(classes) if counts else (),
        classes_in_all=len(record.classes),
        skipped=tuple(map(str, skipped[:MOST_LINES])),
        skipped_in_all=len(skipped),
        remarks=tuple(map(str, remarks[:MOST_LINES])),
    )


def _split_size(split: str, counts: list[int]) -> SplitSize:
    return SplitSize(split=split, examples=sum(counts), fewest=min(counts, default=0), most=max(counts, default=0))


def _shape(shape: Any) -> str:
    """``3 × 32 × 32``, said in words."""
    if len(shape) == 3:
        channels, height, width = shape
        colour = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
        return f"{colour} images of {height} × {width}"
    return f"points of {shape[0]} features" if len(shape) == 1 else ""


def _sheets(evidence: Evidence, arms: list[ArmEvidence]) -> tuple[tuple[AugmentedSheet, ...], int]:
    """A picture of each distinct augmentation of the same data, and how many were left out."""
    groups: dict[str, list[ArmEvidence]] = {}
    for arm in arms:
        recipe = arm.runs[0].record.recipe
        identity = [recipe.get("augment"), recipe.get("data"), arm.runs[0].seed]
        groups.setdefault(_key(identity), []).append(arm)
    sheets: list[AugmentedSheet] = []
    left_out = 0
    for of in groups.values():
        settings = _switched_on(of[0].runs[0].record)
        if not settings:
            continue
        if len(sheets) == MOST_SHEETS:
            left_out += 1
            continue
        run = of[0].runs[0]
        content = evidence.results.runs[of[0].name][run.seed].artefact(AUGMENTED)
        picture = None if content is None else picture_of(content)
        if picture is None:
            continue
        sheets.append(
            AugmentedSheet(
                arms=tuple(arm.name for arm in of),
                settings=settings,
                seed=run.seed,
                picture=picture,
            )
        )
    return tuple(sheets), left_out


def _switched_on(record: RunRecord) -> tuple[Setting, ...]:
    """The keys of the augment section that have another value than that which changes nothing."""
    augment = record.recipe.get("augment") or {}
    used = {name for name in AUGMENTATIONS if augment.get(name) not in (0, None, False, "none")}
    return tuple(
        Setting(key=name, value=value_text(value))
        for name, value in augment.items()
        if name in used or (name in _HOW and _HOW[name] in used)
    )


def _name_of(record: RunRecord) -> str:
    """The source; of a folder or a table its own name too."""
    section = record.recipe.get("data", {})
    source = str(record.data.get("source", ""))
    place = section.get({"folder": "root", "csv": "file"}.get(source, ""), "")
    name = str(place).replace("\\", "/").rstrip("/").rpartition("/")[2]
    return f"{source} {name}" if name else source


def _key(facts: Any) -> str:
    return json.dumps(facts, sort_keys=True, default=str)
