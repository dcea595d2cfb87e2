"""What the sources of official files share: finding them, telling which content they have, and reporting damage."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assay.data.places import DATA_VARIABLE, data_folders, digests, expanded, is_file
from assay.data.releases import Release, ReleaseFile
from assay.errors import DataError

_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class FoundFiles:
    """Where a release lies.

    Attributes:
        folder: the folder.
        names: the name that each file has there, by its official name.
    """

    release: Release
    folder: Path
    names: Mapping[str, str]

    def path(self, official_name: str) -> Path:
        return self.folder / self.names[official_name]

    def contents(self) -> dict[str, str]:
        """What identifies each file's content, by its official name: ``official``, or its SHA-256.

        Raises:
            DataError: a file cannot be read.
        """
        found = digests(self.folder, list(self.names.values()))
        unreadable = [name for name, digest in zip(self.names.values(), found, strict=True) if not digest]
        if unreadable:
            raise DataError(
                f"Data source {self.release.name}: {', '.join(unreadable)} in {self.folder} cannot be read. "
                "Check who may read them."
            )
        return {
            file.name: "official" if digest in file.sha256 else digest
            for file, digest in zip(self.release.files, found, strict=True)
        }

    def fingerprint(self, *further: object) -> str:
        """SHA-256 of the contents, and of what else decides what is read from them. Places and names have no part."""
        return hashlib.sha256(repr((self.release.name, sorted(self.contents().items()), further)).encode()).hexdigest()

    def remarks(self) -> tuple[str, ...]:
        """A sentence about files that are not the official ones."""
        changed = [self.names[name] for name, content in self.contents().items() if content != "official"]
        if not changed:
            return ()
        differ = "differs" if len(changed) == 1 else "differ"
        return (f"Not the official release of {self.release.title}: {', '.join(changed)} {differ} from it.",)


def find_release(release: Release, root: str) -> FoundFiles | None:
    """The first folder that holds every file of a release, or None; see `locate`."""
    return next((found for folder in _candidates(release, root) if (found := whole_release(release, folder))), None)


def locate(release: Release, root: str) -> FoundFiles:
    """Find the files of a release.

    Args:
        release: which.
        root: ``data.root``: an absolute folder, or one to be looked for in the data folders and then the current
            folder. If it is the release's own, other names that are common for it are accepted too.

    Raises:
        DataError: there is no folder that holds all of them; the message says what to put where.
    """
    found = find_release(release, root)
    if found is not None:
        return found
    needed = [file.name for file in release.files]
    fetch = f"run: assay data fetch {release.name}"
    get = fetch.capitalize() if root == release.folder else f"Leave data.root out, and {fetch}"
    for folder in _candidates(release, root):
        missing = [file.name for file in release.files if not _name_in(folder, file)]
        if len(missing) < len(needed):
            raise DataError(
                f"Data source {release.name}: {len(missing)} of the {len(needed)} files of {release.title} are missing "
                f"in {folder}:\n  {', '.join(missing)}\n  Put them there. Or {get[0].lower()}{get[1:]}"
            )
    own = expanded(root, "data.root")
    places = [own.parent] if own.is_absolute() else list(dict.fromkeys([*data_folders(), Path.cwd()]))
    raise DataError(
        f"Data source {release.name}: {release.title} was not found. Looked for {own.name} in:\n"
        + "".join(f"  {place}\n" for place in places)
        + f"  {get}\n"
        f"  Or put {', '.join(needed)} into {places[0] / own}"
        + ("." if own.is_absolute() else f", or name the folder that {root} is in by --data-dir or ${DATA_VARIABLE}.")
    )


def _candidates(release: Release, root: str) -> list[Path]:
    """Folders the files may be in, likeliest first."""
    own = expanded(root, "data.root")
    names = (root, *release.other_folders) if root == release.folder else (root, f"{root}/{release.folder}")
    if own.is_absolute():
        return [own, own / release.folder]
    folders = []
    for folder in (*data_folders(), Path.cwd()):
        folders += [folder / name for name in names]
        if folder.name in names:  # the folder of the files itself was named as the place for data
            folders.append(folder)
    return folders


def whole_release(release: Release, folder: Path) -> FoundFiles | None:
    """The release in this very folder, if all its files are there."""
    names = {file.name: _name_in(folder, file) for file in release.files}
    here = {official: name for official, name in names.items() if name is not None}
    return FoundFiles(release=release, folder=folder, names=here) if len(here) == len(names) else None


def _name_in(folder: Path, file: ReleaseFile) -> str | None:
    return next((name for name in (file.name, *file.others) if is_file(folder / name)), None)


# --- damage -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Something that cannot be read.

    Attributes:
        text: the file, the record, the rule and what was found.
        skippable: whether it concerns single examples, which may be left out; or else the whole file.
    """

    text: str
    skippable: bool = True


def skipped(damages: Sequence[Damage], found: FoundFiles, on_bad: Literal["error", "skip"]) -> tuple[str, ...]:
    """The texts of what is left out, for `assay.data.source.Examples.skipped`.

    Raises:
        DataError: there is damage, and it may not or cannot be skipped; the first ten are listed.
    """
    fatal = [damage for damage in damages if not damage.skippable]
    if on_bad == "skip" and not fatal:
        return tuple(damage.text for damage in damages)
    listed = fatal or damages
    if not listed:
        return ()
    more = f"  … and {len(listed) - _LISTED:,} more\n" if len(listed) > _LISTED else ""
    skip = "" if fatal else ", or set data.on_bad to skip, which leaves them out and notes which"
    raise DataError(
        f"Data source {found.release.name}: {found.folder} is damaged in {len(listed):,} "
        f"{'place' if len(listed) == 1 else 'places'}:\n"
        + "".join(f"  {damage.text}\n" for damage in listed[:_LISTED])
        + f"{more}  Move that folder away and run: assay data fetch {found.release.name}{skip}."
    )
