"""Evaluates candidates on fixed images: adapts BN, counts correct answers.

All candidates see the same images in the same batches. An evaluation can stop
early and go on later: BN statistics of the first images are kept and added to,
and images are scored once with the same statistics. With several devices, each
computes a candidate of its own, so a score does not depend on how many there
are.
"""

import abc
import dataclasses
import time

import numpy as np

from eagleeye_tf import examples
from eagleeye_tf.candidates import adaptive_bn


@dataclasses.dataclass
class Trial:
    """One candidate under evaluation.

    Attributes:
        strategy: its `PruningStrategy`.
        moments: `{path of a BN layer: moments of what entered it}`.
        calibrated: calibration images seen so far.
        network: whatever computes it; None while it rests.
    """

    strategy: object
    moments: dict = dataclasses.field(default_factory=dict)
    calibrated: int = 0
    network: object = None


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a candidate answered on its way from one rung to the next.

    Attributes:
        calibration_correct: correct answers of the calibration pass.
        correct: correct answers of adaptive-BN evaluation.
        vanilla_correct: those of vanilla evaluation, of all sub-validation
            images up to the rung; None if nobody asked.
        seconds: of one device.
    """

    calibration_correct: int
    correct: int
    vanilla_correct: int | None
    seconds: float


class Evaluator(abc.ABC):
    """Computes candidates of one model on fixed images.

    Args:
        pruner: a `rebuild.Pruner`.
        calibration: `(images, labels)` that re-estimate BN statistics.
        sub_validation: `(images, labels)`, disjoint from the former.
        batch_size: examples per batch.
        new_moments: makes what collects the statistics of a BN layer.

    Attributes:
        width: how many candidates are computed at a time.
        has_batch_norm: whether there is anything to adapt.
        calibration_size: number of calibration images.
        sub_validation_size: number of sub-validation images.
        exact: whether statistics of some calibration images estimate those of
            all, as a moving average's do not.
        traces: how often TensorFlow traced a network so far.

    Raises:
        InputError: if images or labels do not fit the model.
    """

    width = 1

    def __init__(
        self,
        pruner,
        calibration,
        sub_validation,
        batch_size=128,
        new_moments=adaptive_bn.Moments,
    ):
        for images, labels in (calibration, sub_validation):
            examples.check(pruner.graph.model, images, labels)
        self.pruner = pruner
        self._paths = [
            path
            for path in adaptive_bn.batch_norm_layers(pruner.graph.model)
            if path in pruner.graph.records  # Else no output depends on it.
        ]
        self.has_batch_norm = bool(self._paths)
        self.calibration_size = len(calibration[1])
        self.sub_validation_size = len(sub_validation[1])
        self.exact = new_moments().exact
        self.traces = 0
        self._calibration = calibration
        self._sub_validation = sub_validation
        self._batch_size = batch_size
        self._new_moments = new_moments

    def start(self, strategy):
        """Returns a fresh `Trial` of a `PruningStrategy`."""
        return Trial(strategy)

    def advance(self, trials, rungs, vanilla):
        """Shows trials the images that the last of some rungs adds.

        Args:
            trials: list of `Trial` that stand on the rung before. One that
                lacks that rung's statistics, because a race was killed,
                catches up rung by rung, which repeats the same arithmetic.
            rungs: list of `racing.Rung`, from the first to the one to reach.
            vanilla: whether vanilla evaluation is asked for, too.

        Yields:
            (place in `trials`, `Answers`) of each that is done.
        """
        for first in range(0, len(trials), self.width):
            heat = trials[first : first + self.width]
            answers = self._advance(heat, rungs, vanilla)
            yield from enumerate(answers, start=first)

    def _advance(self, heat, rungs, vanilla):
        """`advance` for at most `width` trials; list of `Answers`."""
        clock = time.monotonic()
        *before, end = rungs
        start = end.already_scored(before[-1] if before else None)
        inherited = [None] * len(heat)
        if vanilla:
            inherited = self.count(heat, 0, end.sub_validation, adapted=False)
        for trial in heat:
            for rung in before:
                if trial.calibrated < rung.calibration:
                    self.calibrate([trial], rung.calibration)
                    self.rest(trial)
        calibration = self.calibrate(heat, end.calibration)
        correct = self.count(heat, start, end.sub_validation)
        for trial in heat:
            self.rest(trial)
        seconds = (time.monotonic() - clock) / len(heat)
        return [
            Answers(*counts, seconds)
            for counts in zip(calibration, correct, inherited, strict=True)
        ]

    def calibrate(self, trials, stop):
        """Adds calibration images up to number `stop` to the statistics.

        Args:
            trials: at most `width` of `Trial`, all calibrated on as many
                images so far.
            stop: number behind the last image.

        Returns:
            For each trial, how many of the images were answered correctly
            with the statistics of their own batch.

        Raises:
            InputError: if a statistic is not finite.
        """
        (start,) = {trial.calibrated for trial in trials}
        if start >= stop or not self.has_batch_norm:
            return [0] * len(trials)
        for trial in trials:
            trial.moments = trial.moments or {
                path: self._new_moments() for path in self._paths
            }
        correct = self._calibrate(trials, slice(start, stop))
        for trial in trials:
            adaptive_bn.check(trial.moments)
            trial.calibrated = stop
        return correct

    def count(self, trials, start, stop, adapted=True):
        """Counts correct answers among sub-validation images.

        Args:
            trials: at most `width` of `Trial`.
            start: number of the first image.
            stop: number behind the last image.
            adapted: with the trials' own BN statistics (adaptive-BN
                evaluation) or the inherited ones (vanilla evaluation).

        Returns:
            List of numbers, one for each trial.
        """
        adapted = adapted and self.has_batch_norm
        return self._count(trials, slice(start, stop), adapted)

    def ready(self, trial):
        """Cuts a trial's network, as `calibrate` and `count` would."""
        self._network(trial)

    def rest(self, trial):
        """Frees what a trial can be given again when it goes on."""
        trial.network = None
        for moments in trial.moments.values():
            moments.mean = moments.mean.astype(np.float32)
            moments.variance = moments.variance.astype(np.float32)

    def forget(self, trial):
        """Frees the statistics of a trial, which would collect them anew."""
        trial.moments, trial.calibrated = {}, 0

    @abc.abstractmethod
    def _network(self, trial):
        """What computes a trial, which keeps it until it rests."""

    @abc.abstractmethod
    def _calibrate(self, trials, part):
        """`calibrate` on a slice of the calibration set."""

    @abc.abstractmethod
    def _count(self, trials, part, adapted):
        """`count` on a slice of the sub-validation set."""
