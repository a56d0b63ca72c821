"""Search algorithms: where pruning strategies come from.

Every strategy that is proposed meets all constraints.
"""

import abc
import dataclasses
import itertools
import math

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.candidates import constraints as constraints_lib
from eagleeye_tf.candidates import ranges
from eagleeye_tf.pruning import strategy as strategy_lib
from eagleeye_tf.pruning.cost import CostModel

# Strategies that are drawn at a time.
BLOCK = 4096
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
        activation_memory: cost of the pruned network.
    """

    index: int
    strategy: strategy_lib.PruningStrategy
    kept: tuple
    macs: int
    params: int
    activation_memory: int


@dataclasses.dataclass(frozen=True)
class Block:
    """Those of many random strategies that meet all constraints.

    Attributes:
        rows: int array (met,), their places among all that were drawn.
        ratios: float array (met, groups).
        kept: int array (met, groups).
        costs: `{metric: int array (met,)}`, those of `CostModel`.
    """

    rows: np.ndarray
    ratios: np.ndarray
    kept: np.ndarray
    costs: dict

    def proposals(self, groups, first=0, seen=None):
        """Yields the `Proposal`s of networks that were not seen yet.

        Args:
            groups: sequence of `ChannelGroup`.
            first: index of the draw's row 0.
            seen: set of kept channels, as bytes; each that comes is added.
                None for all.
        """
        names = [group.name for group in groups]
        for place, row in enumerate(self.rows.tolist()):
            if seen is not None:
                network = self.kept[place].tobytes()
                if network in seen:  # Before anything is made of it.
                    continue
                seen.add(network)
            ratios = self.ratios[place].tolist()
            yield Proposal(
                index=first + row,
                strategy=strategy_lib.PruningStrategy(
                    tuple(zip(names, ratios, strict=True))
                ),
                kept=tuple(self.kept[place].tolist()),
                **{name: int(v[place]) for name, v in self.costs.items()},
            )


def draw_block(index, groups, cost_model, constraints, settings):
    """Draws ratios ~ U[min_ratio, max_ratio] for every group to be cut.

    Args:
        index: number of the block; it and `settings.seed` decide the draw.
        groups: sequence of `ChannelGroup`.
        cost_model: a `CostModel`.
        constraints: sequence of `Constraint`.
        settings: has `min_ratio`, `max_ratio`, `exclude`, `round_to` and
            `seed`.

    Returns:
        The `Block` of those of 4,096 strategies that meet all constraints.
    """
    generator = np.random.default_rng((settings.seed, index))
    ratios = generator.uniform(
        settings.min_ratio, settings.max_ratio, (BLOCK, len(groups))
    )
    ratios[:, ranges.excluded(groups, settings)] = 0.0
    return meeting(ratios, groups, cost_model, constraints, settings)


def meeting(ratios, groups, cost_model, constraints, settings):
    """The `Block` of some ratios: float array (strategies, groups)."""
    kept = strategy_lib.kept_channels(ratios, groups, settings.round_to)
    rows = np.arange(len(ratios))
    for constraint in constraints:  # Each looks at what the last one left.
        costs = cost_model.of(kept[rows], [constraint.metric])
        rows = rows[constraint.met_by(costs)]
    costs = cost_model.of(kept[rows], CostModel.metrics)
    return Block(rows, ratios[rows], kept[rows], costs)


class ExhaustedError(errors.InputError):
    """There are not so many networks that meet the constraints.

    Attributes:
        found: the proposals that there were before this was known.
    """

    found = ()


class SearchAlgorithm(abc.ABC):
    """What proposes strategies.

    Args:
        groups: sequence of `ChannelGroup`.
        cost_model: a `CostModel`.
        constraints: sequence of `Constraint`.
        settings: as for `draw_block`.

    Attributes:
        generation: how many proposals to ask for before `update` tells what
            became of them; None if it does not matter.
        drawn: strategies drawn so far, up to the last one suggested.
    """

    generation = None

    def __init__(self, groups, cost_model, constraints, settings):
        self._groups = groups
        self._cost_model = cost_model
        self._constraints = constraints
        self._settings = settings
        self.drawn = 0

    @abc.abstractmethod
    def suggest(self, count):
        """Returns `count` new proposals.

        Raises:
            ExhaustedError: if there are not so many that meet the
                constraints.
        """

    def update(self, candidates):
        """Takes note of the candidates that proposals have become.

        Args:
            candidates: sequence of `Candidate`, in the order in which they
                were proposed.
        """


class RandomSampling(SearchAlgorithm):
    """The paper's: every ratio ~ U[min_ratio, max_ratio], else rejected.

    Draws come in blocks from a generator seeded with (seed, block), so that
    proposal i is the same however many were asked for, and by whom.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.seen = set()
        self._proposals = self._draw()
        # Of a few networks each has come by then, but for what hardly ever
        # comes.
        networks = _count_networks(self._groups, self._settings)
        self._enough = max(BLOCK, min(100 * networks, _GIVE_UP_AFTER))

    def suggest(self, count):
        """Returns `count` new proposals.

        Raises:
            ExhaustedError: if millions of draws in a row miss the
                constraints, or only networks that were seen before meet them.
        """
        proposals = []
        for _ in range(count):
            proposal = next(self._proposals, None)
            if proposal is None:
                raise self._exhausted(proposals)
            self.drawn = proposal.index + 1
            proposals.append(proposal)
        return proposals

    def _draw(self):
        s = self._settings
        last = 0
        for block in itertools.count():
            drawn = draw_block(
                block, self._groups, self._cost_model, self._constraints, s
            )
            for proposal in drawn.proposals(
                self._groups, block * BLOCK, self.seen
            ):
                last = proposal.index
                yield proposal
            if (block + 1) * BLOCK - last > self._enough:
                return

    def _exhausted(self, found):
        """The error to raise when many draws in a row gave nothing new."""
        s = self._settings
        alone = chances(self._groups, self._cost_model, self._constraints, s)
        wanted = " and ".join(
            f"{c.describe()} (which {share:.2%} meet; 98 of 100 have "
            f"{low / c.full:.1%} to {high / c.full:.1%})"
            for c, (share, low, high) in alone.items()
        )
        ways = ["ask for fewer candidates"] if self.seen else []
        ways += [c.way_out for c, (share, *_) in alone.items() if share < 1]
        if s.round_to > 1:
            ways.append("lower round_to")
        if s.exclude:
            ways.append("exclude less")
        error = ExhaustedError(
            f"{self._enough:,} strategies in a row with ratios from "
            f"{s.min_ratio} to {s.max_ratio} gave no new network with "
            f"{wanted or 'no constraint'}; networks found before: "
            f"{len(self.seen)}. Ways out: {', '.join([*ways, ''])}or move "
            "min_ratio/max_ratio so that the budget lies in their middle."
        )
        error.found = found
        return error


def _count_networks(groups, settings):
    """How many networks there are, whatever they cost."""
    most, least = strategy_lib.kept_channels(
        np.array(ranges.of_ratios(groups, settings)), groups, settings.round_to
    )
    widths = -(-(most - least) // settings.round_to) + 1
    return math.prod(widths.tolist())


def chances(groups, cost_model, constraints, settings):
    """How often a random strategy meets each of some constraints alone.

    Args:
        groups: sequence of `ChannelGroup`.
        cost_model: a `CostModel`.
        constraints: sequence of `Constraint`.
        settings: as for `draw_block`.

    Returns:
        `{Constraint: (share, 1st percentile, 99th percentile of its metric)}`.
    """
    block = draw_block(0, groups, cost_model, (), settings)
    # Of what is measured, a block does not know the costs.
    metrics = [c.metric for c in constraints]
    costs = cost_model.of(block.kept, metrics)
    return {
        c: (
            c.met_by(costs).mean(),
            *np.percentile(costs[c.metric], (1, 99)).tolist(),
        )
        for c in constraints
    }


def _nearest(costs, constraints):
    """Index of the candidate nearest to all targets, of those that may be.

    Args:
        costs: `{metric: array}`.
        constraints: sequence of `Constraint`.

    Returns:
        One that meets all constraints, if any does.
    """
    miss = sum(c.distance(costs) / c.full for c in constraints)
    is_met = np.all([c.met_by(costs) for c in constraints], axis=0)
    if is_met.any():
        miss = np.where(is_met, miss, np.inf)
    return int(np.argmin(miss))


class UniformSampling(SearchAlgorithm):
    """One strategy: the same ratio everywhere (uniform filter pruning).

    A ratio that is exactly equal in all groups moves cost in steps, as
    several groups lose a channel at once. Here the groups lose theirs one
    after the other, so that the budget is met to within about one channel.
    """

    def suggest(self, count):
        """Returns the one proposal; see `RandomSampling.suggest`.

        Raises:
            InputError: if more than one is asked for, or it does not meet
                the constraints.
        """
        groups, settings = self._groups, self._settings
        constraints = self._constraints
        if count + self.drawn > 1:
            raise errors.InputError(
                "Uniform pruning has one strategy for a budget. Received: "
                f"num_candidates={count + self.drawn}; ask for 1."
            )
        sizes = np.array([group.size for group in groups])
        golden = (np.sqrt(5) - 1) / 2
        offsets = (np.arange(len(groups)) * golden) % 1 - 0.5
        even = np.linspace(settings.min_ratio, settings.max_ratio, 20_001)
        ratios = np.clip(
            even[:, np.newaxis] + offsets / sizes,
            *ranges.of_ratios(groups, settings),
        )
        kept = strategy_lib.kept_channels(ratios, groups, settings.round_to)
        costs = self._cost_model.of(kept, [c.metric for c in constraints])
        row = _nearest(costs, constraints)
        missed = [c for c in constraints if not c.met_by(costs)[row]]
        if missed:
            wanted = " and ".join(
                f"{c.describe()} than "
                f"{constraints_lib.shown(costs[c.metric][row].item())}"
                for c in missed
            )
            together = ", all budgets together," if constraints[1:] else ""
            ways = " or ".join(c.way_out for c in missed)
            raise errors.InputError(
                f"Uniform pruning{together} comes no nearer to {wanted}: "
                f"{ways}."
            )
        self.drawn = 1
        best = ratios[row : row + 1]
        block = meeting(best, groups, self._cost_model, constraints, settings)
        return list(block.proposals(groups))
