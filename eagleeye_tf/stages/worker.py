"""Stage: evaluates candidates that the chief of a search sends."""

import os
import time

import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import locks
from eagleeye_tf.candidates import remote_evaluator
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import machines


def main():
    index, address = machines.worker_address()
    job = common.open_job()
    data = job.data
    folder = job.workdir / f"worker_{index}"
    with locks.of_folder(folder, "worker"):
        remote_evaluator.store(
            folder,
            f"{index} ({address})",
            data.arrays(data.calibration),
            data.arrays(data.sub_validation),
        )
        os.chdir(folder)
        _serve(index, address)


def _serve(index, address):
    """Does what the chief says, until Ctrl-C."""
    port = address.rpartition(":")[2]
    try:
        tf.distribute.Server(
            {"worker": {index: address}}, job_name="worker", task_index=index
        )
    except tf.errors.OpError as error:
        raise errors.InputError(
            f"Worker {index} cannot listen on port {port} "
            f"({errors.cause(error)}): end what listens there, or give the "
            "cluster another address."
        ) from error
    console.say(
        f"Worker {index} listens on port {port} of all network interfaces, "
        "and obeys whoever reaches it. Ctrl-C ends it."
    )
    while True:  # Server.join() would not let Ctrl-C through.
        time.sleep(1)
