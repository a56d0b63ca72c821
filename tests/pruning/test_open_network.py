"""Networks whose weights are arguments compute what rebuilt ones do."""

import graphs
import keras
import more_graphs  # noqa: F401, enters more of them
import nested_graphs  # noqa: F401, likewise
import numpy as np
import pytest
import tensorflow as tf
import toys

import eagleeye_tf as ee
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.models import zoo
from eagleeye_tf.pruning import batch_statistics
from eagleeye_tf.pruning import layer_rules
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.pruning.open_network import OpenNetwork

layers = keras.layers

# The first layer of each that has no open form.
OBSTACLES = {
    "channel_shuffle": "b (Conv2D)",  # Grouped.
    "channels_first": "a (Conv2D)",
    "depthwise_by_groups": "deep (Conv2D)",
    "einsum_projections": "plain (EinsumDense)",
    "generator": "up (Conv2DTranspose)",
    "grouped": "grouped (Conv2D)",
    "masked": "(BatchNormalization)",
    "multipliers": "b (SeparableConv2D)",  # Dilated.
    "normalizations": "group_normalization",
    "sequence": "a (Conv1D)",  # Causal.
    "u_net": "up (Conv2DTranspose)",
    "video": "up (Conv3DTranspose)",
}


def compared(model, ratios=(0.0, 0.4), x=None, tolerance=1e-4):
    """Checks a model both ways; returns the obstacle, if there is one.

    The tolerance is for BN in training mode: E[x²] - E[x]² in float32 cancels
    where a deep network that was never trained gives all images the same
    activations.
    """
    toys.scramble(model)
    pruner = rebuild.Pruner(model)
    opened = OpenNetwork(pruner.graph)
    if opened.obstacle:
        return opened.obstacle
    if x is None:
        (x,) = toys.any_inputs(model)
    signature = [
        tf.TensorSpec((None, *x.shape[1:]), x.dtype),
        opened.count_spec,
        *opened.weight_specs,
    ]

    def function(adapting):
        return tf.function(
            lambda x, counts, *weights: opened.compute(
                x, weights, counts, adapting
            ),
            input_signature=signature,
        )

    inference, adapting = function(False), function(True)
    for ratio in ratios:
        weights, counts = opened.cut(pruner.keeper(ratio))
        outputs, nothing = inference(x, counts, *weights)
        assert nothing == {}
        close(outputs, toys.flat_outputs(pruner.prune(ratio), [x]))
        outputs, moments = adapting(x, counts, *weights)
        copy = pruner.prune(ratio, batch_statistics=True)
        observing = adaptive_bn.batch_norm_layers(copy)
        flat = keras.Model(copy.inputs, copy.outputs)
        with batch_statistics.observing(observing.values()):
            answers = flat(tf.constant(x), training=False)
        expected = keras.tree.flatten(answers)
        close(outputs, expected, tolerance)
        assert list(moments) == list(observing)
        for path, layer in observing.items():
            for found, expected in zip(
                sorted(moments[path], key=_first),
                sorted(layer.observed, key=_first),
                strict=True,
            ):
                close(found[:2], expected[:2], tolerance)
                assert int(found[2]) == int(expected[2])
    return None


def _first(moments):
    return float(np.asarray(moments[0]).ravel()[0])


def close(found, expected, tolerance=1e-4):
    for a, b in zip(found, expected, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        scale = max(np.abs(b).max(initial=0), 1e-3)
        np.testing.assert_allclose(a / scale, b / scale, atol=tolerance)


@pytest.mark.parametrize("name", list(graphs.GRAPHS))
def test_small_graphs(name):
    model = graphs.GRAPHS[name][0]()
    if len(model.inputs) > 1:
        assert "several inputs" in compared(model)
        return
    obstacle = compared(model)
    if name in OBSTACLES:
        assert OBSTACLES[name] in obstacle
    else:
        assert obstacle is None


_LIKE_OTHERS = {"mobilenet_v1", "mobilenet_v2", "resnet50", "resnet56"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n in _LIKE_OTHERS else ())
        for n in sorted(zoo.NETWORKS)
    ],
)
def test_zoo(name):
    model = zoo.build(name, (32, 32, 3), 5, width=0.25)
    images = toys.images(model, count=16)
    assert compared(model, x=images, tolerance=2e-3) is None


def between(*middle, size=(8, 8, 3)):
    """A convolution, the layers to test, and a dense layer."""
    image = x = keras.Input(size)
    for layer in middle:
        x = layer(x)
    return keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))


def conv(filters=6, **kwargs):
    return layers.Conv2D(filters, 3, **kwargs)


SETTINGS = {
    "strides": lambda: (conv(), conv(strides=2, activation="relu")),
    "no_bias": lambda: (conv(use_bias=False, padding="same"), conv(4)),
    "leaky": lambda: (conv(activation=layers.LeakyReLU(0.3)), conv(4)),
    "depthwise": lambda: (conv(), layers.DepthwiseConv2D(3, strides=2)),
    "separable": lambda: (conv(), layers.SeparableConv2D(5, 3, strides=2)),
    "norm": lambda: (
        conv(),
        layers.BatchNormalization(epsilon=0.1, scale=False, center=False),
    ),
    "mixed": lambda: (conv(dtype="mixed_float16"), layers.Activation("silu")),
}


@pytest.mark.parametrize("name", list(SETTINGS))
def test_settings_with_an_open_form(name):
    tolerant = (0.0, 0.4) if name != "mixed" else (0.0,)
    assert compared(between(*SETTINGS[name]()), tolerant) is None


WITHOUT = {
    "dilated": lambda: conv(dilation_rate=2, padding="same"),
    "dilated_depthwise": lambda: layers.DepthwiseConv2D(2, dilation_rate=2),
    "dilated_separable": lambda: layers.SeparableConv2D(4, 2, dilation_rate=2),
    "transposed": lambda: layers.Conv2DTranspose(4, 3),
    "half_norm": lambda: layers.BatchNormalization(dtype="float16"),
}


@pytest.mark.parametrize("name", list(WITHOUT))
def test_settings_without_an_open_form(name):
    model = between(conv(), WITHOUT[name](), conv(4))
    assert "has no open form" in compared(model)


def test_what_a_subclass_computes_is_not_guessed(monkeypatch):
    class Own(layers.Conv2D):
        def call(self, x):
            return super().call(x) * 0.5 + 1

    monkeypatch.setattr(layer_rules, "_registered", {})
    ee.register_rule(Own, layers.Conv2D)
    model = between(Own(6, 3, name="own"), conv(4))
    assert compared(model) == "own (Own) has no open form"
