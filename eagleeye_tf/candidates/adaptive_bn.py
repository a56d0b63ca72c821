"""Adaptive batch normalization (paper, section 3.4) as an exact average.

The paper resets the moving statistics and lets a moving average forget its
start over some 100 batches. Here the statistics are reset, and the mean and
variance over *all* calibration images take their place: count-weighted over
batches and replicas, whatever the batch sizes. The result depends neither on
the inherited statistics nor on the order of the batches, and a handful of
batches is enough.
"""

import dataclasses
import numbers
import warnings

import keras
import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import examples
from eagleeye_tf import replicas
from eagleeye_tf import tracing
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import scoring
from eagleeye_tf.pruning import batch_statistics
from eagleeye_tf.pruning import network
from eagleeye_tf.pruning import rebuild


@dataclasses.dataclass
class Moments:
    """Mean and variance of a growing set of examples, in float64.

    Batches are merged by the formula for the variance of a union (Chan,
    Golub and LeVeque 1979), which does not cancel as sums of squares do.
    """

    count: int = 0
    mean: np.ndarray | float = 0.0
    variance: np.ndarray | float = 0.0

    # Those of some images are an estimate of those of all.
    exact = True

    def add(self, count, mean, variance):
        """Adds `count` examples of which mean and variance are known."""
        if count == 0:
            return
        mean = np.asarray(mean, np.float64)
        variance = np.asarray(variance, np.float64)
        total = self.count + count
        delta = mean - self.mean
        self.variance = (
            self.count * self.variance
            + count * variance
            + delta**2 * self.count * count / total
        ) / total
        self.mean = self.mean + delta * count / total
        self.count = total


@dataclasses.dataclass
class MovingAverage:
    """The paper's way: each batch moves the average a little, from (0, 1).

    Attributes:
        momentum: share of the old value that a batch leaves, in [0, 1).
    """

    momentum: float
    mean: np.ndarray | float = 0.0
    variance: np.ndarray | float = 1.0
    count: int = 0

    # Much of (0, 1) is left after a few batches.
    exact = False

    def add(self, count, mean, variance):
        """Moves the average towards mean and variance of one batch."""
        if count == 0:
            return
        rest = 1 - self.momentum
        self.mean = self.momentum * self.mean + rest * np.asarray(
            mean, np.float64
        )
        self.variance = self.momentum * self.variance + rest * np.asarray(
            variance, np.float64
        )
        self.count += count


def adapt_batch_norm(
    model, images, batch_size=128, distribution=None, new_moments=Moments
):
    """Re-estimates the BatchNormalization statistics of a model, in place.

    BN layers run in training mode and everything else as in inference
    (Dropout is off); no trainable weight changes. The moving statistics
    become mean and variance over all images. A variance is the population
    variance that Keras uses, of all values of a channel in the set.

    Args:
        model: a functional or Sequential `keras.Model`.
        images: array (examples, …), or a `tf.data.Dataset` or other iterable
            of batches, each the images or a tuple that starts with them. A
            model with several inputs takes a tuple or dict of arrays, or a
            dataset, whose batches are, or start with, a tuple or dict of
            them.
        batch_size: examples per batch, for arrays; with several replicas
            they share each batch.
        distribution: a `tf.distribute.Strategy`; None for the current one.
        new_moments: function without arguments that makes what collects the
            statistics of a layer: a `Moments` or a `MovingAverage`.

    Returns:
        `model`. Unchanged if it has no BatchNormalization.

    Raises:
        InputError: if there are no images, the model does not take them, or
            a statistic is not finite.

    Warns:
        PlausibilityWarning: if a layer holds BN that is not seen.
    """
    if not isinstance(batch_size, numbers.Integral) or batch_size < 1:
        raise errors.InputError(
            "batch_size is a whole number, at least 1. Received: "
            f"{batch_size!r}."
        )
    warn_of_hidden(model)
    distribution = distribution or tf.distribute.get_strategy()
    if not batch_norm_layers(model):
        return model
    with distribution.scope():
        copy = rebuild.with_batch_statistics(model)
    moments = {path: new_moments() for path in batch_norm_layers(copy)}
    batches = batches_lib.of_images(images, batch_size, len(model.inputs))
    examples.check_inputs(model, batches.element_spec)
    collect(copy, batches, distribution, moments)
    assign(model, moments)
    return model


def batch_norm_layers(model):
    """`{path: layer}` of all BatchNormalization layers of a model."""
    return {
        path: layer
        for path, layer in network.all_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
    }


def warn_of_hidden(model):
    """Warns of BN inside other layers, which keeps its inherited statistics.

    Warns:
        PlausibilityWarning: with the paths of the layers that hold it.
    """
    hidden = [
        path
        for path, layer in network.all_layers(model)
        if not isinstance(layer, keras.layers.BatchNormalization)
        and any(w.path.endswith("/moving_variance") for w in layer.weights)
    ]
    if hidden:
        warnings.warn(
            "Layers hold BatchNormalization of their own: "
            f"{', '.join(hidden)}. It keeps the statistics that it inherits, "
            "so scores may tell nothing. Only BatchNormalization that is a "
            "layer of the model, or of a functional model in it, is "
            "re-estimated.",
            errors.PlausibilityWarning,
            stacklevel=3,
        )


def collect(model, batches, distribution, moments, labelled=False):
    """Adds what enters each BN layer to its moments.

    Args:
        model: built by `Pruner.prune(…, batch_statistics=True)` or
            `with_batch_statistics`; its moving statistics are overwritten. A
            layer that is called several times sees the values of all calls.
        batches: `tf.data.Dataset` of batches of images.
        distribution: a `tf.distribute.Strategy`; replicas share each batch.
        moments: `{path: Moments}`; changed.
        labelled: whether batches are (images, labels), the model classifies
            images, and its answers count.

    Returns:
        How many answers were correct, with the statistics of each batch; 0
        without labels.

    Raises:
        InputError: if there are no images, or a statistic is not finite.
    """
    layers = batch_norm_layers(model)
    _reset(layers.values())
    batches = replicas.share(batches, distribution)

    def step(batch):
        return distribution.run(observe, args=batch if labelled else (batch,))

    def observe(images, labels=None):
        # Each replica tells what it saw of its own share, which Keras does
        # not aggregate: all is merged below.
        images_here = tf.nest.map_structure(
            lambda x: replicas.never_empty(tf.cast(x, tf.float32)), images
        )
        with batch_statistics.observing(layers.values()):
            answers = model(images_here, training=False)
        observed = [layer.observed for layer in layers.values()]
        hits = tf.zeros((), tf.int64)
        if labelled:
            hits = scoring.hits(answers, labels)
        return hits, tf.shape(tf.nest.flatten(images)[0])[0], observed

    traced = tracing.concrete(step, [batches.element_spec])
    correct = 0
    for batch in batches:
        for hits, size, observed in _by_replica(traced(batch), distribution):
            if size == 0:  # The share of a replica in a ragged last batch.
                continue
            correct += int(hits)
            add_observed(moments, dict(zip(layers, observed, strict=True)))
    check(moments)
    return correct


def add_observed(moments, observed):
    """Merges what BN layers saw of one batch into their moments.

    Args:
        moments: `{path: Moments}`; changed.
        observed: `{path: [(mean, variance, values per channel), …]}`, one
            entry for each call of the layer.
    """
    for path, calls in observed.items():
        for mean, variance, count in calls:
            moments[path].add(int(count), mean, variance)


def _by_replica(result, distribution):
    """Splits a nested per-replica result: one of arrays for each replica."""
    leaves = [
        [value.numpy() for value in replicas.values(leaf, distribution)]
        for leaf in tf.nest.flatten(result)
    ]
    for parts in zip(*leaves, strict=True):
        yield tf.nest.pack_sequence_as(result, parts)


def assign(model, moments):
    """Writes collected moments into the moving statistics of a model."""
    for path, layer in batch_norm_layers(model).items():
        if path not in moments:  # No output depends on it.
            continue
        layer.moving_mean.assign(moments[path].mean.astype(np.float32))
        layer.moving_variance.assign(moments[path].variance.astype(np.float32))


def _reset(layers):
    for layer in layers:
        # Also rids them of NaN, which a momentum of 0 would not.
        layer.moving_mean.assign(np.zeros(layer.moving_mean.shape))
        layer.moving_variance.assign(np.ones(layer.moving_variance.shape))


def check(moments):
    """Raises InputError unless there are moments, all of them finite."""
    if not any(moment.count for moment in moments.values()):
        raise errors.InputError(
            "BatchNormalization statistics are estimated from at least one "
            "image. Received: an empty calibration set."
        )
    for path, moment in moments.items():
        if moment.count == 0:
            raise errors.InputError(
                f"BatchNormalization layer {path!r} saw no image in training "
                "mode, so its statistics cannot be estimated: the model must "
                "call it on its way from input to output."
            )
        if not np.isfinite(moment.mean + moment.variance).all():
            raise errors.InputError(
                f"The statistics of BatchNormalization layer {path!r} are "
                "not finite: remove NaN or infinite values from the "
                "calibration images, or from the model's weights."
            )
