"""What a candidate may cost: a metric near a target, or below a limit."""

import dataclasses
import math

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.pruning import strategy as strategy_lib


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A band of costs, or a limit.

    Attributes:
        metric: a name of `CostModel.metrics`.
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
        # Half a unit makes room for a target that is not a whole number.
        return self.distance(costs) <= max(self.tolerance, 0.5)

    def distance(self, costs):
        """Array: how far `{metric: array}`'s candidates are from the target."""
        beyond = costs[self.metric] - self.target
        return np.maximum(beyond, 0) if self.is_limit else np.abs(beyond)

    def describe(self):
        """E.g. "50 % ± 0.5 % of 46,354,432 macs"."""
        if self.is_limit:
            return (
                f"at most {self.target / self.full:.4%} of {self.full:,} "
                f"{self.metric}"
            )
        return (
            f"{self.target / self.full:.4%} ± "
            f"{self.tolerance / self.full:.4%} of {self.full:,} {self.metric}"
        )


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
    return Constraint(metric, _absolute(amount, full), tolerance * full, full)


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
    return Constraint(metric, _absolute(amount, full), 0.0, full, is_limit=True)


def _check_amount(metric, amount, full):
    if not (math.isfinite(amount) and 0 < amount <= full):
        raise errors.InputError(
            f"A budget in {metric} is a share in (0, 1] of the whole network, "
            f"or a number up to the network's own {full:,}. "
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
        settings: has `min_ratio`, `max_ratio` and `round_to`.
    """
    ends = np.repeat(
        [[settings.max_ratio], [settings.min_ratio]], len(groups), axis=1
    )
    kept = strategy_lib.kept_channels(ends, groups, settings.round_to)
    costs = cost_model.of(kept)
    return {name: tuple(ends.tolist()) for name, ends in costs.items()}


def check_reachable(constraints, cost_model, groups, settings):
    """Raises InputError if no strategy at all meets one of the constraints.

    Args:
        constraints: sequence of `Constraint`.
        cost_model: a `CostModel`.
        groups: sequence of `ChannelGroup`.
        settings: has `min_ratio`, `max_ratio` and `round_to`.
    """
    ranges = reachable(cost_model, groups, settings)
    for constraint in constraints:
        low, high = ranges[constraint.metric]
        reach = max(constraint.tolerance, 0.5)
        below_all = constraint.target < low - reach
        if not below_all and (
            constraint.is_limit or constraint.target <= high + reach
        ):
            continue
        below = constraint.target < low
        out = "raise max_ratio" if below else "lower min_ratio"
        raise errors.InputError(
            f"No strategy meets {constraint.describe()}: with ratios from "
            f"{settings.min_ratio} to {settings.max_ratio} this network can "
            f"have {low / constraint.full:.2%} to "
            f"{high / constraint.full:.2%} ({low:,} to {high:,}). Choose a "
            f"budget in that range, or {out}."
        )
