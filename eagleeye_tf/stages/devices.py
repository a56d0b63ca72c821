"""The devices of this machine that work side by side."""

import os

import tensorflow as tf
from absl import flags

from eagleeye_tf import errors

_NUM_REPLICAS = flags.DEFINE_integer(
    "num_replicas",
    None,
    "Devices that work side by side: by default all GPUs, or the CPU. Where "
    "there is no GPU, so many logical CPUs are made.",
    lower_bound=1,
)


def distribution():
    """`MirroredStrategy` over `--num_replicas` GPUs, or logical CPUs.

    Raises:
        InputError: if there are fewer GPUs.
    """
    gpus = tf.config.get_visible_devices("GPU")
    count = _NUM_REPLICAS.value or max(len(gpus), 1)
    if gpus and count > len(gpus):
        raise errors.InputError(
            f"--num_replicas={count} is more than the {len(gpus)} GPUs of "
            "this machine: give at most that."
        )
    if not gpus:
        _require_cpus(count)
    kind = "GPU" if gpus else "CPU"
    devices = [f"/{kind}:{number}" for number in range(count)]
    return tf.distribute.MirroredStrategy(devices)


def _require_cpus(count):
    (cpu,) = tf.config.list_physical_devices("CPU")
    made = tf.config.get_logical_device_configuration(cpu) or [None]
    if len(made) < count:
        try:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * count
            )
            _share_threads(count)
        except RuntimeError as error:
            raise errors.InputError(
                f"--num_replicas={count} must be known before TensorFlow "
                f"starts, which has {len(made)} here."
            ) from error


def _share_threads(count):
    """Each logical CPU gets its share of threads, instead of all of them.

    With all of them, each operation of one waits for those of the others.
    """
    if "TF_NUM_INTRAOP_THREADS" not in os.environ:
        threads = max(1, cores() // count)
        tf.config.threading.set_intra_op_parallelism_threads(threads)


def cores():
    """How many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Containers may have fewer.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def refuse_num_replicas():
    """Raises InputError if `--num_replicas` is given.

    For machines that train together, of which each uses all its GPUs.
    """
    if _NUM_REPLICAS.value is not None:
        raise errors.InputError(
            "--num_replicas goes with a single machine; of several all GPUs "
            "are used. Choose with CUDA_VISIBLE_DEVICES."
        )
