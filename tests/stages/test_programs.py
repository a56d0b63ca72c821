"""The programs as a user runs them: as processes, on real digits."""

import fcntl
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf
import toys

from eagleeye_tf import __main__ as job
from eagleeye_tf.stages import evaluate
from eagleeye_tf.stages import export

ROOT = pathlib.Path(__file__).parents[2]
SEARCH = [
    "--dataset=digits",
    "--macs=0.6",
    "--tolerance=0.02",
    "--num_candidates=6",
    "--calibration_images=64",
    "--sub_validation_images=128",
    "--batch_size=32",
]
TINY = [
    *SEARCH,
    "--model=resnet20",
    "--width=0.25",
    "--train_epochs=3",
    "--epochs=2",
    "--num_winners=2",
]


def command(program, *arguments):
    return [sys.executable, "-m", program, *arguments]


def run(program, *arguments, room=resource.RLIM_INFINITY, seconds=600):
    """Runs a program that can write files of at most `room` bytes."""
    return subprocess.run(
        command(program, *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (room, room)
        ),
    )


@pytest.fixture(scope="module")
def whole_job(tmp_path_factory):
    """(workdir, the finished process), run once for all of pytest-xdist's."""
    own = tmp_path_factory.getbasetemp()
    distributed = "PYTEST_XDIST_WORKER" in os.environ
    shared = (own.parent if distributed else own) / "whole_job"
    with open(f"{shared}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            done = run("eagleeye_tf", *TINY, f"--workdir={shared}")
            shared.mkdir(exist_ok=True)
            (shared / "done.json").write_text(json.dumps(vars(done)))
    done = json.loads((shared / "done.json").read_text())
    workdir = tmp_path_factory.mktemp("job") / "work"
    shutil.copytree(shared, workdir)
    return workdir, subprocess.CompletedProcess(**done)


def test_whole_job_ends_with_table_report_and_saved_model(whole_job):
    workdir, done = whole_job
    assert done.returncode == 0, done.stderr
    assert "vanilla score" in done.stdout
    assert "6 candidates out of" in done.stdout
    assert "Search: 100%" in done.stderr and "best=" in done.stderr
    served = tf.saved_model.load(str(workdir / "export" / "saved_model"))
    assert "serving_default" in served.signatures
    report = (workdir / "report.md").read_text()
    page = (workdir / "report.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 3
    # What is in the page is what reproduces it.
    assert f"python -m eagleeye_tf {' '.join(TINY)}" in page
    assert (workdir / "tensorboard" / "search").is_dir()
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    for name in ("full", "pruned"):
        result = evaluation[name]
        assert result["total"] == 359
        assert f"{result['correct'] / 359:.2%}" in report
    share = evaluation["pruned"]["macs"] / evaluation["full"]["macs"]
    assert abs(share - 0.6) <= 0.02


def test_terminal_is_clean(whole_job):
    """Progress bars, and not one line of TensorFlow's own."""
    _, done = whole_job
    lines = done.stderr.replace("\r", "\n").splitlines()
    names = ("Training", "Search", "Fine-tuning", "Test")
    assert [x for x in lines if x.strip() and not x.startswith(names)] == []


def test_best_winner_is_exported(whole_job):
    workdir, _ = whole_job
    result = json.loads((workdir / "finetune" / "result.json").read_text())
    assert len(result["winners"]) == 2
    best = max(result["winners"], key=lambda w: (w["correct"], -w["rank"]))
    assert result["best"] == best["rank"]
    exported = (workdir / "export" / "model.keras").read_bytes()
    source = f"candidate_{best['candidate']['index']}/model.keras"
    source = workdir / "finetune" / source
    assert exported == source.read_bytes()


@pytest.mark.slow
def test_export_alone_takes_the_winner_too(whole_job, parsed, capsys):
    """And not the whole network, which `--model` of the whole job names."""
    workdir, _ = whole_job
    before = (workdir / "export" / "model.keras").read_bytes()
    parsed(*TINY, f"--workdir={workdir}")
    export.main()
    assert "finetune/candidate_" in capsys.readouterr().out
    assert (workdir / "export" / "model.keras").read_bytes() == before


@pytest.mark.slow
def test_started_again_it_has_nothing_left_to_do(whole_job, parsed, capsys):
    workdir, done = whole_job
    stages = ("train", "search", "finetune")
    before = {
        p: p.stat().st_mtime_ns
        for stage in stages
        for p in (workdir / stage).rglob("*")
        if p.is_file() and p.name != "result.json"
    }
    parsed(*TINY, f"--workdir={workdir}")
    job.main()
    assert {p: p.stat().st_mtime_ns for p in before} == before
    table = done.stdout[done.stdout.index("| rank") :]
    assert table[: table.index("Winner")] in capsys.readouterr().out


def test_saved_model_has_the_accuracy_of_the_keras_model(
    whole_job, parsed, capsys
):
    workdir, _ = whole_job
    expected = json.loads((workdir / "evaluation.json").read_text())
    parsed(
        f"--model={workdir / 'export' / 'saved_model'}",
        "--dataset=digits",
        f"--workdir={workdir}",
        "--calibration_images=64",
        "--sub_validation_images=64",
    )
    evaluate.main()
    correct = expected["pruned"]["correct"]
    assert f"{correct} of 359 correct" in capsys.readouterr().out


def test_killed_search_and_full_disk_end_with_the_same_table(
    whole_job, tmp_path
):
    """Killed, then without room for another candidate, then with it."""
    workdir, whole = whole_job
    flags = [f"--model={workdir / 'train' / 'model.keras'}", *SEARCH]
    flags.append(f"--workdir={tmp_path}/killed")
    log = tmp_path / "killed" / "search" / "log.jsonl"
    victim = subprocess.Popen(
        command("eagleeye_tf.search", *flags),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if log.exists() and log.read_text().count("\n") >= 3:
            break
        time.sleep(0.05)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    logged = log.read_text().count("\n")
    assert 3 <= logged < 7

    full = run("eagleeye_tf.search", *flags, room=log.stat().st_size + 100)
    assert full.returncode == 3
    assert "log.jsonl cannot be written to (File too large)" in full.stderr
    assert "Traceback" not in full.stderr
    assert log.read_text().count("\n") == logged

    resumed = run("eagleeye_tf.search", *flags)
    assert resumed.returncode == 0, resumed.stderr
    # The search of the whole job used the same network, data and seed.
    # Only the time per candidate, the last sentence, may differ.
    note, rank, rest = resumed.stdout.partition("| rank |")
    assert "last line was not whole (" in note
    rest, _, time_taken = rest.rstrip().rpartition(". ")
    assert rank and time_taken.endswith("s per candidate.")
    assert rank + rest in whole.stdout
    assert log.read_text().count("\n") == 7


@pytest.mark.slow
def test_training_on_a_full_disk_is_told_and_goes_on(tmp_path):
    flags = [
        "--dataset=digits",
        "--model=resnet20",
        "--width=0.25",
        "--train_epochs=2",
        f"--workdir={tmp_path}",
    ]
    # A checkpoint takes more.
    full = run("eagleeye_tf.train", *flags, room=200_000)
    assert full.returncode == 3
    assert "error: " in full.stderr and "File too large" in full.stderr
    assert "Traceback" not in full.stderr
    resumed = run("eagleeye_tf.train", *flags)
    assert resumed.returncode == 0, resumed.stderr
    log = tmp_path / "train" / "epochs.jsonl"
    epochs = [json.loads(line) for line in log.read_text().splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 4])
def test_any_number_of_replicas_gives_the_same_table(
    whole_job, tmp_path, replicas
):
    workdir, whole = whole_job
    done = run(
        "eagleeye_tf.search",
        *SEARCH,
        f"--model={workdir / 'train' / 'model.keras'}",
        f"--workdir={tmp_path}",
        f"--num_replicas={replicas}",
    )
    assert done.returncode == 0, done.stderr
    table = done.stdout[: done.stdout.rindex("|")]
    assert table.startswith("| rank |") and table in whole.stdout


def model_file(tmp_path):
    path = tmp_path / "m.keras"
    toys.chain(classes=10).save(path)
    return f"--model={path}"


def test_wrong_input_is_one_clear_line(tmp_path):
    """As a process: exit code 2, one line, no traceback."""
    flags = [model_file(tmp_path), "--dataset=digits", "--macs=0.01"]
    done = run("eagleeye_tf.search", *flags, f"--workdir={tmp_path / 'w'}")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and "can have" in line


def test_ratio_outside_its_range():
    done = run("eagleeye_tf.search", "--max_ratio=1.3")
    assert done.returncode == 1
    assert "--max_ratio=1.3" in done.stderr and "[0.0, 1.0]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_unknown_flag():
    """As a process: what absl says of it, and no traceback."""
    done = run("eagleeye_tf.search", "--num_candidate=3")
    assert done.returncode == 1
    assert "num_candidate" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "program", ["search", "export", "train", "finetune", "evaluate"]
)
def test_help_names_the_command_and_the_flags(program):
    done = run(f"eagleeye_tf.{program}", "--help")
    assert f"python -m eagleeye_tf.{program}" in done.stdout
    assert "--batch_size" in done.stdout
