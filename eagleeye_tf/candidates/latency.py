"""Latency: measured for some networks, predicted for all others.

To build and measure a network takes seconds, and a budget is met by one random
strategy in a hundred. So a few networks are measured, a linear model of what
they consist of is fitted, and the best candidates are measured in the end.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json

import numpy as np
from sklearn import linear_model

from eagleeye_tf import errors
from eagleeye_tf.candidates import constraints as constraints_lib
from eagleeye_tf.candidates import json_log
from eagleeye_tf.candidates import sampling
from eagleeye_tf.pruning import cost
from eagleeye_tf.pruning import rebuild

METRIC = constraints_lib.LATENCY
# Networks that are measured side by side with the whole one.
_TOGETHER = 8
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
        index: its number, from 0; that of a candidate, if it is one.
        kept: kept channels of each group.
        milliseconds: of one image.
        full_milliseconds: of the whole network, measured side by side.
    """

    index: int
    kept: tuple
    milliseconds: float
    full_milliseconds: float

    @property
    def share(self):
        """Of the whole network's latency."""
        return self.milliseconds / self.full_milliseconds


class MeasurementLog(json_log.RecordLog):
    """Measurements, so that none is made twice."""

    schema, what, kind = 1, "latency measurement", Measurement


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
    """Measures networks, and remembers.

    Args:
        model: the whole `keras.Model`.
        settings: `SearchSettings`.
        measure: function from a list of `keras.Model` to the milliseconds
            that an image takes in each, measured side by side; see
            `deployment.latency.Stopwatch`.
        log_path: file to log measurements to, and to continue from; those
            of candidates go to one beside it. None for none.
        identity: dict of what the measurements belong to, for the log.
        on_measurement: function of (measurements done, in all), or None.
    """

    def __init__(
        self,
        model,
        settings,
        measure,
        log_path=None,
        identity=None,
        on_measurement=None,
    ):
        self._pruner = rebuild.Pruner(model, round_to=settings.round_to)
        self._settings = settings
        self._measure = measure
        self._log_path = log_path
        self._identity = identity
        self._on_measurement = on_measurement or (lambda done, total: None)

    @functools.cached_property
    def model(self):
        """The `LatencyModel`, after measurements where they are not made yet.

        They lie all over the range of ratios, and near the budget.

        Raises:
            InputError: if the log belongs to something else.
        """
        groups = self._pruner.graph.groups
        cost_model = cost.CostModel(self._pruner.graph)
        sizes = [group.size for group in groups]
        total = self._settings.latency_measurements
        near = round(_NEAR_BUDGET * total)
        with self._open(self._log_path) as known:
            spread = self._spread(cost_model, total - near)
            found = self._measured(spread, known, total)
            first = LatencyModel(cost_model, sizes, found)
            proposals = self._near(first, near, cost_model)
            proposals = [
                dataclasses.replace(proposal, index=len(spread) + number)
                for number, proposal in enumerate(proposals)
            ]
            found += self._measured(proposals, known, total)
        return LatencyModel(cost_model, sizes, found)

    def confirm(self, candidates, wanted=4):
        """Measures the best candidates until enough meet the budget.

        Args:
            candidates: sequence of `Candidate`, best first.
            wanted: how many have to meet it.

        Returns:
            (candidates that meet it, best first; those that do not;
            `{index: milliseconds}`).

        Raises:
            InputError: if none does.
        """
        budgets = [
            constraint
            for constraint in constraints_lib.wanted(self._settings, self.model)
            if constraint.metric == METRIC
        ]
        met, missed, milliseconds = [], [], {}
        path = self._log_path and f"{self._log_path}.candidates"
        with self._open(path) as known:
            for first in range(0, len(candidates), wanted):
                some = candidates[first : first + wanted]
                for candidate, measurement in zip(
                    some,
                    self._measured(some, known, len(candidates)),
                    strict=True,
                ):
                    # The whole network sets the scale once for all.
                    taken = measurement.share * self.model.full_ms
                    milliseconds[candidate.index] = taken
                    costs = {METRIC: np.array([taken])}
                    meets = all(c.met_by(costs)[0] for c in budgets)
                    (met if meets else missed).append(candidate)
                if len(met) >= wanted:
                    break
        if not met:
            wanted = " and ".join(c.describe() for c in budgets)
            found = f"{min(milliseconds.values()):.3g} to "
            found += f"{max(milliseconds.values()):.3g} ms"
            raise errors.InputError(
                f"None of the {len(missed)} best candidates meets {wanted}: "
                f"they take {found}. Score more candidates, which goes on from "
                "here, or start another search with a higher "
                "latency_tolerance or more latency_measurements."
            )
        return met, missed, milliseconds

    def _measured(self, proposals, known, total):
        """The `Measurement`s of proposals or candidates."""
        waiting = [p for p in proposals if p.index not in known.records]
        while waiting:
            self._on_measurement(len(known.records), total)
            some, waiting = waiting[:_TOGETHER], waiting[_TOGETHER:]
            models = [self._pruner.prune(p.strategy) for p in some]
            full, *times = self._measure([self._pruner.graph.model, *models])
            for proposal, time in zip(some, times, strict=True):
                known.append(
                    Measurement(proposal.index, list(proposal.kept), time, full)
                )
        self._on_measurement(len(known.records), total)
        return [known.records[proposal.index] for proposal in proposals]

    def _spread(self, cost_model, count):
        """Proposals from all over the range, where random ones are few."""
        s, groups = self._settings, self._pruner.graph.groups
        generator = np.random.default_rng((s.seed, _STREAM))
        levels = (np.arange(count) + 0.5) / count
        noise = generator.uniform(-0.25, 0.25, (count, len(groups)))
        places = np.clip(levels[:, np.newaxis] + noise, 0, 1)
        ratios = s.min_ratio + (s.max_ratio - s.min_ratio) * places
        block = sampling.meeting(ratios, groups, cost_model, (), s)
        return list(block.proposals(groups))

    def _near(self, model, count, cost_model):
        """Random proposals that seem to meet the budget."""
        s, groups = self._settings, self._pruner.graph.groups
        budgets = constraints_lib.wanted(s, model)
        try:
            constraints_lib.check_reachable(budgets, model, groups, s)
            algorithm = sampling.RandomSampling(groups, model, budgets, s)
            return algorithm.suggest(count)
        except errors.InputError:  # Says who has all measurements.
            return self._spread(cost_model, count)

    def _open(self, path):
        if path is None:
            return contextlib.nullcontext(_Memory())
        return MeasurementLog(path, self._identity)


class _Memory:
    """A log of nothing but this process."""

    def __init__(self):
        self.records = {}

    def append(self, record):
        self.records[record.index] = record
