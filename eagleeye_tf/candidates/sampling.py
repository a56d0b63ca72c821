"""Search algorithms: where pruning strategies come from.

Every strategy that is proposed meets all constraints.
"""

import abc
import dataclasses
import itertools

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.pruning import strategy as strategy_lib

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
        settings.min_ratio, settings.max_ratio, (BLOCK, len(groups))
    )
    return costed(ratios, groups, cost_model, constraints, settings)


def costed(ratios, groups, cost_model, constraints, settings):
    """The `Block` of some ratios: float array (strategies, groups)."""
    kept = strategy_lib.kept_channels(ratios, groups, settings.round_to)
    costs = cost_model.of(kept)
    met = np.ones(len(ratios), bool)
    for constraint in constraints:
        met &= constraint.met_by(costs)
    return Block(ratios, kept, costs, met)


class SearchAlgorithm(abc.ABC):
    """What proposes strategies.

    Args:
        groups: sequence of `ChannelGroup`.
        cost_model: a `CostModel`.
        constraints: sequence of `Constraint`.
        settings: has `min_ratio`, `max_ratio`, `round_to` and `seed`.

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
            InputError: if there are not so many that meet the constraints.
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
        self._proposals = self._draw()

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
                last = block * BLOCK + int(row)
                yield make_proposal(last, drawn, row, self._groups)
            if (block + 1) * BLOCK - last > _GIVE_UP_AFTER:
                raise exhausted(_GIVE_UP_AFTER, self._constraints, s, len(seen))


def exhausted(drawn, constraints, settings, found):
    """The error to raise when many draws in a row gave nothing new.

    Args:
        drawn: how many.
        constraints: sequence of `Constraint`.
        settings: has `min_ratio` and `max_ratio`.
        found: number of networks found before.
    """
    wanted = " and ".join(c.describe() for c in constraints)
    return errors.InputError(
        f"{drawn:,} strategies in a row with ratios from "
        f"{settings.min_ratio} to {settings.max_ratio} gave no new network "
        f"with {wanted or 'no constraint'}; {found} were found before. Ask "
        "for fewer candidates, raise tolerance, or move "
        "min_ratio/max_ratio so that the budget lies in their middle."
    )


class UniformSampling(SearchAlgorithm):
    """One strategy: the same ratio everywhere (uniform filter pruning).

    A ratio that is exactly equal in all groups moves cost in steps, as
    several groups lose a channel at once. Here the groups lose theirs one
    after the other, so that the budget is met to within about one channel.
    """

    def suggest(self, count):
        """Returns the one proposal; see `RandomSampling.suggest`.

        Raises:
            InputError: if more than one is asked for, no constraint says
                what to reach, or the ratio does not meet it.
        """
        groups, settings = self._groups, self._settings
        constraints = self._constraints
        if count + self.drawn > 1:
            raise errors.InputError(
                "Uniform pruning has one strategy for a budget. Received: "
                f"num_candidates={count + self.drawn}; ask for 1."
            )
        if all(constraint.is_limit for constraint in constraints):
            raise errors.InputError(
                "Uniform pruning needs a budget to derive its ratio from: "
                "give macs, params or activation_memory."
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
        block = costed(ratios, groups, self._cost_model, constraints, settings)
        miss = sum(c.distance(block.costs) / c.full for c in constraints)
        row = int(np.argmin(miss))
        for constraint in constraints:
            if not constraint.met_by(block.costs)[row]:
                reached = block.costs[constraint.metric][row]
                raise errors.InputError(
                    f"Uniform pruning comes no nearer to "
                    f"{constraint.describe()} than {reached:,}: raise "
                    "tolerance."
                )
        self.drawn = 1
        return [make_proposal(0, block, row, groups)]


def make_proposal(index, block, row, groups):
    """The `Proposal` for one row of a `Block`."""
    named = zip(groups, block.ratios[row].tolist(), strict=True)
    return Proposal(
        index=index,
        strategy=strategy_lib.PruningStrategy(
            tuple((group.name, ratio) for group, ratio in named)
        ),
        kept=tuple(block.kept[row].tolist()),
        **{name: int(values[row]) for name, values in block.costs.items()},
    )
