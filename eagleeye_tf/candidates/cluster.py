"""Workers on other machines, to which the chief hands candidates.

`ClusterCoordinator` connects to a fixed list of workers, and only once all of
them are up. Here those that answer begin. When another one comes, what is on
its way is awaited and `ClusterChangedError` raised: the caller starts its
process anew, which connects to all of them and goes on from the log. (A second
connection within a process crashed TensorFlow 2.21.)
"""

import functools
import queue
import re
import socket
import threading
import time

import tensorflow as tf

from eagleeye_tf import errors

# What TensorFlow raises when another process is gone.
LOSSES = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)
# And what it says where a worker came back so quickly that nobody noticed.
_LOSS_TEXTS = (
    "Unable to find the relevant tensor remote_handle",
    "Primary device is not remote",
    "unknown device",
    "nor a name of a function registered",
)

_PROBE_SECONDS = 5.0
_PROBES = 3
_WAIT_SECONDS = 0.2
_GREETING_SECONDS = 2.0
# Where HTTP/2, which gRPC speaks, names the kind of a frame, and the kind that
# a server sends first (RFC 9113, sections 3.4 and 6.5).
_KIND_PLACE, _SETTINGS = 3, 4
_SLOW_SECONDS = 30.0
# A silence is long that is so many times as long as the longest candidate took.
_SLOW_FACTOR = 5
# The first candidate of a rung may be traced, and be of a large network.
_LONGEST_FIRST_SECONDS = 600.0
# Calls on their way to a worker: one it computes, one that waits for it.
_CALLS_PER_WORKER = 2
_ATTEMPTS = 5


class ClusterChangedError(RuntimeError):
    """Workers came or all were lost: connect anew, in a process of its own."""


class Cluster:
    """A chief's view of its workers.

    Args:
        addresses: list of "host:port", one for each worker.
        host: name or address under which workers reach the chief; None for
            the one from which it reaches the first of them.
        on_event: function of a line of text for the user; None for silence.
    """

    def __init__(self, addresses, host=None, on_event=None):
        self._addresses = list(addresses)
        self._host = host
        self._on_event = on_event or (lambda text: None)
        self._connected = []
        self._coordinator = None
        self._parameter_server = None
        self._joined = threading.Event()

    def call(self, function, arguments):
        """Runs a `tf.function` on any worker; again if that one dies.

        Args:
            function: a `tf.function` with an input signature, traced since
                `map` was called first.
            arguments: tuple of tensors.

        Returns:
            What it returns, tensors replaced by arrays.

        Raises:
            OpError: if a worker cannot compute it; names that worker.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return self._coordinator.schedule(function, arguments).fetch()
            except tf.errors.OpError as error:
                # A worker can die between its answer and our fetching that.
                if not _is_loss(error) or attempt == _ATTEMPTS - 1:
                    raise self._naming_worker(error) from error
                time.sleep(_WAIT_SECONDS)

    def _naming_worker(self, error):
        """The same error, its message led by the address of the worker."""
        found = re.search(r"/job:worker/replica:\d+/task:(\d+)", str(error))
        if not found:
            return error
        address = self._connected[int(found[1])]
        text = f"Worker {address}: {errors.cause(error)}"
        return type(error)(None, None, text)

    def map(self, work, items):
        """Runs `work(item)`, which may `call`, for several items at a time.

        Connects when it is called first, which makes all variables of the
        process inaccessible.

        Yields:
            (place of the item, what `work` returned), as they are done.

        Raises:
            ClusterChangedError: if there are more workers now, or none.
        """
        items = list(items)
        if items and self._coordinator is None:
            self._connect()
        waiting = list(range(len(items)))[::-1]
        started = {}
        done = queue.Queue()
        limit = _CALLS_PER_WORKER * len(self._connected)
        silence = _Silence()
        while waiting or started:
            joining = self._joined.is_set()
            if joining and not started:
                raise ClusterChangedError("Workers have come.")
            while waiting and not joining and len(started) < limit:
                place = waiting.pop()
                started[place] = time.monotonic()
                _start(work, items[place], place, done)
            try:
                place, result, error = done.get(timeout=_PROBE_SECONDS)
            except queue.Empty:
                self._wonder(silence)
                continue
            silence.end(time.monotonic() - started.pop(place))
            if error:
                raise error
            yield place, result

    def _wonder(self, silence):
        """Looks for the reason of a silence; tells of one without a reason."""
        self._require_workers(all_of_them=silence.is_long)
        if silence.is_long and not silence.is_told:
            silence.is_told = True
            self._on_event(
                f"No worker has answered for {silence.seconds:.0f} s, though "
                f"{', '.join(self._connected)} can be reached. If one of them "
                "hangs, end it: its candidate then goes to another."
            )

    def _require_workers(self, all_of_them):
        """Raises ClusterChangedError if no worker is there, or one is not.

        A process that dies says so, and TensorFlow hands its candidates to
        others; a machine that loses its power or its network does not, nor
        does a process that hangs, to which one may be patient.
        """
        is_there = _answers if all_of_them else _is_reachable
        lost = [
            address
            for address in self._connected
            if not any(is_there(address) for _ in range(_PROBES))
        ]
        if lost and (all_of_them or len(lost) == len(self._connected)):
            raise ClusterChangedError(f"Lost {', '.join(lost)}.")

    def _watch(self):
        """Waits for a worker that is not connected to answer."""
        others = set(self._addresses) - set(self._connected)
        while others and not any(map(_answers, others)):
            time.sleep(_PROBE_SECONDS)
        if others:
            self._joined.set()

    def _connect(self):
        """Connects to all workers that answer; waits for a first one.

        Raises:
            ClusterChangedError: if one is lost while TensorFlow, which would
                wait for it, connects.
        """
        told = False
        while not (found := [a for a in self._addresses if _answers(a)]):
            if not told:
                self._on_event(
                    "Waiting for workers at " + ", ".join(self._addresses)
                )
            told = True
            time.sleep(_PROBE_SECONDS)
        slow = threading.Timer(
            _SLOW_SECONDS,
            self._on_event,
            [
                "Still connecting: does a worker of this package run at each "
                "of " + ", ".join(found) + "?"
            ],
        )
        slow.daemon = True
        slow.start()
        try:
            host = self._host or _own_address(found[0])
        except OSError as error:
            raise ClusterChangedError(f"Lost {found[0]}.") from error
        address = f"{host}:{_free_port()}"
        # TensorFlow asks for a parameter server; it holds nothing.
        self._parameter_server = tf.distribute.Server(
            {"ps": [address]}, job_name="ps", task_index=0
        )
        self._connected = found
        done = queue.Queue()
        _start(functools.partial(_coordinator, found, host), address, 0, done)
        while self._coordinator is None:
            try:
                _, self._coordinator, error = done.get(timeout=_PROBE_SECONDS)
            except queue.Empty:
                self._require_workers(all_of_them=True)
                continue
            if error:
                raise error
        slow.cancel()
        # Names of machines that are off can take long to look up.
        threading.Thread(target=self._watch, daemon=True).start()
        self._on_event(
            f"Connected to {len(found)} of {len(self._addresses)} workers. "
            "This process listens on all network interfaces, and obeys "
            "whoever reaches it."
        )


class _Silence:
    """How long nothing has come, and how long that may be.

    Attributes:
        is_told: whether the user knows of it.
    """

    def __init__(self):
        self._start, self._usual = time.monotonic(), None
        self.is_told = False

    def end(self, seconds):
        """Something came that took so many seconds."""
        self._usual = max(self._usual or 0.0, seconds)
        self._start = time.monotonic()
        self.is_told = False

    @property
    def seconds(self):
        """For how long."""
        return time.monotonic() - self._start

    @property
    def is_long(self):
        """Whether something may be wrong."""
        if self._usual is None:  # Nobody knows yet how long one takes.
            return self.seconds > _LONGEST_FIRST_SECONDS
        return self.seconds > max(_SLOW_SECONDS, _SLOW_FACTOR * self._usual)


def _coordinator(workers, host, parameter_server):
    spec = tf.train.ClusterSpec(
        {
            "worker": workers,
            "ps": [parameter_server],
            "chief": [f"{host}:{_free_port()}"],
        }
    )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type="chief", task_id=0, rpc_layer="grpc"
    )
    return tf.distribute.coordinator.ClusterCoordinator(
        tf.distribute.ParameterServerStrategy(resolver)
    )


def _start(work, item, place, done):
    """Runs `work(item)` in a thread that does not outlive the program."""

    def run():
        try:
            done.put((place, work(item), None))
        except Exception as error:  # To be raised where results are awaited.
            done.put((place, None, error))

    threading.Thread(target=run, daemon=True).start()


def _is_loss(error):
    """Whether an error is that of a worker which is gone."""
    return isinstance(error, LOSSES) or any(
        text in str(error) for text in _LOSS_TEXTS
    )


def _answers(address):
    """Whether a worker greets: that of a process that hangs does not."""
    return _is_reachable(address, greeting=True)


def _is_reachable(address, greeting=False):
    """Whether a connection is accepted; the system does it for a process."""
    try:
        _own_address(address, greeting)
    except (OSError, UnicodeError):  # The latter is of names that none has.
        return False
    return True


def _own_address(worker, greeting=False):
    """The address of this machine towards a worker, which must be reachable.

    Args:
        worker: "host:port".
        greeting: whether it must also greet, as servers of gRPC do.
    """
    host, _, port = worker.rpartition(":")
    with socket.create_connection((host, int(port)), _WAIT_SECONDS) as reached:
        if greeting:
            reached.settimeout(_GREETING_SECONDS)
            frame = reached.recv(_KIND_PLACE + 1)
            if frame[_KIND_PLACE:] != bytes([_SETTINGS]):
                raise ConnectionError(f"{worker} is no TensorFlow server.")
        return reached.getsockname()[0]


def _free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
