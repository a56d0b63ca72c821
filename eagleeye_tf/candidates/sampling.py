"""Search algorithms: where pruning strategies come from.

An algorithm has `suggest(count)`, which returns that many new `Proposal`s,
every one of which meets the constraints.
"""

import dataclasses
import itertools

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.pruning import strategy as strategy_lib

_BLOCK = 4096
_GIVE_UP_AFTER = 5_000_000


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A pruning strategy that meets the constraints.

    Attributes:
        index: its number among all strategies that were drawn, from 0.
        strategy: the `PruningStrategy`.
        kept: tuple of kept channels, one for each group.
        macs: cost of the pruned network.
        params: cost of the pruned network.
    """

    index: int
    strategy: strategy_lib.PruningStrategy
    kept: tuple
    macs: int
    params: int


@dataclasses.dataclass(frozen=True)
class Block:
    """Many random strategies and what they cost.

    Attributes:
        ratios: float array (strategies, groups).
        kept: int array (strategies, groups).
        costs: `{metric: int array (strategies,)}`.
        met: bool array (strategies,), whether all constraints are met.
    """

    ratios: np.ndarray
    kept: np.ndarray
    costs: dict
    met: np.ndarray


def draw_block(index, groups, cost_model, constraints, settings):
    """Draws ratios ~ U[min_ratio, max_ratio] for every group.

    Args:
        index: number of the block; it and `settings.seed` decide the draw.
        groups: sequence of `ChannelGroup`.
        cost_model: a `CostModel`.
        constraints: sequence of `Constraint`.
        settings: has `min_ratio`, `max_ratio`, `round_to` and `seed`.

    Returns:
        A `Block` of 4,096 strategies.
    """
    generator = np.random.default_rng((settings.seed, index))
    ratios = generator.uniform(
        settings.min_ratio, settings.max_ratio, (_BLOCK, len(groups))
    )
    kept = strategy_lib.kept_channels(ratios, groups, settings.round_to)
    costs = cost_model.of(kept)
    met = np.ones(_BLOCK, bool)
    for constraint in constraints:
        met &= constraint.met_by(costs)
    return Block(ratios, kept, costs, met)


class RandomSampling:
    """The paper's: every ratio ~ U[min_ratio, max_ratio], else rejected.

    Draws come in blocks from a generator seeded with (seed, block), so that
    proposal i is the same however many were asked for, and by whom.

    Args:
        groups: sequence of `ChannelGroup`.
        cost_model: a `CostModel`.
        constraints: sequence of `Constraint`.
        settings: has `min_ratio`, `max_ratio`, `round_to` and `seed`.

    Attributes:
        drawn: strategies drawn so far, up to the last one suggested.
    """

    def __init__(self, groups, cost_model, constraints, settings):
        self._groups = groups
        self._cost_model = cost_model
        self._constraints = constraints
        self._settings = settings
        self._proposals = self._draw()
        self.drawn = 0

    def suggest(self, count):
        """Returns `count` new proposals.

        Raises:
            InputError: if millions of draws in a row miss the constraints,
                or only networks that were proposed before meet them.
        """
        proposals = []
        for _ in range(count):
            proposal = next(self._proposals)
            self.drawn = proposal.index + 1
            proposals.append(proposal)
        return proposals

    def _draw(self):
        s = self._settings
        seen = set()
        last = 0
        for block in itertools.count():
            drawn = draw_block(
                block, self._groups, self._cost_model, self._constraints, s
            )
            for row in np.flatnonzero(drawn.met):
                widths = tuple(drawn.kept[row].tolist())
                if widths in seen:  # The same network once more.
                    continue
                seen.add(widths)
                last = block * _BLOCK + int(row)
                yield make_proposal(
                    last,
                    drawn.ratios[row],
                    drawn.kept[row],
                    drawn.costs,
                    row,
                    self._groups,
                )
            if (block + 1) * _BLOCK - last > _GIVE_UP_AFTER:
                raise errors.InputError(self._exhausted(seen))

    def _exhausted(self, seen):
        wanted = " and ".join(c.describe() for c in self._constraints)
        s = self._settings
        return (
            f"{_GIVE_UP_AFTER:,} strategies in a row with ratios from "
            f"{s.min_ratio} to {s.max_ratio} gave no new network with "
            f"{wanted or 'no constraint'}; {len(seen)} were found before. Ask "
            "for fewer candidates, raise tolerance, or move "
            "min_ratio/max_ratio so that the budget lies in their middle."
        )


class UniformSampling:
    """One strategy: the same ratio everywhere (uniform filter pruning).

    A ratio that is exactly equal in all groups moves cost in steps, as
    several groups lose a channel at once. Here the groups lose theirs one
    after the other, so that the budget is met to within about one channel.
    """

    def __init__(self, groups, cost_model, constraints, settings):
        self._arguments = (groups, cost_model, constraints, settings)
        self.drawn = 0

    def suggest(self, count):
        """Returns the one proposal; see `RandomSampling.suggest`.

        Raises:
            InputError: if more than one is asked for, no constraint says
                what to reach, or the ratio does not meet it.
        """
        groups, cost_model, constraints, settings = self._arguments
        if count + self.drawn > 1:
            raise errors.InputError(
                "Uniform pruning has one strategy for a budget. Received: "
                f"num_candidates={count + self.drawn}; ask for 1."
            )
        if not constraints:
            raise errors.InputError(
                "Uniform pruning needs a budget to derive its ratio from: "
                "give macs or params."
            )
        sizes = np.array([group.size for group in groups])
        golden = (np.sqrt(5) - 1) / 2
        offsets = (np.arange(len(groups)) * golden) % 1 - 0.5
        even = np.linspace(settings.min_ratio, settings.max_ratio, 20_001)
        ratios = np.clip(
            even[:, np.newaxis] + offsets / sizes,
            settings.min_ratio,
            settings.max_ratio,
        )
        kept = strategy_lib.kept_channels(ratios, groups, settings.round_to)
        costs = cost_model.of(kept)
        miss = sum(
            np.abs(costs[c.metric] - c.target) / c.full for c in constraints
        )
        row = int(np.argmin(miss))
        for constraint in constraints:
            if not constraint.met_by(costs)[row]:
                reached = costs[constraint.metric][row]
                raise errors.InputError(
                    f"Uniform pruning comes no nearer to "
                    f"{constraint.describe()} than {reached:,}: raise "
                    "tolerance."
                )
        self.drawn = 1
        return [make_proposal(0, ratios[row], kept[row], costs, row, groups)]


def make_proposal(index, ratios, kept, costs, row, groups):
    """The `Proposal` for one row of a block of strategies."""
    named = zip(groups, ratios.tolist(), strict=True)
    return Proposal(
        index=index,
        strategy=strategy_lib.PruningStrategy(
            tuple((group.name, ratio) for group, ratio in named)
        ),
        kept=tuple(kept.tolist()),
        macs=int(costs["macs"][row]),
        params=int(costs["params"][row]),
    )


ALGORITHMS = {"random": RandomSampling, "uniform": UniformSampling}
