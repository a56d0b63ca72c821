import types

import numpy as np
import pytest
import toys
from test_sampling import setup

from eagleeye_tf import errors
from eagleeye_tf.candidates import evolution
from eagleeye_tf.candidates import sampling
from eagleeye_tf.models import zoo


@pytest.fixture(scope="module")
def mobilenet():
    return setup(zoo.build("mobilenet_v1", (32, 32, 3), 10), macs=0.5)


def scored(proposal):
    """Best are those that prune late groups and leave early ones alone."""
    ratios = np.array([ratio for _, ratio in proposal.strategy.ratios])
    wish = np.linspace(0, 0.7, len(ratios))
    return types.SimpleNamespace(
        index=proposal.index,
        strategy=proposal.strategy,
        macs=proposal.macs,
        known_score=1 - np.abs(ratios - wish).mean(),
    )


def run(algorithm, count):
    found = []
    while len(found) < count:
        generation = algorithm.suggest(
            min(count - len(found), algorithm.generation or count)
        )
        candidates = [scored(proposal) for proposal in generation]
        algorithm.update(candidates)
        found += zip(generation, candidates, strict=True)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_finds_better_ones_than_random_sampling(mobilenet, seed):
    groups, cost_model, wanted, settings = mobilenet
    settings = types.SimpleNamespace(**{**vars(settings), "seed": seed})
    best = {
        make: max(
            c.known_score
            for _, c in run(make(groups, cost_model, wanted, settings), 200)
        )
        for make in (evolution.EvolutionarySearch, sampling.RandomSampling)
    }
    gain = best[evolution.EvolutionarySearch] - best[sampling.RandomSampling]
    assert gain > 0.03


def test_all_meet_the_budget_and_none_comes_twice(mobilenet):
    algorithm = evolution.EvolutionarySearch(*mobilenet)
    proposals = [proposal for proposal, _ in run(algorithm, 130)]
    for proposal in proposals:
        assert abs(proposal.macs / 46_354_432 - 0.5) <= 0.01
        ratios = [ratio for _, ratio in proposal.strategy.ratios]
        assert 0 <= min(ratios) and max(ratios) <= 0.7
    assert len({proposal.kept for proposal in proposals}) == 130
    indices = [proposal.index for proposal in proposals]
    assert indices == sorted(set(indices))
    assert algorithm.drawn == indices[-1] + 1


def test_begins_at_random_and_ends_alike(mobilenet):
    first, second = (
        [p for p, _ in run(evolution.EvolutionarySearch(*mobilenet), 60)]
        for _ in range(2)
    )
    assert first == second
    assert first[:13] == sampling.RandomSampling(*mobilenet).suggest(13)
    # More candidates go on where fewer ended.
    longer = run(evolution.EvolutionarySearch(*mobilenet), 100)
    assert [p for p, _ in longer][:50] == first[:50]


def first_generation(model, **options):
    """Ratios of the first generation's other half, and the `ChannelGroup`s."""
    arguments = setup(model, **options)
    groups = arguments[0]
    proposals = evolution.EvolutionarySearch(*arguments).suggest(25)[13:]
    ratios = [[r for _, r in p.strategy.ratios] for p in proposals]
    return np.array(ratios), groups


def test_shortcuts_stay_whole_in_some_of_the_first():
    """Of ResNet-20 three groups are shared, by 10, 6 and 3 layers."""
    ratios, groups = first_generation(
        zoo.build("resnet20", (32, 32, 3), 10), macs=0.6
    )
    shared = [len(group.layers) for group in groups]
    assert sorted(shared)[-4:] == [1, 3, 6, 10]
    reach = 0.5 / np.array([group.size for group in groups])
    for row, limit in zip(ratios, (1, 3, 6, 10), strict=False):
        is_cut = np.array(shared) <= limit
        assert (row[~is_cut] == 0).all()
        # There is a ratio that is near enough to those of all groups.
        low, high = (row - reach)[is_cut], (row + reach)[is_cut]
        assert low.max() <= high.min()
    # The others leave some groups whole, or treat them differently.
    assert (ratios[4:] == 0).any()
    assert np.ptp(ratios[4:], axis=1).min() > 0.1


def test_the_first_keep_to_the_range_of_ratios():
    model = zoo.build("mobilenet_v1", (32, 32, 3), 10)
    ratios, _ = first_generation(
        model, macs=0.5, tolerance=0.03, min_ratio=0.2, max_ratio=0.4
    )
    assert ratios.min() >= 0.2 and ratios.max() <= 0.4


def test_budgets_that_are_too_rare_for_chance(monkeypatch):
    """All groups must lose nearly seven tenths."""
    monkeypatch.setattr(sampling, "_GIVE_UP_AFTER", 20_000)
    arguments = setup(zoo.build("resnet20", (32, 32, 3), 10), macs=0.13)
    with pytest.raises(sampling.ExhaustedError):
        sampling.RandomSampling(*arguments).suggest(1)
    found = evolution.EvolutionarySearch(*arguments).suggest(5)
    assert all(abs(p.macs / 40_551_040 - 0.13) <= 0.01 for p in found)


def test_children_are_made_of_their_parents(mobilenet):
    algorithm = evolution.EvolutionarySearch(*mobilenet)
    groups = len(mobilenet[0])
    parents = np.stack([np.full(groups, 0.2), np.full(groups, 0.6)])
    children = algorithm._children(parents, np.random.default_rng(0))
    unchanged = (children == 0.2) | (children == 0.6)
    assert unchanged.mean() == pytest.approx(0.8, abs=0.01)
    mixed = ((children == 0.2).any(1)) & ((children == 0.6).any(1))
    # Of every other child both parents are one; of half of the rest by chance.
    assert mixed[::2].sum() == 0
    assert mixed[1::2].mean() == pytest.approx(0.5, abs=0.03)


def test_a_budget_without_networks_left_is_told(monkeypatch):
    monkeypatch.setattr(sampling, "_GIVE_UP_AFTER", 50_000)
    model = toys.chain(channels=(8, 8))
    arguments = setup(model, macs=0.5, tolerance=0.1)
    algorithm = evolution.EvolutionarySearch(*arguments)
    with pytest.raises(errors.InputError, match="gave no new network"):
        run(algorithm, 64)  # There are no more at all.
