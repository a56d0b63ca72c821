import pytest
import toys

from eagleeye_tf.stages import benchmark
from eagleeye_tf.stages import benchmark_timing
from eagleeye_tf.stages import search


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
    bench = benchmark._bench(job, network, search.study_settings(), None)
    found = benchmark_timing.kernels(bench, bench.proposals[:1])
    assert found.keys() == {"batch_static_ms"}
