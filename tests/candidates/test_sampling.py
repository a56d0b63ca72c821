import dataclasses
import time
import types

import keras
import numpy as np
import pytest
import toys

from eagleeye_tf import errors
from eagleeye_tf.candidates import constraints
from eagleeye_tf.candidates import sampling
from eagleeye_tf.candidates.settings import SearchSettings
from eagleeye_tf.models import zoo
from eagleeye_tf.pruning.channel_graph import ChannelGraph
from eagleeye_tf.pruning.cost import CostModel


def setup(model, macs=None, tolerance=0.01, **changes):
    settings = types.SimpleNamespace(
        min_ratio=0.0, max_ratio=0.7, exclude=(), round_to=1, seed=0
    )
    vars(settings).update(changes)
    graph = ChannelGraph(model)
    cost_model = CostModel(graph)
    full = cost_model.of_one([g.size for g in graph.groups])
    wanted = []
    if macs is not None:
        wanted = [constraints.make("macs", macs, tolerance, full.macs)]
    return graph.groups, cost_model, wanted, settings


@pytest.fixture(scope="module")
def mobilenet():
    return setup(zoo.build("mobilenet_v1", (32, 32, 3), 10), macs=0.5)


def test_every_proposal_meets_the_budget(mobilenet):
    for proposal in sampling.RandomSampling(*mobilenet).suggest(50):
        assert abs(proposal.macs / 46_354_432 - 0.5) <= 0.01
        ratios = [ratio for _, ratio in proposal.strategy.ratios]
        assert 0 <= min(ratios) and max(ratios) <= 0.7


def test_same_seed_same_proposals_however_asked(mobilenet):
    at_once = sampling.RandomSampling(*mobilenet).suggest(20)
    sampler = sampling.RandomSampling(*mobilenet)
    assert [p for _ in range(20) for p in sampler.suggest(1)] == at_once
    assert sampler.drawn == at_once[-1].index + 1


def test_other_seed_other_proposals(mobilenet):
    groups, cost_model, wanted, settings = mobilenet
    other = types.SimpleNamespace(**{**vars(settings), "seed": 1})
    first = sampling.RandomSampling(*mobilenet).suggest(5)
    second = sampling.RandomSampling(groups, cost_model, wanted, other).suggest(
        5
    )
    assert not {p.kept for p in first} & {p.kept for p in second}


def test_equals_rejection_sampling_one_by_one(mobilenet):
    """The same draws, costed one at a time by the public function."""
    import eagleeye_tf as ee

    groups, _, _, _ = mobilenet
    model = zoo.build("mobilenet_v1", (32, 32, 3), 10)
    draws = np.random.default_rng((0, 0)).uniform(0, 0.7, (40, len(groups)))
    names = [g.name for g in groups]
    accepted = [
        index
        for index, row in enumerate(draws)
        if abs(
            ee.cost(model, dict(zip(names, row, strict=True))).macs / 46_354_432
            - 0.5
        )
        <= 0.01
    ]
    proposals = sampling.RandomSampling(*mobilenet).suggest(len(accepted) + 1)
    assert [p.index for p in proposals][:-1] == accepted
    assert proposals[-1].index >= 40


def test_without_constraint_ratios_are_uniform():
    arguments = setup(toys.chain(channels=(400, 400)), max_ratio=0.6)
    proposals = sampling.RandomSampling(*arguments).suggest(2000)
    first = np.array([dict(p.strategy.ratios)["conv0"] for p in proposals])
    # Mean and standard deviation of U[0, 0.6], within five standard errors.
    assert abs(first.mean() - 0.3) < 5 * 0.6 / np.sqrt(12 * 2000)
    assert abs(first.std() - 0.6 / np.sqrt(12)) < 0.01


def test_no_network_is_proposed_twice():
    arguments = setup(toys.chain(channels=(4, 4)))
    kept = [p.kept for p in sampling.RandomSampling(*arguments).suggest(6)]
    assert len(set(kept)) == 6


def test_exhausted_search_space_is_told(monkeypatch):
    monkeypatch.setattr(sampling, "_GIVE_UP_AFTER", 20_000)
    arguments = setup(toys.chain(channels=(2, 2)))
    with pytest.raises(errors.InputError, match="fewer candidates"):
        sampling.RandomSampling(*arguments).suggest(100)


def test_uniform_is_uniform_up_to_a_channel():
    model = zoo.build("resnet56", (32, 32, 3), 10)
    groups, cost_model, wanted, settings = setup(
        model, macs=0.5, tolerance=0.005
    )
    (proposal,) = sampling.UniformSampling(
        groups, cost_model, wanted, settings
    ).suggest(1)
    full = cost_model.of_one([g.size for g in groups]).macs
    assert abs(proposal.macs / full - 0.5) <= 0.005
    ratios = np.array([ratio for _, ratio in proposal.strategy.ratios])
    sizes = np.array([g.size for g in groups])
    center = np.median(ratios)
    assert (np.abs(ratios - center) <= 1 / sizes).all()


def test_uniform_needs_a_budget_and_has_one_strategy():
    with pytest.raises(errors.InputError, match="needs a budget"):
        SearchSettings(algorithm="uniform", max_macs=0.5)
    assert SearchSettings(algorithm="uniform").num_candidates == 1
    arguments = setup(toys.chain(channels=(64, 64)), macs=0.5)
    with pytest.raises(errors.InputError, match="num_candidates=2"):
        sampling.UniformSampling(*arguments).suggest(2)


def test_uniform_that_misses_is_told():
    arguments = setup(toys.chain(channels=(2, 2)), macs=0.7, tolerance=0.001)
    with pytest.raises(errors.InputError, match="raise tolerance"):
        sampling.UniformSampling(*arguments).suggest(1)
    groups, cost_model, wanted, settings = arguments
    wanted = [
        constraints.make("macs", 0.7, 1.0, cost_model.full().macs),
        constraints.limit("params", 0.1, cost_model.full().params),
    ]
    with pytest.raises(errors.InputError, match="raise max_params"):
        sampling.UniformSampling(groups, cost_model, wanted, settings).suggest(
            1
        )


def test_uniform_meets_all_budgets_where_it_can():
    """The ratio nearest to the target alone would exceed the limit."""
    model = zoo.build("mobilenet_v1", (32, 32, 3), 10)
    groups, cost_model, wanted, settings = setup(
        model, macs=0.5, tolerance=0.05
    )
    full = cost_model.full()
    wanted = [*wanted, constraints.limit("params", 0.45, full.params)]
    arguments = groups, cost_model, wanted, settings
    (proposal,) = sampling.UniformSampling(*arguments).suggest(1)
    assert abs(proposal.macs / full.macs - 0.5) <= 0.05
    assert proposal.params <= 0.45 * full.params
    alone = sampling.UniformSampling(groups, cost_model, wanted[:1], settings)
    assert alone.suggest(1)[0].params > 0.45 * full.params


def test_budgets_that_exclude_each_other_are_told(monkeypatch):
    """Each is easily met; where they lie is said of both."""
    monkeypatch.setattr(sampling, "_GIVE_UP_AFTER", 20_000)
    model = zoo.build("mobilenet_v1", (32, 32, 3), 10)
    groups, cost_model, wanted, settings = setup(model, macs=0.3, round_to=2)
    full = cost_model.full()
    wanted = [*wanted, constraints.make("params", 0.8, 0.1, full.params)]
    arguments = groups, cost_model, wanted, settings
    with pytest.raises(errors.InputError) as told:
        sampling.RandomSampling(*arguments).suggest(1)
    draws = np.random.default_rng((0, 0)).uniform(0, 0.7, (4096, len(groups)))
    kept = np.stack(
        [
            np.ceil((1 - column) * group.size / 2) * 2
            for column, group in zip(draws.T, groups, strict=True)
        ],
        axis=1,
    ).clip(2, [g.size for g in groups])
    for metric, wish, reach in (("macs", 0.3, 0.01), ("params", 0.8, 0.1)):
        shares = cost_model.of(kept.astype(int))[metric] / vars(full)[metric]
        meet = (np.abs(shares - wish) <= reach).mean()
        low, high = np.percentile(shares, (1, 99))
        expected = f"{meet:.2%} meet; 98 of 100 have {low:.1%} to {high:.1%}"
        assert expected in str(told.value)
    assert "raise tolerance, raise params_tolerance" in str(told.value)
    assert "lower round_to" in str(told.value)


def test_each_metric_may_have_a_tolerance_of_its_own():
    cost_model = CostModel(ChannelGraph(toys.chain()))
    settings = SearchSettings(
        macs=0.5, params=0.5, tolerance=0.01, params_tolerance=0.1
    )
    macs, params = constraints.wanted(settings, cost_model)
    full = cost_model.full()
    assert macs.tolerance == pytest.approx(0.01 * full.macs)
    assert params.tolerance == pytest.approx(0.1 * full.params)


def test_half_the_macs_are_the_budget_where_none_is_given():
    cost_model = CostModel(ChannelGraph(toys.chain()))
    plain = SearchSettings()
    (implied,) = constraints.wanted(plain, cost_model)
    assert (implied.metric, implied.target) == (
        "macs",
        cost_model.full().macs / 2,
    )
    assert plain.identity() == SearchSettings(macs=0.5).identity()
    (given,) = constraints.wanted(
        dataclasses.replace(plain, params=0.4), cost_model
    )
    assert given.metric == "params"


def test_a_thousand_strategies_of_a_resnet50_in_seconds():
    """Of uniform draws 0.2 % meet this budget; nothing is built."""
    model = keras.applications.ResNet50(weights=None)
    groups, cost_model, wanted, settings = setup(
        model, macs=0.75, tolerance=0.005, max_ratio=0.4
    )
    start = time.process_time()
    found = sampling.RandomSampling(
        groups, cost_model, wanted, settings
    ).suggest(1000)
    assert time.process_time() - start < 10
    assert len({p.kept for p in found}) == 1000
    full = cost_model.full().macs
    assert all(abs(p.macs / full - 0.75) <= 0.005 for p in found)
    start = time.process_time()
    with pytest.raises(errors.InputError, match="can have"):
        constraints.check_reachable(
            [constraints.make("macs", 0.05, 0.005, full)],
            cost_model,
            groups,
            settings,
        )
    assert time.process_time() - start < 1


def test_rounded_widths():
    arguments = setup(
        zoo.build("vgg16_bn", (32, 32, 3), 10), macs=0.5, round_to=8
    )
    for proposal in sampling.RandomSampling(*arguments).suggest(5):
        assert all(n % 8 == 0 for n in proposal.kept)


def test_several_budgets_and_limits_hold_together():
    model = zoo.build("mobilenet_v1", (32, 32, 3), 10)
    groups, cost_model, wanted, settings = setup(model, macs=0.5)
    full = cost_model.full()
    wanted += [
        constraints.limit("params", 0.4, full.params),
        constraints.limit("activation_memory", 0.6, full.activation_memory),
    ]
    found = sampling.RandomSampling(
        groups, cost_model, wanted, settings
    ).suggest(20)
    for proposal in found:
        assert abs(proposal.macs / full.macs - 0.5) <= 0.01
        assert proposal.params <= 0.4 * full.params
        assert proposal.activation_memory <= 0.6 * full.activation_memory
        assert proposal.activation_memory == (
            cost_model.of_one(proposal.kept).activation_memory
        )


def test_few_networks_are_drawn_out_at_once():
    """4 · 4 widths of two groups of 4, with ratios up to 0.9."""
    arguments = setup(toys.chain(channels=(4, 4)), max_ratio=0.9)
    sampler = sampling.RandomSampling(*arguments)
    for found in (16, 0):  # And once more, when nothing is left.
        with pytest.raises(sampling.ExhaustedError, match="before: 16") as told:
            sampler.suggest(17)
        assert len(told.value.found) == found
    assert sampler.drawn <= 4096


def test_uniform_tells_that_there_are_several_budgets():
    groups, cost_model, _, settings = setup(toys.chain(channels=(16, 16)))
    full = cost_model.full()
    wanted = [
        constraints.make("macs", 0.5, 0.01, full.macs),
        constraints.make("params", 0.9, 0.01, full.params),
    ]
    with pytest.raises(
        errors.InputError,
        match="all budgets together.* params .*raise params_tolerance",
    ):
        sampling.UniformSampling(groups, cost_model, wanted, settings).suggest(
            1
        )
