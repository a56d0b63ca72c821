import warnings

import keras
import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf.models import zoo
from eagleeye_tf.pruning import channel_graph
from eagleeye_tf.pruning.channel_graph import ChannelGraph

layers = keras.layers


def described(model):
    return [(g.name, g.size, g.layers) for g in ee.channel_groups(model)]


def functional(build, shape=(8, 8, 3)):
    image = keras.Input(shape, name="image")
    return keras.Model(image, build(image))


def conv(filters, name, **kwargs):
    return layers.Conv2D(filters, 3, padding="same", name=name, **kwargs)


def head(x):
    return layers.Dense(4, name="logits")(layers.GlobalMaxPooling2D()(x))


def frozen(model):
    return {
        f.layer: f"{f.cause} {f.reason}" for f in ChannelGraph(model).frozen
    }


def test_chain():
    assert described(toys.chain()) == [
        ("conv0", 8, ("conv0",)),
        ("conv1", 12, ("conv1",)),
    ]


def test_add_ties_its_operands():
    def build(x):
        a = conv(6, "a")(x)
        b = conv(6, "b")(a)
        return head(layers.Add()([a, b]))

    assert described(functional(build)) == [("a", 6, ("a", "b"))]


def test_add_of_a_concatenate_ties_each_part():
    def build(x):
        a, b, c = conv(2, "a")(x), conv(3, "b")(x), conv(5, "c")(x)
        return head(layers.Add()([layers.Concatenate()([a, b]), c]))

    assert described(functional(build)) == [
        ("a", 2, ("a", "c")),
        ("b", 3, ("b", "c")),
    ]


def test_zero_padded_shortcut_ties_the_middle():
    def build(x):
        a = conv(4, "a")(x)
        b = conv(8, "b")(a)
        padded = keras.ops.pad(a, [[0, 0], [0, 0], [0, 0], [1, 3]])
        return head(layers.Add()([padded, b]))

    # b's channels 1..4 go with a's; 0 and 5..7 are b's own.
    assert described(functional(build)) == [
        ("a", 4, ("a", "b")),
        ("b", 4, ("b",)),
    ]


def test_squeeze_and_excite_gate_goes_with_its_channels():
    def build(x):
        a = conv(6, "a")(x)
        gate = layers.GlobalAveragePooling2D()(a)
        gate = layers.Reshape((1, 1, 6))(gate)
        gate = layers.Conv2D(2, 1, activation="relu", name="squeeze")(gate)
        gate = layers.Conv2D(6, 1, activation="sigmoid", name="excite")(gate)
        return head(layers.Multiply()([a, gate]))

    assert described(functional(build)) == [
        ("a", 6, ("a", "excite")),
        ("squeeze", 2, ("squeeze",)),
    ]


def test_shared_layer_ties_what_enters_it():
    def build(x):
        a, b = conv(4, "a")(x), conv(4, "b")(x)
        shared = conv(5, "shared")
        return head(layers.Concatenate()([shared(a), shared(b)]))

    assert described(functional(build)) == [
        ("a", 4, ("a", "b")),
        ("shared", 5, ("shared",)),
    ]


def test_nested_model_is_opened():
    inner = keras.Sequential(
        [keras.Input((8, 8, 4)), conv(5, "inside")], name="nested"
    )

    def build(x):
        return head(inner(conv(4, "outside")(x)))

    assert described(functional(build)) == [
        ("outside", 4, ("outside",)),
        ("nested/inside", 5, ("nested/inside",)),
    ]


def test_unknown_layer_freezes_what_it_touches():
    class Mystery(layers.Layer):
        def call(self, x):
            return x[..., ::-1]

    def build(x):
        a = conv(4, "a")(x)
        return head(conv(6, "b")(Mystery(name="mystery")(a)))

    model = functional(build)
    assert described(model) == [("b", 6, ("b",))]
    assert "mystery is a Mystery, for which" in frozen(model)["a"]


def test_own_layer_with_the_name_of_a_known_one_is_unknown():
    class ReLU(layers.Layer):
        def call(self, x):
            return x[..., ::-1]

    model = functional(lambda x: head(ReLU()(conv(4, "a")(x))))
    assert described(model) == []


@keras.saving.register_keras_serializable("test_channel_graph")
class Negative(keras.Operation):
    """Not what Keras calls so: mirrors the channels."""

    def call(self, x):
        return keras.ops.flip(x, -1)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


class Unregistered(Negative):
    pass


@pytest.mark.parametrize("own", [Negative, Unregistered])
def test_own_operation_is_unknown(own):
    image = keras.Input((8, 8, 3))
    x = own()(layers.Conv2D(6, 3, name="a")(image))
    x = layers.Conv2D(5, 3, name="z")(x)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(3)(model.outputs[0])
    model = keras.Model(image, x)
    toys.randomise(model)
    assert [group.name for group in ee.channel_groups(model)] == ["z"]
    assert ee.verify(model, 0.5).passed


def test_layer_that_is_called_by_keyword():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, name="a")(inputs=image)
    x = layers.BatchNormalization()(inputs=x, training=False)
    x = layers.GlobalAveragePooling2D()(inputs=x)
    model = keras.Model(image, layers.Dense(3)(inputs=x))
    assert [group.name for group in ee.channel_groups(model)] == ["a"]
    assert ee.verify(model, 0.5).passed
    examples = np.zeros((8, 8, 8, 3), np.float32), np.zeros(8, int)
    settings = ee.SearchSettings(num_candidates=2, macs=0.5, tolerance=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ee.PlausibilityWarning)
        found = ee.search(model, examples, examples, settings, verbose=False)
    assert len(found.candidates) == 2


def test_channel_gate_added_to_a_spatial_gate():
    """Bottleneck attention (Park et al. 2018): (1, 1, 6) + (8, 8, 1)."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", name="a")(image)
    channel = layers.Dense(6, name="g")(layers.GlobalAveragePooling2D()(x))
    space = layers.Conv2D(1, 3, padding="same", name="s")(x)
    gate = layers.Add()([layers.Reshape((1, 1, 6))(channel), space])
    x = x * keras.ops.sigmoid(gate)
    x = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    toys.randomise(model)
    (group,) = ee.channel_groups(model)
    assert (group.size, set(group.layers)) == (6, {"a", "g"})
    assert ee.verify(model, 0.5).passed


@pytest.mark.parametrize("kind", [layers.Cropping1D, layers.UpSampling1D])
def test_layers_that_know_no_data_format(kind):
    keras.config.set_image_data_format("channels_first")
    try:
        x = keras.Input((8, 3))
        y = layers.Conv1D(6, 3, data_format="channels_last", name="a")(x)
        y = layers.Conv1D(4, 1, data_format="channels_last")(kind()(y))
        y = layers.GlobalAveragePooling1D(data_format="channels_last")(y)
        model = keras.Model(x, layers.Dense(3)(y))
        assert ee.channel_groups(model)[0].name == "a"
        assert ee.verify(model, 0.5).passed
    finally:
        keras.config.set_image_data_format("channels_last")


def test_frozen_with_cause_and_reason():
    def build(x):
        a = layers.Softmax(name="soft")(conv(4, "a")(x))
        x = layers.LayerNormalization(name="norm")(conv(6, "b")(a))
        x = layers.Lambda(lambda x: x + 1, name="code")(conv(5, "c")(x))
        return head(conv(4, "d", activation="softmax")(x))

    causes = {
        f.layer: (f.channels, f.cause, f.reason)
        for f in ChannelGraph(functional(build)).frozen
    }
    assert causes == {
        "a": (4, "soft", "mixes the channels"),
        "b": (6, "norm", "mixes the channels"),
        "c": (5, "code", "is a Lambda, for which there is no rule"),
        "d": (
            4,
            "d",
            "has an activation that is not known to treat each channel alone",
        ),
        "logits": (4, "logits", "is an output of the model"),
    }


def test_every_part_of_a_split_keeps_a_channel():
    """Two halves trade places: no weight sees one of them alone."""

    def build(x):
        first, second = keras.ops.split(conv(8, "a")(x), 2, axis=-1)
        swapped = keras.ops.concatenate([second, first], axis=-1)
        return head(conv(4, "b")(swapped))

    assert described(functional(build)) == [
        ("a", 4, ("a",)),
        ("a:2", 4, ("a",)),
        ("b", 4, ("b",)),
    ]


def test_channels_that_are_also_an_output_stay():
    image = keras.Input((8, 8, 3))
    a = conv(4, "a")(image)
    model = keras.Model(image, [a, head(conv(5, "b")(a))])
    assert [g.name for g in ee.channel_groups(model)] == ["b"]


def test_every_channel_is_in_one_group_or_frozen():
    for name in sorted(zoo.NETWORKS):
        model = zoo.build(name, (32, 32, 3), 10, width=0.25)
        graph = ChannelGraph(model)
        units = [int(u) for g in graph.groups for u in g.units]
        assert len(units) == len(set(units)), name
        produced = {
            layer.name
            for layer in model.layers
            if type(layer) in (layers.Conv2D, layers.Dense)
        }
        in_groups = {n for g in graph.groups for n in g.layers}
        assert in_groups | {f.layer for f in graph.frozen} == produced, name
        assert {f.layer for f in graph.frozen} == {"logits"}, name


def test_groups_of_a_strangers_resnet(real_data):
    path = real_data / "baselines" / "resnet56_cifar10.keras"
    groups = ee.channel_groups(keras.models.load_model(path))
    assert len(groups) == 27 + 3  # inside each block; three shortcut widths
    first, *rest = groups
    # The stem, all of stage 1, and the zero-padded middle of stages 2 and 3.
    assert (first.name, first.size) == ("stem_conv", 16)
    assert len(first.layers) == 1 + 27
    shortcuts = [g for g in rest if len(g.layers) > 1]
    assert [(g.size, len(g.layers)) for g in shortcuts] == [(16, 18), (32, 9)]


def test_nothing_to_remove_is_told():
    image = keras.Input((4,))
    model = keras.Model(image, layers.Dense(3, name="only")(image))
    with pytest.raises(
        errors.InputError, match="only is an output of the model"
    ):
        channel_graph.require_groups(ChannelGraph(model))


def test_changed_weights_freeze():
    for change in ("enable_lora", "quantize"):
        image = keras.Input((8, 8, 3))
        x = layers.Conv2D(6, 3, name="a")(image)
        x = layers.Conv2D(5, 3, name="b")(x)
        x = layers.Dense(4, name="d")(layers.Flatten()(x))
        model = keras.Model(image, layers.Dense(3)(x))
        layer = model.get_layer("d")
        layer.enable_lora(2) if change == "enable_lora" else layer.quantize(
            "int8"
        )
        graph = ChannelGraph(model)
        assert [group.name for group in graph.groups] == ["a"]
        causes = {f.layer: (f.cause, f.reason) for f in graph.frozen}
        expected = "LoRA" if change == "enable_lora" else "quantized"
        assert causes["b"][0] == causes["d"][0] == "d"
        assert expected in causes["b"][1]


def test_layer_without_a_rule_is_listed_itself():
    class Own(layers.Conv2D):
        pass

    image = keras.Input((8, 8, 3))
    x = Own(7, 3, name="own")(layers.Conv2D(6, 3, name="a")(image))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    frozen = {f.layer: f.channels for f in ChannelGraph(model).frozen}
    assert frozen["own"] == 7 and frozen["a"] == 6


def test_layer_of_two_models_is_refused():
    shared = layers.Conv2D(3, 3, padding="same", name="c")
    inside = keras.Input((8, 8, 3))
    inner = keras.Model(inside, shared(inside), name="inner")
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, inner(shared(image)))
    with pytest.raises(errors.InputError, match=r"'c'.*second.*'inner/c'"):
        ChannelGraph(model)


@pytest.mark.parametrize("size", [8, None])
def test_nested_model_of_any_width(size):
    inside = keras.Input((None, None, None))
    x = layers.Concatenate()([inside, layers.ReLU()(inside)])
    inner = keras.Model(inside, x, name="inner")
    image = keras.Input((size, size, 3))
    x = inner(layers.Conv2D(6, 3, name="a")(image))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(3)(x))
    assert described(model) == [("a", 6, ("a",))]
    assert ee.verify(model, 0.5).passed


def test_names_of_groups_are_not_names_of_other_layers():
    image = keras.Input((8, 8, 3))
    first, second = keras.ops.split(
        layers.Conv2D(8, 3, name="a")(image), 2, axis=-1
    )
    x = layers.Concatenate()([second, first])
    x = layers.Flatten()(layers.Conv2D(4, 3, name="a:2")(x))
    model = keras.Model(image, layers.Dense(3)(x))
    groups = {g.name: g.layers for g in ChannelGraph(model).groups}
    assert groups == {"a": ("a",), "a:3": ("a",), "a:2": ("a:2",)}
