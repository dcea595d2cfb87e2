"""What each of torch's operations makes of receptive fields: one rule for each, by its name in ATen.

Operations that torch itself calls pointwise need no entry. A rule gives None where the result has no such form
(`assay.models.receptive_field`): it is then unknown. Operations that are missing here, such as transposed convolutions
and interpolation, are unknown too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from assay.models.receptive_field import (
    Sight,
    blurred,
    broadcast,
    moved,
    permuted,
    reduced,
    regrouped,
    resized,
    spread,
    united,
)


@dataclass(frozen=True)
class Call:
    """One operation.

    Attributes:
        given: its arguments by name, defaults included.
        seen: the same, tensors replaced by what they see: a `Sight`, or something else for a constant.
        shape: of the result.
    """

    given: Mapping[str, Any]
    seen: Mapping[str, Any]
    shape: tuple[int, ...]

    def sights(self) -> list[Sight]:
        """Of all arguments that see anything."""
        parts = [part for value in self.seen.values() for part in (value if isinstance(value, list) else [value])]
        return [part for part in parts if isinstance(part, Sight)]

    def only(self, name: str = "self") -> Sight | None:
        """Of one argument, if no other sees anything."""
        found = self.seen.get(name)
        return found if isinstance(found, Sight) and len(self.sights()) == 1 else None


Rule = Callable[[Call], Sight | None]
_OfOne = Callable[[Sight, Call], Sight | None]


def pointwise(call: Call) -> Sight | None:
    """Each element of the result depends on the elements at its place, after broadcasting."""
    return united(call.sights(), call.shape)


def _of(rule: _OfOne, name: str = "self") -> Rule:
    """A rule for operations on one tensor, the others constant."""

    def of_one(call: Call) -> Sight | None:
        sight = call.only(name)
        return None if sight is None else rule(sight, call)

    return of_one


# --- other shapes ----------------------------------------------------------------------------------------------------


def _transposed(sight: Sight, call: Call) -> Sight:
    order = list(range(len(sight.factors)))
    one, other = call.given["dim0"], call.given["dim1"]
    order[one], order[other] = order[other], order[one]
    return permuted(sight, order)


def _cut(sight: Sight, dim: int, start: int, size: int, step: int = 1) -> Sight | None:
    if size == sight.shape[dim] and step == 1:
        return sight
    return moved(sight, dim, size, scale=step, low=start, high=start)


def _sliced(sight: Sight, call: Call) -> Sight | None:
    dim, start = call.given["dim"], call.given["start"] or 0
    side = sight.shape[dim]
    start = min(max(start + side if start < 0 else start, 0), side)
    return _cut(sight, dim, start, call.shape[dim], call.given["step"])


def _selected(sight: Sight, call: Call) -> Sight | None:
    dim, index = call.given["dim"], call.given["index"]
    cut = _cut(sight, dim, index + sight.shape[dim] if index < 0 else index, 1)
    return None if cut is None else reduced(cut, [dim], keep=False)


def _split(sight: Sight, call: Call) -> Sight | None:
    dim = call.given["dim"]
    return resized(sight, dim, call.shape[dim])


def _unbound(sight: Sight, call: Call) -> Sight | None:
    alike = resized(sight, call.given["dim"], 1)
    return None if alike is None else reduced(alike, [call.given["dim"]], keep=False)


def _joined(call: Call) -> Sight | None:
    dim = call.given["dim"]
    alike = [resized(sight, dim, call.shape[dim]) for sight in call.sights()]
    known = [sight for sight in alike if sight is not None]
    if len(known) < len(alike):  # parts of the image side by side
        known = [blurred(sight, dim, call.shape[dim]) for sight in call.sights()]
    return united(known, call.shape)


def _stacked(call: Call) -> Sight | None:
    dim = call.given["dim"] % len(call.shape)
    return united([_with_dimension(sight, dim) for sight in call.sights()], call.shape)


def _with_dimension(sight: Sight, dim: int) -> Sight:
    """With one more dimension, of size 1."""
    return Sight(sight.image, (*sight.factors[:dim], (), *sight.factors[dim:]), sight.windows)


def _padded(sight: Sight, call: Call) -> Sight | None:
    pads = call.given["pad" if "pad" in call.given else "padding"]
    found: Sight | None = sight
    for number in range(len(pads) // 2):
        dim, before = -1 - number, pads[2 * number]
        if found is not None and (before or pads[2 * number + 1]):
            size = call.shape[dim]
            found = resized(found, dim, size) or moved(found, dim, size, scale=1, low=-before, high=-before)
    return found


def _rolled(sight: Sight, call: Call) -> Sight | None:
    for dim in call.given["dims"]:
        sight = blurred(sight, dim, sight.shape[dim])
    return sight if call.given["dims"] else None


def _flipped(sight: Sight, call: Call) -> Sight | None:
    found: Sight | None = sight
    for dim in call.given["dims"]:
        if found is not None:
            last = found.shape[dim] - 1
            found = moved(found, dim, last + 1, scale=-1, low=last, high=last)
    return found


def _laid_out_anew(sight: Sight, call: Call) -> Sight | None:
    """``as_strided`` as pooling to one pixel calls it: of one long dimension, whose order stays."""
    sizes, strides = call.given["size"], call.given["stride"]
    long = [stride for size, stride in zip(sizes, strides, strict=True) if size > 1]
    return regrouped(sight, sizes) if long in ([], [1]) and not call.given["storage_offset"] else None


# --- windows ---------------------------------------------------------------------------------------------------------


def _convolved(sight: Sight, call: Call) -> Sight | None:
    given = call.given
    if given["transposed"]:
        return None
    mixed = reduced(sight, [1], keep=True) if given["groups"] == 1 else sight
    return _windowed(
        resized(mixed, 1, call.shape[1]),
        call.shape,
        kernel=given["weight"].shape[2:],
        stride=given["stride"],
        padding=given["padding"],
        dilation=given["dilation"],
    )


def _pooled(sight: Sight, call: Call, *, rank: int) -> Sight | None:
    given = call.given
    return _windowed(
        sight,
        call.shape,
        kernel=_each(given["kernel_size"], rank),
        stride=_each(given["stride"] or given["kernel_size"], rank),
        padding=_each(given["padding"], rank),
        dilation=_each(given.get("dilation", 1), rank),
    )


def _each(value: int | Sequence[int], rank: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def _windowed(
    sight: Sight | None,
    shape: tuple[int, ...],
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Sight | None:
    """Windows along the last dimensions."""
    for number, side in enumerate(kernel):
        dim = number - len(kernel)
        low = -_each(padding, len(kernel))[number]
        high = low + _each(dilation, len(kernel))[number] * (side - 1)
        if sight is not None:
            sight = moved(sight, dim, shape[dim], scale=_each(stride, len(kernel))[number], low=low, high=high)
    return sight


def _pooled_to_size(sight: Sight, call: Call) -> Sight | None:
    found: Sight | None = sight
    for number in range(len(call.given["output_size"])):
        dim = -1 - number
        before, after = sight.shape[dim], call.shape[dim]
        if found is not None and before % after == 0:
            window = before // after
            found = moved(found, dim, after, scale=window, low=0, high=window - 1)
        elif found is not None:
            ends = [(i * before // after, -((i + 1) * before // -after)) for i in range(after)]
            found = blurred(found, dim, after, wider=max(end - start for start, end in ends) - 1)
    return found


# --- everything along a dimension ------------------------------------------------------------------------------------


def _over_batch(sight: Sight, call: Call) -> Sight:
    return spread(sight, [dim for dim in range(len(sight.factors)) if dim != 1])


def _by_mode(sight: Sight, call: Call) -> Sight:
    return _over_batch(sight, call) if call.given["training"] else sight


def _reduced(sight: Sight, call: Call) -> Sight:
    dims = call.given.get("dim")
    if dims is None or dims == []:
        dims = list(range(len(sight.factors)))
    return reduced(sight, [dims] if isinstance(dims, int) else dims, keep=call.given.get("keepdim", False))


def _multiplied(call: Call) -> Sight | None:
    """A matrix product (…, N, K)·(…, K, M), perhaps added to something."""
    left, right = next(names for names in _MATRICES if names[0] in call.given)
    found = []
    for name, contracted in ((left, -1), (right, -2)):
        sight = call.seen[name]
        if isinstance(sight, Sight):
            found.append(reduced(sight, [contracted], keep=True))
    added = call.seen["self"]
    if left != "self" and isinstance(added, Sight):
        found.append(added)
    return united(found, call.shape)


_MATRICES = (("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2"))

_same: Rule = _of(lambda sight, call: sight)
_in_shape: Rule = _of(lambda sight, call: regrouped(sight, call.shape))
_over_groups: Rule = _of(lambda sight, call: spread(sight, range(1, len(sight.factors))), "input")
_over_layer: Rule = _of(
    lambda sight, call: spread(sight, range(-len(call.given["normalized_shape"]), 0)),
    "input",
)
_along: Rule = _of(lambda sight, call: spread(sight, [call.given["dim"]]))

_REDUCTIONS = (
    *("mean", "sum", "prod", "amax", "amin", "max", "min", "argmax", "argmin"),
    *("var", "std", "var_mean", "logsumexp", "linalg_vector_norm", "all", "any"),
)

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("alias", "contiguous", "detach", "lift_fresh", "_to_copy"), _same),
    **dict.fromkeys(("bernoulli", "hardswish", "rsub", "log_sigmoid_forward"), pointwise),
    "copy": _of(lambda sight, call: broadcast(sight, call.shape), "src"),
    **dict.fromkeys(("view", "_unsafe_view", "_reshape_copy", "reshape", "unsqueeze", "squeeze"), _in_shape),
    "as_strided": _of(_laid_out_anew),
    "expand": _of(lambda sight, call: broadcast(sight, call.shape)),
    "permute": _of(lambda sight, call: permuted(sight, call.given["dims"])),
    "transpose": _of(_transposed),
    "t": _of(lambda sight, call: permuted(sight, range(len(sight.factors))[::-1])),
    "slice": _of(_sliced),
    "select": _of(_selected),
    **dict.fromkeys(("split", "split_with_sizes"), _of(_split)),
    "unbind": _of(_unbound),
    "cat": _joined,
    "stack": _stacked,
    **dict.fromkeys(
        ("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"),
        _of(_padded),
    ),
    "roll": _of(_rolled),
    "flip": _of(_flipped),
    "convolution": _of(_convolved, "input"),
    **dict.fromkeys(("avg_pool2d", "max_pool2d_with_indices"), _of(partial(_pooled, rank=2))),
    **dict.fromkeys(("avg_pool3d", "max_pool3d_with_indices"), _of(partial(_pooled, rank=3))),
    **dict.fromkeys(
        ("_adaptive_avg_pool2d", "adaptive_max_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool3d"),
        _of(_pooled_to_size),
    ),
    **dict.fromkeys(("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit"), _of(_by_mode, "input")),
    "_batch_norm_with_update": _of(_over_batch, "input"),
    **dict.fromkeys(
        ("native_dropout", "_native_batch_norm_legit_no_training", "_batch_norm_no_update"),
        _of(lambda sight, call: sight, "input"),
    ),
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm"), _over_layer),
    "native_group_norm": _over_groups,
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax"), _along),
    **dict.fromkeys(_REDUCTIONS, _of(_reduced)),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm"), _multiplied),
}

ALIKE = frozenset({"split", "split_with_sizes", "unbind", "var_mean", "max", "min"})
"""Operations all of whose results see alike."""

OF_SHAPE_ALONE = frozenset(
    {
        *(f"{what}_like" for what in ("zeros", "ones", "empty", "full", "rand", "randn", "randint")),
        *(f"new_{what}" for what in ("zeros", "ones", "empty", "full", "empty_strided")),
    }
)
"""They ask a tensor for its shape and nothing else."""

OVERWRITING = frozenset({"copy", "fill", "zero", "normal", "uniform", "bernoulli", "random", "exponential"})
"""In place they do not regard what was there."""
