"""JSON files that a run keeps and others read: validated as they come, since stores are copied and merged."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from assay.errors import StoreError

Count = Annotated[int, Field(ge=0, le=2**53)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]

T = TypeVar("T")


def read_json(adapter: TypeAdapter[T], content: bytes, *, most_bytes: int | None = None) -> T:
    """What a file of that type holds.

    Raises:
        StoreError: the file is damaged, or larger than ``most_bytes``; the message begins with a verb, for the caller
            to name the file.
    """
    if most_bytes is not None and len(content) > most_bytes:
        raise StoreError(f"has {len(content):,} bytes, and no such file has more than {most_bytes:,}.")
    try:
        return adapter.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise StoreError(f"is damaged{f' at {place}' if place else ''}: {first['msg']}.") from None
