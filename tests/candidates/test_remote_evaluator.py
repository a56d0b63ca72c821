import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import toys

from eagleeye_tf import errors
from eagleeye_tf.candidates import evaluators
from eagleeye_tf.candidates import remote_evaluator
from eagleeye_tf.pruning import open_network
from eagleeye_tf.pruning import rebuild


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_stored_images_are_read_again(tmp_path, dtype):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (7, 4, 5, 3)).astype(dtype)
    labels = np.array([3, 1, 4, 1, 5, 9, 2])
    remote_evaluator.store(
        tmp_path, "0", (images, labels), (images[:2], labels[:2])
    )
    found, classes = remote_evaluator._read(
        str(tmp_path / "calibration"),
        tf.constant(2, tf.int64),
        tf.constant(6, tf.int64),
        (4, 5, 3),
        tf.as_dtype(dtype),
    )
    np.testing.assert_array_equal(found, images[2:6])
    np.testing.assert_array_equal(classes, [4, 1, 5, 9])
    identity = json.loads((tmp_path / "identity.json").read_text())
    first, second = identity["images"].values()
    assert identity["name"] == "0" and first != second


def test_networks_that_are_rebuilt_cannot_travel():
    inputs = keras.Input((8, 8, 4))
    y = keras.layers.Conv2D(4, 3, groups=2)(inputs)
    y = keras.layers.GlobalAveragePooling2D()(y)
    model = keras.Model(inputs, keras.layers.Dense(4)(y))
    images = toys.images(model, count=8), np.arange(8) % 4
    with pytest.raises(errors.InputError, match="conv2d.*without a cluster"):
        evaluators.make(rebuild.Pruner(model), images, images, cluster=object())


def test_portable_functions_refer_to_no_variable():
    inputs = keras.Input((8, 8, 3))
    y = keras.layers.GlobalAveragePooling2D()(inputs)
    unchanged = keras.layers.Dense(4)(y)  # by any strategy
    y = keras.layers.Conv2D(8, 3)(inputs)
    y = keras.layers.GlobalAveragePooling2D()(y)
    model = keras.Model(inputs, keras.layers.Dense(4)(y) + unchanged)
    pruner = rebuild.Pruner(model)
    for portable in (False, True):
        network = open_network.OpenNetwork(pruner.graph, portable)
        traced = tf.function(
            lambda x, counts, *weights, n=network: n.compute(
                x, weights, counts
            )[0],
            input_signature=[
                tf.TensorSpec((None, *model.inputs[0].shape[1:])),
                network.count_spec,
                *network.weight_specs,
            ],
        ).get_concrete_function()
        assert bool(traced.captured_inputs) == (not portable)


def test_weights_that_no_rule_knows_do_not_travel():
    inputs = keras.Input((8, 8, 3))
    y = keras.layers.Conv2D(8, 3)(inputs)
    y = keras.layers.GlobalAveragePooling2D()(y)
    y = keras.layers.Dense(8)(y)
    y = keras.layers.Reshape((2, 4))(y)
    y = keras.layers.LSTM(4)(y)
    model = keras.Model(inputs, keras.layers.Dense(4)(y))
    graph = rebuild.Pruner(model).graph
    assert open_network.OpenNetwork(graph).obstacle is None
    told = open_network.OpenNetwork(graph, portable=True).obstacle
    assert told == "lstm has weights that no rule knows"
