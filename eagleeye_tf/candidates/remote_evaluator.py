"""Evaluates candidates on workers of a cluster.

Weights travel, images do not: a worker has decoded its own images into files
of its own folder, in which its process stands, and the functions that the
chief sends read them from there by their relative names.
"""

import json
import pathlib
import threading

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import examples
from eagleeye_tf import files
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import scoring
from eagleeye_tf.candidates.open_evaluator import TracedEvaluator

_IDENTITY = "identity.json"
_LABEL_BYTES = 8


def store(folder, name, calibration, sub_validation):
    """Writes a worker's images to its folder.

    Args:
        folder: where the worker's process will stand.
        name: what to call the worker in a message.
        calibration: `(images, labels)`.
        sub_validation: `(images, labels)`.
    """
    calibration = examples.mixed(*calibration)  # As a search does it.
    sub_validation = examples.mixed(*sub_validation)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Who reads the images while they change must not take them for others.
    (folder / _IDENTITY).unlink(missing_ok=True)
    parts = {"calibration": calibration, "sub_validation": sub_validation}
    for part, (images, labels) in parts.items():
        # A worker of that folder that still runs keeps its own file.
        with files.replacing(folder / part) as new, new.open("wb") as file:
            for image, label in zip(images, labels, strict=True):
                file.write(np.ascontiguousarray(image).tobytes())
                file.write(np.int64(label).tobytes())
    identity = {"name": name, "images": _identity(calibration, sub_validation)}
    files.write_json(folder / _IDENTITY, identity)


def _identity(calibration, sub_validation):
    return {
        "calibration set": batches_lib.fingerprint(*calibration),
        "sub-validation set": batches_lib.fingerprint(*sub_validation),
    }


class RemoteEvaluator(TracedEvaluator):
    """Candidates run on the workers of a cluster.

    Args:
        open_network: an `OpenNetwork` without obstacle.
        cluster: a `cluster.Cluster`.
        *arguments: as for `Evaluator`. The images only say what the workers'
            own must be.
    """

    def __init__(self, open_network, cluster, *arguments, **options):
        super().__init__(open_network, *arguments, **options)
        self._cluster = cluster
        self._identity = _identity(self._calibration, self._sub_validation)
        self._functions = {}
        self._tracing = threading.Lock()

    def advance(self, trials, rungs, vanilla):
        def work(trial):
            (answers,) = self._advance([trial], rungs, vanilla)
            return answers

        return self._cluster.map(work, trials)

    def _calibrate(self, trials, part):
        (trial,) = trials
        weights, counts = self._network(trial)
        correct, observed = self._call("calibration", part, counts, weights)
        for batch in range(len(correct)):
            adaptive_bn.add_observed(
                trial.moments,
                tf.nest.map_structure(lambda x, b=batch: x[b], observed),
            )
        return [int(correct.sum())]

    def _count(self, trials, part, adapted):
        (trial,) = trials
        weights, counts = self._network(trial, adapted)
        correct, _ = self._call("sub_validation", part, counts, weights)
        return [int(correct.sum())]

    def _call(self, name, part, counts, weights):
        if part.start >= part.stop:
            return np.zeros(1, int), {}
        bounds = tf.constant([part.start, part.stop], tf.int64)
        identity, *found = self._cluster.call(
            self._function(name), (bounds, tf.constant(counts), *weights)
        )
        self._check(json.loads(identity))
        return found

    def _check(self, identity):
        for what, expected in self._identity.items():
            if identity["images"][what] != expected:
                raise errors.InputError(
                    f"Worker {identity['name']} has another {what} than the "
                    "chief: start both with the same flags and the same data."
                )

    def _function(self, name):
        """The function for a part of the images; traced once connected."""
        with self._tracing:
            if name not in self._functions:
                adapting = name == "calibration"
                self._functions[name] = self._trace(name, adapting)
            return self._functions[name]

    def _trace(self, name, adapting):
        images, _ = self._sub_validation
        shape, dtype = images.shape[1:], tf.as_dtype(images.dtype)
        candidate = [self._open.count_spec, *self._open.weight_specs]

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, *shape), dtype),
                tf.TensorSpec((None,), tf.int64),
                *candidate,
            ]
        )
        def step(images, labels, counts, *weights):
            (answers,), observed = self._open.compute(
                tf.cast(images, tf.float32), weights, counts, adapting
            )
            return scoring.hits(answers, labels), observed

        returned = tf.nest.map_structure(
            lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype),
            step.get_concrete_function().structured_outputs,
        )
        bounds_spec = tf.TensorSpec((2,), tf.int64)

        @tf.function(input_signature=[bounds_spec, *candidate])
        def run(bounds, counts, *weights):
            self.traces += 1

            def of_batch(start):
                stop = tf.minimum(start + self._batch_size, bounds[1])
                examples = _read(name, start, stop, shape, dtype)
                return step(*examples, counts, *weights)

            starts = tf.range(bounds[0], bounds[1], self._batch_size)
            found = tf.map_fn(
                of_batch,
                starts,
                parallel_iterations=1,  # One batch at a time in memory.
                fn_output_signature=returned,
            )
            return tf.io.read_file(_IDENTITY), *found

        return run


def _read(path, start, stop, shape, dtype):
    """Some examples of a file that `store` wrote: (images, labels)."""
    size = int(np.prod(shape)) * dtype.size + _LABEL_BYTES
    records = tf.data.FixedLengthRecordDataset(
        path, size, header_bytes=start * size
    )
    records = records.take(stop - start).batch(stop - start)
    raw = tf.io.decode_raw(records.get_single_element(), tf.uint8)
    images = raw[:, :-_LABEL_BYTES]
    if dtype.size > 1:
        images = tf.reshape(images, (stop - start, -1, dtype.size))
        images = tf.bitcast(images, dtype)
    labels = tf.bitcast(raw[:, -_LABEL_BYTES:], tf.int64)
    # Fails if the file holds fewer examples.
    return tf.reshape(images, (stop - start, *shape)), labels
