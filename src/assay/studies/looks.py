"""When a study looks at its claims, and how much of the error allowance each look spends.

A study that tests after every seed and stops when it likes the answer finds effects that are not there. assay looks at
fixed numbers of seeds only. Look k = 1, 2, 3, … spends α/(k(k+1)), shared equally over the m declared claims. These
shares sum to α over endless looks, so by Bonferroni's inequality all intervals of all claims at all looks cover their
effects together with probability at least 1 − α, whatever the dependence between looks and between claims. This is
the alpha spending of Lan and DeMets (1983, Biometrika 70:659) in its plainest form; because it reserves something for
every later look, ``at_most`` may be raised afterwards without breaking the promise (it could not with the equal shares
of Pocock 1977, Biometrika 64:191). Changing ``at_least`` or the list of claims after looking does break it.
"""

from __future__ import annotations

from bisect import bisect_left

ALPHA = 0.05
"""Chance that anything a study says about its claims is wrong, over all claims and all looks."""

LOOKS = (3, 5, 8, 12, 20, 32, 50, 80, 120, 200, 320, 500, 800, 1200, 2000, 3200, 5000, 8000)
"""Seeds at which a study may look: each about 1.6 times the one before, so that looks stay few."""


def looks(at_least: int, at_most: int) -> tuple[int, ...]:
    """The looks of a study: all of `LOOKS` from ``at_least`` to ``at_most`` seeds.

    With fewer than 3 seeds there is none: two pairs say next to nothing about their own spread.

    >>> looks(3, 20)
    (3, 5, 8, 12, 20)
    """
    return tuple(seeds for seeds in LOOKS if at_least <= seeds <= at_most)


def is_look(seeds: int) -> bool:
    """Whether a study may look at this number of seeds."""
    return seeds in LOOKS


def nearest_look(seeds: int) -> int:
    """The number of `LOOKS` nearest to ``seeds``; of two equally near the larger."""
    return min(LOOKS, key=lambda look: (abs(look - seeds), -look))


def level_of_look(number: int, claims: int) -> float:
    """Error probability that one claim may spend at look ``number`` (from 1) of a study with ``claims`` claims."""
    return ALPHA / (number * (number + 1) * claims)


def look_reached(seeds: int, at_least: int) -> int | None:
    """Number, from 1, of the first look with at least ``seeds`` seeds, in a study without upper end.

    Returns:
        None beyond the last of `LOOKS`.

    >>> look_reached(13, at_least=3)
    5
    """
    first = bisect_left(LOOKS, at_least)
    reached = max(bisect_left(LOOKS, seeds), first)
    return None if reached == len(LOOKS) else reached - first + 1
