"""Evaluates candidates on fixed images: adapts BN, counts correct answers.

All candidates see the same images in the same batches. An evaluation can stop
early and go on later: BN statistics of the first images are kept and added to,
and images that were scored are not scored again.
"""

import abc
import dataclasses
import functools

import numpy as np
import tensorflow as tf

from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import scoring
from eagleeye_tf.pruning.open_network import OpenNetwork


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


class Evaluator(abc.ABC):
    """Computes candidates of one model on fixed images.

    Args:
        pruner: a `rebuild.Pruner`.
        calibration: `(images, labels)` that re-estimate BN statistics.
        sub_validation: `(images, labels)`, disjoint from the former.
        batch_size: examples per batch.
        new_moments: makes what collects the statistics of a BN layer.

    Attributes:
        has_batch_norm: whether there is anything to adapt.
        calibration_size: number of calibration images.
        sub_validation_size: number of sub-validation images.
        traces: how often TensorFlow traced a network so far.

    Raises:
        InputError: if the labels do not fit the model's output.
    """

    def __init__(
        self,
        pruner,
        calibration,
        sub_validation,
        batch_size=128,
        new_moments=adaptive_bn.Moments,
    ):
        scoring.check_labels(pruner.graph.model, sub_validation[1])
        self.pruner = pruner
        self.has_batch_norm = bool(
            adaptive_bn.batch_norm_layers(pruner.graph.model)
        )
        self.calibration_size = len(calibration[1])
        self.sub_validation_size = len(sub_validation[1])
        self.traces = 0
        self._calibration = calibration
        self._sub_validation = sub_validation
        self._batch_size = batch_size
        self._new_moments = new_moments

    def start(self, strategy):
        """Returns a fresh `Trial` of a `PruningStrategy`."""
        return Trial(strategy)

    def calibrate(self, trial, stop):
        """Adds calibration images up to number `stop` to the statistics.

        Returns:
            How many of them were answered correctly with the statistics of
            their own batch.

        Raises:
            InputError: if a statistic is not finite.
        """
        if trial.calibrated >= stop or not self.has_batch_norm:
            return 0
        if not trial.moments:
            paths = adaptive_bn.batch_norm_layers(self.pruner.graph.model)
            trial.moments = {path: self._new_moments() for path in paths}
        correct = self._calibrate(trial, slice(trial.calibrated, stop))
        adaptive_bn.check(trial.moments)
        trial.calibrated = stop
        return correct

    def count(self, trial, start, stop, adapted=True):
        """Counts correct answers among sub-validation images.

        Args:
            trial: a `Trial`.
            start: number of the first image.
            stop: number behind the last image.
            adapted: with the trial's own BN statistics (adaptive-BN
                evaluation) or the inherited ones (vanilla evaluation).
        """
        adapted = adapted and self.has_batch_norm
        return self._count(trial, slice(start, stop), adapted)

    def rest(self, trial):
        """Frees what a trial can be given again when it goes on."""
        trial.network = None
        for moments in trial.moments.values():
            moments.mean = moments.mean.astype(np.float32)
            moments.variance = moments.variance.astype(np.float32)

    @abc.abstractmethod
    def _calibrate(self, trial, part):
        """`calibrate` on a slice of the calibration set."""

    @abc.abstractmethod
    def _count(self, trial, part, adapted):
        """`count` on a slice of the sub-validation set."""


class OpenEvaluator(Evaluator):
    """All candidates run through functions that are traced once.

    Args:
        open_network: an `OpenNetwork` without obstacle.
        *arguments: as for `Evaluator`.
    """

    def __init__(self, open_network, *arguments, **options):
        super().__init__(*arguments, **options)
        self._open = open_network
        images, labels = self._sub_validation
        signature = [
            tf.TensorSpec((None, *images.shape[1:]), images.dtype),
            tf.TensorSpec((None,), tf.int64),
            open_network.count_spec,
            *open_network.weight_specs,
        ]
        traced = functools.partial(tf.function, input_signature=signature)
        self._adapting = traced(self._adapt)
        self._scoring = traced(self._score)

    def _adapt(self, images, labels, counts, *weights):
        self.traces += 1  # Python runs while TensorFlow traces.
        (answers,), observed = self._open.compute(
            tf.cast(images, tf.float32), weights, counts, adapting=True
        )
        return scoring.hits(answers, labels), observed

    def _score(self, images, labels, counts, *weights):
        self.traces += 1
        (answers,), _ = self._open.compute(
            tf.cast(images, tf.float32), weights, counts
        )
        return scoring.hits(answers, labels)

    def _network(self, trial):
        if trial.network is None:
            keep = self.pruner.keeper(trial.strategy)
            trial.network = self._open.cut(keep)
        return trial.network

    def _calibrate(self, trial, part):
        weights, counts = self._network(trial)
        correct = 0
        for images, labels in self._batches(self._calibration, part):
            hits, observed = self._adapting(images, labels, counts, *weights)
            correct += int(hits)
            observed = tf.nest.map_structure(lambda t: t.numpy(), observed)
            adaptive_bn.add_observed(trial.moments, observed)
        return correct

    def _count(self, trial, part, adapted):
        weights, counts = self._network(trial)
        if adapted:
            weights = self._open.with_statistics(weights, trial.moments)
        batches = self._batches(self._sub_validation, part)
        hits = [self._scoring(*batch, counts, *weights) for batch in batches]
        return sum(int(value) for value in hits)

    def _batches(self, examples, part):
        """The examples in a slice of a set, a batch at a time."""
        images, labels = examples
        for start in range(part.start, part.stop, self._batch_size):
            some = slice(start, min(start + self._batch_size, part.stop))
            yield (
                tf.convert_to_tensor(images[some]),
                tf.convert_to_tensor(labels[some], tf.int64),
            )


class RebuiltEvaluator(Evaluator):
    """Every candidate is built as a Keras model, and traced.

    Args:
        distribution: a `tf.distribute.Strategy`; replicas share each batch.
        *arguments: as for `Evaluator`.
    """

    def __init__(self, distribution, *arguments, **options):
        super().__init__(*arguments, **options)
        self._distribution = distribution

    def _network(self, trial):
        if trial.network is None:
            with self._distribution.scope():
                model = self.pruner.prune(trial.strategy, batch_statistics=True)
            trial.network = model, model.get_weights()
        return trial.network

    def _calibrate(self, trial, part):
        self.traces += 1
        model, _ = self._network(trial)
        return adaptive_bn.collect(
            model,
            self._dataset(self._calibration, part),
            self._distribution,
            trial.moments,
        )

    def _count(self, trial, part, adapted):
        self.traces += 1
        model, inherited = self._network(trial)
        if adapted:
            adaptive_bn.assign(model, trial.moments)
        else:
            model.set_weights(inherited)
        batches = self._dataset(self._sub_validation, part)
        return scoring.count_correct(model, batches, self._distribution)[0]

    def _dataset(self, examples, part):
        images, labels = (values[part] for values in examples)
        return batches_lib.of_examples(images, labels, self._batch_size)


def make(pruner, calibration, sub_validation, distribution=None, **options):
    """The quickest `Evaluator` that serves a model.

    Args:
        pruner: a `rebuild.Pruner`.
        calibration: `(images, labels)`.
        sub_validation: `(images, labels)`.
        distribution: a `tf.distribute.Strategy`; None for the current one.
        **options: as for `Evaluator`.
    """
    distribution = distribution or tf.distribute.get_strategy()
    arguments = (pruner, calibration, sub_validation)
    open_network = OpenNetwork(pruner.graph)
    if open_network.obstacle or distribution.num_replicas_in_sync > 1:
        return RebuiltEvaluator(distribution, *arguments, **options)
    return OpenEvaluator(open_network, *arguments, **options)
