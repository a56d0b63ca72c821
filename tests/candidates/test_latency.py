"""Latencies whose truth is known: seconds that are made of real MACs."""

import dataclasses

import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf.candidates import latency
from eagleeye_tf.pruning.channel_graph import ChannelGraph
from eagleeye_tf.pruning.cost import CostModel

SETTINGS = ee.SearchSettings(
    latency=0.5, latency_measurements=20, num_candidates=3
)


def layer_macs(model):
    """MACs of each convolution and dense layer, worked out from shapes."""
    found = []
    for layer in model.layers:
        if not hasattr(layer, "kernel"):
            continue
        positions = np.prod(layer.output.shape[1:-1], dtype=int)
        found.append(int(np.prod(layer.kernel.shape)) * int(positions))
    return np.array(found)


class Machine:
    """A millisecond for a million MACs, some layers slower than others."""

    def __init__(self, layers, noise=0.0):
        generator = np.random.default_rng(0)
        self.rates = generator.uniform(0.5, 1.5, layers)
        self.noise, self.generator = noise, generator
        self.measured = 0

    def __call__(self, models):
        self.measured += len(models) - 1  # The first is the whole network.
        return [self.truth(m) * self._jitter() for m in models]

    def describe(self):
        return {"machine": "made up"}

    def truth(self, model):
        return 0.1 + float((self.rates * layer_macs(model)).sum()) / 1e6

    def _jitter(self):
        return 1 + self.noise * self.generator.normal()


@pytest.fixture(scope="module")
def network():
    model = toys.chain(channels=(16, 24, 32, 24), classes=10)
    toys.scramble(model)
    return model


@pytest.mark.parametrize(("noise", "allowed"), [(0.0, 0.01), (0.02, 0.05)])
def test_predictions_are_near_the_truth(noise, allowed):
    network = toys.chain(channels=(16, 24, 32, 48, 32, 24), classes=10)
    toys.scramble(network)
    machine = Machine(len(layer_macs(network)), noise)
    model = latency.Latencies(network, machine).fit(SETTINGS)
    assert machine.measured == 20
    assert model.full_ms == pytest.approx(machine.truth(network), rel=0.03)
    generator = np.random.default_rng(1)
    missed = []
    for _ in range(12):
        groups = ee.channel_groups(network)
        ratios = {g.name: generator.uniform(0, 0.7) for g in groups}
        smaller = ee.prune(network, ratios)
        kept = [smaller.get_layer(g.name).filters for g in groups]
        (predicted,) = model.of([kept])["latency_ms"]
        missed.append(abs(predicted / machine.truth(smaller) - 1))
    assert np.median(missed) < allowed
    assert model.error < 2 * allowed


def test_cost_is_still_exact(network):
    machine = Machine(len(layer_macs(network)))
    model = latency.Latencies(network, machine).fit(SETTINGS)
    sizes = [group.size for group in ee.channel_groups(network)]
    costs = model.of([sizes])
    assert costs["macs"] == [ee.cost(network).macs]
    assert costs["macs"] == [layer_macs(network).sum()]
    assert set(model.of([sizes], ["params"])) == {"params"}


def test_parts_of_the_cost_are_those_of_the_layers():
    model = toys.chain(channels=(8, 12))  # 3x3 at 8x8, then a dense layer.
    cost_model = CostModel(ChannelGraph(model))
    macs, memory = cost_model.parts([[8, 12], [4, 6]])
    assert sorted(macs[0]) == sorted(
        [27 * 8 * 64, 72 * 12 * 64, 12 * 4]  # logits: 4 classes
    )
    assert sorted(macs[1]) == sorted([27 * 4 * 64, 36 * 6 * 64, 6 * 4])
    # Image, logits; conv0 and its BN and ReLU; the same of conv1, pooled.
    expected = [4 * 3 * 64, 4 * 4, 3 * 4 * 8 * 64, 3 * 4 * 12 * 64 + 4 * 12]
    found = [x for x in memory[0] if x]
    assert sum(found) == sum(expected)
    assert 3 * 4 * 8 * 64 in found


def test_no_measurement_is_made_twice(network, tmp_path):
    path = tmp_path / "latency.jsonl"
    machine = Machine(len(layer_macs(network)))
    first = latency.Latencies(network, machine, path).fit(SETTINGS)
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 21
    path.write_text("".join(lines[:12]))  # Killed after 11 networks.
    again = Machine(len(layer_macs(network)))
    latencies = latency.Latencies(network, again, path)
    assert latencies.fit(SETTINGS).fingerprint == first.fingerprint
    assert again.measured == 9
    # Another budget needs other measurements near it alone.
    latencies.fit(dataclasses.replace(SETTINGS, latency=0.7))
    assert again.measured == 9 + 8
    again.describe = lambda: {"machine": "another"}
    with pytest.raises(ee.InputError, match="another latency measurement"):
        latency.Latencies(network, again, path).fit(SETTINGS)


def test_a_search_keeps_its_measurements_beside_its_log(
    network, examples, tmp_path
):
    """What is predicted belongs to the search that goes on."""
    tables, measured = [], []
    for _ in range(2):
        # Another time the machine would be a little slower or faster.
        machine = Machine(len(layer_macs(network)), noise=0.02)
        machine.generator = np.random.default_rng(len(tables))
        result = ee.search(
            network,
            examples,
            examples,
            dataclasses.replace(SETTINGS, batch_size=32),
            tmp_path / "search.jsonl",
            latencies=ee.Latencies(network, machine),
            verbose=False,
        )
        tables.append([(c.index, c.score) for c in result.candidates])
        measured.append(machine.measured)
    assert tables[0] == tables[1]
    assert measured[0] > 0 and measured[1] == 0
    assert (tmp_path / "search.latency.jsonl").exists()


@pytest.fixture(scope="module")
def examples(network):
    images = toys.images(network, count=64)
    return images, toys.outputs(network, images).argmax(1)


def search(network, examples, machine, **changes):
    settings = ee.SearchSettings(
        latency_measurements=10,
        batch_size=32,
        **{"num_candidates": 3, "latency": 0.5, **changes},
    )
    latencies = ee.Latencies(network, machine)
    return ee.search(network, examples, examples, settings, latencies=latencies)


def test_the_winner_meets_the_budget_on_the_machine(network, examples):
    machine = Machine(len(layer_macs(network)))
    found = search(network, examples, machine, num_candidates=12)
    full = machine.truth(network)
    assert found.candidates[: len(found.winners)] == found.winners
    for candidate in found.winners:
        share = machine.truth(found.build(candidate)) / full
        assert found.measured[candidate.index] / full == pytest.approx(share)
        assert abs(share - 0.5) <= 0.025


def test_a_limit_is_kept(network, examples):
    machine = Machine(len(layer_macs(network)))
    limit = 0.6 * machine.truth(network)
    found = search(
        network, examples, machine, latency=None, max_latency_ms=limit
    )
    assert machine.truth(found.build()) <= limit


class Moody(Machine):
    """Slower for whoever is measured after the fit to ten networks."""

    def __call__(self, models):
        full, *times = super().__call__(models)
        return [full, *(1.5 * t if self.measured > 10 else t for t in times)]


def test_candidates_that_miss_the_budget_fall_behind(network, examples):
    """Of six candidates four at most were among the ten networks."""
    machine = Moody(len(layer_macs(network)))
    found = search(
        network, examples, machine, num_candidates=6, evaluation="full"
    )
    full = machine.truth(network)
    shares = {c: found.measured[c.index] / full for c in found.candidates}
    met = [c for c in found.candidates if abs(shares[c] - 0.5) <= 0.025]
    missed = [c for c in found.candidates if c not in met]
    assert found.winners == tuple(met) and met
    assert found.candidates == (*met, *missed)
    assert sum(share > 0.7 for share in shares.values()) >= 2
    for part in (met, missed):
        scores = [candidate.score for candidate in part]
        assert scores == sorted(scores, reverse=True)


def test_a_budget_that_nobody_meets_in_the_end_is_told(network, examples):
    machine = Moody(len(layer_macs(network)))
    told = "None of the 1 candidates.*latency_ms.*latency_tolerance"
    with pytest.raises(ee.InputError, match=told):
        search(
            network, examples, machine, num_candidates=1, algorithm="uniform"
        )


def test_a_budget_out_of_reach_is_told(network, examples):
    machine = Machine(len(layer_macs(network)))
    with pytest.raises(ee.InputError, match="No strategy meets.*latency_ms"):
        search(network, examples, machine, latency=0.05)
    with pytest.raises(ee.InputError, match="at most the whole network's"):
        search(network, examples, machine, latency=None, latency_ms=1e6)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"latency": 1.2}, "latency is a share"),
        ({"max_latency": 0.0}, "max_latency is a share"),
        ({"latency": 0.5, "latency_ms": 3.0}, "a share or in milliseconds"),
        ({"latency_ms": -1.0}, "latency_ms is above 0"),
        ({"latency_measurements": 7}, "at least 8"),
        ({"latency_tolerance": 7}, "latency_tolerance is a share"),
        ({"algorithm": "uniform", "max_latency": 0.5}, "upper limits alone"),
    ],
)
def test_settings_out_of_range(changes, told):
    with pytest.raises(ee.InputError, match=told):
        ee.SearchSettings(**changes)


def test_who_cannot_measure_says_so(network, examples):
    settings = ee.SearchSettings(latency=0.5)
    with pytest.raises(ee.InputError, match="has to be measured"):
        ee.search(network, examples, examples, settings)


@pytest.mark.parametrize("algorithm", ["uniform", "evolution"])
def test_other_algorithms(network, examples, algorithm):
    machine = Machine(len(layer_macs(network)))
    count = 1 if algorithm == "uniform" else 30
    found = search(
        network, examples, machine, algorithm=algorithm, num_candidates=count
    )
    share = machine.truth(found.build()) / machine.truth(network)
    assert abs(share - 0.5) <= 0.025


def test_budgets_are_met_together(network, examples):
    machine = Machine(len(layer_macs(network)))
    found = search(network, examples, machine, macs=0.5, tolerance=0.02)
    assert machine.truth(found.build()) / machine.truth(
        network
    ) == pytest.approx(0.5, abs=0.025)
    assert found.best.macs / ee.cost(network).macs == pytest.approx(
        0.5, abs=0.02
    )


def test_exact_budgets_are_refused_before_anything_is_measured(
    network, examples
):
    machine = Machine(len(layer_macs(network)))
    with pytest.raises(ee.InputError, match="No strategy meets.*macs"):
        search(network, examples, machine, macs=0.01)
    assert machine.measured == 0


def test_what_is_excluded_is_whole_in_all_that_is_measured(network, examples):
    """A typing error is told before that."""
    machine = Machine(len(layer_macs(network)))
    first, *_ = ee.channel_groups(network)
    with pytest.raises(ee.InputError, match="'nosuch'"):
        search(network, examples, machine, exclude=("nosuch",))
    assert machine.measured == 0
    found = search(
        network, examples, machine, exclude=(first.name,), latency=0.7
    )
    assert {c.kept[0] for c in found.candidates} == {first.size}


def test_latencies_of_another_network_are_refused(network, examples):
    other = toys.chain(classes=10)
    settings = ee.SearchSettings(latency=0.5)
    with pytest.raises(ee.InputError, match="belong to one network"):
        ee.search(
            network,
            examples,
            examples,
            settings,
            latencies=ee.Latencies(other, Machine(3)),
        )


def test_rounded_candidates_are_measured_as_they_are(network, examples):
    machine = Machine(len(layer_macs(network)))
    found = search(network, examples, machine, round_to=4)
    smaller = found.build()
    assert all(k % 4 == 0 for k in found.best.kept)
    share = machine.truth(smaller) / machine.truth(network)
    full = machine.truth(network)
    assert found.measured[found.best.index] / full == pytest.approx(share)


def test_default_budget():
    assert ee.SearchSettings().target("macs") == 0.5
    assert ee.SearchSettings(params=0.4).macs is None
    assert ee.SearchSettings(max_latency=0.4).macs is None
    plain = ee.SearchSettings().identity()
    assert "latency_tolerance" not in plain


def test_a_budget_that_few_networks_meet():
    """Fewer than would be measured near it."""

    class Bare(Machine):
        def truth(self, model):
            return super().truth(model) - 0.1

    network = toys.chain(channels=(6, 8), classes=10)
    toys.scramble(network)
    machine = Bare(len(layer_macs(network)))
    settings = dataclasses.replace(SETTINGS, latency_tolerance=0.01)
    model = latency.Latencies(network, machine).fit(settings)
    assert 0 < machine.measured < 20
    full = model.of([[6, 8]])["latency_ms"]
    assert full == pytest.approx(machine.truth(network), rel=0.03)
