import numpy as np
import pytest
import toys

from eagleeye_tf import errors
from eagleeye_tf.candidates import evaluators
from eagleeye_tf.candidates import racing
from eagleeye_tf.pruning import importance as importance_lib
from eagleeye_tf.stages import benchmark
from eagleeye_tf.stages import benchmark_timing
from eagleeye_tf.stages import calibration_study
from eagleeye_tf.stages import correlate
from eagleeye_tf.stages import explain

# Each with what comes first once its log is open.
STUDIES = {
    "benchmark": (benchmark, benchmark_timing, "whole_race", "rungs"),
    "calibration_study": (
        calibration_study,
        calibration_study,
        "_calibrated",
        "log",
    ),
    "correlate": (correlate, correlate, "_fine_tune_all", "scores"),
    "explain": (explain, racing, "run", "sensitivity"),
}


def killed(*_, **__):
    raise KeyboardInterrupt


@pytest.fixture(params=STUDIES)
def cut(request, set_flags, tmp_path, monkeypatch):
    """Runs a study until its log is open; returns the channels it keeps."""
    stage, module, first, log = STUDIES[request.param]
    network = toys.chain(channels=(6, 9), classes=10)
    toys.scramble(network)
    network.save(tmp_path / "model.keras")
    monkeypatch.setattr(module, first, killed)
    pruners = []
    make = evaluators.make

    def spy(pruner, *args, **options):
        pruners.append(pruner)
        return make(pruner, *args, **options)

    monkeypatch.setattr(evaluators, "make", spy)

    def run(importance, workdir="work"):
        set_flags(
            model=str(tmp_path / "model.keras"),
            workdir=str(tmp_path / workdir),
            importance=importance,
            sensitivity=True,
            num_candidates=16,
            subsets=4,
            plain_calibration_batches=2,
            judge_images=50,
            macs=0.5,
            tolerance=0.2,
            batch_size=32,
        )
        with pytest.raises(KeyboardInterrupt):
            stage.main()
        written = tmp_path / workdir / request.param / f"{log}.rankings.json"
        assert written.exists() == (importance == "taylor")
        return pruners[-1].rankings

    return run


def are_equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_studies_go_on_with_the_rankings_that_they_began_with(cut, monkeypatch):
    """Elsewhere, gradients are rounded otherwise, and other channels cut."""
    before = cut("taylor")
    of_group = importance_lib.Taylor.of_group
    monkeypatch.setattr(
        importance_lib.Taylor, "of_group", lambda *args: -of_group(*args)
    )
    assert are_equal(cut("taylor"), before)
    assert not are_equal(cut("taylor", "elsewhere"), before)


def test_studies_know_what_a_function_of_ones_own_came_to(
    cut, tmp_path, monkeypatch
):
    path = tmp_path / "my_study_importance.py"
    path.write_text(
        "import numpy as np\n"
        "signs = [1]\n"
        "def norm(kernels):\n"
        "    return signs[0] * np.abs(kernels[0]).sum(axis=1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import my_study_importance

    before = cut("my_study_importance:norm")
    assert are_equal(cut("my_study_importance:norm"), before)
    monkeypatch.setattr(my_study_importance, "signs", [-1])
    with pytest.raises(errors.InputError, match="rankings is not the same"):
        cut("my_study_importance:norm")
