"""Rules for layers of one's own (README, "Layers of your own")."""

import keras
import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf.pruning import layer_rules
from eagleeye_tf.pruning.channel_graph import ChannelGraph

layers = keras.layers


@pytest.fixture(autouse=True)
def own_rules(monkeypatch):
    monkeypatch.setattr(layer_rules, "_registered", {})


class Scale(layers.Layer):
    """A factor for each channel."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), name="factor")

    def call(self, x):
        return x * self.factor


class StandardizedConv(layers.Conv2D):
    """A convolution whose filters are standardized before use."""

    def call(self, x):
        kernel = self.kernel - keras.ops.mean(self.kernel, (0, 1, 2))
        return keras.ops.conv(x, kernel, padding="valid")


class BilinearRule(ee.Rule):
    def trace(self, call, inputs, labels):
        (x,) = inputs
        leaving = labels.produced_by(call.name, call.config["units"])
        weight = ee.Weight({0: x.labels, 1: leaving}, uses=1, filter_axis=1)
        out = ee.Channels(leaving, 1, call.output_shapes[0])
        return ee.Trace((out,), {"u": weight, "v": weight}, (leaving,))

    def resize(self, config, trace, kept):
        return {**config, "units": int(kept(trace.widths[0]).sum())}


def network(layer):
    image = keras.Input((8, 8, 3))
    x = layer(layers.Conv2D(6, 3, name="a")(image))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(5, 3, name="b")(x))
    return keras.Model(image, layers.Dense(3)(x))


def groups(model):
    return {group.name: group.size for group in ee.channel_groups(model)}


def verified(model):
    toys.scramble(model)
    return ee.verify(model, 0.5, inputs=toys.any_inputs(model))


def test_per_channel_weights():
    model = network(Scale(name="scale"))
    assert groups(model) == {"b": 5}
    ee.register_rule(Scale, ee.PerChannel("factor"))
    assert groups(model) == {"a": 6, "b": 5}
    assert verified(model).passed
    smaller = ee.prune(model, 0.5)
    assert smaller.get_layer("scale").factor.shape == (3,)


def test_per_channel_weights_of_an_unknown_name():
    ee.register_rule(Scale, ee.PerChannel("fact"))
    with pytest.raises(errors.InputError, match="'fact'.*'scale' has no such"):
        ee.channel_groups(network(Scale(name="scale")))


def test_per_channel_weights_along_another_axis():
    ee.register_rule(Scale, ee.PerChannel("factor"))
    image = keras.Input((8, 8, 3))
    x = layers.Permute((3, 1, 2))(layers.Conv2D(6, 3, name="a")(image))
    x = layers.Flatten()(Scale(name="scale")(x))
    model = keras.Model(image, layers.Dense(3)(x))
    graph = ChannelGraph(model)
    assert not graph.groups
    assert graph.frozen[0].reason.startswith("works along another axis")


def test_per_channel_weights_of_another_shape():
    ee.register_rule(layers.Conv2D, ee.Rule())  # Has no effect on Keras' own.
    ee.register_rule(StandardizedConv, ee.PerChannel("kernel"))
    graph = ChannelGraph(network(StandardizedConv(4, 3, name="own")))
    assert [group.name for group in graph.groups] == ["b"]
    assert "kernel of shape (3, 3, 6, 4)" in graph.frozen[0].reason


def test_layer_without_weights():
    class Double(layers.Layer):
        def call(self, x):
            return 2 * x

    ee.register_rule(Double, ee.Rule())
    model = network(Double())
    assert groups(model) == {"a": 6, "b": 5}
    assert verified(model).passed


def test_rule_of_a_keras_layer():
    ee.register_rule(StandardizedConv, layers.Conv2D)
    model = network(StandardizedConv(4, 3, name="own"))
    assert groups(model) == {"a": 6, "own": 4, "b": 5}
    # Means over input channels change with these, so they differ, and
    # `verify` says where: the rule was wrong for this layer.
    found = verified(model)
    assert found.first_difference == "own"
    found = ee.verify(model, {"own": 0.5}, inputs=toys.any_inputs(model))
    assert found.passed


def test_rule_of_its_own():
    ee.register_rule(toys.Bilinear, BilinearRule())
    image = keras.Input((7,))
    x = toys.Bilinear(6, name="pairs")(layers.Dense(5, name="first")(image))
    model = keras.Model(image, layers.Dense(3)(x))
    assert groups(model) == {"first": 5, "pairs": 6}
    assert verified(model).passed
    smaller = ee.prune(model, {"pairs": 0.5})
    assert smaller.get_layer("pairs").u.shape == (5, 3)
    columns = np.abs(model.get_layer("pairs").u).sum(0)
    columns += np.abs(model.get_layer("pairs").v).sum(0)
    kept = np.sort(np.argsort(-columns)[:3])
    np.testing.assert_array_equal(
        smaller.get_layer("pairs").v,
        np.array(model.get_layer("pairs").v)[:, kept],
    )
    # 7·5 + 5·6 + 5·6 + 6·3 multiplications.
    assert ee.cost(model).macs == 35 + 60 + 18


@pytest.mark.parametrize(
    ("layer_class", "rule"),
    [
        ("Scale", ee.PerChannel("factor")),
        (Scale, "factor"),
        (Scale, ee.Rule),
        (Scale, layers.LSTM),
    ],
)
def test_what_is_no_rule(layer_class, rule):
    with pytest.raises(errors.InputError, match="registered for a layer class"):
        ee.register_rule(layer_class, rule)
