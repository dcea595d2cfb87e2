"""Contours of a field on a grid, as paths to be drawn: marching squares (Lorensen and Cline 1987, in the plane).

Shape key: Y rows from bottom to top, X columns from left to right, C crossings, V vertices of a chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]
Chain = NDArray[np.float64]
"""Vertices (V, 2), x and y in columns and rows of the grid; a closed one ends where it starts."""

_BOTTOM, _RIGHT, _TOP, _LEFT = range(4)
_SEGMENTS = {
    1: [(_BOTTOM, _LEFT)],
    2: [(_RIGHT, _BOTTOM)],
    3: [(_RIGHT, _LEFT)],
    4: [(_TOP, _RIGHT)],
    5: [(_BOTTOM, _RIGHT), (_TOP, _LEFT)],
    6: [(_TOP, _BOTTOM)],
    7: [(_TOP, _LEFT)],
    8: [(_LEFT, _TOP)],
    9: [(_BOTTOM, _TOP)],
    10: [(_LEFT, _BOTTOM), (_RIGHT, _TOP)],
    11: [(_RIGHT, _TOP)],
    12: [(_LEFT, _RIGHT)],
    13: [(_BOTTOM, _RIGHT)],
    14: [(_LEFT, _BOTTOM)],
    # Saddles whose middle is outside; 5 and 10 are those whose middle is inside.
    16: [(_BOTTOM, _LEFT), (_TOP, _RIGHT)],
    17: [(_RIGHT, _BOTTOM), (_LEFT, _TOP)],
}
"""Which sides of a cell a contour enters and leaves by, what is inside on its left. Corners inside: 1 bottom left,
2 bottom right, 4 top right, 8 top left."""


def contours(field_YX: Field, level: float) -> list[Chain]:
    """Where a field crosses a level; open chains begin and end at the edge of the grid.

    A value equal to the level is inside. Each crossing is placed by linear interpolation.
    """
    inside_YX = field_YX >= level
    # Sides are numbered: first all horizontal ones, by their left end, then all vertical ones, by their lower end.
    after = dict(_segments(field_YX, inside_YX, level))
    if not after:
        return []
    places = _crossings(field_YX, level)
    entered = set(after.values())
    chains = [_followed(after, start) for start in [start for start in after if start not in entered]]
    while after:
        chains.append(_followed(after, next(iter(after))))
    return [places[chain] for chain in chains]


def region(field_YX: Field, level: float) -> list[Chain]:
    """The outlines of where a field is at least a level; all are closed, along the edge of the grid if need be."""
    rows, columns = field_YX.shape
    far_below = level - 1e9 * (1.0 + float(np.abs(field_YX).max()))
    outlines = contours(np.pad(field_YX, 1, constant_values=far_below), level)
    return [np.clip(outline - 1.0, 0.0, (columns - 1, rows - 1)) for outline in outlines]


def simplified(chain: Chain, tolerance: float) -> Chain:
    """The same line with fewer vertices, none of those left out further off than this (Ramer 1972, Douglas and Peucker
    1973). A closed chain keeps the vertex farthest from its start too."""
    last = len(chain) - 1
    kept = {0, last}
    pending = [(0, last)]
    while pending:
        start, stop = pending.pop()
        if stop - start < 2:
            continue
        distance_V = _distances(chain[start + 1 : stop], chain[start], chain[stop])
        farthest = int(distance_V.argmax())
        if distance_V[farthest] > tolerance:
            middle = start + 1 + farthest
            kept.add(middle)
            pending += [(start, middle), (middle, stop)]
    return chain[sorted(kept)]


def path(chains: Iterable[Chain]) -> str:
    """Chains as the data of an SVG path, in whole units and relative steps; what rounds to a point is left out."""
    return "".join(_subpath(np.rint(chain).astype(np.int64)) for chain in chains)


def _segments(field_YX: Field, inside_YX: NDArray[np.bool_], level: float) -> Iterator[tuple[int, int]]:
    rows, columns = field_YX.shape
    bit_YX = inside_YX.astype(np.int64)
    case_YX = bit_YX[:-1, :-1] + 2 * bit_YX[:-1, 1:] + 4 * bit_YX[1:, 1:] + 8 * bit_YX[1:, :-1]
    row_C, column_C = np.nonzero((case_YX > 0) & (case_YX < 15))
    case_C = case_YX[row_C, column_C]
    middle_C = (field_YX[:-1, :-1] + field_YX[:-1, 1:] + field_YX[1:, 1:] + field_YX[1:, :-1])[row_C, column_C] / 4
    case_C = np.where((case_C == 5) & (middle_C < level), 16, case_C)
    case_C = np.where((case_C == 10) & (middle_C < level), 17, case_C)
    horizontal_C = row_C * (columns - 1) + column_C
    vertical_C = rows * (columns - 1) + row_C * columns + column_C
    side_4C = np.stack([horizontal_C, vertical_C + 1, horizontal_C + columns - 1, vertical_C])
    for case in np.unique(case_C).tolist():
        of_case = case_C == case
        for enters, leaves in _SEGMENTS[case]:
            yield from zip(side_4C[enters, of_case].tolist(), side_4C[leaves, of_case].tolist(), strict=True)


def _crossings(field_YX: Field, level: float) -> NDArray[np.float64]:
    """A place on every side, by its number; it means nothing where the side does not cross the level."""
    rows, columns = field_YX.shape
    x_YX, y_YX = np.meshgrid(np.arange(columns, dtype=np.float64), np.arange(rows, dtype=np.float64))
    along_x = x_YX[:, :-1] + _share(field_YX[:, :-1], field_YX[:, 1:], level)
    along_y = y_YX[:-1] + _share(field_YX[:-1], field_YX[1:], level)
    return np.concatenate(
        [
            np.stack([along_x.ravel(), y_YX[:, :-1].ravel()], axis=1),
            np.stack([x_YX[:-1].ravel(), along_y.ravel()], axis=1),
        ]
    )


def _share(low: Field, high: Field, level: float) -> Field:
    difference = high - low
    share: Field = (level - low) / np.where(difference == 0, 1.0, difference)
    return share


def _followed(after: dict[int, int], start: int) -> list[int]:
    """The chain from a side on, taken out of what is left."""
    chain = [start]
    while (following := after.pop(chain[-1], None)) is not None:
        chain.append(following)
    return chain


def _distances(points_V2: Chain, start_2: Chain, stop_2: Chain) -> NDArray[np.float64]:
    """Of points from a line, or from its start where it has no length."""
    along_2 = stop_2 - start_2
    length = float(np.hypot(*along_2))
    offset_V2 = points_V2 - start_2
    distance_V: NDArray[np.float64]
    if length == 0.0:
        distance_V = np.hypot(offset_V2[:, 0], offset_V2[:, 1])
    else:
        distance_V = np.abs(offset_V2[:, 0] * along_2[1] - offset_V2[:, 1] * along_2[0]) / length
    return distance_V


def _subpath(points_V2: NDArray[np.int64]) -> str:
    moved_V = np.concatenate([[True], (np.diff(points_V2, axis=0) != 0).any(axis=1)])
    points_V2 = points_V2[moved_V]
    closed = len(points_V2) > 1 and bool((points_V2[0] == points_V2[-1]).all())
    if closed:
        points_V2 = points_V2[:-1]
    if len(points_V2) < 2:
        return ""
    steps = np.diff(points_V2, axis=0).ravel().tolist()
    text = "".join(f"{step}" if step < 0 else f" {step}" for step in steps).lstrip()
    return f"M{points_V2[0, 0]} {points_V2[0, 1]}l{text}" + ("z" if closed else "")
