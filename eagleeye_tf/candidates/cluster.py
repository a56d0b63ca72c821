"""Workers on other machines, to which the chief hands candidates.

`ClusterCoordinator` connects to a fixed list of workers, and only once all of
them are up. Here those that answer begin; when another one comes, what is on
its way is awaited and the connection made anew with all of them.
"""

import queue
import socket
import threading
import time

import tensorflow as tf

_PROBE_SECONDS = 5.0
_WAIT_SECONDS = 0.2
# Calls on their way to a worker: one it computes, one that waits for it.
_CALLS_PER_WORKER = 2


class Cluster:
    """A chief's view of its workers.

    Args:
        addresses: list of "host:port", one for each worker.
        host: name or address under which workers reach the chief.
        on_event: function of a line of text for the user; None for silence.

    Attributes:
        addresses: as given.
        generation: counts connections; functions traced for one are unknown
            to the next.
    """

    def __init__(self, addresses, host="127.0.0.1", on_event=None):
        self.addresses = list(addresses)
        self.generation = 0
        self._host = host
        self._on_event = on_event or (lambda text: None)
        self._connected = []
        self._coordinator = None
        self._parameter_server = None
        self._probed = 0.0

    def call(self, function, arguments):
        """Runs a `tf.function` on any worker; again if that one dies.

        Args:
            function: a `tf.function` with an input signature.
            arguments: tuple of tensors.

        Returns:
            What it returns, tensors replaced by arrays.
        """
        return self._coordinator.schedule(function, arguments).fetch()

    def map(self, work, items):
        """Runs `work(item)`, which may `call`, for several items at a time.

        An item may be given to `work` twice, should all workers be lost; only
        what one of them returns is used.

        Yields:
            (place of the item, what `work` returned), as they are done.
        """
        items = list(items)
        waiting = list(range(len(items)))[::-1]
        running = set()
        done = queue.Queue()
        wanted = False  # a new connection, once nothing is on its way.
        while waiting or running:
            wanted = wanted or not self._connected or bool(self._joining())
            if wanted and not running:
                self._connect()
                wanted = False
            limit = _CALLS_PER_WORKER * len(self._connected)
            while waiting and not wanted and len(running) < limit:
                place = waiting.pop()
                running.add(place)
                _start(work, items[place], (self.generation, place), done)
            try:
                key, result, error = done.get(timeout=_PROBE_SECONDS)
            except queue.Empty:
                if not any(map(_answers, self._connected)):
                    self._on_event("No worker answers any more.")
                    waiting += sorted(running, reverse=True)
                    running.clear()
                    self._connected = []
                continue
            generation, place = key
            if generation != self.generation or place not in running:
                continue  # Given up before.
            running.remove(place)
            if error:
                raise error
            yield place, result

    def _joining(self):
        """Workers that answer and are not connected; looked for seldom."""
        if time.monotonic() - self._probed < _PROBE_SECONDS:
            return []
        self._probed = time.monotonic()
        others = [a for a in self.addresses if a not in self._connected]
        return [address for address in others if _answers(address)]

    def _connect(self):
        """Connects to all workers that answer; waits for a first one."""
        told = False
        while not (found := [a for a in self.addresses if _answers(a)]):
            if not told:
                self._on_event(
                    "Waiting for workers at " + ", ".join(self.addresses)
                )
            told = True
            time.sleep(_PROBE_SECONDS)
        self._probed = time.monotonic()
        self._connected = found
        self._coordinator = _coordinator(found, self._host, self._server())
        self.generation += 1
        self._on_event(
            f"Connected to {len(found)} of {len(self.addresses)} workers."
        )

    def _server(self):
        """A parameter server, which TensorFlow asks for; it holds nothing."""
        if self._parameter_server is None:
            address = f"{self._host}:{_free_port()}"
            self._parameter_server = (
                address,
                tf.distribute.Server(
                    {"ps": [address]}, job_name="ps", task_index=0
                ),
            )
        return self._parameter_server[0]


def _coordinator(workers, host, parameter_server):
    spec = tf.train.ClusterSpec(
        {
            "worker": workers,
            "ps": [parameter_server],
            # A new port each time: TensorFlow does not give the last one up.
            "chief": [f"{host}:{_free_port()}"],
        }
    )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type="chief", task_id=0, rpc_layer="grpc"
    )
    return tf.distribute.coordinator.ClusterCoordinator(
        tf.distribute.ParameterServerStrategy(resolver)
    )


def _start(work, item, key, done):
    """Runs `work(item)` in a thread that does not outlive the program."""

    def run():
        try:
            done.put((key, work(item), None))
        except Exception as error:  # To be raised where results are awaited.
            done.put((key, None, error))

    threading.Thread(target=run, daemon=True).start()


def _answers(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _WAIT_SECONDS).close()
    except OSError:
        return False
    return True


def _free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
