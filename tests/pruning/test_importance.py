import keras
import numpy as np
import pytest
import toys

from eagleeye_tf import errors
from eagleeye_tf.pruning import importance
from eagleeye_tf.pruning.channel_graph import ChannelGraph

layers = keras.layers


def test_norms_over_all_layers_of_a_group():
    first = np.array([[1.0, -2.0], [3.0, 4.0]])
    second = np.array([[2.0], [0.0]])
    np.testing.assert_allclose(importance.l1([first, second]), [5.0, 7.0])
    np.testing.assert_allclose(importance.l2([first, second]), [3.0, 5.0])


def test_ranking_by_hand():
    model = toys.chain(channels=(3, 2))
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[1, 1, 0] = [-1.0, 0.5, 3.0]
    model.get_layer("conv0").kernel.assign(kernel)
    first, _ = importance.rank_channels(ChannelGraph(model))
    assert first.tolist() == [2, 0, 1]


def test_l1_and_l2_rank_differently():
    model = toys.chain(channels=(2, 2))
    kernel = np.zeros((3, 3, 3, 2), np.float32)
    kernel[:, :, 0, 0] = 0.5  # L1 4.5, L2 1.5
    kernel[1, 1, 0, 1] = 3.0  # L1 3.0, L2 3.0
    model.get_layer("conv0").kernel.assign(kernel)
    graph = ChannelGraph(model)
    assert importance.rank_channels(graph, "l1")[0].tolist() == [0, 1]
    assert importance.rank_channels(graph, "l2")[0].tolist() == [1, 0]


def test_equal_channels_keep_their_order():
    model = toys.chain(channels=(32, 2))
    norms = np.arange(32) % 2 + 1
    model.get_layer("conv0").kernel.assign(np.tile(norms, (3, 3, 3, 1)))
    ranking = importance.rank_channels(ChannelGraph(model))[0]
    assert ranking.tolist() == [*range(1, 32, 2), *range(0, 32, 2)]


def tied():
    """A sum of two convolutions, whose channels go together."""
    inputs = keras.Input((4, 4, 2))
    a = layers.Conv2D(3, 1, name="a")(inputs)
    b = layers.Conv2D(3, 1, name="b")(inputs)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(a + b))
    return keras.Model(inputs, layers.Dense(4)(x))


def test_all_layers_of_a_group_count():
    model = tied()
    model.get_layer("a").kernel.assign([[[[3.0, 2, 1], [0, 0, 0]]]])
    model.get_layer("b").kernel.assign([[[[0.0, 0, 4], [0, 0, 5]]]])
    (ranking,) = importance.rank_channels(ChannelGraph(model))
    assert ranking.tolist() == [2, 0, 1]


def test_all_filters_of_a_unit_count():
    """Of two groups, what is removed is the same place in both."""
    inputs = keras.Input((4, 4, 4))
    x = layers.Conv2D(6, 1, groups=2, use_bias=False, name="conv")(inputs)
    x = layers.Dense(4)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    kernel = [[3.0, 2, 1, 0, 0, 9], [0.0] * 6]
    model.get_layer("conv").kernel.assign([[kernel]])
    graph = ChannelGraph(model)
    assert [(g.name, g.size) for g in graph.groups] == [("conv", 3)]
    (ranking,) = importance.rank_channels(graph)
    assert ranking.tolist() == [2, 0, 1]


def test_taylor_sums_over_what_is_tied():
    model = tied()
    toys.scramble(model)
    # No probability is so small that its logarithm would be cut off.
    model.layers[-1].kernel.assign(0.01 * np.array(model.layers[-1].kernel))
    images, labels = toys.images(model, count=60), np.arange(60) % 4
    graph = ChannelGraph(model)
    found = importance.Taylor(graph, (images, labels)).of_group(graph.groups[0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = np.zeros(3)
    for name in ("a", "b"):
        variable = model.get_layer(name).kernel
        kernel = np.array(variable)
        for channel in range(3):
            ends = []
            for step in (1e-2, -1e-2):
                moved = kernel.copy()
                moved[..., channel] *= 1 + step
                variable.assign(moved)
                ends.append(float(loss(labels, model(images))))
            variable.assign(kernel)
            expected[channel] += ((ends[0] - ends[1]) / 2e-2) ** 2
    np.testing.assert_allclose(found, expected, rtol=0.05)


def test_own_function():
    model = toys.chain(channels=(4, 2))
    ranking = importance.rank_channels(
        ChannelGraph(model), lambda kernels: np.arange(len(kernels[0]))
    )
    assert ranking[0].tolist() == [3, 2, 1, 0]


def test_unknown_name():
    with pytest.raises(errors.InputError, match="l1, l2.*'l3'"):
        importance.resolve("l3")


def test_nan_weights_are_told():
    model = toys.chain()
    model.get_layer("conv0").kernel.assign(np.full((3, 3, 3, 8), np.nan))
    with pytest.raises(errors.InputError, match="'conv0'.*NaN"):
        importance.rank_channels(ChannelGraph(model))


def test_geometric_median_by_hand():
    # Points 0, 3, 4 on a line: distances 3 + 4, 3 + 1, 4 + 1.
    kernel = np.array([[0.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    np.testing.assert_allclose(importance.geometric_median([kernel]), [7, 4, 5])
    twice = importance.geometric_median([kernel, kernel])
    np.testing.assert_allclose(twice, [14, 8, 10])


def test_bn_scales_of_all_layers_that_read_the_channels():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 1, name="a")(inputs)
    y = layers.Conv2D(2, 1, name="b")(inputs)
    left = layers.BatchNormalization(name="of_a")(x)
    both = layers.BatchNormalization(name="of_both")(
        layers.Concatenate()([y, x])
    )
    z = layers.Conv2D(2, 1, name="plain")(layers.Concatenate()([left, both]))
    z = layers.Dense(4)(layers.GlobalAveragePooling2D()(z))
    model = keras.Model(inputs, z)
    model.get_layer("of_a").gamma.assign([1.0, -2.0, 3.0])
    model.get_layer("of_both").gamma.assign([5.0, -6.0, 10.0, 20.0, -1.0])
    kernel = np.ones(model.get_layer("plain").kernel.shape)
    kernel[..., 1] = 2.0
    model.get_layer("plain").kernel.assign(kernel)
    graph = ChannelGraph(model)
    names = [group.name for group in graph.groups]
    ranked = dict(
        zip(names, importance.rank_channels(graph, "bn_scale"), strict=True)
    )
    # a: 1 + 10, 2 + 20, 3 + 1; b: 5, 6; without BN: by the L1 norm.
    assert ranked["a"].tolist() == [1, 0, 2]
    assert ranked["b"].tolist() == [1, 0]
    assert ranked["plain"].tolist() == [1, 0]


@pytest.mark.parametrize("softmax", [False, True])
def test_taylor_is_the_first_order_change_of_the_loss(softmax):
    """Each filter is scaled a little: the loss moves by Σ gradient · weight."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(5, activation="softmax" if softmax else None)(x)
    model = keras.Model(inputs, x)
    toys.scramble(model)
    # No probability is so small that its logarithm would be cut off.
    model.layers[-1].kernel.assign(0.01 * np.array(model.layers[-1].kernel))
    images = toys.images(model, count=100)
    labels = np.arange(100) % 5
    graph = ChannelGraph(model)
    measured = importance.Taylor(graph, (images, labels))
    found = measured.of_group(graph.groups[0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=not softmax)
    kernel = np.array(model.get_layer("conv").kernel)
    expected = np.zeros(4)
    for batch in (slice(0, 50), slice(50, 100)):
        for channel in range(4):
            ends = []
            for step in (1e-2, -1e-2):
                moved = kernel.copy()
                moved[..., channel] *= 1 + step
                model.get_layer("conv").kernel.assign(moved)
                outputs = model(images[batch].astype(np.float32))
                ends.append(float(loss(labels[batch], outputs)))
            change = (ends[0] - ends[1]) / 2e-2
            expected[channel] += change**2 / 2
    np.testing.assert_allclose(found, expected, rtol=0.05)
    assert np.argsort(found).tolist() == np.argsort(expected).tolist()


def test_taylor_needs_labels():
    model = toys.chain()
    for examples in (None, (toys.images(model, 8), np.full(8, -1))):
        with pytest.raises(errors.InputError, match="labelled images"):
            importance.rank_channels(ChannelGraph(model), "taylor", examples)


def test_taylor_takes_batches_and_refuses_classes_beyond():
    graph = ChannelGraph(toys.chain())
    images, labels = toys.images(graph.model, 8), np.arange(8) % 4
    batches = [(images[:5], labels[:5]), (images[5:], labels[5:])]
    for found, expected in zip(
        importance.rank_channels(graph, "taylor", batches),
        importance.rank_channels(graph, "taylor", (images, labels)),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(errors.InputError, match=r"lie in \[0, 4\)"):
        importance.rank_channels(graph, "taylor", (images, labels + 1))


def test_random_is_another_order_but_always_the_same():
    graph = ChannelGraph(toys.chain(channels=(30, 30)))
    first, second = importance.rank_channels(graph, "random")
    assert sorted(first) == list(range(30)) != first.tolist()
    assert first.tolist() != second.tolist()
    again, _ = importance.rank_channels(graph, "random")
    assert again.tolist() == first.tolist()
