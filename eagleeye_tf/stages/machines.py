"""Which machines work together, from `--cluster` or TF_CONFIG."""

import json
import os
import pathlib
import signal
import time

import tensorflow as tf
from absl import flags
from absl import logging

from eagleeye_tf import errors
from eagleeye_tf.candidates import cluster as cluster_lib
from eagleeye_tf.stages import console
from eagleeye_tf.stages import devices
from eagleeye_tf.stages import processes

# How often a process that lost another one and starts anew may end quickly. An
# error that is none of the cluster's comes again before the next checkpoint,
# which is a minute's work away, and starting may take some.
_QUICK_ENDS = "EAGLEEYE_TF_QUICK_ENDS"
_QUICK_SECONDS = 600
_MAX_QUICK_ENDS = 5

_CLUSTER = flags.DEFINE_string(
    "cluster",
    None,
    'JSON file {"worker": ["host:port", ...]} of the workers that a search '
    "hands candidates to, or of the machines that train together; by default "
    "what TF_CONFIG says.",
)
_TASK_INDEX = flags.DEFINE_integer(
    "task_index",
    None,
    "Which of the cluster's workers this is, from 0; by default what "
    "TF_CONFIG says.",
    lower_bound=0,
)


def has_cluster():
    """Whether the flags or TF_CONFIG describe one."""
    return _described() is not None


def search_cluster():
    """The `Cluster` that a search hands candidates to; None without one.

    Raises:
        InputError: if the description of the cluster is not one.
    """
    described = _described()
    if described is None:
        return None
    logging.set_verbosity(logging.FATAL)  # Lost workers are no errors.
    chief = (described["cluster"].get("chief") or [""])[0]
    return cluster_lib.Cluster(
        described["cluster"]["worker"],
        host=chief.rpartition(":")[0] or None,
        on_event=console.say,
    )


def worker_address():
    """(index, "host:port") of the worker that this process is.

    Raises:
        InputError: if there is no description of a cluster, or no such worker.
    """
    described = _described()
    if described is None:
        raise errors.InputError(
            "A worker needs to know its cluster: give --cluster=cluster.json "
            "and --task_index, or set TF_CONFIG."
        )
    workers = described["cluster"]["worker"]
    index = described["index"]
    if not isinstance(index, int) or not 0 <= index < len(workers):
        raise errors.InputError(
            f"The cluster has {len(workers)} workers: give --task_index from "
            f"0 to {len(workers) - 1}. Received: {index}."
        )
    return index, workers[index]


def train_together(main):
    """Runs a training program, on several machines if it is one of them.

    When one is lost, collective operations fail on all; each then starts its
    process anew, and they go on from the last checkpoint once all are there.

    Args:
        main: function of (`MultiWorkerMirroredStrategy`, whether this process
            leads), or of None on a single machine.
    """
    described = _described()
    if described is None:
        main(None)
        return
    devices.refuse_num_replicas()
    members, index = _members(described)
    gpus = len(tf.config.list_physical_devices("GPU"))
    start = time.monotonic()
    try:
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": members}),
            task_type="worker",
            task_id=index,
            rpc_layer="grpc",
            num_accelerators={"GPU": gpus},
        )
        console.say(
            f"Waiting for all machines: {', '.join(members)}. This one listens "
            "on all network interfaces, and obeys whoever reaches it."
        )
        together = _connected(resolver)
        main((together, index == 0))
        _meet(together)
    except tf.errors.OpError as error:
        if not _is_loss(error):
            raise
        _start_anew(error, time.monotonic() - start)


def _members(described):
    """(addresses of all that train together, which of them this is).

    A chief in TF_CONFIG, as TF users know it, is the first of them. Nobody can
    be the one that --cluster names for a search.
    """
    jobs = described["cluster"]
    chiefs = [] if _CLUSTER.value else jobs.get("chief") or []
    if described["task"] == "chief" and len(chiefs) == 1:
        return [*chiefs, *jobs["worker"]], 0
    index, _ = worker_address()
    return [*chiefs, *jobs["worker"]], len(chiefs) + index


def _connected(resolver):
    """The strategy of several machines, once all of them are there.

    TensorFlow lets no Python run while it waits, so Ctrl-C is left to the
    system meanwhile. It also takes SIGTERM for itself, to ignore it, and
    gives it back only when all are there.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _meet(distribution):
    """Waits until all processes are here: the first may have to write."""
    tf.function(
        lambda: distribution.reduce(
            tf.distribute.ReduceOp.SUM,
            distribution.run(lambda: tf.constant(1)),
            axis=None,
        )
    )()


def _is_loss(error):
    """Whether an error tells that another machine is gone."""
    kinds = (
        *cluster_lib.LOSSES,
        tf.errors.DeadlineExceededError,
        tf.errors.FailedPreconditionError,  # It is back already.
    )
    return isinstance(error, kinds) or (
        isinstance(error, tf.errors.InternalError)
        and ("ollective" in str(error) or "/job:" in str(error))
    )


def _start_anew(error, lived):
    """Starts this process again; gives up if that does not help.

    Args:
        error: what ended it.
        lived: seconds since it began.
    """
    quick = int(os.environ.get(_QUICK_ENDS, "0")) + 1
    if lived > _QUICK_SECONDS:
        quick = 0
    if quick > _MAX_QUICK_ENDS:
        raise error
    os.environ[_QUICK_ENDS] = str(quick)
    console.say(f"Lost another machine; starting anew. ({errors.cause(error)})")
    processes.start_anew()


def _described():
    """What this process is: a dict, or None if nothing is said.

    `cluster` is `{job: addresses}`, `task` the name of this process' job, and
    `index` its number among the workers, or None.
    """
    if _CLUSTER.value:
        jobs, where = _read(_CLUSTER.value), f"--cluster={_CLUSTER.value}"
        return {
            "cluster": _checked(jobs, where),
            "task": "worker",
            "index": _TASK_INDEX.value,
        }
    config = os.environ.get("TF_CONFIG")
    if not config:
        return None
    described = _parsed(config, "TF_CONFIG")
    if not isinstance(described, dict) or "cluster" not in described:
        raise _misdescribed("TF_CONFIG", described)
    task, index = described.get("task") or {}, _TASK_INDEX.value
    if not isinstance(task, dict):
        raise errors.InputError(
            'TF_CONFIG\'s task is {"type": …, "index": …}. '
            f"Received: {task!r}."
        )
    job = "worker" if index is not None else task.get("type")
    if index is None and job == "worker":
        index = task.get("index")
    jobs = _checked(described["cluster"], "TF_CONFIG")
    return {"cluster": jobs, "task": job, "index": index}


def _read(path):
    try:
        text = pathlib.Path(path).read_text()
    except OSError as error:
        raise errors.InputError(
            f"--cluster={path} cannot be read ({error.strerror})."
        ) from error
    return _parsed(text, f"--cluster={path}")


def _parsed(text, where):
    try:
        return json.loads(text)
    except ValueError as error:
        raise errors.InputError(f"{where} is not JSON: {error}.") from error


def _checked(jobs, where):
    workers = jobs.get("worker") if isinstance(jobs, dict) else None
    if not isinstance(workers, list) or not workers:
        raise _misdescribed(where, jobs)
    addresses = [*workers, *(jobs.get("chief") or [])]
    for address in addresses:
        host, _, port = str(address).rpartition(":")
        is_port = port.isdecimal() and 0 < int(port) < 2**16
        if not (host and is_port) or "[" in host:
            raise errors.InputError(
                f"{where}: an address is host:port, with a name or an IPv4 "
                f"address and a port up to 65535. Received: {address!r}."
            )
        if addresses.count(address) > 1:
            raise errors.InputError(
                f"{where}: each process has an address of its own. Received "
                f"{address!r} {addresses.count(address)} times."
            )
    return jobs


def _misdescribed(where, received):
    return errors.InputError(
        f'{where} names the workers of a cluster: {{"worker": ["host:port", '
        f'...]}}, in TF_CONFIG under "cluster". Received: {received!r}.'
    )
