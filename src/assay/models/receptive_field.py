"""What the elements of a tensor see of an image: receptive fields, and how each operation changes them.

Along one axis of the image, the element at index i of a layer's output depends on the places

    first + step·i, …, last + step·i

of the input. ``last − first + 1`` is its receptive field and ``step`` its stride (Araujo et al. 2019, "Computing
receptive fields of convolutional neural networks", doi:10.23915/distill.00021). Branches that meet are seen by the hull
of their windows, so the largest counts. These are the theoretical ones: places that padding adds count as if the image
went on, and neither is cut off at its edges.

A tensor's dimensions need not be rows and columns: a flattened map has both in one, channel-last layouts elsewhere,
windows of attention cut them in two. So each dimension is a product of factors, and each factor has a step for each
window. What cannot be said in this form is None: an operation never guesses.

Shape key: B examples, C channels, H height, W width of the image.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Reach = int | Literal["whole"] | None
"""A receptive field along one axis: places, the whole image, or unknown."""

Step = int | None
"""By how many places a window moves per index; None: it moves in some other way."""

Column = tuple[int, tuple[Step, ...]]
"""A factor's size, and its step for each window."""


@dataclass(frozen=True)
class Window:
    """The places ``first`` to ``last`` that the first element sees along one axis, and a step for each factor.

    If a step is None, ``first`` and ``last`` are those that all elements along that factor see together, and ``width``,
    unless it is None, is how many the one that sees most sees.
    """

    axis: int
    first: int
    last: int
    steps: tuple[Step, ...]
    width: int | None

    def over(self, sizes: Sequence[int], positions: Collection[int]) -> Window:
        """What all elements along these factors see together; their steps become 0."""
        first, last, width = self.first, self.last, self.width
        steps = list(self.steps)
        for position in positions:
            step = steps[position]
            if step is not None:
                moved = step * (sizes[position] - 1)
                first, last = first + min(0, moved), last + max(0, moved)
                width = None if width is None else width + abs(moved)
            steps[position] = 0
        if None in self.steps:
            if None not in steps:
                width = last - first + 1
            elif any(self.steps[position] is None for position in positions):
                width = None
        return Window(self.axis, first, last, tuple(steps), width)


@dataclass(frozen=True)
class Sight:
    """What the elements of a tensor see of an image.

    Attributes:
        image: (H, W) of the image.
        factors: sizes that multiply to each dimension of the tensor, the outermost first.
        windows: of rows (axis 0) and columns (axis 1); several of one axis are seen all of them.
    """

    image: tuple[int, int]
    factors: tuple[tuple[int, ...], ...]
    windows: tuple[Window, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(math.prod(sizes) for sizes in self.factors)

    @property
    def sizes(self) -> tuple[int, ...]:
        """All factors in order."""
        return tuple(size for sizes in self.factors for size in sizes)

    def positions(self, dims: Iterable[int]) -> list[int]:
        """Places among all factors of those of some dimensions."""
        starts = [0]
        for sizes in self.factors:
            starts.append(starts[-1] + len(sizes))
        wanted = [dim % len(self.factors) for dim in dims]
        return [position for dim in wanted for position in range(starts[dim], starts[dim + 1])]

    def columns(self, dim: int) -> list[Column]:
        """The factors of one dimension."""
        sizes = self.sizes
        return [(sizes[at], tuple(window.steps[at] for window in self.windows)) for at in self.positions([dim])]


def sight_of_image(shape: tuple[int, ...]) -> Sight:
    """Each pixel of an image (B, C, H, W) sees itself."""
    batch, channels, height, width = shape
    windows = (Window(0, 0, 0, (0, 0, 1, 0), 1), Window(1, 0, 0, (0, 0, 0, 1), 1))
    return Sight((height, width), ((batch,), (channels,), (height,), (width,)), windows)


def reach(sight: Sight, axis: int) -> tuple[Reach, int | None]:
    """The receptive field and the stride along an axis: 0 for rows, 1 for columns.

    A field is ``whole`` if it covers the image from wherever it is looked; a stride is given where a dimension of the
    tensor runs along that axis and no other.
    """
    windows = [window for window in sight.windows if window.axis == axis]
    if any(_covers(window, sight.image) for window in windows):
        return "whole", None
    if len(windows) != 1:
        return None, None
    (window,) = windows
    alone = {at for dim, sizes in enumerate(sight.factors) if len(sizes) == 1 for at in sight.positions([dim])}
    moving = [at for at, step in enumerate(window.steps) if step != 0]
    step = window.steps[moving[0]] if len(moving) == 1 and moving[0] in alone else None
    return window.width, None if step is None else abs(step)


# --- operations: each gives what the elements of the result see, or None if that has no such form -------------------


def regrouped(sight: Sight, shape: Sequence[int]) -> Sight | None:
    """After ``view``: the same elements in the same order in another shape."""
    if sight.shape == tuple(shape):
        return sight
    groups = _regroup([column for dim in range(len(sight.factors)) for column in sight.columns(dim)], shape)
    return None if groups is None else _built(sight, groups)


def permuted(sight: Sight, order: Sequence[int]) -> Sight:
    """After ``permute``."""
    return _built(sight, [sight.columns(dim) for dim in order])


def spread(sight: Sight, dims: Iterable[int]) -> Sight:
    """After what makes each element depend on all along some dimensions, such as a softmax."""
    at = sight.positions(dims)
    return _simplified(sight, sight.factors, [window.over(sight.sizes, at) for window in sight.windows])


def reduced(sight: Sight, dims: Collection[int], *, keep: bool) -> Sight:
    """After a sum, mean or maximum over some dimensions."""
    wanted = {dim % len(sight.factors) for dim in dims}
    wide = spread(sight, wanted)
    columns: list[list[Column]] = []
    for dim in range(len(sight.factors)):
        if dim not in wanted:
            columns.append(wide.columns(dim))
        elif keep:
            columns.append([])
    return _built(wide, columns)


def moved(sight: Sight, dim: int, size: int, *, scale: int, low: int, high: int) -> Sight | None:
    """After what takes from ``scale·i + low`` to ``scale·i + high`` along a dimension for each i below ``size``.

    A convolution does, and pooling, slicing, padding, turning round.
    """
    columns = _merged(sight.columns(dim), keep_ones=True)
    still: tuple[Step, ...] = (0,) * len(sight.windows)
    if all(steps == still for _, steps in columns):
        columns = [(math.prod(size for size, _ in columns), still)]
    if len(columns) != 1:
        return None
    steps = columns[0][1]
    windows = []
    for window, step in zip(sight.windows, steps, strict=True):
        if step is None:
            return None
        ends = (step * low, step * high)
        width = None if window.width is None else window.width + max(ends) - min(ends)
        windows.append(replace(window, first=window.first + min(ends), last=window.last + max(ends), width=width))
    scaled = tuple(None if step is None else step * scale for step in steps)
    return _built(replace(sight, windows=tuple(windows)), _replaced(sight, dim, [(size, scaled)]))


def blurred(sight: Sight, dim: int, size: int, *, wider: int = 0) -> Sight:
    """After what reorders, or adds to, a dimension of which windows depend: how they move along it is no longer known.

    Args:
        sight: before.
        dim: the dimension.
        size: of the dimension afterwards.
        wider: by how many places along the dimension windows grow at most.
    """
    at = sight.positions([dim])
    windows, column = [], []
    for window in sight.windows:
        steps = [window.steps[position] for position in at]
        still = all(step == 0 for step in steps)
        hull = window.over(sight.sizes, at)
        inner = steps[-1] if steps else 0
        width = None if window.width is None or inner is None else window.width + abs(inner) * wider
        windows.append(hull if still else replace(hull, width=width))
        column.append(0 if still else None)
    return _built(replace(sight, windows=tuple(windows)), _replaced(sight, dim, [(size, tuple(column))]))


def resized(sight: Sight, dim: int, size: int) -> Sight | None:
    """Along a dimension of which no window depends, any other size."""
    still: tuple[Step, ...] = (0,) * len(sight.windows)
    if any(steps != still for _, steps in sight.columns(dim)):
        return None
    return _built(sight, _replaced(sight, dim, [(size, still)]))


def broadcast(sight: Sight, shape: Sequence[int]) -> Sight | None:
    """After ``expand``."""
    missing = len(shape) - len(sight.factors)
    still: tuple[Step, ...] = (0,) * len(sight.windows)
    columns = []
    for dim, size in enumerate(shape):
        own = sight.columns(dim - missing) if dim >= missing else []
        had = math.prod(size for size, _ in own)
        if had != size and had != 1:
            return None
        columns.append(own if had == size else [(size, still)])
    return _built(sight, columns)


def united(sights: Sequence[Sight], shape: Sequence[int]) -> Sight | None:
    """After what takes elements of several tensors together, such as a sum."""
    found = broadcast(sights[0], shape)
    for sight in sights[1:]:
        other = broadcast(sight, shape)
        found = None if found is None or other is None else _united(found, other)
    return found


# --- factors ---------------------------------------------------------------------------------------------------------


def _united(one: Sight, other: Sight) -> Sight | None:
    ones, others = [], []
    for dim in range(len(one.factors)):
        refined = _refined(one.columns(dim), other.columns(dim))
        if refined is None:
            return None
        ones.append(refined[0])
        others.append(refined[1])
    one, other = _built(one, ones), _built(other, others)
    return _simplified(one, one.factors, [*one.windows, *other.windows])


def _refined(ones: list[Column], others: list[Column]) -> tuple[list[Column], list[Column]] | None:
    """Both in factors of the same sizes."""
    if [size for size, _ in ones] == [size for size, _ in others]:
        return ones, others
    groups = _regroup(others, [size for size, _ in ones])
    if groups is None:
        return None
    finer = [column for group in groups for column in group]
    groups = _regroup(ones, [size for size, _ in finer])
    if groups is None or any(len(group) != 1 for group in groups):
        return None
    return [column for group in groups for column in group], finer


def _regroup(columns: list[Column], sizes: Sequence[int]) -> list[list[Column]] | None:
    """Factors that multiply to each of the sizes in turn; None if one would have to be cut where it cannot."""
    queue = deque(_merged(columns))
    groups = []
    for size in sizes:
        group: list[Column] = []
        left = size
        while left > 1 and queue:
            factor, steps = queue.popleft()
            if left % factor == 0:
                group.append((factor, steps))
                left //= factor
            elif factor % left == 0:
                inner = factor // left
                group.append((left, tuple(None if step is None else step * inner for step in steps)))
                queue.appendleft((inner, steps))
                left = 1
            else:
                return None
        if left != 1:
            return None
        groups.append(group)
    return None if queue else groups


def _merged(columns: list[Column], *, keep_ones: bool = False) -> list[Column]:
    """Neighbours in one where every window moves along both as along one; factors of 1, which nothing moves along,
    left out."""
    found: list[Column] = []
    for size, steps in columns:
        if size == 1 and not (keep_ones and len(columns) == 1):
            continue
        if found and all(
            (outer is None and inner is None) or (outer is not None and inner is not None and outer == inner * size)
            for outer, inner in zip(found[-1][1], steps, strict=True)
        ):
            found[-1] = (found[-1][0] * size, steps)
        else:
            found.append((size, steps))
    return found


def _replaced(sight: Sight, dim: int, columns: list[Column]) -> list[list[Column]]:
    dim %= len(sight.factors)
    return [columns if at == dim else sight.columns(at) for at in range(len(sight.factors))]


def _built(sight: Sight, columns: Sequence[Sequence[Column]]) -> Sight:
    """The same windows with other factors."""
    flat = [column for group in columns for column in group]
    windows = [
        replace(window, steps=tuple(steps[number] for _, steps in flat)) for number, window in enumerate(sight.windows)
    ]
    return Sight(sight.image, tuple(tuple(size for size, _ in group) for group in columns), tuple(windows))


def _simplified(sight: Sight, factors: tuple[tuple[int, ...], ...], windows: Sequence[Window]) -> Sight:
    """Windows that move alike in one, and none that another contains."""
    found: dict[tuple[int, tuple[Step, ...]], Window] = {}
    for window in windows:
        key = (window.axis, window.steps)
        found[key] = _hull(found[key], window) if key in found else window
    sizes = [size for group in factors for size in group]
    kept: list[Window] = []
    for window in sorted(found.values(), key=_order):
        if not any(_contains(other, window, sizes, sight.image) for other in kept):
            kept = [other for other in kept if not _contains(window, other, sizes, sight.image)] + [window]
    return Sight(sight.image, factors, tuple(kept))


def _order(window: Window) -> tuple[int, str]:
    return window.axis, str(window.steps)


def _hull(one: Window, other: Window) -> Window:
    first, last = min(one.first, other.first), max(one.last, other.last)
    width = last - first + 1
    if None in one.steps:
        return replace(one, first=first, last=last, width=one.width if one == other else None)
    return replace(one, first=first, last=last, width=width)


def _contains(one: Window, other: Window, sizes: Sequence[int], image: tuple[int, int]) -> bool:
    """Whether one holds the other wherever that moves, or covers the image.

    Along a factor along which the other moves in an unknown way, its ends are those of all its places.
    """
    if one.axis != other.axis:
        return False
    if _covers(one, image):
        return True
    before = after = 0
    for size, step, others in zip(sizes, one.steps, other.steps, strict=True):
        if step is None or (others is None and step != 0):
            return False
        apart = 0 if others is None else (others - step) * (size - 1)
        before, after = before + min(0, apart), after + max(0, apart)
    return one.first <= other.first + before and other.last + after <= one.last


def _covers(window: Window, image: tuple[int, int]) -> bool:
    return all(step == 0 for step in window.steps) and window.first <= 0 and window.last >= image[window.axis] - 1
