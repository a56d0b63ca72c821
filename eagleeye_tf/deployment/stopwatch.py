"""How long one image takes, measured in a process of its own.

    python -m eagleeye_tf.deployment.stopwatch THREADS SHAPE MODULES FILE...

Files are measured in turns, so that they compare even where the machine's
pace changes. TensorFlow's number of threads cannot be changed in a process that
has begun.
"""

import contextlib
import importlib
import io
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import examples
from eagleeye_tf import quiet
from eagleeye_tf.deployment import formats
from eagleeye_tf.deployment import saved_model

FORMATS = ("saved_model", *formats.FORMATS)

_RANGE_IMAGES = 64
_WARM_UP = 10
_ROUNDS = 5
_SECONDS = 0.2  # for a file in a round
_LEAST = 6


def measure(paths, num_threads, image_shape, use_gpu=False, modules=()):
    """Median milliseconds of one image in each of several files.

    Args:
        paths: see `formats.open_model`.
        num_threads: of the CPU.
        image_shape: (height, width, channels).
        use_gpu: whether TensorFlow may use a GPU.
        modules: names of modules to import first, which register the layers
            of one's own that `.keras` files hold.

    Returns:
        List of float.

    Raises:
        ExportError: if a model does not run.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            __name__,
            str(num_threads),
            json.dumps(list(image_shape)),
            json.dumps(list(modules)),
            *map(os.fspath, paths),
        ],
        env=environment(num_threads, use_gpu),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        told = done.stderr.strip().splitlines()
        raise errors.ExportError(
            f"{', '.join(map(str, paths))}: this does not run: "
            f"{told[-1] if told else done.returncode}"
        )
    return json.loads(done.stdout.splitlines()[-1])


class Stopwatch:
    """Measures Keras models in the format they will be shipped in.

    Args:
        format: name in `formats.FORMATS`, which run on the CPU; or
            "saved_model", which runs on a GPU where there is one.
        num_threads: of the CPU.
        images: as for `exporting.export`; 64 of them give int8 its ranges.

    Raises:
        InputError: if there is no such format, or it lacks images.
    """

    def __init__(self, format="litert", num_threads=1, images=None):
        if format not in FORMATS:
            raise errors.InputError(
                f"Latency is measured in one of {', '.join(FORMATS)}. "
                f"Received: {format!r}."
            )
        if num_threads < 1:
            raise errors.InputError(
                f"num_threads is at least 1. Received: {num_threads}."
            )
        if format == "litert_int8" and images is None:
            raise errors.InputError(
                "litert_int8 needs images, from which it has its ranges: give "
                "Stopwatch(…, images=…)."
            )
        self._format = format
        self._use_gpu = format == "saved_model"
        self._num_threads = num_threads
        self._images = None
        if images is not None:
            self._images = examples.some_images(images, _RANGE_IMAGES)

    def __call__(self, models):
        """Milliseconds of one image in each `keras.Model`: list of float."""
        shape = models[0].input_shape[1:]
        if None in shape:
            raise errors.InputError(
                "Latency is that of images of a fixed size. Received: a model "
                f"whose images have the shape {shape}; give keras.Input a "
                "shape without None."
            )
        with tempfile.TemporaryDirectory() as folder:
            paths = [
                self._write(model, pathlib.Path(folder) / str(number))
                for number, model in enumerate(models)
            ]
            return measure(paths, self._num_threads, shape, self._use_gpu)

    def describe(self):
        """What is measured, and on what, as plain values."""
        return {
            "format": self._format,
            "num_threads": self._num_threads,
            "processor": self._device() or _processor(),
            "tensorflow": tf.__version__,
        }

    def _device(self):
        """Name of the GPU that is used, if there is one."""
        gpus = tf.config.list_physical_devices("GPU") if self._use_gpu else []
        if not gpus:
            return None
        details = tf.config.experimental.get_device_details(gpus[0])
        return details.get("device_name", "GPU")

    def _write(self, model, folder):
        saved = folder / "saved_model"
        with quiet.silent_stderr(), contextlib.redirect_stdout(io.StringIO()):
            saved_model.write(model, saved)
            if self._format == "saved_model":
                return saved
            kind = formats.FORMATS[self._format]
            kind.write(model, saved, folder / kind.file, self._images)
        return folder / kind.file


def _processor():
    """Model of the CPU where the system tells it, else its architecture."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def environment(num_threads, use_gpu=False):
    """Variables of a process that has so many threads of the CPU.

    Whoever is shipped a network runs it with TensorFlow's own kernels.
    """
    return {
        **os.environ,
        **quiet.OTHERS_KERNELS,
        **({} if use_gpu else {"CUDA_VISIBLE_DEVICES": ""}),
        # A notebook may have found this package by a path of its own.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "OMP_NUM_THREADS": str(num_threads),
        "TF_NUM_INTRAOP_THREADS": str(num_threads),
        "TF_NUM_INTEROP_THREADS": "1",
    }


def main(num_threads, image_shape, modules, *paths):
    """Writes the medians of the rounds' medians to stdout, as JSON."""
    for module in json.loads(modules):
        importlib.import_module(module)
    models = [formats.open_model(path, int(num_threads)) for path in paths]
    generator = np.random.default_rng(0)
    shape = (1, *json.loads(image_shape))
    image = tf.constant(generator.uniform(0, 255, shape), tf.float32)
    for model in models:
        for _ in range(_WARM_UP):
            np.asarray(model(image))
    rounds = [[_time(model, image) for model in models] for _ in range(_ROUNDS)]
    medians = [statistics.median(x) for x in zip(*rounds, strict=True)]
    sys.stdout.write(json.dumps(medians) + "\n")


def _time(model, image):
    """Median milliseconds of at least 6 calls and 0.2 seconds."""
    times = []
    end = time.perf_counter() + _SECONDS
    while len(times) < _LEAST or time.perf_counter() < end:
        start = time.perf_counter()
        np.asarray(model(image))
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


if __name__ == "__main__":
    main(*sys.argv[1:])
