"""How well scores before fine-tuning tell accuracies after it.

X are scores of candidates that nobody trained, Y their accuracies once they
are fine-tuned (paper, section 3.2). A way of scoring that gives all candidates
the same score says nothing: its coefficients are 0.
"""

import dataclasses
import functools

import numpy as np
from scipy import stats

_RESAMPLES = 2000
_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Coefficient:
    """A coefficient with its bootstrap interval.

    Attributes:
        value: in [-1, 1]; of phi in (0, 1].
        low: lower end of the 95 % interval.
        high: its upper end.
    """

    value: float
    low: float
    high: float


def phi(scores, accuracies, k):
    """The paper's phi(k): how early X finds the k best of Y, in (0, 1].

    phi(k) = 1/k · Σ_{i=1…k} min(k / find(X, Y[i]), 1), where Y[i] is the
    candidate with the i-th best accuracy and find its rank from 1 in X. It is
    1 if the k best of Y are the k best of X, in any order.

    Candidates that tie in X share the mean of their ranks. Where a tie in Y
    reaches over place k, those who tie count in equal parts.

    Args:
        scores: sequence of numbers, X.
        accuracies: sequence of as many numbers, Y.
        k: how many of the best count, from 1 to their number.
    """
    ranks = stats.rankdata(-np.asarray(scores, float), method="average")
    found = np.minimum(k / ranks, 1)
    places = -np.asarray(accuracies, float)
    first = stats.rankdata(places, method="min")
    tied = stats.rankdata(places, method="max") - first + 1
    part = np.clip((k + 1 - first) / tied, 0, 1)
    return float((part * found).sum() / k)


def kendall(x, y):
    """Kendall's tau-b of two sequences of numbers; 0 if one is constant."""
    return _or_nothing(stats.kendalltau, x, y)


def spearman(x, y):
    """Spearman's coefficient of two sequences; 0 if one is constant."""
    return _or_nothing(stats.spearmanr, x, y)


def _or_nothing(test, x, y):
    """0 where one side is constant and so agrees with nothing."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(test(x, y).statistic)


def coefficients(scores, accuracies, k, seed=0):
    """All coefficients of X and Y, each with a bootstrap 95 % interval.

    Candidates are drawn with replacement, 2,000 times; the interval lies
    between the 2.5 and the 97.5 percentile.

    Args:
        scores: sequence of numbers, X.
        accuracies: sequence of as many numbers, Y; at least 3.
        k: of phi(k).
        seed: of the bootstrap.

    Returns:
        `{name: Coefficient}`: "pearson", "spearman", "kendall" (tau-b), "phi".
    """
    x, y = np.asarray(scores, float), np.asarray(accuracies, float)
    ways = {
        "pearson": functools.partial(_or_nothing, stats.pearsonr),
        "spearman": spearman,
        "kendall": kendall,
        "phi": functools.partial(phi, k=k),
    }
    return {name: _with_interval(way, x, y, seed) for name, way in ways.items()}


def _with_interval(way, x, y, seed):
    found = stats.bootstrap(
        (x, y),
        way,
        n_resamples=_RESAMPLES,
        paired=True,
        vectorized=False,
        confidence_level=_CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    interval = found.confidence_interval
    return Coefficient(way(x, y), float(interval.low), float(interval.high))
