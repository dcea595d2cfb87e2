"""Pictures that runs kept, as a page can hold them. They are read with distrust, as stores are copied and merged."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass

MOST_PICTURE_BYTES = 200_000
"""A page must stay small enough to be sent by mail."""
MOST_PIXELS = 5_000
"""Along a side: a small file can unpack to a picture that no browser has room for."""

_PNG = struct.Struct(">8sI4sII")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\0\0\0\0IEND\xaeB`\x82"


@dataclass(frozen=True, kw_only=True)
class Picture:
    uri: str
    """``data:image/png;base64,…``"""
    width: int
    height: int


def picture_of(content: bytes, *, most_bytes: int = MOST_PICTURE_BYTES) -> Picture | None:
    """A PNG that is small enough to show, by its first and last chunk; None for anything else."""
    if not _PNG.size <= len(content) <= most_bytes or not content.endswith(_END):
        return None
    signature, _, kind, width, height = _PNG.unpack_from(content)
    if signature != _SIGNATURE or kind != b"IHDR" or not (0 < width <= MOST_PIXELS and 0 < height <= MOST_PIXELS):
        return None
    return Picture(uri="data:image/png;base64," + base64.b64encode(content).decode(), width=width, height=height)
