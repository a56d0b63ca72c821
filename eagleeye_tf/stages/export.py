"""Stage: exports a network, proves each file right, and measures it."""

import contextlib

import numpy as np
from absl import flags

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf import progress
from eagleeye_tf import quiet
from eagleeye_tf.deployment import formats
from eagleeye_tf.deployment import latency
from eagleeye_tf.deployment import saved_model
from eagleeye_tf.models import zoo
from eagleeye_tf.reporting import report
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import finetune

_INT8_IMAGES = 256
_THREADS = (1, 2)

_FORMATS = flags.DEFINE_multi_enum(
    "format",
    [],
    sorted(formats.FORMATS),
    "What to write beside the SavedModel and the .keras file; may be given "
    "several times. With any, the whole network is exported, too, and all "
    "files are measured: size, test accuracy, latency of an image on one and "
    "two threads of the CPU.",
)


def export(job, path):
    """Exports the `.keras` file `path`; returns `export/result.json`.

    The model is loaded without a distribution, so that the SavedModel does
    not remember on which devices it was trained.
    """
    directory = job.workdir / "export"
    images, _ = job.data.arrays(job.data.calibration)
    written, difference = _write(job, path, directory, images)
    files.copy(path, directory / "model.keras")
    result = {"source": str(path), "largest_difference": difference}
    if _FORMATS.value:
        whole, folder = job.trained_path(), directory / "full"
        if whole.samefile(path):
            networks = {"full": written}
        else:
            full, _ = _write(job, whole, folder, images)
            networks = {"full": full, "pruned": written}
        result["files"] = _measured(job, networks, images)
    files.write_json(directory / "result.json", result)
    return result


def _write(job, path, directory, images):
    """Writes one network in all formats.

    Returns:
        (`{format: path}`, largest difference of the SavedModel's outputs).
    """
    directory.mkdir(parents=True, exist_ok=True)
    model = zoo.load_file(str(path), job.data.image_shape)
    saved = directory / "saved_model"
    difference = saved_model.export(model, saved, images[: job.batch_size])
    written = {"keras": path, "saved_model": saved}
    for name in _FORMATS.value:
        kind = formats.FORMATS[name]
        console.say(f"Writing {directory / kind.file}")
        with quiet.silent_stderr(), contextlib.redirect_stdout(None):
            kind.write(
                model, saved, directory / kind.file, images[:_INT8_IMAGES]
            )
        written[name] = directory / kind.file
    return written, difference


def _measured(job, networks, images):
    """One record for each file, of whole and pruned network."""
    names = list(networks["full"])
    total = len(names) * (len(networks) + len(_THREADS))
    bar = progress.bar(total, "Measuring", "measurement")
    records = []
    some = images[: job.batch_size].astype(np.float32)
    with bar:
        for network, written in networks.items():
            expected = np.asarray(formats.open_model(written["keras"])(some))
            for name, path in written.items():
                record = _measure(job, name, path, some, expected)
                records.append({"network": network, **record})
                bar.update()
        for name in names:  # All networks in one format side by side.
            alike = [r for r in records if r["format"] == name]
            for threads in _THREADS:
                times = latency.measure(
                    [r["path"] for r in alike], threads, job.data.image_shape
                )
                for record, time in zip(alike, times, strict=True):
                    record["latency_ms"].append(time)
                bar.update()
    return records


def _measure(job, name, path, images, expected):
    """Size, agreement and accuracy of one file."""
    with quiet.silent_stderr():  # LiteRT tells of its delegate.
        model = formats.open_model(path, num_threads=2)
        answers = np.asarray(model(images))
    difference = float(np.abs(answers - expected).max())
    kind = formats.FORMATS.get(name)
    tolerance = kind.tolerance if kind else None
    largest = max(1.0, float(np.abs(expected).max()))
    if tolerance is not None and not difference <= tolerance * largest:
        raise errors.ExportError(
            f"The outputs of {path} differ from the Keras model's by "
            f"{difference:.3g}, more than {tolerance} of the largest output."
        )
    correct = total = 0
    for some, labels in job.data.batches(job.data.test, job.batch_size):
        answers = np.asarray(model(np.asarray(some, np.float32))).argmax(-1)
        correct += int((answers == labels.numpy()).sum())
        total += len(labels)
    return {
        "format": name,
        "path": str(path),
        "bytes": formats.size(path),
        "difference": difference,
        "correct": correct,
        "total": total,
        "latency_ms": [],
    }


def main():
    job = common.open_job()
    path = finetune.finished_best(job) or job.trained_path()
    result = export(job, path)
    if "files" in result:
        console.say(f"\n{report.files(result['files'])}\n")
    console.say(
        f"Exported {path} as {job.workdir / 'export' / 'saved_model'}; their "
        f"outputs differ by {result['largest_difference']:.2g} at most."
    )
