"""Searches on several machines: processes on loopback, real digits."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest
import tensorflow as tf
import toys
from test_programs import ROOT
from test_programs import command
from test_programs import run

from eagleeye_tf import errors
from eagleeye_tf.stages import machines

FLAGS = [
    "--dataset=digits",
    "--macs=0.6",
    "--tolerance=0.05",
    "--num_candidates=60",
    "--calibration_images=64",
    "--sub_validation_images=128",
    "--batch_size=8",
]


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_until(condition, process=None, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.05)


class Workers:
    """Worker processes of one cluster, by their index."""

    def __init__(self, folder, flags, count):
        self.folder, self.running = folder, {}
        self.file = folder / "cluster.json"
        addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        self.file.write_text(json.dumps({"worker": addresses}))
        self.flags = [*flags, f"--cluster={self.file}"]

    def start(self, index, *more):
        log = open(self.folder / f"worker_{index}.log", "w")
        arguments = [*self.flags, *more, f"--task_index={index}"]
        arguments.append(f"--workdir={self.folder}/workers")
        self.running[index] = subprocess.Popen(
            command("eagleeye_tf.worker", *arguments),
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Background jobs of a shell ignore it, and so do their children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def wait_for(self, index):
        log = self.folder / f"worker_{index}.log"
        wait_until(lambda: "listens" in log.read_text(), self.running[index])

    def signal(self, index, number):
        os.kill(self.running[index].pid, number)

    def end(self):
        for process in self.running.values():
            process.kill()
            process.wait()

    def start_search(self, workdir):
        return subprocess.Popen(
            command("eagleeye_tf.search", *self.flags, f"--workdir={workdir}"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def search(self, workdir):
        return run("eagleeye_tf.search", *self.flags, f"--workdir={workdir}")


@pytest.fixture
def workers(tmp_path):
    model = tmp_path / "m.keras"
    network = toys.chain(channels=(24,) * 4, classes=10)
    toys.scramble(network)
    network.save(model)
    started = Workers(tmp_path, [*FLAGS, f"--model={model}"], 3)
    yield started
    started.end()


def table(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def test_one_of_two_workers_dies(workers, tmp_path):
    workers.start(0)
    workers.start(1)
    alone = run(
        "eagleeye_tf.search", *workers.flags[:-1], f"--workdir={tmp_path}/a"
    )
    assert alone.returncode == 0, alone.stderr
    workers.wait_for(0)
    workers.wait_for(1)

    chief = workers.start_search(tmp_path / "b")
    log = tmp_path / "b" / "search" / "log.jsonl"
    wait_until(lambda: log.exists() and log.read_text().count("\n") > 5, chief)
    workers.signal(1, signal.SIGKILL)
    out, err = chief.communicate(timeout=240)
    assert chief.returncode == 0, err
    assert table(out) == table(alone.stdout)
    assert "Connected to 2 of 3 workers." in out


@pytest.mark.slow
def test_workers_die_pause_and_come_late(workers, tmp_path):
    workers.start(0)
    workers.start(1)
    alone = run(
        "eagleeye_tf.search", *workers.flags[:-1], f"--workdir={tmp_path}/a"
    )
    assert alone.returncode == 0, alone.stderr
    workers.wait_for(0)
    workers.wait_for(1)

    chief = workers.start_search(tmp_path / "b")
    log = tmp_path / "b" / "search" / "log.jsonl"
    wait_until(lambda: log.exists() and log.read_text().count("\n") > 5, chief)
    chief.kill()
    chief.communicate()
    chief = workers.start_search(tmp_path / "b")
    logged = log.read_text().count("\n")
    wait_until(lambda: log.read_text().count("\n") > logged, chief)
    workers.signal(0, signal.SIGSTOP)
    workers.signal(1, signal.SIGKILL)
    workers.start(2)
    workers.wait_for(2)
    time.sleep(7)  # The chief looks for new ones every five seconds.
    workers.signal(0, signal.SIGCONT)
    out, err = chief.communicate(timeout=240)
    assert chief.returncode == 0, err
    assert table(out) == table(alone.stdout)
    assert "Workers have come. Connecting anew." in out
    assert out.count("Connected to 2 of 3 workers.") == 2
    # Each candidate is logged once for each rung.
    lines = [json.loads(line) for line in log.read_text().splitlines()[1:]]
    seen = [(x["index"], x["calibration_total"], x["total"]) for x in lines]
    assert len(seen) == len(set(seen)) == 60 + 8 + 6
    # A finished search needs no worker.
    for index in (0, 2):
        workers.signal(index, signal.SIGKILL)
    again = workers.search(tmp_path / "b")
    assert table(again.stdout) == table(alone.stdout)
    assert len(log.read_text().splitlines()) == 1 + len(lines)


@pytest.mark.slow
def test_a_worker_that_hangs_is_left_behind(workers, tmp_path):
    for index in (0, 1):
        workers.start(index)
    for index in (0, 1):
        workers.wait_for(index)
    workers.signal(1, signal.SIGSTOP)
    without = workers.search(tmp_path / "a")
    assert without.returncode == 0, without.stderr
    assert "Connected to 1 of 3 workers." in without.stdout

    workers.signal(1, signal.SIGCONT)
    chief = workers.start_search(tmp_path / "b")
    log = tmp_path / "b" / "search" / "log.jsonl"
    wait_until(lambda: log.exists() and log.read_text().count("\n") > 5, chief)
    workers.signal(1, signal.SIGSTOP)
    out, err = chief.communicate(timeout=400)
    assert chief.returncode == 0, err
    assert "Connected to 2 of 3 workers." in out
    address = json.loads(workers.file.read_text())["worker"][1]
    assert f"Lost {address}." in out
    assert table(out) == table(without.stdout)


def test_a_second_worker_leaves_the_images_of_the_first(workers, tmp_path):
    workers.start(0)
    workers.wait_for(0)
    folder = tmp_path / "workers" / "worker_0"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    flags = [*workers.flags, "--calibration_images=72", "--task_index=0"]
    done = run("eagleeye_tf.worker", *flags, f"--workdir={folder.parent}")
    assert done.returncode == 2
    assert "error: Another worker is writing" in done.stderr
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    done = run("eagleeye_tf.worker", *flags, f"--workdir={tmp_path}/other")
    assert done.returncode == 2
    assert "error: Worker 0 cannot listen on port" in done.stderr
    assert "Traceback" not in done.stderr


def test_worker_with_other_images_is_refused(workers, tmp_path):
    workers.start(0, "--calibration_images=72")
    workers.wait_for(0)
    done = workers.search(tmp_path / "b")
    assert done.returncode == 2
    assert "error: Worker 0 (127.0.0.1:" in done.stderr
    assert "has another calibration set than the chief" in done.stderr
    assert "Traceback" not in done.stderr


def test_worker_that_fails_is_named_and_ends_with_ctrl_c(workers, tmp_path):
    workers.start(0)
    workers.wait_for(0)
    (tmp_path / "workers" / "worker_0" / "sub_validation").unlink()
    done = workers.search(tmp_path / "b")
    assert done.returncode == 3
    assert "error: The system refused: Worker 127.0.0.1:" in done.stderr
    assert "sub_validation" in done.stderr
    assert "Traceback" not in done.stderr
    workers.signal(0, signal.SIGINT)
    assert workers.running[0].wait(timeout=20) == 130


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


@pytest.mark.parametrize(
    "config, told",
    [
        ("{", "TF_CONFIG is not JSON"),
        ("[1]", "names the workers"),
        ('{"cluster": {"ps": ["a:1"]}}', "names the workers"),
        ('{"cluster": {"worker": []}}', "names the workers"),
        ('{"cluster": {"worker": ["a"]}}', "is host:port, .*Received: 'a'"),
        ('{"cluster": {"worker": ["a:99999"]}}', "port up to 65535"),
        ('{"cluster": {"worker": ["[::1]:7000"]}}', "IPv4"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}}', "'a:1' 2 times"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": ["worker", 0]}',
            "task is .*Received: .'worker', 0",
        ),
        ('{"cluster": {"worker": ["a:1"]}}', "from 0 to 0. Received: None"),
        (
            '{"cluster": {"worker": ["a:1"], "chief": []}, "task": null}',
            "from 0 to 0. Received: None",
        ),
        (
            '{"cluster": {"worker": ["a:1"]},'
            ' "task": {"type": "worker", "index": "0"}}',
            "from 0 to 0. Received: 0",
        ),
        (
            '{"cluster": {"worker": ["a:1"]},'
            ' "task": {"type": "worker", "index": 3}}',
            "from 0 to 0. Received: 3",
        ),
    ],
)
def test_wrong_descriptions_are_told(set_flags, monkeypatch, config, told):
    set_flags()
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(errors.InputError, match=told):
        machines.worker_address()


def test_worker_without_cluster_is_told(set_flags, monkeypatch):
    set_flags()
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert machines.search_cluster() is None
    with pytest.raises(errors.InputError, match="give --cluster=cluster.json"):
        machines.worker_address()
    set_flags(cluster="missing.json")
    with pytest.raises(errors.InputError, match="cannot be read"):
        machines.worker_address()


def test_address_from_flag_or_environment(set_flags, monkeypatch, tmp_path):
    config = {
        "cluster": {"worker": ["a:1", "b:2"], "chief": ["c:3"]},
        "task": {"type": "worker", "index": 1},
    }
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    set_flags()
    assert machines.worker_address() == (1, "b:2")
    path = tmp_path / "cluster.json"
    path.write_text('{"worker": ["d:4"]}')
    set_flags(cluster=str(path), task_index=0)
    assert machines.worker_address() == (0, "d:4")


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
