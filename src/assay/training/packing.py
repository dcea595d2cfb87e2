"""Values that objects carry from step to step, as JSON with the tensors in them put aside; and back.

Kept are numbers, text and bytes, tensors and arrays, random generators of Python, NumPy and torch, lists, tuples,
deques and dictionaries (counters, those with defaults) of such, and sets of numbers or text.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor

PLAIN = (bool, int, float, str, type(None))
"""What is JSON as it is."""

Packed = dict[str, dict[str, Any]]
"""Values in their tagged forms, by name."""

_DEEPEST = 8
"""Levels of lists in lists that are kept; one that holds itself has no end."""

_DICTIONARIES: dict[str, type[dict[Any, Any]]] = {
    kind.__name__: kind for kind in (dict, OrderedDict, defaultdict, Counter)
}

_BITS = {"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"}


def packed_attributes(owner: object, name: str, tensors: dict[str, Tensor], *, but: Set[str] = frozenset()) -> Packed:
    """Those attributes of an object that can be kept. ``name`` is the object's own among the tensors."""
    packer = Packer(name, tensors)
    packed = {key: packer.packed(key, value) for key, value in vars(owner).items() if key not in but}
    return {key: found for key, found in packed.items() if found is not None}


def restore_attributes(owner: object, packed: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Give an object of the same making the attributes that were kept."""
    live, unpacker = owner.__dict__, Unpacker(tensors)
    for key, value in packed.items():
        live[key] = unpacker.unpacked(value, live.get(key))


class Packer:
    """Turns values into JSON, and puts the tensors in them aside."""

    def __init__(self, name: str, tensors: dict[str, Tensor]) -> None:
        self._name = name
        self._tensors = tensors

    def packed(self, key: str, value: Any, depth: int = 0) -> dict[str, Any] | None:
        """A tagged form of the value; None if it is of a kind that is not kept."""
        kind = type(value)
        if kind in PLAIN:
            return {"plain": value}
        if kind in (bytes, bytearray):
            return {kind.__name__: value.hex()}
        if kind in (set, frozenset):
            return {kind.__name__: list(value)} if all(isinstance(part, PLAIN) for part in value) else None
        if kind in (list, tuple, deque, *_DICTIONARIES.values()):
            return None if depth == _DEEPEST else self._collection(key, value, depth + 1)
        if isinstance(value, Tensor):
            return {"tensor": self._put(key, value), "needs_gradient": value.requires_grad}
        if isinstance(value, np.ndarray | np.generic):
            return self._array(key, value)
        return self._generator(key, value)

    def _collection(self, key: str, value: Any, depth: int) -> dict[str, Any] | None:
        parts = list(value.values()) if isinstance(value, dict) else value
        packed = [self.packed(f"{key}.{place}", part, depth) for place, part in enumerate(parts)]
        names = [self.packed("", name, depth) for name in value] if isinstance(value, dict) else []
        if None in packed or any(name is None or "plain" not in name for name in names):
            return None
        found = {type(value).__name__: packed, "names": [name["plain"] for name in names if name]}
        return {**found, "longest": value.maxlen} if isinstance(value, deque) else found

    def _array(self, key: str, value: Any) -> dict[str, Any] | None:
        try:
            tensor = torch.from_numpy(np.array(value))  # a copy, for torch takes none that is read-only
        except TypeError:  # text, dates, objects
            return None
        return {"number" if isinstance(value, np.generic) else "array": self._put(key, tensor)}

    def _generator(self, key: str, value: Any) -> dict[str, Any] | None:
        if isinstance(value, torch.Generator):
            return {"torch generator": self._put(key, value.get_state()), "device": str(value.device)}
        if isinstance(value, random.Random):
            return {"python generator": value.getstate()}
        if isinstance(value, np.random.Generator):
            return {"numpy generator": bits_state(value.bit_generator)}
        if isinstance(value, np.random.RandomState):
            return {"numpy random state": listed(value.get_state(legacy=False))}
        return {"numpy bits": bits_state(value)} if isinstance(value, np.random.BitGenerator) else None

    def _put(self, key: str, tensor: Tensor) -> str:
        name = f"{self._name}:{key}"
        self._tensors[name] = tensor
        return name


def bits_state(bits: np.random.BitGenerator) -> dict[str, Any]:
    """The state of one of NumPy's bit generators as JSON, which it takes back."""
    state: dict[str, Any] = listed(bits.state)
    return state


def listed(value: Any) -> Any:
    """The same with arrays as lists, for JSON."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return {key: listed(part) for key, part in value.items()} if isinstance(value, dict) else value


class Unpacker:
    """Turns packed values back. What can change in place does so, for others may hold it too."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def unpacked(self, packed: Mapping[str, Any], live: Any) -> Any:
        """The value of a packed form, where ``live`` is what stands in its place now."""
        match packed:
            case {"plain": value}:
                return value
            case {"tensor": name, "needs_gradient": needed}:
                return poured(live, self._tensors[name], needs_gradient=needed)
            case {"array": name}:
                return self._tensors[name].numpy()
            case {"number": name}:
                return self._tensors[name].numpy()[()]
            case {"torch generator": name, "device": device}:
                generator = live if isinstance(live, torch.Generator) else torch.Generator(device)
                generator.set_state(self._tensors[name].cpu())
                return generator
            case {"python generator": [version, words, next_gauss]}:
                return _set_python_generator(live, (version, tuple(words), next_gauss))
            case {"numpy generator": state}:
                bits = _set_bits(live.bit_generator if isinstance(live, np.random.Generator) else None, state)
                return live if isinstance(live, np.random.Generator) else np.random.Generator(bits)
            case {"numpy bits": state}:
                return _set_bits(live, state)
            case {"numpy random state": state}:
                live.set_state(state)
                return live
            case {"list": parts}:
                values = self._all(parts, live if isinstance(live, list) else ())
                return _refilled(live, values) if type(live) is list else values
            case {"tuple": parts}:
                return tuple(self._all(parts, live if isinstance(live, tuple) else ()))
            case {"deque": parts, "longest": longest}:
                values = self._all(parts, live if isinstance(live, deque) else ())
                fits = isinstance(live, deque) and live.maxlen == longest
                return _refilled(live, values) if fits else deque(values, longest)
            case {"bytes": digits}:
                return bytes.fromhex(digits)
            case {"bytearray": digits}:
                return _refilled(live if type(live) is bytearray else bytearray(), bytes.fromhex(digits))
            case {"set": values}:
                return _refilled(live if type(live) is set else set(), values)
            case {"frozenset": values}:
                return frozenset(values)
            case {"names": names}:
                return self._dictionary(packed, names, live)
        raise ValueError(f"{list(packed)} is no kind of value that is kept")

    def _dictionary(self, packed: Mapping[str, Any], names: Sequence[Any], live: Any) -> Any:
        name, kind = next(found for found in _DICTIONARIES.items() if found[0] in packed)
        if type(live) is not kind and kind is defaultdict:
            raise ValueError("a dictionary with a default is to be there already, for the default is not kept")
        fresh = live if type(live) is kind else kind()
        values = self._all(packed[name], [dict.get(fresh, name) for name in names])
        return _refilled(fresh, dict(zip(names, values, strict=True)))

    def _all(self, parts: Sequence[Mapping[str, Any]], live: Sequence[Any]) -> list[Any]:
        beside = [*live, *([None] * len(parts))]
        return [self.unpacked(part, now) for part, now in zip(parts, beside, strict=False)]


def poured(live: Any, saved: Tensor, *, needs_gradient: bool = False) -> Tensor:
    """The live tensor with the saved values, or the saved one where they do not fit in."""
    if isinstance(live, Tensor) and (live.shape, live.dtype, live.device) == (saved.shape, saved.dtype, saved.device):
        with contextlib.suppress(RuntimeError), torch.no_grad():  # values of an expanded tensor share their memory
            return live.copy_(saved)
    return saved.requires_grad_(needs_gradient)


def _refilled(live: Any, values: Any) -> Any:
    live.clear()
    live.extend(values) if isinstance(live, list | deque | bytearray) else live.update(values)
    return live


def _set_python_generator(live: Any, state: tuple[Any, ...]) -> random.Random:
    generator = live if isinstance(live, random.Random) else random.Random()
    generator.setstate(state)
    return generator


def _set_bits(live: Any, state: Mapping[str, Any]) -> np.random.BitGenerator:
    name = state["bit_generator"]
    if name not in _BITS:
        raise ValueError(f"{name} is none of NumPy's generators")
    kind: type[np.random.BitGenerator] = getattr(np.random, name)
    bits = live if isinstance(live, kind) else kind()
    bits.state = dict(state)
    return bits
