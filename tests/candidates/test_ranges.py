"""Groups that are excluded stay whole, wherever strategies come from."""

import types

import numpy as np
import pytest
import toys
from test_sampling import setup

from eagleeye_tf import errors
from eagleeye_tf.candidates import algorithms
from eagleeye_tf.candidates import constraints
from eagleeye_tf.candidates import ranges
from eagleeye_tf.models import zoo
from eagleeye_tf.pruning.channel_graph import ChannelGraph


@pytest.fixture(scope="module")
def resnet():
    return zoo.build("resnet20", (32, 32, 3), 10)


@pytest.mark.parametrize(
    "pattern", ["conv", "stage1_block3_conv2", "stage1_*_conv2"]
)
def test_any_of_its_layers_stands_for_a_group(resnet, pattern):
    """The first stage's shortcut is that of the stem and of three blocks."""
    groups = ChannelGraph(resnet).groups
    settings = types.SimpleNamespace(
        exclude=(pattern,), min_ratio=0.1, max_ratio=0.6
    )
    least, most = ranges.of_ratios(groups, settings)
    names = [group.name for group in groups]
    place = names.index("conv")
    rest = [i for i in range(len(names)) if i != place]
    assert (least[place], most[place]) == (0, 0)
    assert (least[rest] == 0.1).all() and (most[rest] == 0.6).all()


def test_names_that_no_layer_has(resnet):
    graph = ChannelGraph(resnet)
    settings = types.SimpleNamespace(exclude=("con?", "stage9_*"))
    told = "'stage9_.*', which fits none of 29: conv, "
    with pytest.raises(errors.InputError, match=told):
        ranges.check_excluded(graph, settings)
    # The logits are nothing that is cut in any case.
    settings.exclude = "con?", "logits"
    ranges.check_excluded(graph, settings)


@pytest.mark.parametrize("name", sorted(algorithms.ALGORITHMS))
def test_no_algorithm_cuts_what_is_excluded(resnet, name):
    excluded = "conv", "stage[23]_block1_conv2"
    arguments = setup(
        resnet, macs=0.6, exclude=excluded, min_ratio=0.05, max_ratio=0.9
    )
    groups = arguments[0]
    stays = np.array([len(group.layers) > 1 for group in groups])
    assert stays.sum() == 3
    algorithm = algorithms.ALGORITHMS[name](*arguments)
    found = algorithm.suggest(1 if name == "uniform" else 25)
    if name == "evolution":
        algorithm.update(
            [
                types.SimpleNamespace(known_score=0.5, **vars(proposal))
                for proposal in found
            ]
        )
        found += algorithm.suggest(25)
    sizes = np.array([group.size for group in groups])
    for proposal in found:
        ratios = np.array([ratio for _, ratio in proposal.strategy.ratios])
        assert (ratios[stays] == 0).all() and (ratios[~stays] >= 0.05).all()
        assert (np.array(proposal.kept)[stays] == sizes[stays]).all()


def test_rays_do_not_lean_on_what_is_excluded(resnet):
    """Without its shortcuts it comes down to a third, at ratios of 0.7."""
    excluded = "conv", "stage[23]_block1_conv2"
    arguments = setup(resnet, macs=0.34, exclude=excluded)
    ends = constraints.reachable(arguments[1], arguments[0], arguments[3])
    assert ends["macs"][0] / ends["macs"][1] == pytest.approx(0.33, abs=0.01)
    algorithm = algorithms.ALGORITHMS["evolution"](*arguments)
    directions = algorithm._directions(np.random.default_rng(0))
    stays = np.array([len(group.layers) > 1 for group in arguments[0]])
    assert (directions[:, stays] == 0).all()
    assert (directions.max(axis=1) == 1).all()


def test_what_is_excluded_narrows_what_can_be_reached():
    """Two groups of ten, of which the first stays."""
    arguments = setup(
        toys.chain(channels=(10, 10)), exclude=("conv0",), max_ratio=0.5
    )
    groups, cost_model, _, settings = arguments
    low = 64 * 9 * (3 * 10 + 10 * 5) + 5 * 4
    full = 64 * 9 * (3 * 10 + 10 * 10) + 10 * 4
    found = constraints.reachable(cost_model, groups, settings)
    assert found["macs"] == (low, full)
    wanted = [constraints.make("macs", 0.3, 0.01, full)]
    with pytest.raises(errors.InputError, match="raise max_ratio or exclude"):
        constraints.check_reachable(wanted, cost_model, groups, settings)
