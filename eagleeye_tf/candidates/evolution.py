"""Evolutionary search: new strategies are made of the best so far."""

import dataclasses

import numpy as np

from eagleeye_tf.candidates import ranges
from eagleeye_tf.candidates import sampling

_PARENTS = 10
_MUTATED = 0.2  # share of a child's ratios
_STEP = 0.2  # standard deviation of a mutation, of the range of ratios
_GIVE_UP_AFTER = 10  # blocks
_AT_RANDOM = 13  # of the first generation
_WHOLE = 0.5  # share of the classes of groups that are left alone
_DIRECTIONS = 24
_ORDERLY = 4  # of them in an order, not at random
# Tells the generator apart from those of `sampling.draw_block`.
_STREAM = 7


class EvolutionarySearch(sampling.SearchAlgorithm):
    """Crossover and mutation among the ten best, within the constraints.

    The first generation begins with that of `sampling.RandomSampling` with the
    same seed. Its other half treats groups alike that as many layers share,
    and leaves some of these classes whole: the best that were found of
    ResNet-56 keep their shortcuts, which independent ratios hardly ever do.

    A child takes each ratio from one of two parents, which may be the
    same one, and has a fifth of its ratios moved a little; children that miss
    the constraints are drawn again, and where no new one is found a random
    strategy takes its place. What comes of it depends on the seed and the
    scores alone.
    """

    generation = 25

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._random = sampling.RandomSampling(*arguments)
        self._known = []

    def suggest(self, count):
        """See `sampling.SearchAlgorithm`."""
        generator = np.random.default_rng(
            (self._settings.seed, _STREAM, len(self._known))
        )
        if self._known:
            parents = self._parents()
            return self._found(
                lambda: self._meeting(self._children(parents, generator)),
                count,
            )
        try:
            proposals = self._random.suggest(min(count, _AT_RANDOM))
        except sampling.ExhaustedError as error:
            proposals = error.found  # There may be others on the way.
        self.drawn = self._random.drawn
        rest = count - len(proposals)
        try:
            more = self._found(lambda: self._along_rays(generator), rest)
        except sampling.ExhaustedError as error:
            error.found = proposals + error.found
            raise
        return proposals + more

    def update(self, candidates):
        """See `sampling.SearchAlgorithm`."""
        self._known += candidates

    def _found(self, draw, count):
        """So many new proposals of the blocks that `draw` returns."""
        proposals = []
        for _ in range(_GIVE_UP_AFTER):
            if len(proposals) == count:
                return proposals
            block = draw()
            first, self.drawn = self.drawn, self.drawn + sampling.BLOCK
            seen = self._random.seen  # Random ones are nobody's doubles.
            for proposal in block.proposals(self._groups, first, seen):
                proposals.append(proposal)
                if len(proposals) == count:
                    self.drawn = proposal.index + 1
                    return proposals
        # There are no new ones of this kind left.
        while len(proposals) < count:
            try:
                (stranger,) = self._random.suggest(1)
            except sampling.ExhaustedError as error:
                error.found = proposals
                raise
            proposals.append(dataclasses.replace(stranger, index=self.drawn))
            self.drawn += 1
        return proposals

    def _meeting(self, ratios):
        return sampling.meeting(
            ratios,
            self._groups,
            self._cost_model,
            self._constraints,
            self._settings,
        )

    def _along_rays(self, generator):
        """A block of strategies that prune classes of groups alike.

        Each of some directions is followed until the budget is met: at random
        hardly any strategy that leaves much whole would meet it.
        """
        s = self._settings
        directions = self._directions(generator)
        scales = np.linspace(0.0, 1.0, sampling.BLOCK // len(directions) + 1)
        sizes = np.array([group.size for group in self._groups])
        # Groups of one class lose their channels one after the other.
        offsets = generator.uniform(-0.5, 0.5, directions.shape) / sizes
        rays = directions[:, np.newaxis] * scales[1:, np.newaxis]
        pruned = (directions > 0)[:, np.newaxis]
        ratios = s.min_ratio + (s.max_ratio - s.min_ratio) * rays
        ratios = ratios + pruned * offsets[:, np.newaxis]
        ratios = self._in_range(ratios)
        block = self._meeting(ratios.reshape(-1, len(sizes)))
        _, one_of_each = np.unique(
            block.rows // (len(scales) - 1), return_index=True
        )
        return sampling.Block(
            block.rows[one_of_each],
            block.ratios[one_of_each],
            block.kept[one_of_each],
            {name: v[one_of_each] for name, v in block.costs.items()},
        )

    def _directions(self, generator):
        """Where to: float array (directions, groups), each at most 1.

        The first ones prune all groups that no more than so many layers
        share, and the last of these all groups; then come random ones.
        """
        is_cut = ~ranges.excluded(self._groups, self._settings)
        layers = np.array([len(group.layers) for group in self._groups])
        classes, place = np.unique(layers * is_cut, return_inverse=True)
        limits = np.unique(layers[is_cut])
        limits = np.unique([*limits[: _ORDERLY - 1], *limits[-1:]])
        first = [is_cut & (layers <= limit) for limit in limits]
        shape = _DIRECTIONS, len(classes)
        levels = generator.uniform(0.0, 1.0, shape)
        levels *= generator.random(shape) >= _WHOLE
        spread = generator.uniform(0.0, 1.0, (_DIRECTIONS, 1))
        noise = generator.uniform(-1.0, 1.0, (_DIRECTIONS, len(layers)))
        random = is_cut * levels[:, place] * (1 + spread * noise)
        random = random[random.any(axis=1)]
        random /= random.max(axis=1, keepdims=True)
        return np.concatenate([np.array(first, float), random])

    def _parents(self):
        """Ratios of the best candidates: float array (parents, groups)."""
        best = sorted(
            self._known, key=lambda c: (-c.known_score, c.macs, c.index)
        )[:_PARENTS]
        return np.array([[r for _, r in c.strategy.ratios] for c in best])

    def _children(self, parents, generator):
        """A block of children: float array (strategies, groups)."""
        s = self._settings
        shape = sampling.BLOCK, parents.shape[1]
        mothers, fathers = generator.integers(len(parents), size=(2, shape[0]))
        # Every other child has one parent alone.
        fathers[::2] = mothers[::2]
        from_mother = generator.random(shape) < 0.5
        ratios = np.where(from_mother, parents[mothers], parents[fathers])
        mutated = generator.random(shape) < _MUTATED
        step = _STEP * (s.max_ratio - s.min_ratio)
        ratios += mutated * generator.normal(0.0, step, shape)
        return self._in_range(ratios)

    def _in_range(self, ratios):
        least, most = ranges.of_ratios(self._groups, self._settings)
        return np.clip(ratios, least, most)
