"""The search log: one JSON line per candidate, and the truth.

The first line says what was searched: schema version, fingerprints of the
model and of the images, settings. A candidate counts once its line is on
disk, so a search can be killed anywhere and continued.
"""

import dataclasses

from eagleeye_tf.candidates import json_log
from eagleeye_tf.pruning.strategy import PruningStrategy

SCHEMA = 4


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A pruning strategy with what is known of it.

    Attributes:
        index: number of the proposal among all strategies drawn, from 0.
        strategy: the `PruningStrategy`.
        kept: tuple of kept channels, one for each group.
        macs: multiply-accumulates of one example.
        params: number of weights.
        activation_memory: see `cost.Cost`.
        finalist: whether it came to the last rung of the race, where everybody
            has statistics of all calibration images, and has scored all
            sub-validation images.
        calibration_correct: correct answers of the calibration pass itself,
            with the statistics of each batch.
        calibration_total: calibration images seen.
        correct: adaptive-BN evaluation, correct answers.
        vanilla_correct: vanilla evaluation, correct answers; None unless it
            was asked for, and is a finalist.
        total: sub-validation images scored.
        seconds: time it took to evaluate, all rungs together.
    """

    index: int
    strategy: PruningStrategy
    kept: tuple
    macs: int
    params: int
    activation_memory: int
    finalist: bool
    calibration_correct: int
    calibration_total: int
    correct: int
    vanilla_correct: int | None
    total: int
    seconds: float

    @property
    def score(self):
        """Adaptive-BN score in [0, 1], of a finalist; None of others."""
        return self.correct / self.total if self.finalist else None

    @property
    def known_score(self):
        """The score of a finalist, the interim one of others."""
        return self.score if self.finalist else self.interim_score

    @property
    def vanilla_score(self):
        """Vanilla score in [0, 1]; None if there is none."""
        if self.vanilla_correct is None:
            return None
        return self.vanilla_correct / self.total

    @property
    def seen(self):
        """(sub-validation, calibration) images: how far it came."""
        return self.total, self.calibration_total

    @property
    def interim_score(self):
        """Share of correct answers among all images seen, in [0, 1].

        Those of the calibration pass included. With what a race decides
        before its last rung.
        """
        seen = self.calibration_total + self.total
        return (self.calibration_correct + self.correct) / max(seen, 1)

    def to_json(self):
        """A dict for `json.dumps`."""
        return {
            **dataclasses.asdict(self),
            "strategy": self.strategy.to_json(),
        }

    @classmethod
    def from_json(cls, record):
        """The inverse of `to_json`."""
        values = dict(record)
        values["strategy"] = PruningStrategy.from_json(values["strategy"])
        values["kept"] = tuple(values["kept"])
        return cls(**values)


class SearchLog(json_log.JsonLog):
    """The `json_log.JsonLog` of a search.

    Attributes:
        candidates: what the log holds, in the order of their indices; of one
            that was logged on several rungs the last of them.
    """

    schema, what = SCHEMA, "search"

    def __init__(self, path, identity):
        super().__init__(path, identity)
        self._known = {}

    @property
    def candidates(self):
        last = {index: c for (index, _), c in sorted(self._known.items())}
        return list(last.values())

    def get(self, index, seen):
        """A candidate once it had `seen` so much; None if not logged."""
        return self._known.get((index, seen))

    def append(self, candidate):
        """Writes a candidate; it is on disk when this returns."""
        self.write(candidate.to_json())
        self._known[candidate.index, candidate.seen] = candidate

    def accept(self, record):
        candidate = Candidate.from_json(record)
        for correct, total in (
            (candidate.correct, candidate.total),
            (candidate.calibration_correct, candidate.calibration_total),
        ):
            if not 0 <= correct <= total:
                raise ValueError(f"{correct} of {total} cannot be correct.")
        self._known[candidate.index, candidate.seen] = candidate
