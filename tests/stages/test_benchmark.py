import json

import toys

from eagleeye_tf.candidates import plain_protocol
from eagleeye_tf.stages import benchmark


def test_measures_and_goes_on(set_flags, tmp_path, monkeypatch, capsys):
    model = toys.chain(channels=(6, 9), classes=10)
    toys.scramble(model)
    path = tmp_path / "model.keras"
    model.save(path)
    set_flags(
        model=str(path),
        num_candidates=10,
        calibration_images=64,
        sub_validation_images=128,
        plain_calibration_images=96,
        judge_images=100,
        timed_candidates=2,
        subsets=4,
        batch_size=32,
        macs=0.5,
        tolerance=0.2,
    )
    benchmark.main()
    assert "spearman_first_rung" in capsys.readouterr().out
    folder = tmp_path / "work" / "benchmark"
    found = json.loads((folder / "result.json").read_text())
    assert found["candidates"] == 10
    assert -1 <= found["spearman_full"] <= 1
    assert found["traces"] == 2  # One to calibrate, one to score.
    assert found["race_against_plain"] == (
        found["seconds_plain"] / found["seconds_race"]
    )
    # The race: 10 see 64 calibration images; 6 see 128 others, twice (vanilla).
    assert found["images_plain"] == 96 + 128
    assert found["images_full"] == 64 + 128 + 128
    assert found["images_race"] == (10 * 64 + 6 * 128 + 6 * 128) / 10
    shares = ("cut", "calibrate", "score", "other")
    shares = {name: found[f"share_{name}"] for name in shares}
    assert abs(sum(shares.values()) - 1) < 1e-9
    assert shares["score"] > 0 and shares["other"] > 0
    assert found["race_against_forward_pass"] > 0.5
    for name, lines in (("plain", 1 + 10), ("rungs", 1 + 3 * 10)):
        text = (folder / f"{name}.jsonl").read_text()
        assert text.count("\n") == lines

    # What is logged is not evaluated again, but for the clock.
    again = []
    plainly = plain_protocol.count_correct

    def counted(*arguments):
        again.append(arguments)
        return plainly(*arguments)

    monkeypatch.setattr(plain_protocol, "count_correct", counted)
    benchmark.main()
    assert len(again) == 2
