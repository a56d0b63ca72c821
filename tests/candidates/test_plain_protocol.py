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
