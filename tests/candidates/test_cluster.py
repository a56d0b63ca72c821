import contextlib
import socket
import threading
import time

import pytest
import tensorflow as tf

from eagleeye_tf.candidates import cluster as cluster_lib


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    for name, seconds in (
        ("_PROBE_SECONDS", 0.05),
        ("_SLOW_SECONDS", 0.3),
    ):
        monkeypatch.setattr(cluster_lib, name, seconds)


@pytest.fixture
def soon(monkeypatch):
    """Who does not greet, does so for no more than a moment."""
    monkeypatch.setattr(cluster_lib, "_GREETING_SECONDS", 0.05)


@contextlib.contextmanager
def listening(greets):
    """Address where the system accepts connections, and who may greet."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            # The head of a frame of six settings, as servers of gRPC send it.
            with contextlib.suppress(OSError):  # Closed.
                while True:
                    server.accept()[0].sendall(bytes([0, 0, 36, 4, *[0] * 5]))

        if greets:
            threading.Thread(target=greet, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def connected(address, **more):
    cluster = cluster_lib.Cluster([address], **more)
    cluster._coordinator, cluster._connected = object(), [address]
    return cluster


def test_who_answers():
    with listening(greets=True) as address:
        assert cluster_lib._answers(address)


def test_who_does_not(soon):
    with listening(greets=False) as address:
        assert cluster_lib._is_reachable(address)
        assert not cluster_lib._answers(address)
    assert not cluster_lib._is_reachable(address)
    assert not cluster_lib._answers("a..b:7000")  # No name at all.


def test_a_server_of_tensorflow_answers():
    address = f"127.0.0.1:{cluster_lib._free_port()}"
    server = tf.distribute.Server({"worker": [address]}, "worker", 0)
    assert server.target == f"grpc://{address}"
    assert cluster_lib._answers(address)


def test_a_silence_without_a_reason_is_spoken_of_once():
    told = []
    with listening(greets=True) as address:
        cluster = connected(address, on_event=told.append)
        seconds = [0.1, 1.2]
        found = dict(cluster.map(lambda s: time.sleep(s) or s, seconds))
        assert found == {0: 0.1, 1: 1.2}
        assert len(told) == 1 and address in told[0]
        # How long the first of a rung may take nobody knows.
        assert dict(cluster.map(lambda s: time.sleep(s), [1.2])) == {0: None}
        assert len(told) == 1


def test_a_worker_that_hangs_is_left_behind_after_a_while(soon):
    with listening(greets=False) as address:
        cluster = connected(address)
        assert dict(cluster.map(lambda s: time.sleep(s), [0.9])) == {0: None}
        start = time.monotonic()
        with pytest.raises(cluster_lib.ClusterChangedError, match=address):
            list(cluster.map(lambda s: time.sleep(s), [0.1, 5]))
        assert 0.4 < time.monotonic() - start < 3


def test_how_long_a_silence_may_be(monkeypatch):
    monkeypatch.setattr(cluster_lib, "_SLOW_SECONDS", 30)
    silence = cluster_lib._Silence()
    silence.end(seconds=60)
    silence._start -= 299
    assert not silence.is_long
    silence._start -= 2
    assert silence.is_long


def test_a_worker_that_is_gone_is_noticed():
    with listening(greets=False) as address:
        pass
    with pytest.raises(cluster_lib.ClusterChangedError, match=address):
        list(connected(address).map(lambda _: time.sleep(2), [1]))
