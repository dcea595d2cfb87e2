"""A folder of images, one folder per class.

Either ``train/<class>/…``, ``val/<class>/…`` (or ``valid``, ``validation``) and ``test/<class>/…``, or one tree
``<class>/…`` that is split by assay. A folder named as a split is one only if it holds folders, so a class may be
called ``train``. A class's images may lie in folders within its folder. Links are followed. Hidden files and those that
operating systems leave behind are ignored; any other file that is no image by its extension is remarked on.

Shape key: N files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import final

import numpy as np

from assay.data.images import EXTENSIONS
from assay.data.labelled_files import LabelledFiles, complete, counted, listed, named, printable, with_roles
from assay.data.places import find
from assay.data.sources.image_files import ImageFilesSource
from assay.errors import DataError
from assay.recipe.schema import FolderData
from assay.records import Split

_Row = tuple[str, str, Split | None]
"""Path, class, and split if there are any."""

_SPLIT_WORDS: dict[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_LEFT_BEHIND = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir"})


@final
class FolderSource(ImageFilesSource[FolderData]):
    """The data source ``folder``."""

    def files(self) -> LabelledFiles:
        """What is in the folder now.

        Raises:
            DataError: the folder is missing or not as it should be.
        """
        root = find(self._section.root, "Data source folder: root")
        if not root.is_dir():
            raise DataError(
                f"Data source folder: root must be a folder, got the file {root}. "
                "A table of images is read with data.source csv."
            )
        return _files(root, skip=self._section.on_bad == "skip")


def _files(root: Path, *, skip: bool) -> LabelledFiles:
    what = f"Data source folder: {root}"
    survey = _Survey(root)
    split_folders = _split_folders(survey, what)
    rows: list[_Row] = []
    stray: list[str] = []
    empty: list[str] = []
    for top, split in split_folders.items():
        class_names, beside = survey.entries(top)
        stray += survey.images_among(beside)
        for name in class_names:
            images = survey.images_below(_joined(top, name))
            rows += [(path, name, split) for path in images]
            if not images:
                empty.append(_joined(top, name))
    if "" not in split_folders:
        stray += _beside_splits(survey, split_folders)
    _check(survey, rows, stray, empty, what, skip=skip)
    return _labelled(survey, rows, empty, what)


def _split_folders(survey: _Survey, what: str) -> dict[str, Split | None]:
    """The folders that hold class folders, each with its split; ``""``, without one, is the root itself.

    Raises:
        DataError: two folders are the same split, or there are splits without class folders.
    """
    names, _ = survey.entries("")
    words = [name for name in names if name.lower() in _SPLIT_WORDS]
    folders = {name: _SPLIT_WORDS[name.lower()] for name in words if survey.entries(name)[0]}
    if not folders and words and len(words) == len(names):
        raise DataError(
            f"{what} has {named(words)}, but no folders of classes in {'it' if len(words) == 1 else 'them'}. "
            "Put each class's images into a folder of its own, such as train/cat."
        )
    for split in set(folders.values()):
        same = [name for name, meant in folders.items() if meant == split]
        if len(same) > 1:
            raise DataError(f"{what} must have one folder for the split {split}, got {named(same)}. Take one away.")
    return dict(folders) or {"": None}


def _beside_splits(survey: _Survey, split_folders: Collection[str]) -> list[str]:
    """Images that are in no split."""
    names, files = survey.entries("")
    stray = survey.images_among(files)
    for name in names:
        if name not in split_folders:
            stray += survey.images_below(name)
    return stray


def _check(
    survey: _Survey, rows: Sequence[_Row], stray: Sequence[str], empty: Sequence[str], what: str, *, skip: bool
) -> None:
    if survey.unreadable and not skip:
        entries = counted(len(survey.unreadable), "entry", "entries")
        raise DataError(
            f"{what} has {entries} that cannot be read:{listed(survey.reasons())}\n"
            "  Mend or remove them, or leave them out with data.on_bad: skip."
        )
    if not rows and not stray:
        others = (
            f" ({counted(len(survey.others), 'other file', 'other files')}, such as {printable(survey.others[0])})"
            if survey.others
            else ""
        )
        raise DataError(f"{what} has no images{others}. Each class's images belong into a folder of its own.")
    if stray:
        raise DataError(
            f"{what} has images outside the folders of classes:{listed([printable(path) for path in sorted(stray)])}\n"
            "  Each class's images belong into a folder of its own: <class>/ or train/<class>/. If train, val or test "
            "holds folders, it is a split, and every image must be in one of these."
        )
    if empty and not skip:
        raise DataError(
            f"{what} has class folders without images:{listed([printable(path) for path in empty])}\n"
            "  Add images or remove the folders, or leave such classes out with data.on_bad: skip."
        )


def _labelled(survey: _Survey, rows: Sequence[_Row], empty: Sequence[str], what: str) -> LabelledFiles:
    rows = sorted(rows)
    classes = sorted({name for _, name, _ in rows})
    label_of = {name: label for label, name in enumerate(classes)}
    remarks = []
    if survey.others:
        names = named([printable(path) for path in sorted(survey.others)])
        files_are = counted(len(survey.others), "file is no image and was", "files are no images and were")
        remarks.append(f"{files_are} left out: {names}.")
    if survey.loops:
        remarks.append(f"Links that lead back to a folder above them were not followed: {named(survey.loops)}.")
    files = complete(
        LabelledFiles(
            what=what,
            root=survey.root,
            paths_N=tuple(path for path, _, _ in rows),
            labels_N=np.array([label_of[name] for _, name, _ in rows], dtype=np.int64),
            classes=tuple(printable(name) for name in classes),
            splits_N=tuple(split for _, _, split in rows if split is not None),
            skipped=(*survey.reasons(), *(f"{printable(path)}: a class folder without images" for path in empty)),
            remarks=tuple(remarks),
        )
    )
    return with_roles(files)


# --- reading folders --------------------------------------------------------------------------------------------------


class _Survey:
    """Reads folders below a root, and gathers what is remarkable on the way. Paths are relative to the root.

    Attributes:
        others: files that are no images.
        loops: links to a folder that they are in.
        unreadable: reasons why entries cannot be read, by path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.others: list[str] = []
        self.loops: list[str] = []
        self.unreadable: dict[str, str] = {}

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of the folders, sorted, and paths of the files in a folder; hidden ones aside."""
        folders: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name.lower() in _LEFT_BEHIND:
                        continue
                    if _is(entry.is_dir):
                        folders.append(entry.name)
                    elif _is(entry.is_file) or not os.path.exists(entry.path):  # noqa: PTH110 - a link to nothing
                        files.append(_joined(folder, entry.name))
                    else:
                        self.unreadable[_joined(folder, entry.name)] = "this is neither a file nor a folder"
        except OSError as error:
            self.unreadable[folder or "."] = error.strerror or str(error)
        return sorted(folders), sorted(files)

    def reasons(self) -> list[str]:
        """A line for each unreadable entry."""
        return [f"{printable(path)}: {reason}" for path, reason in self.unreadable.items()]

    def images_among(self, files: Sequence[str]) -> list[str]:
        """Those that are images by their extension; the others are noted."""
        images = [path for path in files if os.path.splitext(path)[1].lower() in EXTENSIONS]  # noqa: PTH122 - many
        self.others += set(files).difference(images)
        return images

    def images_below(self, folder: str, above: frozenset[tuple[int, int]] = frozenset()) -> list[str]:
        """Paths of all images in a folder and its folders."""
        status = (self.root / folder).stat()
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            self.loops.append(printable(folder))
            return []
        folders, files = self.entries(folder)
        images = self.images_among(files)
        for name in folders:
            images += self.images_below(_joined(folder, name), above | {identity})
        return images


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link in a circle
        return False


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
