"""Latency: measured for some networks, predicted for all others.

To build and measure a network takes seconds, and a budget is met by one random
strategy in a hundred. So a few networks are measured, a linear model of what
they consist of is fitted, and the best candidates are measured in the end.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib

import numpy as np
from sklearn import linear_model

from eagleeye_tf import errors
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import constraints as constraints_lib
from eagleeye_tf.candidates import json_log
from eagleeye_tf.candidates import ranges
from eagleeye_tf.candidates import sampling
from eagleeye_tf.pruning import cost
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.pruning import strategy as strategy_lib

METRIC = constraints_lib.LATENCY
# Networks that are measured side by side with the whole one.
_TOGETHER = 8
_CONFIRMED = 8  # candidates that are known to meet the budget
_NEAR_BUDGET = 0.4  # share of the measurements
# Tells the generator apart from those of the search algorithms.
_STREAM = 11
# One rate for all layers explains most, and is not shrunk like their own.
_SHARED = 30.0
_PENALTIES = np.logspace(-6, 1, 15)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one network took.

    Attributes:
        kept: kept channels of each group.
        milliseconds: of one image.
        full_milliseconds: of the whole network, measured side by side.
    """

    kept: tuple
    milliseconds: float
    full_milliseconds: float

    def __post_init__(self):
        object.__setattr__(self, "kept", tuple(self.kept))  # JSON has lists.

    @property
    def share(self):
        """Of the whole network's latency."""
        return self.milliseconds / self.full_milliseconds


class MeasurementLog(json_log.RecordLog):
    """Measurements, so that none is made twice."""

    schema, what = 1, "latency measurement"
    kind, key = Measurement, "kept"


class LatencyModel:
    """A `cost.CostModel` that predicts latency, too.

    Latency is taken for a sum over layers: a rate per MAC and a rate per byte
    of activations, which are the same for all layers but for what the
    measurements tell (ridge regression, whose penalty is chosen by
    leave-one-out).

    Args:
        cost_model: a `cost.CostModel`.
        sizes: channels of each group.
        measurements: sequence of `Measurement`.

    Attributes:
        full_ms: milliseconds of the whole network.
        error: how far a prediction is from a measurement that the fit has
            not seen, relative; the median.
        measurements: those it was fitted to.
    """

    metrics = (*cost.CostModel.metrics, METRIC)

    def __init__(self, cost_model, sizes, measurements):
        self._cost_model = cost_model
        self.measurements = tuple(measurements)
        self._whole = [part.sum() for part in cost_model.parts([sizes])]
        self.full_ms = float(
            np.median([m.full_milliseconds for m in self.measurements])
        )
        kept = [sizes, *(m.kept for m in self.measurements)]
        shares = np.array([1.0, *(m.share for m in self.measurements)])
        self._fit = linear_model.RidgeCV(_PENALTIES, store_cv_results=True)
        self._fit.fit(self._features(kept), shares)
        chosen = list(_PENALTIES).index(self._fit.alpha_)
        missed = np.sqrt(self._fit.cv_results_[:, chosen])
        self.error = float(np.median(missed / shares))

    def of(self, kept, metrics=metrics):
        """Like `cost.CostModel.of`, with `latency_ms`, float array."""
        exact = [metric for metric in metrics if metric != METRIC]
        costs = self._cost_model.of(kept, exact)
        if METRIC in metrics:
            shares = self._fit.predict(self._features(kept))
            costs[METRIC] = self.full_ms * shares
        return costs

    @property
    def fingerprint(self):
        """Of the measurements, as hex."""
        told = json.dumps([dataclasses.asdict(m) for m in self.measurements])
        return hashlib.sha256(told.encode()).hexdigest()

    def full(self):
        """The `cost.Cost` of the whole network."""
        return self._cost_model.full()

    def _features(self, kept):
        """MACs and bytes by layer and in all, as shares of the whole."""
        parts = [
            part / whole
            for part, whole in zip(
                self._cost_model.parts(kept), self._whole, strict=True
            )
        ]
        totals = [part.sum(axis=1, keepdims=True) for part in parts]
        return np.hstack([*(_SHARED * total for total in totals), *parts])


class Latencies:
    """Measures pruned versions of a network, and remembers.

    Args:
        model: the whole `keras.Model`.
        stopwatch: function from a list of `keras.Model` to the milliseconds
            that an image takes in each, measured side by side, with a method
            `describe` that tells how, as a dict of plain values. See
            `deployment.stopwatch.Stopwatch`.
        log_path: file to log measurements to, and to take them from; None
            for none, or for one beside the log of the search, if that has one.
        on_measurement: function of (measurements done, in all), or None.

    Attributes:
        model_fingerprint: of the whole network.

    Raises:
        InputError: for a model that cannot be pruned.
    """

    def __init__(self, model, stopwatch, log_path=None, on_measurement=None):
        self._pruner = rebuild.Pruner(model)
        self._cost_model = cost.CostModel(self._pruner.graph)
        self._stopwatch = stopwatch
        self._log_path = log_path
        self._on_measurement = on_measurement or (lambda done, total: None)
        self.model_fingerprint = batches_lib.model_fingerprint(model)
        self._fitted = {}
        self._memory = _Memory()

    def remember_beside(self, log_path):
        """Logs beside a search's log, unless there is a log or it is too late.

        Predictions are part of what a search's log belongs to: who goes on
        with one needs the measurements of before.

        Args:
            log_path: path of the search's log; None if it has none.
        """
        if log_path and self._log_path is None and not self._memory.records:
            self._log_path = pathlib.Path(log_path).with_suffix(
                ".latency.jsonl"
            )

    def fit(self, settings):
        """Measures networks all over the range of ratios and near the budget.

        Args:
            settings: `SearchSettings`.

        Returns:
            A `LatencyModel`.

        Raises:
            InputError: if no strategy meets the constraints, or the log
                belongs to something else.
        """
        if settings not in self._fitted:
            self._fitted[settings] = self._fit(settings)
        return self._fitted[settings]

    def _fit(self, settings):
        groups = self._pruner.graph.groups
        sizes = [group.size for group in groups]
        ranges.check_excluded(self._pruner.graph, settings)
        self._require_reachable(self._cost_model, settings)
        total = settings.latency_measurements
        near = round(_NEAR_BUDGET * total)
        with self._open() as log:
            found = self._measured(
                self._spread(total - near, settings), log, total
            )
            first = LatencyModel(self._cost_model, sizes, found)
            self._require_reachable(first, settings)
            found += self._measured(
                self._near(first, near, settings), log, total, len(found)
            )
        return LatencyModel(self._cost_model, sizes, found)

    def confirm(self, candidates, settings):
        """Measures the best candidates until enough meet the budget.

        Args:
            candidates: sequence of `Candidate`, best first.
            settings: the `SearchSettings` they were found with.

        Returns:
            (candidates that meet it, best first; those that do not;
            `{index: milliseconds}`).

        Raises:
            InputError: if none does.
        """
        model = self.fit(settings)
        budgets = [
            constraint
            for constraint in constraints_lib.wanted(settings, model)
            if constraint.metric == METRIC
        ]
        met, missed, milliseconds = [], [], {}
        with self._open() as log:
            for first in range(0, len(candidates), _TOGETHER):
                some = candidates[first : first + _TOGETHER]
                kept = [candidate.kept for candidate in some]
                total = first + len(some)
                measured = self._measured(kept, log, total, first)
                for candidate, found in zip(some, measured, strict=True):
                    # The whole network sets the scale once for all.
                    taken = found.share * model.full_ms
                    milliseconds[candidate.index] = taken
                    costs = {METRIC: np.array([taken])}
                    meets = all(c.met_by(costs)[0] for c in budgets)
                    (met if meets else missed).append(candidate)
                if len(met) >= _CONFIRMED:
                    break
        if not met:
            raise _nobody(budgets, milliseconds)
        return met, missed, milliseconds

    def _measured(self, kept, log, total, before=0):
        """The `Measurement`s of networks: sequence of kept channels."""
        waiting = [k for k in dict.fromkeys(kept) if k not in log.records]
        done = before + len(kept) - len(waiting)
        while waiting:
            self._on_measurement(done, total)
            some, waiting = waiting[:_TOGETHER], waiting[_TOGETHER:]
            models = [self._build(k) for k in some]
            full, *times = self._stopwatch([self._pruner.graph.model, *models])
            for k, time in zip(some, times, strict=True):
                log.append(Measurement(k, time, full))
            done += len(some)
        self._on_measurement(done, total)
        return [log.records[k] for k in kept]

    def _build(self, kept):
        groups = self._pruner.graph.groups
        # Half a channel more survives any rounding of the product.
        ratios = {
            group.name: (group.size - k + 0.5) / group.size
            for group, k in zip(groups, kept, strict=True)
        }
        return self._pruner.prune(ratios)

    def _spread(self, count, settings):
        """Kept channels from all over the range, where random ones are few."""
        groups = self._pruner.graph.groups
        generator = np.random.default_rng((settings.seed, _STREAM))
        levels = (np.arange(count) + 0.5) / count
        noise = generator.uniform(-0.25, 0.25, (count, len(groups)))
        places = np.clip(levels[:, np.newaxis] + noise, 0, 1)
        return self._kept(places, settings)

    def _near(self, model, count, settings):
        """Kept channels of strategies that seem to meet the budget."""
        groups = self._pruner.graph.groups
        if settings.algorithm == "uniform":  # There is but one such.
            levels = np.linspace(0, 1, count)[:, np.newaxis]
            return self._kept(levels + np.zeros(len(groups)), settings)
        budgets = constraints_lib.wanted(settings, model)
        algorithm = sampling.RandomSampling(groups, model, budgets, settings)
        try:
            found = algorithm.suggest(count)
        except sampling.ExhaustedError as error:
            if not error.found:
                raise
            found = error.found
        return [proposal.kept for proposal in found]

    def _kept(self, places, settings):
        """Places in the range of ratios -> list of kept channels."""
        least, most = ranges.of_ratios(self._pruner.graph.groups, settings)
        kept = strategy_lib.kept_channels(
            least + (most - least) * places,
            self._pruner.graph.groups,
            settings.round_to,
        )
        return [tuple(row) for row in kept.tolist()]

    def _require_reachable(self, model, settings):
        constraints_lib.check_reachable(
            constraints_lib.wanted(settings, model),
            model,
            self._pruner.graph.groups,
            settings,
        )

    def _open(self):
        if self._log_path is None:
            return contextlib.nullcontext(self._memory)
        identity = {
            "model": self.model_fingerprint,
            **self._stopwatch.describe(),
        }
        return MeasurementLog(self._log_path, identity)


class _Memory:
    """A log of nothing but this process."""

    def __init__(self):
        self.records = {}

    def append(self, measurement):
        self.records[measurement.kept] = measurement


def _nobody(budgets, milliseconds):
    """The error to raise if all candidates that were measured miss them."""
    wanted = " and ".join(constraint.describe() for constraint in budgets)
    low, high = min(milliseconds.values()), max(milliseconds.values())
    return errors.InputError(
        f"None of the {len(milliseconds)} candidates that came to the end "
        f"takes {wanted}: measured, they take {low:.3g} to {high:.3g} ms. "
        "Search once more with a higher latency_tolerance, or with "
        'evaluation="full", where all candidates come to the end.'
    )
