"""Evolutionary search: new strategies are made of the best so far."""

import dataclasses

import numpy as np

from eagleeye_tf.candidates import sampling

_PARENTS = 10
_MUTATED = 0.2  # share of a child's ratios
_STEP = 0.2  # standard deviation of a mutation, of the range of ratios
_GIVE_UP_AFTER = 10  # blocks
# Tells the generator apart from those of `sampling.draw_block`.
_STREAM = 7


class EvolutionarySearch(sampling.SearchAlgorithm):
    """Crossover and mutation among the ten best, within the constraints.

    The first generation is that of `sampling.RandomSampling` with the same
    seed. A child takes each ratio from one of two parents, which may be the
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
        if self._known:
            return self._breed(count)
        try:
            return self._random.suggest(count)
        finally:
            self.drawn = self._random.drawn

    def update(self, candidates):
        """See `sampling.SearchAlgorithm`."""
        self._known += candidates

    def _breed(self, count):
        generator = np.random.default_rng(
            (self._settings.seed, _STREAM, len(self._known))
        )
        parents = self._parents()
        children = []
        for _ in range(_GIVE_UP_AFTER):
            block = sampling.meeting(
                self._children(parents, generator),
                self._groups,
                self._cost_model,
                self._constraints,
                self._settings,
            )
            first, self.drawn = self.drawn, self.drawn + sampling.BLOCK
            seen = self._random.seen  # Random ones are no children's doubles.
            for child in block.proposals(self._groups, first, seen):
                children.append(child)
                if len(children) == count:
                    self.drawn = child.index + 1
                    return children
        # The best have no new children left.
        while len(children) < count:
            try:
                (stranger,) = self._random.suggest(1)
            except sampling.ExhaustedError as error:
                error.found = children
                raise
            children.append(dataclasses.replace(stranger, index=self.drawn))
            self.drawn += 1
        return children

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
        return np.clip(ratios, s.min_ratio, s.max_ratio)
