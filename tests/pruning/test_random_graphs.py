"""Random graphs are cut right, whatever their shape."""

import hypothesis
import pytest
import random_graphs
import toys

import eagleeye_tf as ee
from eagleeye_tf.pruning.channel_graph import ChannelGraph

_ANY_TIME = {
    "deadline": None,
    "suppress_health_check": list(hypothesis.HealthCheck),
    "print_blob": True,
}


def check(steps, ratio):
    model = random_graphs.build(steps)
    toys.scramble(model)
    groups = ChannelGraph(model).groups
    found = ee.verify(model, ratio, inputs=toys.any_inputs(model))
    assert found.passed, found
    hypothesis.target(float(len(groups)))


@hypothesis.settings(max_examples=30, derandomize=True, **_ANY_TIME)
@hypothesis.given(random_graphs.GRAPHS, hypothesis.strategies.floats(0.2, 0.9))
def test_random_graphs(steps, ratio):
    check(steps, ratio)


@pytest.mark.slow
@hypothesis.settings(max_examples=600, **_ANY_TIME)
@hypothesis.given(random_graphs.GRAPHS, hypothesis.strategies.floats(0.2, 0.9))
def test_many_random_graphs(steps, ratio):
    check(steps, ratio)
