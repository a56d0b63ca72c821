import json

import numpy as np
import planting
import pytest
import toys

from eagleeye_tf.candidates import engine
from eagleeye_tf.candidates import evaluators
from eagleeye_tf.candidates import plain_protocol
from eagleeye_tf.pruning import channel_graph
from eagleeye_tf.stages import benchmark
from eagleeye_tf.stages import benchmark_judging
from eagleeye_tf.stages import benchmark_timing
from eagleeye_tf.stages import search


@pytest.fixture
def model(tmp_path):
    network = toys.chain(channels=(6, 9), classes=10)
    toys.scramble(network)
    network.save(tmp_path / "model.keras")
    return network


@pytest.fixture
def bench_flags(model, set_flags, tmp_path):
    def set_all(**more):
        values = {
            "model": str(tmp_path / "model.keras"),
            "num_candidates": planting.COUNT,
            "calibration_images": 64,
            "sub_validation_images": 128,
            "plain_calibration_batches": 3,
            "judge_images": 100,
            "timed_candidates": 2,
            "subsets": 4,
            "batch_size": 32,
            "macs": 0.5,
            "tolerance": 0.2,
        }
        set_flags(**{**values, **more})

    return set_all


@pytest.fixture
def result(tmp_path):
    path = tmp_path / "work" / "benchmark" / "result.json"
    return lambda: json.loads(path.read_text())


@pytest.fixture
def planted(model, monkeypatch):
    """Function that plants answers; gives the proposals and plain calls."""

    def plant(plain, **answers):
        settings = search.study_settings()
        graph = channel_graph.ChannelGraph(model)
        proposals = engine.make_algorithm(graph, settings).suggest(
            planting.COUNT
        )
        calls = []

        def count_correct(pruner, strategy, *_):
            calls.append(strategy)
            return places[strategy]

        places = {p.strategy: plain[n] for n, p in enumerate(proposals)}
        told = {
            p.strategy: {name: v[n] for name, v in answers.items()}
            for n, p in enumerate(proposals)
        }
        monkeypatch.setattr(planting.Planted, "planted", told)
        monkeypatch.setattr(planting.Planted, "clock", planting.Clock())
        monkeypatch.setattr(planting.Planted, "moments", [])
        monkeypatch.setattr(evaluators, "make", planting.Planted)

        def judged(bench, strategy):
            images = np.arange(len(bench.judges[1][0]))
            return images < planting.Planted.planted[strategy]["judged"]

        monkeypatch.setattr(benchmark_judging, "judged", judged)
        monkeypatch.setattr(plain_protocol, "count_correct", count_correct)
        return proposals, calls

    return plant


@pytest.fixture
def bench(bench_flags, planted, model, monkeypatch):
    """Three candidates take turns, at the paces 1, 9 and 2."""
    bench_flags()
    paces = [1, 9, 2, *[1] * (planting.COUNT - 3)]
    planted(planting.PLAIN, **{**planting.ANSWERS, "pace": paces})
    clock = planting.Planted.clock
    monkeypatch.setattr(benchmark_timing, "time", clock)
    job = benchmark.common.open_job()
    bench = benchmark._bench(job, model, search.study_settings(), None)
    told = planting.Planted.planted
    monkeypatch.setattr(
        benchmark.Bench,
        "plain",
        lambda _, p: clock.work(1000 * told[p.strategy]["pace"]),
    )
    return bench
