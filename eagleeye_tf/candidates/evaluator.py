"""Scores candidates: cut, adapt BN, count correct answers (section 3.4)."""

import dataclasses

import tensorflow as tf

from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import scoring


@dataclasses.dataclass(frozen=True)
class Scores:
    """Correct answers of one candidate on the sub-validation set.

    Attributes:
        correct: with re-estimated BN statistics (adaptive-BN evaluation).
        vanilla_correct: with inherited BN statistics (vanilla evaluation).
        total: size of the sub-validation set.
    """

    correct: int
    vanilla_correct: int
    total: int


class Evaluator:
    """Scores pruning strategies of one model on fixed images.

    Args:
        pruner: a `rebuild.Pruner`.
        calibration_images: array (examples, height, width, channels).
        sub_validation: `(images, labels)`, disjoint from the former.
        batch_size: examples per batch, shared by the replicas.
        distribution: a `tf.distribute.Strategy`; None for the current one.

    Attributes:
        has_batch_norm: whether there is anything to adapt.

    Raises:
        InputError: if the labels do not fit the model's output.
    """

    def __init__(
        self,
        pruner,
        calibration_images,
        sub_validation,
        batch_size=128,
        distribution=None,
    ):
        images, labels = batches_lib.as_arrays(sub_validation)
        scoring.check_labels(pruner.graph.model, labels)
        self.has_batch_norm = bool(
            adaptive_bn.batch_norm_layers(pruner.graph.model)
        )
        self._pruner = pruner
        self._distribution = distribution or tf.distribute.get_strategy()
        self._calibration = batches_lib.of_images(
            calibration_images, batch_size
        )
        self._sub_validation = batches_lib.of_examples(
            images, labels, batch_size
        )

    def score(self, strategy):
        """Returns the `Scores` of a `PruningStrategy`.

        A model without BatchNormalization has nothing to adapt: both scores
        are then the vanilla one.
        """
        with self._distribution.scope():
            model = self._pruner.prune(strategy, batch_statistics=True)
        scorer = scoring.Scorer(model, self._sub_validation, self._distribution)
        vanilla, total = scorer.count()
        if not self.has_batch_norm:
            return Scores(vanilla, vanilla, total)
        moments = adaptive_bn.collect(
            model, self._calibration, self._distribution
        )
        adaptive_bn.assign(model, moments)
        correct, total = scorer.count()
        return Scores(correct, vanilla, total)
