import types

import numpy as np
import pytest
import toys

from eagleeye_tf import errors
from eagleeye_tf.candidates import constraints
from eagleeye_tf.candidates.settings import SearchSettings
from eagleeye_tf.pruning.channel_graph import ChannelGraph
from eagleeye_tf.pruning.cost import CostModel


def test_share_and_absolute_number():
    share = constraints.make("macs", 0.25, 0.01, 1000)
    assert (share.target, share.tolerance) == (250, 10)
    absolute = constraints.make("params", 600, 0.01, 1000)
    assert (absolute.target, absolute.tolerance) == (600, 10)


def test_band():
    constraint = constraints.make("macs", 0.5, 0.01, 1000)
    costs = {"macs": np.array([489, 490, 510, 511])}
    assert constraint.met_by(costs).tolist() == [False, True, True, False]


@pytest.mark.parametrize(("most", "fits"), [(0.48, False), (0.49, True)])
def test_band_above_its_own_limit(most, fits):
    model = CostModel(ChannelGraph(toys.chain()))
    settings = SearchSettings(macs=0.5, tolerance=0.01, max_macs=most)
    if fits:
        assert len(constraints.wanted(settings, model)) == 2
        return
    with pytest.raises(errors.InputError, match="lower macs, or raise max_m"):
        constraints.wanted(settings, model)


def test_target_between_whole_numbers():
    constraint = constraints.make("macs", 0.5, 0.0, 7)  # Target 3.5.
    costs = {"macs": np.array([2, 3, 4, 5])}
    assert constraint.met_by(costs).tolist() == [False, True, True, False]


def test_limit():
    constraint = constraints.limit("params", 0.5, 1000)
    costs = {"params": np.array([1, 499, 500, 501, 900])}
    met = [True, True, True, False, False]
    assert constraint.met_by(costs).tolist() == met
    assert constraint.describe() == "at most 50.0000% of 1,000 params"
    with pytest.raises(errors.InputError, match="params.*Received: 1001"):
        constraints.limit("params", 1001, 1000)


@pytest.mark.parametrize("amount", [0, -0.5, 1001, float("nan")])
def test_budget_outside_its_range(amount):
    with pytest.raises(errors.InputError, match="1,000") as raised:
        constraints.make("macs", amount, 0.01, 1000)
    assert str(amount) in str(raised.value)


@pytest.mark.parametrize("tolerance", [-0.1, 1.5])
def test_tolerance_outside_its_range(tolerance):
    with pytest.raises(errors.InputError, match=str(tolerance)):
        constraints.make("macs", 0.5, tolerance, 1000)


@pytest.mark.parametrize(
    ("macs", "way_out"), [(0.05, "raise max_ratio"), (0.9, "lower min_ratio")]
)
def test_unreachable_budget_names_the_range(macs, way_out):
    graph = ChannelGraph(toys.chain(channels=(10, 10)))
    cost_model = CostModel(graph)
    full = 64 * 9 * (3 * 10 + 10 * 10) + 10 * 4
    low = 64 * 9 * (3 * 5 + 5 * 5) + 5 * 4  # ratio 0.5
    high = 64 * 9 * (3 * 9 + 9 * 9) + 9 * 4  # ratio 0.1
    settings = types.SimpleNamespace(
        min_ratio=0.1, max_ratio=0.5, exclude=(), round_to=1
    )
    wanted = [constraints.make("macs", macs, 0.001, full)]
    with pytest.raises(errors.InputError) as raised:
        constraints.check_reachable(wanted, cost_model, graph.groups, settings)
    message = str(raised.value)
    # A limit above the range is met by all.
    limit = [constraints.limit("macs", macs, full)]
    if macs < 0.5:
        with pytest.raises(errors.InputError, match="raise max_ratio"):
            constraints.check_reachable(
                limit, cost_model, graph.groups, settings
            )
    else:
        constraints.check_reachable(limit, cost_model, graph.groups, settings)
    assert f"({low:,} to {high:,})" in message
    assert way_out in message


def test_a_budget_that_looks_like_percents():
    graph = ChannelGraph(toys.chain(channels=(10, 10)))
    cost_model = CostModel(graph)
    full = cost_model.full().macs
    settings = types.SimpleNamespace(
        min_ratio=0.1, max_ratio=0.5, exclude=(), round_to=1
    )
    wanted = [constraints.make("macs", 50, 0.001, full)]
    told = "raise max_ratio; for 50% of the network give 0.5"
    with pytest.raises(errors.InputError, match=told):
        constraints.check_reachable(wanted, cost_model, graph.groups, settings)
