"""Candidates whose answers and times are planted, to work out by hand."""

from eagleeye_tf.candidates.evaluator import Evaluator

COUNT = 16
# By place among the proposals: the later, the better by the paper's protocol.
PLAIN = [40 + 2 * place for place in range(COUNT)]
# Of two neighbours the other one is better.
FULL = [50 + 4 * (place ^ 1) for place in range(COUNT)]
# The best seems the worst, and the other way round.
CALIBRATION = [45, *range(31, 45), 30]
JUDGED = [20 + 3 * place for place in range(COUNT)]
ANSWERS = {
    "calibration": CALIBRATION,
    "full": FULL,
    "judged": JUDGED,
    "pace": [1] * COUNT,
}


class Clock:
    """Stands still unless somebody says how long he works."""

    now = 0.0

    def work(self, seconds):
        self.now += seconds

    def monotonic(self):
        return self.now


class Planted(Evaluator):
    """Answers, and takes time, as told of each candidate.

    It is right on the first images of a set: how many, `planted` tells.
    """

    planted = {}  # strategy: {"calibration", "full", "judged", "pace"}
    clock = Clock()
    moments = []

    def start(self, strategy):
        self.clock.work(5 * self.planted[strategy]["pace"])
        return super().start(strategy)

    def _calibrate(self, trials, part):
        (trial,) = trials
        for moments in trial.moments.values():
            moments.add(1, [0.0], [1.0])
            self.moments.append(moments)
        return [self._right(trial, part, "calibration", 1.0)]

    def _count(self, trials, part, adapted):
        (trial,) = trials
        way = "full" if adapted else None
        return [self._right(trial, part, way, 0.5)]

    def _network(self, trial):
        if trial.network is None:
            trial.network = "cut"
            self.clock.work(3 * self.planted[trial.strategy]["pace"])

    def _right(self, trial, part, way, seconds):
        self._network(trial)
        told = self.planted[trial.strategy]
        self.clock.work(seconds * (part.stop - part.start) * told["pace"])
        right = told.get(way, 0)
        return min(part.stop, right) - min(part.start, right)
