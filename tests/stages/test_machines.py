"""Searches on several machines: processes on loopback, real digits."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest
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


def search_under_way(workers, tmp_path):
    """(a finished search without workers, one with two, the latter's log)."""
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
    return alone, chief, log


def test_one_of_two_workers_dies(workers, tmp_path):
    alone, chief, log = search_under_way(workers, tmp_path)
    workers.signal(1, signal.SIGKILL)
    out, err = chief.communicate(timeout=240)
    assert chief.returncode == 0, err
    assert table(out) == table(alone.stdout)
    assert "Connected to 2 of 3 workers." in out


@pytest.mark.slow
def test_workers_die_pause_and_come_late(workers, tmp_path):
    alone, chief, log = search_under_way(workers, tmp_path)
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


@pytest.mark.slow
def test_who_has_other_images_than_a_worker_is_refused(workers, tmp_path):
    """A second worker, in the same folder or another one, and a chief."""
    workers.start(0, "--calibration_images=72")
    workers.wait_for(0)
    folder = tmp_path / "workers" / "worker_0"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    flags = [*workers.flags, "--task_index=0"]
    done = run("eagleeye_tf.worker", *flags, f"--workdir={folder.parent}")
    assert done.returncode == 2
    assert "error: Another worker is writing" in done.stderr
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    done = run("eagleeye_tf.worker", *flags, f"--workdir={tmp_path}/other")
    assert done.returncode == 2
    assert "error: Worker 0 cannot listen on port" in done.stderr
    assert "Traceback" not in done.stderr
    done = workers.search(tmp_path / "b")
    assert done.returncode == 2
    assert "error: Worker 0 (127.0.0.1:" in done.stderr
    assert "has another calibration set than the chief" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
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
