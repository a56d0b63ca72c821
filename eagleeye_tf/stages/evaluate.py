"""Stage: test accuracy and cost of a network, or of a file to ship."""

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf import progress
from eagleeye_tf import quiet
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.deployment import formats
from eagleeye_tf.models import zoo
from eagleeye_tf.pruning import cost as cost_lib
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import devices


def evaluate_model(job, path, description):
    """Test accuracy and cost of a `.keras` file, as JSON."""
    with job.distribution.scope():
        model = zoo.load_file(str(path), job.data.image_shape)
    correct, total = job.test(model, description)
    cost = cost_lib.cost(model)
    return {
        "path": str(path),
        "model_fingerprint": batches_lib.model_fingerprint(model),
        "correct": correct,
        "total": total,
        "macs": cost.macs,
        "params": cost.params,
    }


def evaluate_file(job, path, on_batch=lambda: None):
    """Counts a file's correct test answers: `(correct, total)`.

    LiteRT and ONNX run on all cores of the CPU.

    Args:
        job: a `job.Job`.
        path: see `formats.open_model`.
        on_batch: called without arguments after each batch.
    """
    with quiet.silent_stderr():  # LiteRT tells of its delegate.
        model = formats.open_model(path, devices.cores())
    _require_batches(path, model, job)
    correct = total = 0
    with job.data.naming_unreadable():
        for images, labels in job.data.batches(job.data.test, job.batch_size):
            images = np.asarray(images, np.float32)
            answers = np.asarray(model(images))
            right = answers.argmax(-1) == labels.numpy()
            correct += int((right & np.isfinite(answers).all(-1)).sum())
            total += len(labels)
            on_batch()
    return correct, total


def _require_batches(path, model, job):
    """Raises InputError unless a file takes the batches of a job."""
    shape = getattr(model, "input_shape", (None,))
    sizes = {job.batch_size, job.data.test.size % job.batch_size or shape[0]}
    if shape[0] is not None and sizes != {shape[0]}:
        raise errors.InputError(
            f"{str(path)!r} takes batches of {shape[0]} images alone: give "
            f"--batch_size={shape[0]}, a divisor of the "
            f"{job.data.test.size} test images. Received: "
            f"batch_size={job.batch_size}."
        )


def main():
    job = common.open_job(leaves_results=False)
    path = job.made_path()
    if formats.is_keras(path):
        result = evaluate_model(job, path, "Test")
        correct, total = result["correct"], result["total"]
        size = f"{result['macs']:,} MACs, {result['params']:,} parameters"
    else:
        steps = -(-job.data.test.size // job.batch_size)
        with progress.bar(steps, "Test", "batch") as bar:
            correct, total = evaluate_file(job, path, bar.update)
        size = f"{formats.size(path):,} bytes"
    console.say(
        f"{path}: {correct} of {total} correct, {correct / total:.2%}; {size}"
    )
