"""Machines that train together: processes on loopback, real digits."""

import json
import signal
import subprocess
import time

import pytest
import tensorflow as tf
from test_machines import FLAGS
from test_machines import free_ports
from test_machines import wait_until
from test_programs import ROOT
from test_programs import command

from eagleeye_tf.stages import machines


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_machines_train_together(tmp_path, victim):
    cluster = tmp_path / "cluster.json"
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    cluster.write_text(json.dumps({"worker": addresses}))
    flags = [*FLAGS[:1], *FLAGS[-3:-1], "--batch_size=64", "--train_epochs=4"]
    flags.append("--ema_momentum=0.5")
    arguments = command(
        "eagleeye_tf.train",
        *flags,
        "--model=resnet20",
        "--width=0.25",
        f"--cluster={cluster}",
        f"--workdir={tmp_path}/w",
    )
    log = tmp_path / "w" / "train" / "epochs.jsonl"

    def start(index):
        return subprocess.Popen(
            [*arguments, f"--task_index={index}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    running = [start(0), start(1)]
    try:
        wait_until(log.exists)
        running[victim].terminate()
        running[victim].communicate(timeout=30)
        running[victim] = start(victim)
        told = [process.communicate(timeout=240)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0]
    assert "Lost another machine" in told[1 - victim]
    # Both end with the same network, whose statistics are of all images.
    assert told[0].splitlines()[-1] == told[1].splitlines()[-1]
    epochs = [json.loads(line) for line in log.read_text().splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[-1]["loss"] < 0.7 * epochs[0]["loss"]


def test_a_chief_trains_as_the_first_machine(set_flags, monkeypatch):
    """As TF users know it: it is one of those that train together."""
    cluster = {"worker": ["a:1", "b:2"], "chief": ["c:3"]}
    members = ["c:3", "a:1", "b:2"]
    set_flags()
    for task, expected in (("chief", 0), ("worker", 2)):
        config = {"cluster": cluster, "task": {"type": task, "index": 1}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        found = machines._members(machines._described())
        assert found == (members, expected)


def test_a_chief_of_searches_does_not_train(set_flags, tmp_path):
    """Nobody can be it: `--task_index` counts workers."""
    path = tmp_path / "cluster.json"
    path.write_text('{"worker": ["a:1", "b:2"], "chief": ["c:3"]}')
    set_flags(cluster=str(path), task_index=1)
    found = machines._members(machines._described())
    assert found == (["a:1", "b:2"], 1)


@pytest.mark.slow
def test_waiting_for_other_machines_ends_with_ctrl_c(tmp_path):
    cluster = tmp_path / "cluster.json"
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    cluster.write_text(json.dumps({"worker": addresses}))
    waiting = subprocess.Popen(
        command(
            "eagleeye_tf.train",
            "--dataset=digits",
            "--model=resnet20",
            f"--cluster={cluster}",
            "--task_index=0",
            f"--workdir={tmp_path}/w",
        ),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert "Waiting for all machines" in waiting.stdout.readline()
        time.sleep(3)
        waiting.send_signal(signal.SIGINT)
        code = waiting.wait(timeout=20)
    finally:
        waiting.kill()
    assert code in (130, -signal.SIGINT)


def test_an_error_that_comes_again_ends_the_training(monkeypatch):
    """It may take minutes to come: all start, then a minute is done again."""
    anew = []
    monkeypatch.setattr(
        machines.processes, "start_anew", lambda: anew.append(1)
    )
    monkeypatch.setenv(machines._QUICK_ENDS, "0")
    error = tf.errors.InternalError(None, None, "/job:worker: no such file")
    for seconds in (300, 300, 300, 3600, *[300] * 5):
        machines._start_anew(error, lived=seconds)
    assert len(anew) == 9
    with pytest.raises(tf.errors.InternalError):
        machines._start_anew(error, lived=300)
