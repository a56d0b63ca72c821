"""What a search found."""

import dataclasses

import numpy as np

from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import settings as settings_lib
from eagleeye_tf.pruning import rebuild


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        candidates: all evaluated candidates: those who came farther in the
            race first, then the better score, then fewer MACs.
        drawn: strategies drawn until that many met the constraints.
        full_cost: the `Cost` of the whole network.
        pruner: the `Pruner` that builds candidates.
        model_fingerprint: of the whole network.
        torn: bytes of a last line of the log that was not whole, as a killed
            search leaves it; what it told of was evaluated again.
        calibration: the images that re-estimated BN statistics, an array.
        settings: the `SearchSettings`.
        has_batch_norm: False if there was nothing to adapt, so that scores
            are vanilla ones.
        latency_model: the `latency.LatencyModel` if there was a budget in
            latency, else None.
        measured: `{index: milliseconds}` of the candidates that were measured
            after the search. Those that meet the budget come first in
            `candidates`, those that miss it last among the finalists.
        winners: the candidates that are known to meet all budgets, best
            first: all finalists, or those that were measured and meet it.
    """

    candidates: tuple
    drawn: int
    full_cost: object
    pruner: rebuild.Pruner
    model_fingerprint: str
    calibration: np.ndarray
    settings: settings_lib.SearchSettings
    has_batch_norm: bool
    torn: int = 0
    latency_model: object = None
    measured: dict = dataclasses.field(default_factory=dict)
    winners: tuple = ()

    def __post_init__(self):
        if not self.winners:
            object.__setattr__(self, "winners", self.finalists)

    def __repr__(self):
        best = self.best
        return (
            f"<SearchResult: {len(self.candidates)} candidates, the best with "
            f"a score of {best.known_score:.2%} and {best.macs:,} of "
            f"{self.full_cost.macs:,} MACs>"
        )

    @property
    def finalists(self):
        """The candidates that have seen all images, best first."""
        return tuple(c for c in self.candidates if c.finalist)

    @property
    def best(self):
        """The best candidate."""
        return self.candidates[0]

    def build(self, candidate=None, adapt=True):
        """The pruned `keras.Model` of a candidate, by default the best.

        Args:
            candidate: one of `candidates`.
            adapt: whether BN statistics are re-estimated on the calibration
                set, as they were when it was scored; else they are the
                inherited ones.
        """
        model = self.pruner.prune((candidate or self.best).strategy)
        if adapt and self.has_batch_norm:
            adaptive_bn.adapt_batch_norm(
                model,
                self.calibration,
                self.settings.batch_size,
                new_moments=self.settings.new_moments,
            )
        return model


def by_merit(candidate):
    """Key that sorts candidates: who came farther, then the better score."""
    return (
        -candidate.total,
        -candidate.calibration_total,
        -candidate.known_score,
        candidate.macs,
        candidate.index,
    )
