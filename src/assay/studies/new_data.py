"""What a comparison says about test examples nobody has drawn yet.

The decision interval treats the test set as fixed: it asks what more seeds would show on these very examples. A
classifier is meant for others. This interval lets both seeds and examples be samples.

Shape key: S seeds, N test examples.
"""

from __future__ import annotations

import math

from scipy.special import stdtrit

from assay.records import Array


def new_data_interval(effects_SN: Array, level: float, floor: float = 0.0) -> tuple[float, float] | None:
    """Interval for the mean effect over new seeds and new test examples.

    Model: effect = mean + seed + example + residual, the three independent with zero mean (crossed random effects, a
    two-way layout without replication). With the layout's mean squares,

        var(mean) = (MS_seeds + MS_examples − MS_residual)/(S·N),

    unbiased, on the degrees of freedom of Satterthwaite (1946, Biometrics Bulletin 2:110). Most of the spread of test
    accuracy between seeds is residual, the luck of single examples (Jordan 2023, arXiv:2304.01910), which is why it
    is taken off once. Where the estimate falls below what seeds alone or examples alone explain, the larger of those
    is used, with its own degrees of freedom; and the interval is never shorter than the paired t interval over seeds
    at the same level, since nobody knows new data better than the old.

    Like seeds, examples are believed to move the mean by at least ``floor``: where all classifiers agree on all
    examples, the next example may still be the first they differ on.

    Assumptions: test examples are independent draws of what the classifier will meet; the interval says nothing of a
    shift. The same examples were scored at every seed. Limits: approximate, as Satterthwaite's degrees are, and as
    the normal distribution is for a mean that hangs on a handful of examples: with 1 % of 360 examples classified
    differently, all to one arm's advantage, 95 % intervals cover 92 to 93 %.

    Args:
        effects_SN: score of one arm minus the other's (or the weighted sum of arms) per seed and example, shape (S, N).
        level: probability that the interval misses.
        floor: least standard deviation of a seed's mean effect, and of the mean over examples.

    Returns:
        (low, high), or None with fewer than two seeds or two examples.
    """
    S, N = effects_SN.shape
    if S < 2 or N < 2:
        return None
    mean = float(effects_SN.mean())
    of_seed_S = effects_SN.mean(axis=1) - mean
    of_example_N = effects_SN.mean(axis=0) - mean
    total = float(((effects_SN - mean) ** 2).sum())
    squares_seeds, squares_examples = N * float(of_seed_S @ of_seed_S), S * float(of_example_N @ of_example_N)
    ms_seeds, ms_examples = squares_seeds / (S - 1), squares_examples / (N - 1)
    degrees_residual = (S - 1) * (N - 1)
    ms_residual = max(total - squares_seeds - squares_examples, 0.0) / degrees_residual

    pooled = ms_seeds + ms_examples - ms_residual
    if pooled > max(ms_seeds, ms_examples):
        spread = ms_seeds**2 / (S - 1) + ms_examples**2 / (N - 1) + ms_residual**2 / degrees_residual
        variance, degrees = pooled, pooled**2 / spread
    else:
        variance, degrees = max((ms_seeds, S - 1.0), (ms_examples, N - 1.0))
    half = max(
        _quantile(degrees, level) * math.sqrt(variance / (S * N)),
        _quantile(S - 1, level) * max(math.sqrt(ms_seeds / N), floor) / math.sqrt(S),
        _quantile(N - 1, level) * floor,
    )
    return mean - half, mean + half


def _quantile(degrees: float, level: float) -> float:
    return -float(stdtrit(degrees, level / 2))
