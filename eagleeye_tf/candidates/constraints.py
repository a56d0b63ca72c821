"""What a candidate may cost: metric, target, tolerance."""

import dataclasses
import math

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.pruning import strategy as strategy_lib


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A band of costs.

    Attributes:
        metric: a name of `CostModel.metrics`.
        target: the cost wanted, absolute.
        tolerance: how far from the target is near enough, absolute.
        full: the cost of the whole network, for messages.
    """

    metric: str
    target: float
    tolerance: float
    full: int

    def met_by(self, costs):
        """Bool array: which of `{metric: array}`'s candidates meet it."""
        distance = np.abs(costs[self.metric] - self.target)
        # Half a unit makes room for a target that is not a whole number.
        return distance <= max(self.tolerance, 0.5)

    def describe(self):
        """E.g. "50 % ± 0.5 % of 46,354,432 macs"."""
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
    if not (math.isfinite(amount) and 0 < amount <= full):
        raise errors.InputError(
            f"A budget in {metric} is a share in (0, 1] of the whole network, "
            f"or a number up to the network's own {full:,}. "
            f"Received: {amount}."
        )
    if not 0 <= tolerance <= 1:
        raise errors.InputError(
            "A tolerance is a share in [0, 1] of the whole network's cost. "
            f"Received: {tolerance}."
        )
    target = amount * full if amount <= 1 else amount
    return Constraint(metric, target, tolerance * full, full)


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
        if low - reach <= constraint.target <= high + reach:
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
