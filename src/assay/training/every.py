"""How often something is done while a run is under way: every so many steps or seconds, or never."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from assay.errors import InputError, shown

_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_TEXT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(s|min|h|steps?)")


@dataclass(frozen=True, kw_only=True)
class Every:
    """At most one of the two is set; neither means never."""

    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str, name: str = "checkpoint_every") -> Self:
        """Read ``30s``, ``5min``, ``2h``, ``500steps`` or ``never``.

        Raises:
            InputError: the text is none of these; the message calls it by ``name``.
        """
        if text == "never":
            return cls()
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if found is not None:
            number, unit = found.groups()
            if unit in _UNITS and float(number) > 0:
                return cls(seconds=float(number) * _UNITS[unit])
            if unit not in _UNITS and number.isdigit() and int(number) > 0:
                return cls(steps=int(number))
        raise InputError(
            f"{name} must be a time such as 30s, 5min or 2h, a number of steps such as 500steps, or never, got "
            f"{shown(text)}."
        )
