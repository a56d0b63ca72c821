import keras
import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf.models import zoo
from eagleeye_tf.pruning.channel_graph import ChannelGraph
from eagleeye_tf.pruning.cost import CostModel

layers = keras.layers


def test_chain_by_hand():
    # 8 × 8 pixels; 3 -> 8 -> 12 channels, 3 × 3 kernels; dense 12 -> 4.
    cost = ee.cost(toys.chain())
    assert cost.macs == 64 * 9 * (3 * 8 + 8 * 12) + 12 * 4
    convolutions = (27 * 8 + 8) + (9 * 8 * 12 + 12)
    assert cost.params == convolutions + 4 * (8 + 12) + (12 * 4 + 4)


def test_pruned_chain_by_hand():
    cost = ee.cost(toys.chain(), 0.5)  # 4 and 6 channels stay.
    assert cost.macs == 64 * 9 * (3 * 4 + 4 * 6) + 6 * 4
    convolutions = (27 * 4 + 4) + (9 * 4 * 6 + 6)
    assert cost.params == convolutions + 4 * (4 + 6) + (6 * 4 + 4)


def test_other_layers_by_hand():
    image = keras.Input((8, 8, 4))
    x = layers.SeparableConv2D(6, 3, depth_multiplier=2, name="sep")(image)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw")(x)
    x = layers.Conv2D(8, 1, groups=4, name="grouped")(x)
    x = layers.Flatten()(x)
    model = keras.Model(image, layers.Dense(5)(x))
    separable = 36 * (9 * 8 + 8 * 6)
    depthwise = 16 * 9 * 12
    grouped = 16 * (12 // 4) * 8
    dense = 16 * 8 * 5
    assert ee.cost(model).macs == separable + depthwise + grouped + dense


def test_activation_memory_by_hand():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(10, 3, padding="same", name="a")(image)
    x = layers.BatchNormalization()(x)  # In place, and so is the ReLU.
    x = layers.ReLU()(x)
    y = layers.Conv2D(20, 3, padding="same", name="b")(x)
    # Here x, y and their concatenation are needed: 10 + 20 + 30 channels.
    z = layers.Concatenate()([x, y])
    z = layers.MaxPooling2D()(z)
    z = layers.Conv2D(1, 1, name="last")(z)
    model = keras.Model(image, [y, z])
    assert ee.cost(model).activation_memory == 4 * 64 * (10 + 20 + 30)
    # y is an output and stays to the end, whole; of x half is left. Most is
    # needed when y, the concatenation and what is pooled of it are.
    expected = 4 * 64 * (20 + 25) + 4 * 16 * 25
    assert ee.cost(model, 0.5).activation_memory == expected
    # An output's channels are frozen: 3 of the image and 10 of a are needed.
    first = keras.Model(image, x)
    assert ee.cost(first).activation_memory == 4 * 64 * (3 + 10)


def test_activation_memory_of_residuals_and_nested_models():
    image = keras.Input((4, 4, 6))
    inner = keras.Input((4, 4, 6))
    body = keras.Model(inner, layers.Conv2D(6, 3, padding="same")(inner))
    x = layers.Conv2D(6, 1)(image)
    y = body(x)
    # What comes in is still needed beside what the body makes of it; Add
    # makes a third tensor.
    model = keras.Model(image, layers.Conv2D(2, 1)(layers.Add()([x, y])))
    assert ee.cost(model).activation_memory == 4 * 16 * (6 + 6 + 6)


def test_shared_layer_counts_each_call_once():
    image = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same")
    model = keras.Model(image, shared(shared(image)))
    assert ee.cost(model).macs == 2 * 64 * 9 * 3 * 3
    assert ee.cost(model).params == 9 * 3 * 3 + 3


@pytest.mark.parametrize("name", sorted(zoo.NETWORKS))
def test_equals_the_rebuilt_model(name):
    model = zoo.build(name, (32, 32, 3), 10, width=0.25)
    generator = np.random.default_rng(0)
    ratios = {
        g.name: float(generator.uniform(0, 0.9))
        for g in ee.channel_groups(model)
    }
    predicted = ee.cost(model, ratios)
    smaller = ee.prune(model, ratios)
    assert predicted == ee.cost(smaller)
    assert predicted.params == smaller.count_params()
    assert predicted.macs < ee.cost(model).macs


def test_many_candidates_equal_one_by_one():
    graph = ChannelGraph(toys.dense_block())
    cost_model = CostModel(graph)
    generator = np.random.default_rng(0)
    sizes = [g.size for g in graph.groups]
    kept = np.stack([generator.integers(1, n + 1, 20) for n in sizes], axis=1)
    costs = cost_model.of(kept)
    for row, widths in enumerate(kept):
        one = cost_model.of_one(widths)
        assert (costs["macs"][row], costs["params"][row]) == (
            one.macs,
            one.params,
        )


def test_round_to():
    # Of 8 channels 4 stay, rounded up to 8; of 12, 6 stay, rounded to 8.
    cost = ee.cost(toys.chain(), 0.5, round_to=8)
    assert cost.macs == 64 * 9 * (3 * 8 + 8 * 8) + 8 * 4


def test_dense_meets_every_position():
    x = keras.Input((7, 6))
    model = keras.Model(x, layers.Dense(4)(layers.Dense(5)(x)))
    assert ee.cost(model).macs == 7 * 6 * 5 + 7 * 5 * 4


def test_transposed_convolution_meets_every_input_position():
    x = keras.Input((4, 4, 6))
    y = layers.Conv2DTranspose(5, 3, strides=2, padding="same")(x)
    model = keras.Model(x, y)
    assert model.output_shape == (None, 8, 8, 5)
    assert ee.cost(model).macs == 4 * 4 * (3 * 3 * 6 * 5)


def open_functional():
    inner = keras.Sequential(
        [
            keras.Input((None, None, 4)),
            layers.Conv2D(6, 3, padding="same"),
        ]
    )
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2)(image)
    x = keras.ops.relu(layers.BatchNormalization()(x) + 1)
    return keras.Model(image, inner(x))


def open_sequential():
    return keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(4, 3, strides=2),
            layers.Conv2D(6, 3, padding="same"),
        ]
    )


@pytest.mark.parametrize("base", [open_functional, open_sequential])
def test_a_base_for_images_of_any_size(base):
    """As keras.applications gives it without input_shape."""
    image = keras.Input((9, 9, 3))
    x = layers.GlobalAveragePooling2D()(base()(image))
    model = keras.Model(image, layers.Dense(5)(x))
    # 4 x 4 positions in both convolutions.
    assert ee.cost(model).macs == 16 * (27 * 4 + 36 * 6) + 6 * 5
    half = ee.prune(model, 0.5)
    macs = 16 * (27 * 2 + 18 * 3) + 3 * 5
    assert ee.cost(model, 0.5).macs == ee.cost(half).macs == macs
    check = ee.verify(model, 0.5)
    assert check.passed
    assert check.cost_agrees


def test_unknown_image_size_is_told():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, name="conv")(image)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    with pytest.raises(errors.InputError, match="fixed input shape.*'conv'"):
        ee.cost(model)


def test_heads_of_an_attention_are_counted():
    tokens = keras.Input((16, 6))
    heads = layers.EinsumDense("abc,cde->abde", (16, 4, 5))(tokens)
    x = layers.EinsumDense("...d,de->...e", 7)(heads)
    model = keras.Model(tokens, x)
    assert ee.cost(model).macs == 16 * 6 * 4 * 5 + 16 * 4 * 5 * 7


def test_an_einsum_whose_length_nobody_told():
    tokens = keras.Input((16, 6))
    x = layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d")(tokens)
    x = layers.EinsumDense("abc,cd->abd", (None, 7))(x)
    cost = ee.cost(keras.Model(tokens, x), 0.4)
    assert cost.macs == 16 * (6 * 3 + 3 * 7)
    assert cost.activation_memory == 4 * 16 * (3 + 7)


def test_layers_whose_macs_nobody_knows():
    class Own(layers.Conv2D):
        pass

    words = keras.Input((8,), dtype="int32")
    x = layers.Embedding(20, 4)(words)
    x = layers.LSTM(5, name="lstm", return_sequences=True)(x)
    x = layers.Reshape((8, 1, 5))(layers.LayerNormalization()(x))
    x = layers.Flatten()(Own(3, 1, name="own")(x))
    model = keras.Model(words, layers.Dense(3)(x))
    cost_model = CostModel(ChannelGraph(model))
    assert cost_model.uncounted == ("lstm", "own")
    assert cost_model.full().macs == 8 * 3 * 3


def test_a_transposition_that_keeps_the_shape_by_chance():
    """Six of eight channels on images of 6 × 6: still two tensors at once."""
    image = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", name="a")(image)
    first = keras.ops.transpose(x, (0, 3, 1, 2))
    x = keras.ops.transpose(first, (0, 2, 3, 1))
    model = keras.Model(image, keras.layers.Conv2D(2, 3, name="b")(x))
    ratios = {"a": 0.25}
    found = ee.cost(model, ratios).activation_memory
    assert found == ee.cost(ee.prune(model, ratios)).activation_memory
    assert found == 4 * 6 * 6 * (6 + 6)
