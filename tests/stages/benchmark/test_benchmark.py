import json

import keras
import planting
import pytest
import toys
from scipy import stats

from eagleeye_tf import errors
from eagleeye_tf.candidates import plain_protocol
from eagleeye_tf.stages import benchmark


def test_goes_on_where_it_was_killed(
    bench_flags, planted, result, tmp_path, monkeypatch
):
    bench_flags()
    proposals, calls = planted(planting.PLAIN, **planting.ANSWERS)
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


@pytest.mark.slow
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
