"""From the data section of a recipe to its examples, and to a fingerprint of them.

Importing this module, and asking for a fingerprint, loads neither torch nor scikit-learn: studies whose runs are all in
the store ask for nothing else.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, final

from assay.data.source import DataSource, Examples, checked
from assay.errors import DataError, InvalidValueError, shown
from assay.recipe.schema import (
    Cifar10Data,
    Cifar100Data,
    CirclesData,
    CsvData,
    Data,
    DigitsData,
    FashionMnistData,
    FolderData,
    MnistData,
    UserData,
)
from assay.recipe.user_code import resolve_class

if TYPE_CHECKING:
    from assay.data.image_cache import Progress

_SPLITTING = frozenset({"validation", "fraction", "normalize", "whitening_epsilon"})
"""Keys of every data section that say what becomes of the examples, and not which they are."""

_last: tuple[str, Examples] | None = None
"""What was loaded last, and its key: a worker trains many runs on the same data. Only one, to bound memory."""


def source_of(data: Data) -> DataSource:
    """What a data section names. The module of a source is imported when it is asked for.

    Raises:
        InvalidValueError: ``data.source`` names no data source, or ``data.options`` do not fit it.
    """
    match data:
        case DigitsData():
            from assay.data.sources.digits import DigitsSource

            return DigitsSource()
        case CirclesData():
            from assay.data.sources.circles import CirclesSource

            return CirclesSource(data)
        case Cifar10Data() | Cifar100Data():
            from assay.data.sources.cifar import CifarSource

            return CifarSource(data)
        case MnistData() | FashionMnistData():
            from assay.data.sources.idx import IdxSource

            return IdxSource(data)
        case FolderData():
            from assay.data.sources.folder import FolderSource

            return FolderSource(data)
        case CsvData():
            from assay.data.sources.csv import CsvSource

            return CsvSource(data)
        case UserData():
            return _UserSource(data)


def source_fingerprint(data: Data) -> str:
    """What identifies the examples a data section gives: 64 hexadecimal digits. How they are split is not part of it.

    For a class of the user's own this constructs it and asks it; the class's code is not part of it.

    Raises:
        InvalidValueError: ``data.source`` names no data source, or ``data.options`` do not fit it.
        DataError: the data set is missing, or the class gives no text as its fingerprint.
    """
    return source_of(data).fingerprint()


def read_ahead(data: Data) -> Iterator[Progress]:
    """Decode what the first run would have to wait for, telling how far it is; nothing is told if nothing is missing.

    Raises:
        DataError: the files cannot be found, decoded or kept; see `assay.data.image_cache`.
    """
    match data:
        case FolderData():
            from assay.data.sources.folder import FolderSource

            yield from FolderSource(data).prepare()
        case CsvData():
            from assay.data.sources.csv import CsvSource

            yield from CsvSource(data).prepare()
        case _:
            return


def origin(data: Data) -> str:
    """Equal for data sections that name the same examples, however they split and normalise them."""
    return data.model_dump_json(exclude=set(_SPLITTING))


def load_source(data: Data) -> Examples:
    """The examples of a data section, checked; their arrays cannot be written to.

    As long as the section and its fingerprint stay, they are read once per process. A class of the user's own is asked
    each time, for its fingerprint may say less than it should.

    Raises:
        InvalidValueError: ``data.source`` names no data source, or ``data.options`` do not fit it.
        DataError: the data set is missing or what the source gives is unfit; see `assay.data.source.Examples`.
    """
    global _last
    source = source_of(data)
    fingerprint = source.fingerprint()
    if isinstance(data, UserData):
        return _identified(checked(source.load(), data.source), fingerprint)
    key = origin(data) + fingerprint
    last = _last
    if last is not None and last[0] == key:
        return last[1]
    _last = last = None  # two large data sets at once may not fit in memory
    examples = _identified(_read_only(checked(source.load(), data.source)), fingerprint)
    _last = (key, examples)
    return examples


def forget_source() -> None:
    """Let go of the examples that were read last, in a process that leaves training on them to others."""
    global _last
    _last = None


def _identified(examples: Examples, fingerprint: str) -> Examples:
    return examples if examples.identity else replace(examples, identity=fingerprint)


def _read_only(examples: Examples) -> Examples:
    """The same examples behind views that cannot be written to, so that no run can change them for the next."""
    names = ("inputs", "labels_N", "test_indices", "val_indices")
    views = {name: array.view() for name in names if (array := getattr(examples, name)) is not None}
    for view in views.values():
        view.flags.writeable = False
    return replace(examples, **views)


@final
class _UserSource:
    """A class of the user's own, constructed from its options."""

    def __init__(self, data: UserData) -> None:
        self._data = data
        self._source = _constructed(data)

    def load(self) -> Examples:
        return self._source.load()

    def fingerprint(self) -> str:
        data, own = self._data, self._source.fingerprint()
        if not isinstance(own, str) or not own:
            raise DataError(f"Data source {data.source}: fingerprint() must return a non-empty text, got {shown(own)}.")
        text = json.dumps([data.source, data.options, own], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _constructed(data: UserData) -> DataSource:
    source_class = resolve_class(data.source)
    missing = [name for name in ("load", "fingerprint") if not callable(getattr(source_class, name, None))]
    if missing:
        raise InvalidValueError(
            ("data", "source"),
            f"must name a data source: a class with the methods load() and fingerprint(), got {data.source} "
            f"without {' and '.join(missing)}.",
            "See assay.data.source.DataSource.",
        )
    try:
        inspect.signature(source_class).bind(**data.options)
    except TypeError as error:
        raise InvalidValueError(
            ("data", "options"),
            f"must be keyword arguments of {data.source}, got {shown(data.options)} ({error}).",
        ) from error
    source: DataSource = source_class(**data.options)
    return source
