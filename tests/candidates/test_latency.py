"""Latencies whose truth is known: seconds that are made of real MACs."""

import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf.candidates import latency
from eagleeye_tf.models import zoo
from eagleeye_tf.pruning.channel_graph import ChannelGraph
from eagleeye_tf.pruning.cost import CostModel

SETTINGS = ee.SearchSettings(
    macs=None, latency=0.5, latency_measurements=20, num_candidates=3
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

    def truth(self, model):
        return 0.1 + float((self.rates * layer_macs(model)).sum()) / 1e6

    def _jitter(self):
        return 1 + self.noise * self.generator.normal()


@pytest.fixture(scope="module")
def network():
    model = zoo.build("mobilenet_v1", (32, 32, 3), 10, width=0.25)
    toys.scramble(model)
    return model


@pytest.mark.parametrize(("noise", "allowed"), [(0.0, 0.01), (0.02, 0.05)])
def test_predictions_are_near_the_truth(network, noise, allowed):
    machine = Machine(len(layer_macs(network)), noise)
    latencies = latency.Latencies(network, SETTINGS, machine)
    model = latencies.model
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
    model = latency.Latencies(network, SETTINGS, machine).model
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
    first = latency.Latencies(network, SETTINGS, machine, path, {"a": 1}).model
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 21
    path.write_text("".join(lines[:12]))  # Killed after 11 networks.
    again = Machine(len(layer_macs(network)))
    second = latency.Latencies(network, SETTINGS, again, path, {"a": 1}).model
    assert again.measured == 9
    assert second.fingerprint == first.fingerprint
    with pytest.raises(ee.InputError, match="another latency measurement"):
        _ = latency.Latencies(network, SETTINGS, again, path, {"a": 2}).model


@pytest.fixture(scope="module")
def examples(network):
    images = toys.images(network, count=64)
    return images, toys.outputs(network, images).argmax(1)


def search(network, examples, machine, **changes):
    settings = ee.SearchSettings(
        macs=None,
        latency_measurements=10,
        batch_size=32,
        **{"num_candidates": 3, "latency": 0.5, **changes},
    )
    latencies = ee.Latencies(network, settings, machine)
    return ee.search(network, examples, examples, settings, latencies=latencies)


def test_the_winner_meets_the_budget_on_the_machine(network, examples):
    machine = Machine(len(layer_macs(network)))
    found = search(network, examples, machine, num_candidates=12)
    full = machine.truth(network)
    for candidate in found.candidates[:4]:
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


def test_candidates_that_miss_the_budget_fall_behind(network, examples):
    """The machine turns out slower for whoever is measured last."""

    class Moody(Machine):
        def __call__(self, models):
            times = super().__call__(models)
            if self.measured > 10:  # The fit is over: candidates.
                times[1] *= 1.5
            return times

    machine = Moody(len(layer_macs(network)))
    found = search(
        network, examples, machine, num_candidates=4, evaluation="full"
    )
    last = found.candidates[-1]
    assert found.measured[last.index] > 0.7 * machine.truth(network)
    assert last.score == max(c.score for c in found.candidates)


def test_a_budget_that_nobody_meets_in_the_end_is_told(network, examples):
    class Slower(Machine):
        def __call__(self, models):
            full, *times = super().__call__(models)
            return [full, *(2 * t if self.measured > 10 else t for t in times)]

    machine = Slower(len(layer_macs(network)))
    with pytest.raises(ee.InputError, match="None of the 3 best.*latency_ms"):
        search(network, examples, machine)


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
    ],
)
def test_settings_out_of_range(changes, told):
    with pytest.raises(ee.InputError, match=told):
        ee.SearchSettings(macs=None, **changes)


def test_who_cannot_measure_says_so(network, examples):
    settings = ee.SearchSettings(macs=None, latency=0.5)
    with pytest.raises(ee.InputError, match="has to be measured"):
        ee.search(network, examples, examples, settings)
