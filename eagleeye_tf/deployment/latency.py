"""How long one image takes, measured in a process of its own.

    python -m eagleeye_tf.deployment.latency FILE THREADS HEIGHT WIDTH CHANNELS

TensorFlow's number of threads cannot be changed in a process that has begun.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf.deployment import formats

_WARM_UP = 10
_SECONDS = 1.0
_LEAST = 30


def measure(path, num_threads, image_shape):
    """Median milliseconds of one image.

    Args:
        path: see `formats.open_model`.
        num_threads: of the CPU.
        image_shape: (height, width, channels).

    Raises:
        ExportError: if the model does not run.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            __name__,
            os.fspath(path),
            str(num_threads),
            *map(str, image_shape),
        ],
        env=environment(num_threads),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        told = done.stderr.strip().splitlines()
        raise errors.ExportError(
            f"{path} does not run: {told[-1] if told else done.returncode}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def environment(num_threads):
    """Variables of a process that has so many threads of the CPU."""
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": str(num_threads),
        "TF_NUM_INTRAOP_THREADS": str(num_threads),
        "TF_NUM_INTEROP_THREADS": "1",
    }


def main(path, num_threads, *image_shape):
    """Writes the median of at least 30 calls and a second to stdout."""
    model = formats.open_model(path, int(num_threads))
    generator = np.random.default_rng(0)
    shape = (1, *map(int, image_shape))
    image = tf.constant(generator.uniform(0, 255, shape), tf.float32)
    times = []
    for _ in range(_WARM_UP):
        np.asarray(model(image))
    end = time.perf_counter() + _SECONDS
    while len(times) < _LEAST or time.perf_counter() < end:
        start = time.perf_counter()
        np.asarray(model(image))
        times.append(time.perf_counter() - start)
    sys.stdout.write(json.dumps(1000 * statistics.median(times)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
