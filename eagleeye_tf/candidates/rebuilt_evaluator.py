"""Evaluates candidates as Keras models, built and traced one by one."""

import tensorflow as tf

from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import scoring
from eagleeye_tf.candidates.evaluator import Evaluator


class RebuiltEvaluator(Evaluator):
    """Every candidate is built as a Keras model, and traced: on one device.

    Arguments as for `Evaluator`.
    """

    def _network(self, trial):
        if trial.network is None:
            model = self.pruner.prune(trial.strategy, batch_statistics=True)
            trial.network = model, model.get_weights()
        return trial.network

    def _calibrate(self, trials, part):
        self.traces += 1
        (trial,) = trials
        model, _ = self._network(trial)
        batches = self._dataset(self._calibration, part)
        here = tf.distribute.get_strategy()
        return [adaptive_bn.collect(model, batches, here, trial.moments)]

    def _count(self, trials, part, adapted):
        self.traces += 1
        (trial,) = trials
        model, inherited = self._network(trial)
        if adapted:
            adaptive_bn.assign(model, trial.moments)
        else:
            model.set_weights(inherited)
        batches = self._dataset(self._sub_validation, part)
        here = tf.distribute.get_strategy()
        return [scoring.count_correct(model, batches, here)[0]]

    def _dataset(self, examples, part):
        images, labels = (values[part] for values in examples)
        return batches_lib.of_examples(images, labels, self._batch_size)
