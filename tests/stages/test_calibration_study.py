import json

import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf.data import sources
from eagleeye_tf.data import splits
from eagleeye_tf.reporting import plots
from eagleeye_tf.stages import calibration_study


def test_scores_and_distances_are_those_of_the_networks(
    set_flags, tmp_path, capsys, monkeypatch
):
    model = toys.chain(channels=(6, 9), classes=10)
    toys.scramble(model)
    set_flags(
        model=model,
        num_candidates=3,
        macs=0.5,
        tolerance=0.2,
        batch_size=32,
        calibration_images=100,
    )
    calibration_study.main()
    folder = tmp_path / "work" / "calibration_study"
    lines = (folder / "log.jsonl").read_text().splitlines()
    header, *records = [json.loads(line) for line in lines]
    assert [record["images"] for record in records] == [[32, 64, 100]] * 3
    found = json.loads((folder / "result.json").read_text())
    for place, point in enumerate(found["curve"]):
        scores = [record["correct"][place] / 64 for record in records]
        assert point["mean"] == pytest.approx(np.mean(scores))
        assert point["best"] == max(scores)
    assert found["curve"][-1]["kendall"] == pytest.approx(1.0)
    assert found["curve"][-1]["spearman"] == pytest.approx(1.0)

    # The best candidate, built and calibrated in other ways.
    data = splits.split(
        sources.open_source("digits"), model.input_shape[1:], 100, 64
    )
    result = ee.search(
        model,
        data.arrays(data.calibration),
        data.arrays(data.sub_validation),
        ee.SearchSettings(
            macs=0.5,
            tolerance=0.2,
            num_candidates=3,
            batch_size=32,
            evaluation="full",
        ),
    )
    assert found["curve"][-1]["best"] == result.best.score
    inherited, adapted, expected = (result.build(adapt=False) for _ in range(3))
    ee.adapt_batch_norm(adapted, data.arrays(data.calibration)[0], 32)
    ee.adapt_batch_norm(expected, data.arrays(data.sub_validation)[0], 32)
    for distance in found["distances"]:
        old, new, true = (
            m.get_layer(distance["layer"])
            for m in (inherited, adapted, expected)
        )
        for name, layer in (("inherited", old), ("adapted", new)):
            gap = np.subtract(layer.moving_mean, true.moving_mean)
            spread = np.sqrt(np.sum(true.moving_variance))
            assert distance[f"{name}_mean"] == pytest.approx(
                np.sqrt((gap**2).sum()) / spread, rel=1e-3
            )
            gap = np.subtract(layer.moving_variance, true.moving_variance)
            size = np.sqrt(np.sum(np.square(true.moving_variance)))
            assert distance[f"{name}_variance"] == pytest.approx(
                np.sqrt((gap**2).sum()) / size, rel=1e-3
            )
    for name in ("calibration", "distances"):
        assert (folder / f"{name}.png").stat().st_size > 10_000

    def never(*_):
        raise AssertionError("calibrated twice")

    monkeypatch.setattr(calibration_study, "_calibrated", never)
    calibration_study.main()
    assert "| calibration images |" in capsys.readouterr().out


@pytest.mark.slow
def test_moving_averages_are_those_that_were_asked_for(
    set_flags, tmp_path, monkeypatch
):
    monkeypatch.setattr(plots, "_write", lambda *_: None)
    model = toys.chain(channels=(6, 9), classes=10)
    toys.scramble(model)
    model.save(tmp_path / "model.keras")
    records, expected = {}, {}
    for kind in ("exact", "moving_average"):
        set_flags(
            model=str(tmp_path / "model.keras"),
            num_candidates=3,
            macs=0.5,
            tolerance=0.2,
            batch_size=32,
            calibration=kind,
            calibration_momentum=0.999,
            workdir=str(tmp_path / kind),
        )
        calibration_study.main()
        folder = tmp_path / kind / "calibration_study"
        lines = (folder / "log.jsonl").read_text().splitlines()
        records[kind] = [json.loads(line)["correct"] for line in lines[1:]]
        found = json.loads((folder / "result.json").read_text())
        assert found["settings"]["calibration"] == kind
        assert found["settings"]["split"]["calibration_images"] == 64
        expected[kind] = [d["adapted_variance"] for d in found["distances"]]
    assert records["exact"] != records["moving_average"]
    # Hardly moved from (0, 1), they are far from what they should be: the
    # statistics to compare with are exact all the same.
    assert min(expected["moving_average"]) > 2 * max(expected["exact"])
