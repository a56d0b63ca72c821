import numpy as np
import pytest
import toys

from eagleeye_tf import errors
from eagleeye_tf.pruning import importance
from eagleeye_tf.pruning.channel_graph import ChannelGraph


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
    model = toys.chain(channels=(4, 2))
    model.get_layer("conv0").kernel.assign(np.ones((3, 3, 3, 4)))
    ranking = importance.rank_channels(ChannelGraph(model))[0]
    assert ranking.tolist() == [0, 1, 2, 3]


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
