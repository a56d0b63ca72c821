"""Random graphs are cut right, whatever their shape."""

import itertools

import hypothesis
import pytest
import random_graphs
import toys
from hypothesis import strategies

import eagleeye_tf as ee
from eagleeye_tf.pruning.channel_graph import ChannelGraph

_ANY_TIME = {
    "deadline": None,
    "suppress_health_check": list(hypothesis.HealthCheck),
    "print_blob": True,
}


# One for all groups, or one each, taken in turn.
RATIOS = strategies.lists(strategies.floats(0.0, 0.95), min_size=1, max_size=7)


def check(steps, ratios):
    model = random_graphs.build(steps)
    toys.scramble(model)
    groups = ChannelGraph(model).groups
    strategy = {
        group.name: ratio
        for group, ratio in zip(groups, itertools.cycle(ratios), strict=False)
    }
    found = ee.verify(model, strategy, inputs=toys.any_inputs(model))
    assert found.passed, found
    hypothesis.target(float(len(groups)))


@hypothesis.settings(max_examples=15, derandomize=True, **_ANY_TIME)
@hypothesis.given(random_graphs.GRAPHS, RATIOS)
def test_random_graphs(steps, ratios):
    check(steps, ratios)


@pytest.mark.slow
@hypothesis.settings(max_examples=600, **_ANY_TIME)
@hypothesis.given(random_graphs.GRAPHS, RATIOS)
def test_many_random_graphs(steps, ratios):
    check(steps, ratios)
