import graphs
import keras
import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf.pruning import execution
from eagleeye_tf.pruning import network
from eagleeye_tf.pruning import passing_rules
from eagleeye_tf.pruning import slicing_rules
from eagleeye_tf.pruning.rule_base import Trace

layers = keras.layers


def scrambled(build):
    model = build()
    toys.scramble(model)
    return model


def verified(model, ratio=0.4):
    return ee.verify(model, ratio, inputs=toys.any_inputs(model))


def test_right_cut_passes():
    found = verified(scrambled(toys.dense_block))
    assert found.passed and found.error < 1e-5
    assert found.cost_agrees is True


def test_offsets_of_a_concatenate_are_checked(monkeypatch):
    """The fault of an earlier port: parts cut at wrong offsets."""
    right = passing_rules.Concatenate.trace

    def swapped(self, call, inputs, labels):
        return right(self, call, inputs[::-1], labels)

    monkeypatch.setattr(passing_rules.Concatenate, "trace", swapped)
    found = verified(scrambled(toys.dense_block))
    assert not found.passed and found.error > 0.01
    assert found.first_difference == "concat0"


def test_add_that_does_not_tie_is_caught(monkeypatch):
    """Another fault of it: an Add keeps different channels on its sides."""

    def untied(self, call, inputs, labels):
        return Trace((inputs[0],))

    monkeypatch.setattr(passing_rules.Merge, "trace", untied)
    model = scrambled(graphs.GRAPHS["add_of_a_concatenate"][0])
    with pytest.raises(errors.VerificationError, match="incompatible shapes"):
        verified(model)
    # As many on each side, but others: nothing but the numbers tells.
    image = keras.Input((8, 8, 3))
    branches = [layers.Conv2D(6, 3, name=name)(image) for name in "ab"]
    x = layers.Flatten()(layers.Add(name="sum")(branches))
    model = scrambled(lambda: keras.Model(image, layers.Dense(3)(x)))
    found = verified(model, 0.5)
    assert found.first_difference == "sum" and found.error > 0.1


def test_wrong_padding_is_caught(monkeypatch):
    right = slicing_rules.Pad.trace

    def mirrored(self, call, inputs, labels):
        trace = right(self, call, inputs, labels)
        (x,) = inputs
        before, after = trace.widths
        out = trace.outputs[0]
        moved = np.concatenate([after, x.labels, before])
        return Trace((type(out)(moved, out.axis, out.shape),), {}, (after,) * 2)

    monkeypatch.setattr(slicing_rules.Pad, "trace", mirrored)
    model = scrambled(graphs.strangers_shortcuts)
    with pytest.raises(errors.VerificationError, match="rule is wrong"):
        verified(model)


def test_the_model_is_untouched():
    model = scrambled(toys.chain)
    before = [np.array(w) for w in model.weights]
    verified(model)
    for a, b in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_config_that_leaves_something_out():
    """Whole and pruned network forget it alike; the model does not."""

    class Scale(layers.Layer):
        def __init__(self, factor=1.0, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, x):
            return x * self.factor

        def get_config(self):
            return super().get_config()

    image = keras.Input((8, 8, 3))
    x = Scale(3.0, name="scale")(layers.Conv2D(4, 3, name="a")(image))
    x = layers.Flatten()(layers.Conv2D(4, 3, name="b")(x))
    model = scrambled(lambda: keras.Model(image, layers.Dense(3)(x)))
    found = verified(model)
    assert found.first_difference == "scale"
    assert found.error > 0.5


def test_outputs_that_are_not_finite():
    model = toys.chain()
    model.get_layer("conv1").bias.assign([np.inf] * 12)
    with pytest.raises(errors.InputError, match="not finite"):
        ee.verify(model, {"conv0": 0.5})


def test_dead_channels():
    """A filter of zeros has variance 0, which must not become negative."""
    model = scrambled(toys.chain)
    norm = model.get_layer("bn0")
    norm.moving_variance.assign([0, 0, 0, 1, 1, 1, 1, 1])
    for seed in range(3):
        assert ee.verify(model, {"conv0": 0.4}, seed=seed).passed


def test_smaller_inputs_where_images_overflow():
    image = keras.Input((8, 8, 3))
    x = keras.ops.exp(layers.Conv2D(6, 3, name="a")(image))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    toys.scramble(model)
    assert ee.verify(model, 0.5).passed


def test_inputs_of_a_fixed_batch_and_of_words():
    words = keras.Input(batch_shape=(4, 5), dtype="int32")
    x = layers.Conv1D(6, 3, name="a")(layers.Embedding(7, 4)(words))
    x = layers.Dense(3)(keras.ops.reshape(x, (4, -1)))
    assert ee.verify(keras.Model(words, x), 0.5).passed
    text = keras.Input((1,), dtype="string")
    x = layers.StringLookup(vocabulary=["a"], output_mode="one_hot")(text)
    x = layers.Dense(3)(layers.Dense(6, name="d")(x))
    model = keras.Model(text, x)
    with pytest.raises(errors.InputError, match="takes strings"):
        ee.verify(model, 0.5)
    assert ee.verify(model, 0.5, inputs=[np.array([["a"], ["b"]])]).passed


def test_random_inputs_fit_the_model():
    image = keras.Input((None, None, 3))
    words = keras.Input((5,), dtype="int32")
    x = layers.Conv2D(6, 3, name="a")(image)
    x = layers.GlobalAveragePooling2D()(x)
    y = layers.Flatten()(layers.Embedding(256, 4)(words))
    x = layers.Dense(3)(layers.Concatenate()([x, y]))
    found = ee.verify(keras.Model([image, words], x), 0.5)
    assert found.passed
    assert found.cost_agrees is None  # Images of any size have no MACs.


@pytest.mark.parametrize("name", ["nested", "dict_inputs", "siamese", "u_net"])
def test_execution_gives_the_models_outputs(name):
    model = scrambled(graphs.GRAPHS[name][0])
    inputs = toys.any_inputs(model)
    calls = []

    def compute(call, *arguments):
        calls.append(call.name)
        return network.infer(call, *arguments)

    outputs = execution.run(network.as_functional(model), inputs, compute)
    expected = toys.flat_outputs(model, inputs)
    for a, b in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    if name == "nested":
        assert calls.count("inner/inside") == 2
