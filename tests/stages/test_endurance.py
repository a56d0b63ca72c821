"""Kills, pauses and losses in real work: MobileNetV1 on CIFAR-10.

An hour on two cores. What is compared is what an undisturbed run gives.
"""

import json
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from test_machines import Workers
from test_machines import free_ports
from test_machines import table
from test_machines import wait_until
from test_programs import ROOT
from test_programs import command
from test_programs import run

pytestmark = pytest.mark.slow
_PATIENCE = 3600  # seconds, on a machine that has other work, too


@pytest.fixture(scope="module")
def network(real_data):
    return [
        f"--model={real_data}/baselines/mobilenet_v1_cifar10.keras",
        "--dataset=cifar10",
        f"--data_dir={real_data}/tfds",
    ]


def start(arguments):
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def kill_at_random(arguments, kills, shortest, longest):
    """Starts a program so many times, and kills it after some seconds."""
    generator = np.random.default_rng(0)
    for kill in range(kills):
        process = start(arguments)
        time.sleep(generator.uniform(shortest, longest))
        assert process.poll() is None, f"over before kill {kill + 1}"
        process.kill()
        process.communicate()


def finished(program, *arguments):
    done = run(program, *arguments, seconds=_PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def each_once(log):
    """What a search logged, as {(index, images seen)}: nothing twice."""
    _, *records = lines_of(log)
    seen = [(r["index"], r["calibration_total"], r["total"]) for r in records]
    assert len(seen) == len(set(seen))
    return set(seen)


def test_search_killed_fifty_times(network, tmp_path):
    flags = [*network, "--num_candidates=400"]
    alone = finished("eagleeye_tf.search", *flags, f"--workdir={tmp_path}/a")
    killed = [*flags, f"--workdir={tmp_path}/b"]
    kill_at_random(command("eagleeye_tf.search", *killed), 50, 5, 22)
    assert table(finished("eagleeye_tf.search", *killed)) == table(alone)
    seen, expected = (
        each_once(tmp_path / name / "search" / "log.jsonl") for name in "ba"
    )
    assert seen == expected
    assert len(seen) == 400 + 50 + 13


@pytest.fixture(scope="module")
def searched(network, tmp_path_factory):
    """(folder, flags) of a job that is ready to be fine-tuned."""
    flags = [*network, "--num_candidates=6", "--learning_rate=0.03"]
    folder = tmp_path_factory.mktemp("searched")
    finished("eagleeye_tf.search", *flags, f"--workdir={folder}/w")
    return folder / "w", flags


def accuracy(flags, workdir):
    """Percentage of the test images that the fine-tuned winner gets right."""
    (path,) = (workdir / "finetune").glob("candidate_*/model.keras")
    told = finished(
        "eagleeye_tf.evaluate",
        f"--model={path}",
        f"--workdir={workdir}",
        *flags[1:3],
    )
    return float(re.search(r"\d+ of 10000", told)[0].split()[0]) / 100


def epochs_of(workdir):
    (path,) = (workdir / "finetune").glob("candidate_*/epochs.jsonl")
    return [record["epoch"] for record in lines_of(path)]


def test_fine_tuning_killed_six_times(searched, tmp_path):
    source, flags = searched
    found = {}
    for name in "ab":
        workdir = tmp_path / name
        shutil.copytree(source, workdir)
        program = [
            "eagleeye_tf.finetune",
            *flags,
            "--epochs=5",
            f"--workdir={workdir}",
        ]
        if name == "b":
            kill_at_random(command(*program), 6, 20, 110)
        finished(*program)
        assert epochs_of(workdir) == [1, 2, 3, 4, 5]
        found[name] = accuracy(flags, workdir)
    print(found)
    assert found["a"] > 85
    assert abs(found["a"] - found["b"]) <= 0.3


def test_workers_die_pause_and_come_late(network, tmp_path):
    flags = [*network, "--num_candidates=100"]
    alone = finished("eagleeye_tf.search", *flags, f"--workdir={tmp_path}/a")
    workers = Workers(tmp_path, flags, 3)
    log = tmp_path / "b" / "search" / "log.jsonl"

    def logged():
        return log.read_text().count("\n") if log.exists() else 0

    try:
        for index in (0, 1):
            workers.start(index)
            workers.wait_for(index)
        chief = workers.start_search(tmp_path / "b")
        wait_until(lambda: logged() > 10, chief)
        chief.kill()
        chief.communicate()
        chief = workers.start_search(tmp_path / "b")
        before = logged()
        wait_until(lambda: logged() > before, chief)
        workers.signal(0, signal.SIGKILL)
        workers.start(2)
        workers.wait_for(2)
        workers.signal(1, signal.SIGSTOP)
        time.sleep(30)
        workers.signal(1, signal.SIGCONT)
        workers.start(0)
        told, _ = chief.communicate(timeout=_PATIENCE)
    finally:
        workers.end()
    print(told)
    assert chief.returncode == 0
    assert table(told) == table(alone)
    assert len(each_once(log)) == 100 + 13 + 6


def test_two_machines_fine_tune_and_one_is_lost(searched, tmp_path):
    source, flags = searched
    found = {}
    for name in "ab":
        workdir = tmp_path / name
        shutil.copytree(source, workdir)
        cluster = tmp_path / f"{name}.json"
        addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
        cluster.write_text(json.dumps({"worker": addresses}))
        program = [
            *command("eagleeye_tf.finetune", *flags, "--epochs=2"),
            f"--workdir={workdir}",
            f"--cluster={cluster}",
        ]
        pair = [start([*program, f"--task_index={i}"]) for i in (0, 1)]
        try:
            if name == "b":
                checkpoints = workdir / "finetune"
                wait_until(
                    lambda where=checkpoints: any(where.rglob("ckpt-*.index")),
                    pair[0],
                    seconds=600,
                )
                pair[1].kill()
                pair[1].communicate()
                pair[1] = start([*program, "--task_index=1"])
            told = [p.communicate(timeout=_PATIENCE)[0] for p in pair]
        finally:
            for process in pair:
                process.kill()
        assert [process.returncode for process in pair] == [0, 0], told
        assert epochs_of(workdir) == [1, 2]
        found[name] = accuracy(flags, workdir)
    print(found)
    assert found["a"] > 80
    assert abs(found["a"] - found["b"]) <= 0.5
