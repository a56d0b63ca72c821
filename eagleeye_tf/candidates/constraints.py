"""What a candidate may cost: a metric near a target, or below a limit."""

import dataclasses
import math

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.candidates import ranges as ranges_lib
from eagleeye_tf.pruning import strategy as strategy_lib

# Measured, and therefore known to a `LatencyModel` only.
LATENCY = "latency_ms"
_SHARES = "where numbers up to 1 are shares of the whole network"
_TOLERANCES = {"macs": "tolerance", LATENCY: "latency_tolerance"}


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A band of costs, or a limit.

    Attributes:
        metric: a name of `CostModel.metrics`, or `LATENCY`.
        target: the cost wanted, or allowed, absolute.
        tolerance: how far from the target is near enough, absolute.
        full: the cost of the whole network, for messages.
        is_limit: whether everything below the target will do, too.
    """

    metric: str
    target: float
    tolerance: float
    full: int
    is_limit: bool = False

    def met_by(self, costs):
        """Bool array: which of `{metric: array}`'s candidates meet it."""
        return self.distance(costs) <= self.tolerance

    def distance(self, costs):
        """Array: how far `{metric: array}`'s candidates are from the target."""
        beyond = costs[self.metric] - self.target
        return np.maximum(beyond, 0) if self.is_limit else np.abs(beyond)

    @property
    def tolerance_name(self):
        """The setting that says how near is near enough."""
        return _TOLERANCES.get(self.metric, f"{self.metric}_tolerance")

    @property
    def way_out(self):
        """What to do if it cannot be met."""
        if self.is_limit:
            return f"raise max_{self.metric}"
        return f"raise {self.tolerance_name}"

    def describe(self):
        """E.g. "50 % ± 0.5 % of 46,354,432 macs"."""
        share = f"{self.target / self.full:.4%}"
        whole = f"{shown(self.full)} {self.metric}"
        if self.is_limit:
            return f"at most {share} of {whole}"
        return f"{share} ± {self.tolerance / self.full:.4%} of {whole}"


def make(metric, amount, tolerance, full):
    """The constraint that a user's number stands for.

    Args:
        metric: a name of `CostModel.metrics`.
        amount: a share of the whole network's cost in (0, 1], or an absolute
            number above 1.
        tolerance: share of the whole network's cost, in [0, 1].
        full: cost of the whole network.

    Raises:
        InputError: if a number is outside its range.
    """
    _check_amount(metric, amount, full)
    if not 0 <= tolerance <= 1:
        raise errors.InputError(
            "A tolerance is a share in [0, 1] of the whole network's cost. "
            f"Received: {tolerance}."
        )
    reach = max(tolerance * full, _rounding(full))
    return Constraint(metric, _absolute(amount, full), reach, full)


def limit(metric, amount, full):
    """The `Constraint` that allows a user's number and all below it.

    Args:
        metric: a name of `CostModel.metrics`.
        amount: as for `make`.
        full: cost of the whole network.

    Raises:
        InputError: if the number is outside its range.
    """
    _check_amount(metric, amount, full)
    target, reach = _absolute(amount, full), _rounding(full)
    return Constraint(metric, target, reach, full, is_limit=True)


def wanted(settings, cost_model):
    """The `Constraint`s that `SearchSettings` ask for.

    Args:
        settings: `SearchSettings`.
        cost_model: a `CostModel`; a `LatencyModel` for budgets in latency.

    Raises:
        InputError: if a number is outside its range.
    """
    full = dataclasses.asdict(cost_model.full())
    found = []
    for metric in cost_model.metrics:
        if metric == LATENCY:
            full[metric] = cost_model.full_ms
            target = _share(settings.latency, settings.latency_ms, full[metric])
            most = _share(
                settings.max_latency, settings.max_latency_ms, full[metric]
            )
            tolerance = settings.latency_tolerance
        else:
            target = settings.target(metric)
            most = getattr(settings, f"max_{metric}")
            tolerance = settings.tolerance_of(metric)
        own = []
        if target is not None:
            own.append(make(metric, target, tolerance, full[metric]))
        if most is not None:
            own.append(limit(metric, most, full[metric]))
        if len(own) == 2:
            _check_overlap(*own)
        found += own
    return found


def _check_overlap(band, most):
    least = band.target - band.tolerance
    if least > most.target + most.tolerance:
        raise errors.InputError(
            f"A network of {band.describe()} is never one of "
            f"{most.describe()}: lower {band.metric}, or "
            f"{most.way_out}."
        )


def _share(share, milliseconds, full):
    """A budget in latency as a share of the whole network's."""
    if milliseconds is None:
        return share
    if milliseconds > full:
        raise errors.InputError(
            f"A budget in latency is at most the whole network's {full:.3g} "
            f"ms. Received: {milliseconds} ms."
        )
    return milliseconds / full


def _rounding(full):
    """Makes room for a target in whole units that is not a whole number."""
    return 0.5 if isinstance(full, int) else 0.0


def shown(amount):
    """A cost for a message: whole units, or milliseconds."""
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:.3g}"


def _check_amount(metric, amount, full):
    # A latency may be below 1 ms, and its budget is always a share.
    if not (math.isfinite(amount) and 0 < amount <= max(full, 1)):
        raise errors.InputError(
            f"A budget in {metric} lies in (0, {full:,}], {_SHARES}. "
            f"Received: {amount}."
        )


def _absolute(amount, full):
    return amount * full if amount <= 1 else amount


def reachable(cost_model, groups, settings):
    """Cost range of a network: `{metric: (low, high)}`.

    Cost falls as ratios rise, so the two ends of their range tell.

    Args:
        cost_model: a `CostModel`.
        groups: sequence of `ChannelGroup`.
        settings: has `min_ratio`, `max_ratio`, `exclude` and `round_to`.
    """
    least, most = ranges_lib.of_ratios(groups, settings)
    ends = np.array([most, least])
    kept = strategy_lib.kept_channels(ends, groups, settings.round_to)
    costs = cost_model.of(kept)
    return {name: tuple(ends.tolist()) for name, ends in costs.items()}


def check_reachable(constraints, cost_model, groups, settings):
    """Raises InputError if no strategy at all meets one of the constraints.

    Args:
        constraints: sequence of `Constraint`.
        cost_model: a `CostModel`.
        groups: sequence of `ChannelGroup`.
        settings: has `min_ratio`, `max_ratio`, `exclude` and `round_to`.
    """
    ranges = reachable(cost_model, groups, settings)
    for constraint in constraints:
        low, high = ranges[constraint.metric]
        reach = constraint.tolerance
        below_all = constraint.target < low - reach
        if not below_all and (
            constraint.is_limit or constraint.target <= high + reach
        ):
            continue
        below = constraint.target < low
        out = "raise max_ratio" if below else "lower min_ratio"
        if below and settings.round_to > 1:
            out += " or lower round_to"
        if below and settings.exclude:
            out += " or exclude less"
        if 1 < constraint.target <= 100:
            share = constraint.target / 100
            out += f"; for {share:.0%} of the network give {share:g}"
        raise errors.InputError(
            f"No strategy meets {constraint.describe()}: with ratios from "
            f"{settings.min_ratio} to {settings.max_ratio} this network can "
            f"have {low / constraint.full:.2%} to "
            f"{high / constraint.full:.2%} ({shown(low)} to "
            f"{shown(high)}). Choose a "
            f"budget in that range, {_SHARES}, or {out}."
        )
