"""Evaluates candidates as Keras models, built and traced one by one."""

import functools
import gc

import keras
import tensorflow as tf

from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import scoring
from eagleeye_tf.candidates.evaluator import Evaluator
from eagleeye_tf.pruning import network


class RebuiltEvaluator(Evaluator):
    """Every candidate is built as a Keras model, and traced: on one device.

    Arguments as for `Evaluator`.
    """

    def _network(self, trial):
        if trial.network is None:
            model = self.pruner.prune(trial.strategy, batch_statistics=True)
            compute_groups_apart(model)
            trial.network = model, model.get_weights()
        return trial.network

    def _calibrate(self, trials, part):
        self.traces += 1
        (trial,) = trials
        model, _ = self._network(trial)
        batches = self._dataset(self._calibration, part)
        here = tf.distribute.get_strategy()
        return [adaptive_bn.collect(model, batches, here, trial.moments, True)]

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

    def rest(self, trial):
        """Frees the trial's model at once.

        Models hold themselves in cycles, and Python looks for those so
        seldom that hundreds of models would pile up.
        """
        super().rest(trial)
        gc.collect()

    def _dataset(self, examples, part):
        images, labels = (values[part] for values in examples)
        return batches_lib.of_examples(images, labels, self._batch_size)


def compute_groups_apart(model):
    """Makes grouped convolutions one convolution for each group.

    Keras has XLA compile them, for each model anew, which takes seconds, and
    TensorFlow never frees what was compiled.

    Args:
        model: `keras.Model` that is computed and then thrown away; changed.
    """
    for _, layer in network.all_layers(model):
        # Conv1D calls no `convolution_op`.
        kinds = keras.layers.Conv2D, keras.layers.Conv3D
        if type(layer) in kinds and layer.groups > 1:
            layer.convolution_op = functools.partial(_convolve, layer)


def _convolve(layer, inputs, kernel):
    axis = -1 if layer.data_format == "channels_last" else 1
    parts = zip(
        keras.ops.split(inputs, layer.groups, axis=axis),
        keras.ops.split(kernel, layer.groups, axis=-1),
        strict=True,
    )
    convolved = [
        keras.ops.conv(
            x,
            own,
            strides=layer.strides,
            padding=layer.padding,
            dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )
        for x, own in parts
    ]
    return keras.ops.concatenate(convolved, axis=axis)
