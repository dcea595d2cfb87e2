"""Receptive fields of any module: every operation it calls is watched, and what its result sees is worked out.

torch hands each operation of a model, whatever its Python looks like, to a dispatch mode. A tensor there comes from the
image, or is a constant (weights, and what is computed of them alone), or unknown: the result of an operation that has
no rule, and whatever is computed of it. Only tensors without data (those of torch's device ``meta``) may be watched,
because data can leave torch unseen, and come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from assay.models.receptive_field import Sight, sight_of_image
from assay.models.receptive_field_rules import ALIKE, OF_SHAPE_ALONE, OVERWRITING, RULES, Call, pointwise


class Blind(Enum):
    """What has no windows."""

    CONSTANT = "constant"
    UNKNOWN = "unknown"


Seen = Sight | Blind


class SightTracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context in which operations are watched.

    Args:
        image: (B, C, H, W).
        constants: the model's parameters and buffers.
    """

    def __init__(self, image: Tensor, constants: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen = WeakTensorKeyDictionary()
        for tensor in constants:
            self._seen[tensor] = Blind.CONSTANT
        self._seen[image] = sight_of_image(tuple(image.shape))

    def sight(self, tensor: Tensor) -> Sight | None:
        """What the elements of a tensor see; None if that is nothing of the image, or unknown."""
        found = self._of(tensor)
        return found if isinstance(found, Sight) else None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        results = _flat(result, Tensor)
        schema = getattr(func, "_schema", None)
        if schema is None:  # an operation of higher order
            self._keep(results, [Blind.UNKNOWN] * len(results), written=[])
            return result
        given = {argument.name: argument.default_value for argument in schema.arguments if argument.has_default_value()}
        given |= dict(zip((argument.name for argument in schema.arguments), args, strict=False)) | kwargs
        written = [
            tensor
            for argument in schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
            for tensor in _flat(given.get(argument.name), Tensor)
        ]
        self._keep(results, self._judged(func, given, [tuple(tensor.shape) for tensor in results]), written=written)
        return result

    def _judged(self, func: Any, given: dict[str, Any], shapes: Sequence[tuple[int, ...]]) -> list[Seen]:
        """What the results of an operation see."""
        in_place = func._schema.is_mutable
        name = func.overloadpacket.__name__
        name = name.removesuffix("_") if in_place else name
        unread = {"out", "self"} if in_place and name in OVERWRITING else {"out"}
        seen = {key: self._replaced(value) for key, value in given.items() if key not in unread}
        inputs = _flat(list(seen.values()), (Sight, Blind))
        if name in OF_SHAPE_ALONE or all(found is Blind.CONSTANT for found in inputs):
            return [Blind.CONSTANT] * len(shapes)
        rule = pointwise if torch.Tag.pointwise in func.tags else RULES.get(name)
        if rule is None or Blind.UNKNOWN in inputs:
            return [Blind.UNKNOWN] * len(shapes)
        judged: list[Seen] = []
        for number, shape in enumerate(shapes):
            sight = rule(Call(given, seen, shape)) if number == 0 or name in ALIKE else None
            judged.append(Blind.UNKNOWN if sight is None or sight.shape != shape else sight)
        return judged

    def _of(self, tensor: Tensor) -> Seen:
        found: Seen = self._seen.get(tensor, Blind.UNKNOWN)  # type: ignore[no-untyped-call]
        return found

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._of(value)
        return [self._replaced(part) for part in value] if isinstance(value, (list, tuple)) else value

    def _keep(self, results: Sequence[Tensor], judged: Sequence[Seen], *, written: Sequence[Tensor]) -> None:
        for tensor, state in zip(results, judged, strict=True):
            if any(tensor is other for other in written):
                self._write(tensor, state)
            else:
                self._seen[tensor] = state
        for tensor in written:
            if not any(tensor is other for other in results):
                self._write(tensor, Blind.UNKNOWN)

    def _write(self, tensor: Tensor, state: Seen) -> None:
        """A tensor was changed in place, and with it whatever shares its memory."""
        if self._of(tensor) == state:
            return
        storage = tensor.untyped_storage()
        for other in list(self._seen.keys()):  # type: ignore[no-untyped-call]
            if other is not tensor and other.untyped_storage()._cdata == storage._cdata:
                self._seen[other] = Blind.UNKNOWN
        whole = tensor.numel() * tensor.element_size() == storage.nbytes()
        self._seen[tensor] = state if whole else Blind.UNKNOWN


def _flat(value: Any, kinds: Any) -> list[Any]:
    """All that is of these kinds in nested lists."""
    if isinstance(value, kinds):
        return [value]
    return [found for part in value for found in _flat(part, kinds)] if isinstance(value, (list, tuple)) else []
