import graphs
import keras
import nested_graphs
import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf.models import zoo
from eagleeye_tf.pruning import batch_statistics
from eagleeye_tf.pruning import importance as importance_lib
from eagleeye_tf.pruning import network as network_lib
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.pruning.channel_graph import ChannelGraph

layers = keras.layers


def application(name, size=32):
    return lambda: zoo.build(name, (size, size, 3), 5)


def zoo_network(name):
    return lambda: zoo.build(name, (32, 32, 3), 5, width=0.25)


NETWORKS = {
    "chain": toys.chain,
    "grouped": graphs.grouped,
    "dict_inputs": nested_graphs.dict_inputs,
    "broadcasts": graphs.broadcasts,
    "grey_minus_means": graphs.grey_minus_means,
    "dense_block": toys.dense_block,
    "strangers_shortcuts": graphs.strangers_shortcuts,
    "DenseNet121": application("DenseNet121"),
    "ResNet50": application("ResNet50"),
    "MobileNetV2": application("MobileNetV2"),
    **{name: zoo_network(name) for name in sorted(zoo.NETWORKS)},
}


# Others here have their kinds of layers, too.
_SLOW = {
    "DenseNet121",
    "MobileNetV2",
    "ResNet50",
    "mobilenet_v2",
    "resnet50",
    "resnet56",
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name in _SLOW else ())
        for name in NETWORKS
    ],
)
def network(request):
    keras.utils.set_random_seed(0)
    return NETWORKS[request.param]()


def zero_channels(model, share):
    """Zeroes `share` of each group's filters and biases, at random."""
    graph = ChannelGraph(model)
    generator = np.random.default_rng(1)
    for group in graph.groups:
        count = int(share * group.size)
        units = generator.choice(group.size, count, replace=False)
        for path in group.layers:
            where = graph.filter_positions(group, path)[units].ravel()
            layer = dict(network_lib.all_layers(model))[path]
            kernel = np.array(layer.kernel)
            kernel[..., where] = 0
            layer.kernel.assign(kernel)
            if layer.bias is not None:
                bias = np.array(layer.bias)
                bias[where] = 0
                layer.bias.assign(bias)


def test_removing_channels_of_zeros_changes_nothing(network):
    toys.randomise(network)
    zero_channels(network, 0.4)
    x = toys.images(network)
    smaller = ee.prune(network, 0.4)
    assert smaller.count_params() < 0.95 * network.count_params()
    assert ee.cost(smaller) == ee.cost(network, 0.4)
    full = toys.outputs(network, x)
    scale = np.abs(full).max()
    assert scale > 0
    np.testing.assert_allclose(
        toys.outputs(smaller, x) / scale, full / scale, atol=1e-5
    )


def test_ratio_zero_is_bit_equal(network):
    toys.randomise(network)
    x = toys.images(network)
    same = ee.prune(network, 0.0)
    np.testing.assert_array_equal(
        toys.outputs(same, x), toys.outputs(network, x)
    )


def test_surviving_weights_by_hand():
    model = toys.chain(channels=(3, 2), classes=2)
    toys.randomise(model)
    kernel = np.array(model.get_layer("conv0").kernel)
    kernel[..., 1] *= 1e-3  # The least important of three filters.
    model.get_layer("conv0").kernel.assign(kernel)
    smaller = ee.prune(model, {"conv0": 0.34})
    np.testing.assert_array_equal(
        smaller.get_layer("conv0").kernel, kernel[..., [0, 2]]
    )
    np.testing.assert_array_equal(
        smaller.get_layer("bn0").moving_variance,
        np.array(model.get_layer("bn0").moving_variance)[[0, 2]],
    )
    np.testing.assert_array_equal(
        smaller.get_layer("conv1").kernel,
        np.array(model.get_layer("conv1").kernel)[:, :, [0, 2]],
    )


def test_the_given_model_is_untouched():
    model = toys.chain()
    weights = [w.copy() for w in model.get_weights()]
    config = model.to_json()
    ee.prune(model, 0.5)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert model.to_json() == config
    assert model.get_layer("conv1").output.shape == (None, 8, 8, 12)


def test_layer_scale_of_convnext():
    convnext = keras.applications.ConvNeXtTiny(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    kind = next(
        type(layer)
        for layer in convnext.layers
        if type(layer).__name__ == "LayerScale"
    )
    image = keras.Input((8, 8, 3))
    x = kind(0.5, 6)(layers.Conv2D(6, 3)(image))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))
    model = keras.Model(image, layers.Dense(3)(x))
    assert ee.verify(model, 0.5).passed
    assert ee.cost(ee.prune(model, 0.5)).params == 84 + 3 + 56 + 9


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_cut_channels_enter_nested_models(batch_statistics):
    model = nested_graphs.nested()
    smaller = rebuild.Pruner(model).prune(0.5, batch_statistics)
    assert smaller.get_layer("inner").get_layer("inside").filters == 3
    assert smaller.get_layer("inner").inputs[0].shape == (None, 8, 8, 3)
    assert smaller.count_params() == ee.cost(model, 0.5).params
    assert toys.outputs(smaller, toys.images(model)).shape == (2, 4)


def test_output_of_a_nested_model_that_was_called_before():
    image = keras.Input((8, 8, 3), name="image")
    inner = toys.chain()
    inner(image)  # Keras counts this call in the config of the next model.
    model = keras.Model(image, inner(image))
    toys.randomise(inner)
    x = toys.images(model)
    np.testing.assert_array_equal(
        toys.outputs(ee.prune(model, 0.0), x), toys.outputs(model, x)
    )
    assert ee.prune(model, 0.5).count_params() < model.count_params()


def test_nested_models_are_cut_inside():
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            layers.Conv2D(6, 3, name="inside"),
            layers.BatchNormalization(name="norm"),
        ],
        name="nested",
    )
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="outside")(image)
    x = layers.GlobalAveragePooling2D()(inner(x))
    model = keras.Model(image, layers.Dense(3)(x))
    toys.randomise(model)
    for name in ("inside", "norm"):
        toys.randomise(keras.Sequential([inner.get_layer(name)]))
    kernel = np.array(inner.get_layer("inside").kernel)
    kernel[..., :3] = 0
    inner.get_layer("inside").kernel.assign(kernel)
    inner.get_layer("inside").bias.assign(np.zeros(6))
    smaller = ee.prune(model, {"nested/inside": 0.5})
    assert smaller.get_layer("nested").get_layer("inside").filters == 3
    x = toys.images(model)
    np.testing.assert_allclose(
        toys.outputs(smaller, x), toys.outputs(model, x), rtol=1e-5, atol=1e-5
    )


def test_fresh_weights_are_those_of_a_network_built_that_small():
    image = keras.Input((8, 8, 3))
    normalization = layers.Normalization()
    normalization.adapt(np.arange(24.0).reshape(8, 1, 1, 3))
    x = layers.Conv2D(40, 3, name="conv")(normalization(image))
    x = layers.BatchNormalization(name="bn")(x)
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    toys.scramble(model)
    mean = np.array(normalization.mean)
    fresh = rebuild.Pruner(model).prune(0.5, fresh=True)
    assert [w.shape for w in fresh.weights] == [
        w.shape for w in ee.prune(model, 0.5).weights
    ]
    kernel = np.array(fresh.get_layer("conv").kernel)
    limit = np.sqrt(6 / (9 * 3 + 9 * 20))  # Glorot, of the smaller layer.
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    assert np.array_equal(fresh.get_layer("bn").gamma, np.ones(20))
    np.testing.assert_array_equal(fresh.layers[1].mean, mean)


def test_batch_statistics_without_dropout():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(image)
    x = layers.BatchNormalization(name="bn", trainable=False)(x)
    x = layers.Dropout(0.5)(x)
    x = layers.RandomFlip()(x)
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    copy = rebuild.with_batch_statistics(model)
    x = toys.images(model, count=16)
    with batch_statistics.observing([copy.get_layer("bn")]):
        first, second = (copy(x, training=False) for _ in range(2))
    np.testing.assert_array_equal(first, second)  # Nothing is random.
    features = keras.Model(model.input, model.get_layer("conv").output)(x)
    np.testing.assert_allclose(
        copy.get_layer("bn").moving_mean,
        np.asarray(features).mean((0, 1, 2)),
        rtol=1e-4,
    )


def test_a_model_of_which_nothing_can_be_removed():
    image = keras.Input((4, 3))
    model = keras.Model(image, layers.LSTM(5, name="lstm")(image))
    with pytest.warns(errors.PlausibilityWarning, match="No channel.*lstm is"):
        same = ee.prune(model, 0.5)
    assert same.count_params() == model.count_params()


def test_ratio_outside_its_range():
    with pytest.raises(errors.InputError, match=r"\[0, 1\).*1\.3"):
        ee.prune(toys.chain(), 1.3)


@pytest.mark.parametrize("ratios", [[0.1, 0.2], "0.3", None])
def test_ratios_of_another_kind(ratios):
    with pytest.raises(errors.InputError, match="are one number .*Received: "):
        ee.prune(toys.chain(), ratios)


def test_strangers_network_keeps_its_ratio_zero_outputs(real_data):
    path = real_data / "baselines" / "mobilenet_v1_cifar10.keras"
    model = keras.models.load_model(path)
    x = toys.images(model)
    np.testing.assert_array_equal(
        toys.outputs(ee.prune(model, 0.0), x), toys.outputs(model, x)
    )


def test_prune_takes_importance_and_rounding():
    model = toys.chain(channels=(2, 12))
    kernel = np.zeros((3, 3, 3, 2), np.float32)
    kernel[:, :, 0, 0] = 0.5  # L1 4.5, L2 1.5
    kernel[1, 1, 0, 1] = 3.0  # L1 3.0, L2 3.0
    model.get_layer("conv0").kernel.assign(kernel)
    for importance, stays in (("l1", 0), ("l2", 1)):
        smaller = ee.prune(model, {"conv0": 0.5}, importance=importance)
        np.testing.assert_array_equal(
            smaller.get_layer("conv0").kernel, kernel[..., stays : stays + 1]
        )
    rounded = ee.prune(model, {"conv1": 0.5}, round_to=8)
    assert rounded.get_layer("conv1").filters == 8


def test_prune_takes_examples():
    model = toys.chain(channels=(8, 12))
    toys.scramble(model)
    examples = toys.images(model, 40), np.arange(40) % 4
    graph = ChannelGraph(model)
    best = importance_lib.rank_channels(graph, "taylor", examples)[0][:4]
    assert sorted(best) != sorted(importance_lib.rank_channels(graph)[0][:4])
    smaller = ee.prune(
        model, {"conv0": 0.5}, importance="taylor", examples=examples
    )
    np.testing.assert_array_equal(
        smaller.get_layer("conv0").kernel,
        np.asarray(model.get_layer("conv0").kernel)[..., np.sort(best)],
    )


def test_other_rankings_keep_the_rounding():
    pruner = rebuild.Pruner(toys.chain(channels=(8, 12)), round_to=8)
    again = pruner.with_rankings(pruner.rankings)
    assert again.kept(0.5).tolist() == pruner.kept(0.5).tolist() == [8, 8]
