import json

import keras
import numpy as np
import pytest
import toys
from scipy import stats

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import engine
from eagleeye_tf.candidates import evaluators
from eagleeye_tf.candidates import plain_protocol
from eagleeye_tf.candidates.evaluator import Evaluator
from eagleeye_tf.pruning import channel_graph
from eagleeye_tf.stages import benchmark
from eagleeye_tf.stages import benchmark_judging
from eagleeye_tf.stages import benchmark_timing
from eagleeye_tf.stages import search

COUNT = 16


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
            "num_candidates": COUNT,
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


class Clock:
    """Stands still unless somebody says how long he works."""

    now = 0.0

    def work(self, seconds):
        self.now += seconds

    def monotonic(self):
        return self.now


class PlantedEvaluator(Evaluator):
    """Answers, and takes time, as told of each candidate.

    It is right on the first images of a set: how many, `planted` tells.
    """

    planted = {}  # strategy: {"calibration", "full", "judged", "pace"}
    clock = Clock()
    moments = []

    def start(self, strategy):
        self.clock.work(5 * self.planted[strategy]["pace"])
        return super().start(strategy)

    def _calibrate(self, trials, part):
        (trial,) = trials
        for moments in trial.moments.values():
            moments.add(1, [0.0], [1.0])
            self.moments.append(moments)
        return [self._right(trial, part, "calibration", 1.0)]

    def _count(self, trials, part, adapted):
        (trial,) = trials
        way = "full" if adapted else None
        return [self._right(trial, part, way, 0.5)]

    def _network(self, trial):
        if trial.network is None:
            trial.network = "cut"
            self.clock.work(3 * self.planted[trial.strategy]["pace"])

    def _right(self, trial, part, way, seconds):
        self._network(trial)
        told = self.planted[trial.strategy]
        self.clock.work(seconds * (part.stop - part.start) * told["pace"])
        right = told.get(way, 0)
        return min(part.stop, right) - min(part.start, right)


@pytest.fixture
def planted(model, monkeypatch):
    """Function that plants answers; gives the proposals and plain calls."""

    def plant(plain, **answers):
        settings = search.study_settings()
        graph = channel_graph.ChannelGraph(model)
        proposals = engine.make_algorithm(graph, settings).suggest(COUNT)
        calls = []

        def count_correct(pruner, strategy, *_):
            calls.append(strategy)
            return places[strategy]

        places = {p.strategy: plain[n] for n, p in enumerate(proposals)}
        told = {
            p.strategy: {name: v[n] for name, v in answers.items()}
            for n, p in enumerate(proposals)
        }
        monkeypatch.setattr(PlantedEvaluator, "planted", told)
        monkeypatch.setattr(PlantedEvaluator, "clock", Clock())
        monkeypatch.setattr(PlantedEvaluator, "moments", [])
        monkeypatch.setattr(evaluators, "make", PlantedEvaluator)

        def judged(bench, strategy):
            images = np.arange(len(bench.judges[1][0]))
            return images < PlantedEvaluator.planted[strategy]["judged"]

        monkeypatch.setattr(benchmark_judging, "judged", judged)
        monkeypatch.setattr(plain_protocol, "count_correct", count_correct)
        return proposals, calls

    return plant


# By place among the proposals: the later, the better by the paper's protocol.
PLAIN = [40 + 2 * place for place in range(COUNT)]
# Of two neighbours the other one is better.
FULL = [50 + 4 * (place ^ 1) for place in range(COUNT)]
# The best seems the worst, and the other way round.
CALIBRATION = [45, *range(31, 45), 30]
JUDGED = [20 + 3 * place for place in range(COUNT)]
ANSWERS = {
    "calibration": CALIBRATION,
    "full": FULL,
    "judged": JUDGED,
    "pace": [1] * COUNT,
}


def test_planted_answers_by_hand(bench_flags, planted, result, capsys):
    bench_flags(calibration="moving_average", calibration_momentum=0.25)
    planted(PLAIN, **ANSWERS)
    benchmark.main()
    assert "spearman_first_rung" in capsys.readouterr().out
    found = result()
    assert found["candidates"] == COUNT
    # 1 - 6 · (squared differences of ranks) / (n · (n² - 1)); n = 16.
    two_by_15 = 1 - 6 * (15**2 + 15**2) / 4080
    sixteen_by_1 = 1 - 6 * 16 / 4080
    assert found["spearman_first_rung"] == pytest.approx(two_by_15)
    assert found["spearman_full"] == pytest.approx(sixteen_by_1)
    # The best of the first rung are 0 and 10 … 14; of those 14 wins. The
    # true best is 15, which no race lets go on; 14, 13 and 12 go on.
    assert found["plain_winner_on_judge_images"] == (20 + 3 * 15) / 100
    assert found["race_winner_on_judge_images"] == (20 + 3 * 14) / 100
    assert found["regret"] == pytest.approx(0.03)
    # 97 images are no reason to prefer one, 3 are.
    error = (0.03 * 0.97 / 100) ** 0.5
    assert found["regret_standard_error"] == pytest.approx(error)
    assert found["halves_whose_best_is_a_finalist"] == "3 of 4"
    assert found["finalists_of_a_half"] == "6 of 8"
    assert found["different_bests_of_halves"] == 4
    for moments in PlantedEvaluator.moments:
        assert isinstance(moments, adaptive_bn.MovingAverage)
        assert moments.momentum == 0.25


def test_scores_that_are_all_the_same_agree_with_nothing(
    bench_flags, planted, result
):
    bench_flags()
    planted([50] * COUNT, **ANSWERS)
    benchmark.main()
    assert result()["spearman_first_rung"] == 0
    assert result()["spearman_full"] == 0
    # All are as good as the best.
    assert result()["halves_whose_best_is_a_finalist"] == "4 of 4"


def test_goes_on_where_it_was_killed(
    bench_flags, planted, result, tmp_path, monkeypatch
):
    bench_flags()
    proposals, calls = planted(PLAIN, **ANSWERS)
    plainly = plain_protocol.count_correct

    def killed(*arguments):
        if len(calls) == 5:
            raise KeyboardInterrupt
        return plainly(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(plain_protocol, "count_correct", killed)
        with pytest.raises(KeyboardInterrupt):
            benchmark.main()
    benchmark.main()
    # Each once, and those again whose time is taken.
    assert calls == [p.strategy for p in (*proposals, *proposals[:2])]
    folder = tmp_path / "work" / "benchmark"
    names = {path.name for path in folder.iterdir()}
    assert names == {"plain.jsonl", "rungs.jsonl", "result.json"}


@pytest.fixture
def bench(bench_flags, planted, model, monkeypatch):
    """Three candidates take turns, at the paces 1, 9 and 2."""
    bench_flags()
    paces = [1, 9, 2, *[1] * (COUNT - 3)]
    planted(PLAIN, **{**ANSWERS, "pace": paces})
    clock = PlantedEvaluator.clock
    monkeypatch.setattr(benchmark_timing, "time", clock)
    job = benchmark.common.open_job()
    bench = benchmark._bench(job.data, model, search.study_settings())
    told = PlantedEvaluator.planted
    monkeypatch.setattr(
        benchmark.Bench,
        "plain",
        lambda _, p: clock.work(1000 * told[p.strategy]["pace"]),
    )
    return bench


def test_times_by_hand(bench, tmp_path):
    found = benchmark_timing.side_by_side(bench, bench.proposals[:3], tmp_path)
    # Per candidate, at pace 1: 5 s to start, 3 s to be cut on each rung; 1 s
    # per image calibrated on, 0.5 s per image scored.
    full = 5 + 3 + 64 * 1.0 + (128 + 128) * 0.5
    same = 5 + 3 + 96 * 1.0 + 128 * 0.5
    # All see 64 calibration images and 32 others; six the 96 left and, for
    # vanilla evaluation, all 128.
    rungs = 16 * (5 + 3 + 64 + 32 * 0.5), 6 * (3 + (96 + 128) * 0.5)
    race = sum(rungs) / 16
    # The median pace is 2.
    for name, seconds in (
        ("plain", 1000),
        ("full", full),
        ("full_same_images", same),
        ("race", race),
    ):
        assert found[f"seconds_{name}"] == pytest.approx(2 * seconds)
        if name != "plain":
            against = found[f"{name}_against_plain"]
            assert against == pytest.approx(1000 / seconds)
    shares = {
        "cut": (16 * 3 + 6 * 3) / 16,
        "calibrate": 64,
        "score": (16 * 32 + 6 * (96 + 128)) * 0.5 / 16,
        "other": 5,
    }
    for name, seconds in shares.items():
        assert found[f"share_{name}"] == pytest.approx(seconds / race)
    assert found["images_plain"] == 96 + 128
    assert found["images_full"] == 64 + 128 + 128
    assert found["images_race"] == (16 * 96 + 6 * (96 + 128)) / 16
    assert not (tmp_path / "clocked.jsonl").exists()


def test_a_whole_race_by_hand(bench, tmp_path, monkeypatch):
    used = iter(range(100, 200))
    monkeypatch.setattr(
        benchmark_timing, "memory_mb", lambda: (next(used), 999)
    )
    found = benchmark_timing.whole_race(bench, tmp_path)
    # A search does not hold the images of the paper's protocol.
    assert "plain_calibration" not in vars(bench)
    # Best on the first rung are the first, at pace 1, and five others at 1;
    # of those that are not, one has pace 9, one 2.
    seconds = (14 + 9 + 2) * 88 + 6 * (3 + 112)
    assert found["race_wall_seconds"] == seconds
    assert found["race_wall_seconds_per_candidate"] == seconds / 16
    assert found["memory_after_10_candidates_mb"] == 109
    assert found["memory_after_race_mb"] == 100 + 16 + 6
    assert found["memory_growth_mb"] == 122 - 109
    assert found["peak_memory_mb"] == 999


def test_memory_is_unknown_where_no_file_tells_it(bench, tmp_path, monkeypatch):
    status = tmp_path / "status"
    monkeypatch.setattr(benchmark_timing, "_STATUS", status)
    assert benchmark_timing.memory_mb() == (None, None)
    assert (
        benchmark_timing.whole_race(bench, tmp_path)["peak_memory_mb"] is None
    )
    status.write_text("Name:\tpython\nVmHWM:\t    3072 kB\nVmRSS:\t 2048 kB\n")
    assert benchmark_timing.memory_mb() == (2, 3)


def test_the_limit_is_a_forward_pass():
    found = {"images_race": 160.0, "batch_static_ms": 100.0}
    found["seconds_race"] = 2.0
    assert benchmark_timing.against_forward_pass(found, 32) == 4.0


def test_a_real_network(bench_flags, result, tmp_path):
    bench_flags(num_candidates=14)
    benchmark.main()
    found = result()
    assert found["traces"] == 2  # One to calibrate, one to score.
    folder = tmp_path / "work" / "benchmark"
    logs = {
        name: [
            json.loads(line)
            for line in (folder / f"{name}.jsonl").read_text().splitlines()[1:]
        ]
        for name in ("plain", "rungs")
    }
    assert (len(logs["plain"]), len(logs["rungs"])) == (14, 2 * 14)
    expected = {r["index"]: r["correct"] for r in logs["plain"]}
    scores = {
        r["index"]: r["correct"] for r in logs["rungs"] if r["total"] == 128
    }
    order = sorted(expected)
    coefficient = stats.spearmanr(
        [scores[index] for index in order],
        [expected[index] for index in order],
    )
    assert found["spearman_full"] == pytest.approx(coefficient.statistic)
    for name in ("cut", "calibrate", "score", "other"):
        assert 0 < found[f"share_{name}"] < 1
    assert found["race_against_forward_pass"] > 0


def test_winners_are_judged_on_images_that_chose_neither(bench_flags, model):
    """The first 96 training images are the plain protocol's."""
    bench_flags()
    job = benchmark.common.open_job()
    bench = benchmark._bench(job.data, model, search.study_settings())
    images, labels = job.data.arrays(job.data.train.part(0, 260))
    right = []
    for proposal in bench.proposals[:2]:
        pruned = ee.prune(model, proposal.strategy.ratios)
        ee.adapt_batch_norm(pruned, images[96:160])
        answers = pruned.predict(images[160:], verbose=0).argmax(-1)
        right.append(answers == labels[160:])
    assert right[0].sum() != right[1].sum()
    found = benchmark_judging.regret(bench, *bench.proposals[:2])
    assert found["plain_winner_on_judge_images"] == right[0].mean()
    assert found["race_winner_on_judge_images"] == right[1].mean()
    difference = right[0].astype(int) - right[1]
    error = stats.sem(difference, ddof=0)
    assert found["regret_standard_error"] == pytest.approx(error)


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"num_candidates": 13}, "at least 14.*num_candidates=13"),
        ({"subsets": 10}, "subsets=10 takes at least 18.*candidates=16"),
        (
            {"plain_calibration_batches": 34},
            "batches=34 of 32 images, 64 .*=100 are 1252 .*'digits' has 1246",
        ),
        ({"judge_images": 1087}, "judge_images=1087 are 1247 .* has 1246"),
    ],
)
def test_what_cannot_be_measured_is_told_at_once(
    bench_flags, flags, message, monkeypatch
):
    bench_flags(**flags)
    monkeypatch.setattr(benchmark, "_bench", None)
    with pytest.raises(errors.InputError, match=message):
        benchmark.main()


def test_a_network_without_batch_norm_is_told(set_flags, tmp_path):
    image = keras.Input((8, 8, 3))
    x = toys.layers.Conv2D(8, 3)(image)
    x = toys.layers.Conv2D(8, 3)(x)
    x = toys.layers.Dense(10)(toys.layers.GlobalAveragePooling2D()(x))
    keras.Model(image, x).save(tmp_path / "bare.keras")
    set_flags(
        model=str(tmp_path / "bare.keras"),
        num_candidates=20,
        plain_calibration_batches=1,
        judge_images=100,
    )
    with pytest.raises(errors.InputError, match="no BatchNormalization"):
        benchmark.main()


def test_a_batch_of_networks_that_are_rebuilt_says_nothing(
    bench_flags, tmp_path
):
    """Each pass over it would be traced."""
    network = toys.grouped_chain(classes=10)
    network.save(tmp_path / "grouped.keras")
    bench_flags(
        model=str(tmp_path / "grouped.keras"), tolerance=0.3, num_candidates=2
    )
    job = benchmark.common.open_job()
    bench = benchmark._bench(job.data, network, search.study_settings())
    found = benchmark_timing.kernels(bench, bench.proposals[:1])
    assert found.keys() == {"batch_static_ms"}
