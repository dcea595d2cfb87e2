"""From the data section of a recipe to its examples, and to a fingerprint of them.

Importing this module, and asking for a fingerprint, loads neither torch nor scikit-learn: studies whose runs are all in
the store ask for nothing else.
"""

from __future__ import annotations

import hashlib
import inspect
import json

from assay.data.source import DataSource, Examples, checked
from assay.data.sources import circles, digits
from assay.errors import DataError, InvalidValueError, shown
from assay.recipe.schema import CirclesData, Data, DigitsData, UserData
from assay.recipe.user_code import resolve_class


def source_fingerprint(data: Data) -> str:
    """What identifies the examples a data section gives: 64 hexadecimal digits. How they are split is not part of it.

    For a class of the user's own this constructs it and asks it; the class's code is not part of it.

    Raises:
        InvalidValueError: ``data.source`` names no data source, or ``data.options`` do not fit it.
        DataError: the data set is missing, or the class gives no text as its fingerprint.
    """
    if isinstance(data, DigitsData):
        return digits.fingerprint()
    if isinstance(data, CirclesData):
        return circles.fingerprint(data)
    if not isinstance(data, UserData):
        raise NotImplementedError(data.source)
    own = _user_source(data).fingerprint()
    if not isinstance(own, str) or not own:
        raise DataError(f"Data source {data.source}: fingerprint() must return a non-empty text, got {shown(own)}.")
    text = json.dumps([data.source, data.options, own], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load_source(data: Data) -> Examples:
    """The examples of a data section, checked.

    Raises:
        InvalidValueError: ``data.source`` names no data source, or ``data.options`` do not fit it.
        DataError: the data set is missing or what the source gives is unfit; see `assay.data.source.Examples`.
    """
    if isinstance(data, DigitsData):
        return checked(digits.load(), data.source)
    if isinstance(data, CirclesData):
        return checked(circles.load(data), data.source)
    if not isinstance(data, UserData):
        raise NotImplementedError(data.source)
    return checked(_user_source(data).load(), data.source)


def _user_source(data: UserData) -> DataSource:
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
