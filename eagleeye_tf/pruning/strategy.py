"""Pruning strategies: one ratio per channel group (paper, section 3.2)."""

import dataclasses
import math
import numbers

import numpy as np

from eagleeye_tf import errors

# Products like 0.29 * 100 = 28.999999999999996 stand for whole numbers.
_ROUNDING_ERROR = 1e-9


@dataclasses.dataclass(frozen=True)
class PruningStrategy:
    """One pruning ratio for each channel group.

    Attributes:
        ratios: tuple of `(group name, ratio)`; the ratio, in [0, 1), is the
            share of the group's channels that is removed. May be given as
            a dict.

    Raises:
        InputError: if a ratio is outside [0, 1).
    """

    ratios: tuple

    def __post_init__(self):
        if isinstance(self.ratios, dict):
            object.__setattr__(self, "ratios", tuple(self.ratios.items()))
        for name, ratio in self.ratios:
            check_ratio(ratio, f"pruning ratio of {name!r}")

    @classmethod
    def of(cls, groups, ratios):
        """The strategy for `groups` that `ratios` stands for.

        Args:
            groups: sequence of `ChannelGroup`.
            ratios: one number for all groups; or `{group name: ratio}`,
                where groups not named are left whole; or a PruningStrategy.

        Raises:
            InputError: for a ratio outside [0, 1) or an unknown group.
        """
        names = [group.name for group in groups]
        if isinstance(ratios, numbers.Real):
            ratios = dict.fromkeys(names, ratios)
        ratios = getattr(ratios, "ratios", ratios)
        try:
            ratios = dict(ratios)
        except (TypeError, ValueError) as error:
            raise errors.InputError(
                "Ratios are one number for all channel groups, a dictionary "
                "{group name: ratio}, or a PruningStrategy. "
                f"Received: {ratios!r}."
            ) from error
        unknown = [name for name in ratios if name not in names]
        if unknown:
            raise errors.InputError(
                f"Ratios are given per channel group. No group is named "
                f"{unknown[0]!r}; there are {', '.join(names) or 'none'}."
            )
        for name, ratio in ratios.items():
            check_ratio(ratio, f"pruning ratio of {name!r}")
        return cls(
            tuple((name, float(ratios.get(name, 0.0))) for name in names)
        )

    def kept(self, groups, round_to=1):
        """Number of channels that each group keeps: int array (groups,)."""
        ratios = dict(self.ratios)
        values = np.array([[ratios.get(g.name, 0.0) for g in groups]])
        return kept_channels(values, groups, round_to)[0]

    def to_json(self):
        """`{group name: ratio}`, ready for `json.dumps`."""
        return dict(self.ratios)

    @classmethod
    def from_json(cls, ratios):
        """The inverse of `to_json`."""
        return cls(ratios)


def kept_channels(ratios, groups, round_to=1):
    """How many channels stay, for many strategies at once.

    floor(ratio · size) channels go and at least one stays; what stays is then
    rounded up to a multiple of `round_to`, if the group has that many.

    Args:
        ratios: float array (strategies, groups), each in [0, 1).
        groups: sequence of `ChannelGroup`.
        round_to: multiple to which kept channels are rounded up, >= 1.

    Returns:
        int64 array (strategies, groups).
    """
    if not isinstance(round_to, numbers.Integral) or round_to < 1:
        raise errors.InputError(
            "Kept channels are rounded to a multiple of a whole number >= 1. "
            f"Received: round_to={round_to!r}."
        )
    sizes = np.array([group.size for group in groups], np.int64)
    removed = np.floor(ratios * sizes + _ROUNDING_ERROR).astype(np.int64)
    kept = np.maximum(sizes - removed, 1)
    return np.minimum(-(-kept // round_to) * round_to, sizes)


def check_ratio(ratio, what):
    """Raises InputError unless `ratio` is a number in [0, 1)."""
    valid = isinstance(ratio, numbers.Real) and 0 <= ratio < 1
    if not valid or math.isnan(ratio):
        raise errors.InputError(
            f"A {what} is the share of channels that is removed and lies in "
            f"[0, 1). Received: {ratio!r}."
        )
