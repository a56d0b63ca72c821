import keras
import numpy as np
import toys

from eagleeye_tf.candidates import plain_protocol
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.pruning.strategy import PruningStrategy


def test_moving_average_by_hand():
    model = toys.chain()
    toys.scramble(model)
    images = toys.images(model, 20)
    norm = model.get_layer("bn0")
    mean, variance = (
        np.array(norm.moving_mean),
        np.array(norm.moving_variance),
    )
    features = keras.Model(model.input, model.get_layer("conv0").output)(images)
    for batch in np.split(np.asarray(features), [8, 16]):
        mean = 0.9 * mean + 0.1 * batch.mean((0, 1, 2))
        variance = 0.9 * variance + 0.1 * batch.var((0, 1, 2))
    labels = np.zeros(20, int)
    plain_protocol.adapt(model, (images, labels), batch_size=8)
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-3)


def test_counts_what_the_adapted_network_answers():
    model = toys.chain()
    toys.scramble(model)
    images = toys.images(model, 24)
    pruner = rebuild.Pruner(model)
    strategy = PruningStrategy.of(pruner.graph.groups, 0.5)
    smaller = pruner.prune(strategy)
    calibration = (images[:16], np.zeros(16, int))
    plain_protocol.adapt(smaller, calibration, batch_size=8)
    answers = toys.outputs(smaller, images).argmax(-1)
    labels = np.where(np.arange(24) < 10, answers, (answers + 1) % 4)
    found = plain_protocol.count_correct(
        pruner, strategy, calibration, (images, labels), batch_size=7
    )
    assert found == 10


class Counted(keras.layers.Layer):
    """Passes on what it is given; knows how often Python called it."""

    calls = 0

    def call(self, inputs):
        self.calls += 1
        return inputs


class Prepared:
    """A pruner with one network for all strategies."""

    def __init__(self, model):
        self.model = model

    def prune(self, strategy):
        return self.model


def test_a_last_batch_that_is_not_full_is_not_traced_anew():
    counted = Counted()
    small = toys.chain()
    model = keras.Sequential([keras.Input((8, 8, 3)), counted, small])
    images = toys.images(model, 20)
    labels = np.zeros(20, int)
    before = counted.calls
    plain_protocol.count_correct(
        Prepared(model), None, (images, labels), (images, labels), batch_size=8
    )
    assert counted.calls - before == 2  # Once to adapt, once to score.
