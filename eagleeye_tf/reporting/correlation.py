"""How well scores before fine-tuning tell accuracies after it.

X are scores of candidates that nobody trained, Y their accuracies once they
are fine-tuned (paper, section 3.2). A way of scoring that gives all candidates
the same score says nothing: its coefficients are 0, and its phi is that of
chance.
"""

import dataclasses
import functools

import numpy as np
from scipy import stats

_RESAMPLES = 2000
_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Coefficient:
    """A coefficient, or a difference of two, with its bootstrap interval.

    Attributes:
        value: in [-1, 1]; of phi in (0, 1]; of a difference in [-2, 2].
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

    Candidates that tie stand in any order, in X and in Y: what comes is the
    mean over all orders. So X that is the same for all has the phi of chance.

    Args:
        scores: sequence of numbers, X.
        accuracies: sequence of as many numbers, Y.
        k: how many of the best count, from 1 to their number.
    """
    order = -np.asarray(scores, float)
    upto = np.minimum(k / np.arange(1, len(order) + 1), 1).cumsum()
    upto = np.concatenate([[0.0], upto])
    low, high = (
        stats.rankdata(order, method=end).astype(int) for end in ("min", "max")
    )
    found = (upto[high] - upto[low - 1]) / (high - low + 1)
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
    values = _values(scores, accuracies, k)
    spread = _resampled(scores, accuracies, k, seed)
    return {n: _with_interval(values[n], spread[n]) for n in values}


def differences(scores, others, accuracies, k, seed=0):
    """How much better one way of scoring tells Y than another.

    Both see the same resamples: what makes candidates easy or hard to rank
    moves both coefficients alike, and leaves their difference alone.

    Args:
        scores: sequence of numbers, X of the one way.
        others: sequence of as many numbers, X of the other.
        accuracies: sequence of as many numbers, Y; at least 3.
        k: of phi(k).
        seed: of the bootstrap.

    Returns:
        `{name: Coefficient}` of the differences, names as of `coefficients`.
    """
    ours, theirs = (_values(x, accuracies, k) for x in (scores, others))
    spread, other_spread = (
        _resampled(x, accuracies, k, seed) for x in (scores, others)
    )
    return {
        n: _with_interval(ours[n] - theirs[n], spread[n] - other_spread[n])
        for n in ours
    }


def _values(scores, accuracies, k):
    x, y = np.asarray(scores, float), np.asarray(accuracies, float)
    ways = {
        "pearson": functools.partial(_or_nothing, stats.pearsonr),
        "spearman": spearman,
        "kendall": kendall,
        "phi": functools.partial(phi, k=k),
    }
    return {name: way(x, y) for name, way in ways.items()}


def _with_interval(value, spread):
    rest = 50 * (1 - _CONFIDENCE)
    low, high = np.percentile(spread, [rest, 100 - rest])
    return Coefficient(value, float(low), float(high))


def _resampled(scores, accuracies, k, seed):
    """The coefficients of 2,000 resamples; the same ones for the same seed.

    All resamples at once, which SciPy's functions do not do: a study asks
    for dozens of intervals after each fine-tuning.

    Returns:
        `{name: float array (resamples,)}`.
    """
    x, y = np.asarray(scores, float), np.asarray(accuracies, float)
    size = len(x)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, size, (_RESAMPLES, size))  # (R, N)
    ranks_x, ranks_y = (stats.rankdata(v[drawn], axis=1) for v in (x, y))
    return {
        "pearson": _pearson(x[drawn], y[drawn]),
        "spearman": _pearson(ranks_x, ranks_y),
        "kendall": _kendall(x, y, drawn),
        "phi": _phi(x, y, drawn, k, generator),
    }


def _pearson(x, y):
    """Of each row of two arrays (R, N); 0 where one of them is constant."""
    varies = (np.ptp(x, axis=1) > 0) & (np.ptp(y, axis=1) > 0)
    x, y = (v - v.mean(axis=1, keepdims=True) for v in (x, y))
    whole = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return _share((x * y).sum(axis=1), np.where(varies, whole, 0))


def _kendall(x, y, drawn):
    """Tau-b of each resample: pairs of candidates, by how often each came.

    Args:
        x: float array (N,).
        y: float array (N,).
        drawn: int array (R, N), indices of candidates.
    """
    times = (drawn[:, :, np.newaxis] == np.arange(len(x))).sum(axis=1)  # (R, N)
    x, y = (np.sign(v[:, np.newaxis] - v) for v in (x, y))  # (N, N)

    def pairs(kind):
        return ((times @ kind) * times).sum(axis=1)

    return _share(pairs(x * y), np.sqrt(pairs(x * x) * pairs(y * y)))


def _share(part, whole):
    """0 where the whole is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)


def _phi(x, y, drawn, k, generator):
    """Phi(k) of each resample, in which nobody ties.

    A candidate that was drawn twice ties with itself in X and in Y. Were its
    copies to share their mean rank, k places would hold fewer than the k best
    and even X = Y would come to less than 1. So they stand in any one order,
    the same in X and in Y. Candidates that tie by themselves stand in random
    orders, others in X than in Y.

    Args:
        x: float array (N,).
        y: float array (N,).
        drawn: int array (R, N), indices of candidates.
        k: of phi(k).
        generator: a `np.random.Generator`.
    """
    copies = generator.random(drawn.shape)

    def ranks(values):
        ties = np.take_along_axis(generator.random(drawn.shape), drawn, axis=1)
        order = np.lexsort((copies, ties, -values[drawn]), axis=1)
        return np.argsort(order, axis=1) + 1

    found = np.minimum(k / ranks(x), 1)
    return (found * (ranks(y) <= k)).sum(axis=1) / k
