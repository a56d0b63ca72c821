"""The table of `keras.ops` against Keras itself."""

import inspect
import re

import keras
import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf.pruning import layer_rules
from eagleeye_tf.pruning import network
from eagleeye_tf.pruning import passing_rules

layers = keras.layers
ops = keras.ops

# What cannot be called as `ops.name(x)` or `ops.name(x, y)`.
CALLS = {
    "Abs": None,  # What `abs(x)` was until Keras 3.5.
    "AdaptiveAveragePool": lambda x: ops.adaptive_average_pool(x, (2, 2)),
    "AdaptiveMaxPool": lambda x: ops.adaptive_max_pool(x, (2, 2)),
    "Arccosh": lambda x: ops.arccosh(x + 2),
    "AveragePool": lambda x: ops.average_pool(x, 2),
    "Cast": lambda x: ops.cast(x, "float32"),
    "Clip": lambda x: ops.clip(x, 0, 1),
    "Concatenate": lambda x: ops.concatenate([x, x]),
    "ExpandDims": lambda x: ops.expand_dims(x, 1),
    "GetItem": lambda x: x[:, 1:],
    "MaxPool": lambda x: ops.max_pool(x, 2),
    "Moveaxis": lambda x: ops.moveaxis(x, 1, 2),
    "Pad": lambda x: ops.pad(x, [[0, 0], [1, 1], [0, 0], [0, 0]]),
    "ReLU": lambda x: keras.activations.relu(x, negative_slope=0.1),
    "Reshape": lambda x: ops.reshape(x, (-1, 16, 6)),
    "Resize": lambda x: ops.image.resize(x, (2, 2)),
    "Roll": lambda x: ops.roll(x, 1, axis=1),
    "Split": lambda x: ops.split(x, 2, axis=1)[0],
    "Stack": lambda x: ops.stack([x, x], axis=1),
    "Swapaxes": lambda x: ops.swapaxes(x, 1, 2),
    "Threshold": lambda x: ops.threshold(x, 0, 0),
    "Where": lambda x: ops.where(x > 0, x, 0),
}


def call(name, x, y=None):
    """One operation, applied to `x`, and to `y` if it takes two."""
    if name in CALLS:
        return CALLS[name](x)
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    function = getattr(ops, snake)
    needed = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.default is inspect.Parameter.empty
    ]
    return function(*[x, x + 1 if y is None else y][: len(needed)])


@pytest.mark.parametrize("name", list(layer_rules.OPERATION_RULES))
def test_keras_has_it(name):
    if CALLS.get(name, call) is None:
        pytest.skip("of an earlier Keras")
    x = keras.Input((4, 4, 6))
    model = keras.Model(x, call(name, x))
    assert name in {c.class_name for c in network.read(model).calls}


ELEMENT_WISE = [
    name
    for name, rule in layer_rules.OPERATION_RULES.items()
    if isinstance(rule, (passing_rules.ElementWise, passing_rules.Arithmetic))
    and CALLS.get(name, call) is not None
]


@pytest.mark.parametrize("name", ELEMENT_WISE)
def test_element_wise_operations_pass(name):
    for low, high in ((-3, 3), (0.1, 0.9)):
        image = keras.Input((4, 4, 3))
        both = []
        for layer in ("a", "b"):
            x = layers.Conv2D(6, 3, name=layer, activation="sigmoid")(image)
            both.append(low + (high - low) * x)
        x = ops.cast(call(name, *both), "float32")
        model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
        toys.scramble(model)
        assert {group.size for group in ee.channel_groups(model)} == {6}
        inputs = toys.any_inputs(model)
        if all(np.isfinite(y).all() for y in toys.flat_outputs(model, inputs)):
            assert ee.verify(model, 0.4, inputs=inputs).passed
            return
    raise AssertionError(f"{name} is defined nowhere.")
