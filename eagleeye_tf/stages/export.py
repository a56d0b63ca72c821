"""Stage: exports a network, proves each file right, and measures it."""

import shutil

import numpy as np
from absl import flags

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf import progress
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.deployment import exporting
from eagleeye_tf.deployment import formats
from eagleeye_tf.deployment import stopwatch
from eagleeye_tf.models import zoo
from eagleeye_tf.pruning import cost as cost_lib
from eagleeye_tf.reporting import report
from eagleeye_tf.reporting import tables
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import evaluate
from eagleeye_tf.stages import finetune
from eagleeye_tf.stages import modules

_THREADS = (1, 2)
# Eight bits cost most networks less than a point; a fall of so much (a share
# of the test images) says that this one does not bear them.
_LARGE_FALL = 0.02

_FORMATS = flags.DEFINE_multi_enum(
    "format",
    [],
    sorted(formats.FORMATS),
    "What to write beside the SavedModel and the .keras file; may be given "
    "several times. With any, the whole network is exported, too, and all "
    "files are measured: size, test accuracy, latency of an image on one and "
    "two threads of the CPU.",
)


def require_formats():
    """Raises InputError unless what `--format` needs is installed."""
    formats.require(_FORMATS.value)


def export(job, path):
    """Exports the `.keras` or `.h5` file `path`; returns `export/result.json`.

    What an earlier export left in other formats is removed.

    Raises:
        ExportError: if a file does not give the network's outputs, or does
            not run; one that does not is removed, and the result says why.
            Files in other formats are there, and measured.
    """
    directory = job.workdir / "export"
    record = directory / "result.json"
    require_other_folder(job, path)
    _clear(directory, path)
    model = _load(job, path)
    source = {
        "source": str(path),
        "model_fingerprint": batches_lib.model_fingerprint(model),
    }
    try:
        result, failures = _export(job, path, model, directory)
    except errors.ExportError as error:
        files.write_json(record, {**source, "error": str(error)})
        raise
    result = {**source, **result}
    files.write_json(record, result)
    if failures:
        raise exporting.failed(failures)
    return result


def _export(job, path, model, directory):
    images, _ = job.data.arrays(job.data.calibration)
    images = images[: exporting.RANGE_IMAGES]  # Of all kinds.
    written, failures = _write(job, path, model, directory, images)
    saved = next(file for file in written if file.format == "saved_model")
    result = {"largest_difference": saved.difference}
    if _FORMATS.value:
        networks, whole = {"full": written}, job.trained_path()
        macs = {"full": cost_lib.cost(model).macs}
        if not whole.samefile(path):
            unpruned = _load(job, whole)
            full, others = _write(
                job, whole, unpruned, directory / "full", images
            )
            networks = {"full": full, "pruned": written}
            macs = {
                "full": cost_lib.cost(unpruned).macs,
                "pruned": macs["full"],
            }
            failures = others | failures
        result["files"] = _measured(job, networks)
        result["macs"] = macs
        slower = tables.slower_in_words(result["files"], macs)
        console.say(f"\n{report.files(result['files'])}\n{slower}\n")
        _warn_of_large_falls(result["files"])
        result["failures"] = failures
    return result, failures


def _load(job, path):
    """The network in a `.keras` or `.h5` file.

    Without a distribution, so that the SavedModel does not remember on which
    devices it was trained.
    """
    return zoo.load_file(str(path), job.data.image_shape)


def require_other_folder(job, path=None):
    """Raises InputError if an export would replace the whole network.

    Args:
        job: a `job.Job`.
        path: of the file to export; None if it is yet to be made.
    """
    folder, whole = job.workdir / "export", job.trained_path()
    if path is not None and path.resolve() == whole.resolve():
        folder = folder / "full"  # It is its own copy.
    if folder.resolve() in whole.resolve().parents:
        raise errors.InputError(
            f"{str(whole)!r} lies in a folder that an export replaces: copy "
            "it elsewhere, or choose another --workdir."
        )


def _clear(directory, path):
    """Removes all that an export writes, but for the file to export."""
    exporting.clear(directory)
    shutil.rmtree(directory / "full", ignore_errors=True)
    for name in ("result.json", "model.keras"):
        if (directory / name).resolve() != path.resolve():
            (directory / name).unlink(missing_ok=True)


def _write(job, path, model, directory, images):
    """Writes one network in all formats; returns what `attempt` does.

    Args:
        job: a `job.Job`.
        path: of the file that it comes from.
        model: the network.
        directory: `pathlib.Path` of where to write to.
        images: real inputs.
    """
    names = ("saved_model", "keras", *_FORMATS.value)
    console.say(f"Writing {directory}: {', '.join(names)}")
    copy = directory / "model.keras"
    if path.suffix == ".keras":
        files.copy(path, copy)
    else:
        files.save_model(model, copy)
    some = images[: job.batch_size].astype(np.float32)
    expected = np.asarray(model(some, training=False))
    try:
        written = exporting.check("keras", copy, some, expected, 1e-4)
    except errors.ExportError:
        if not copy.samefile(path):
            copy.unlink()
        raise
    others, failures = exporting.attempt(
        model, directory, images, _FORMATS.value
    )
    return [written, *others], failures


def _measured(job, networks):
    """One record for each file of `{network: [ExportedFile, …]}`."""
    every = [file for written in networks.values() for file in written]
    names = list(dict.fromkeys(file.format for file in every))
    total = len(every) + len(names) * len(_THREADS)
    with progress.bar(total, "Measuring", "measurement") as bar:
        records = []
        for network, written in networks.items():
            for file in written:
                records.append(_record(job, network, file))
                bar.update()
        for name in names:  # All networks in one format side by side.
            alike = [r for r in records if r["format"] == name]
            for threads in _THREADS:
                times = stopwatch.measure(
                    [r["path"] for r in alike],
                    threads,
                    job.data.image_shape,
                    modules=modules.CUSTOM_MODULES.value,
                )
                for record, time in zip(alike, times, strict=True):
                    record["latency_ms"].append(time)
                bar.update()
    return records


def _record(job, network, file):
    """What is known of a file before its latency, as JSON."""
    correct, total = evaluate.evaluate_file(job, file.path)
    return {
        "network": network,
        "format": file.format,
        "path": str(file.path),
        "bytes": file.bytes,
        "difference": file.difference,
        "correct": correct,
        "total": total,
        "latency_ms": [],
    }


def _warn_of_large_falls(records):
    """Says which files answer much worse than their network's `.keras` file."""
    before = {
        r["network"]: r["correct"] / r["total"]
        for r in records
        if r["format"] == "keras"
    }
    for record in records:
        after = record["correct"] / record["total"]
        if before[record["network"]] - after > _LARGE_FALL:
            console.say(
                f"WARNING: {record['path']} has a test accuracy of "
                f"{after:.2%}, the Keras model one of "
                f"{before[record['network']]:.2%}: ship another format."
            )


def main():
    require_formats()
    job = common.open_job()
    path = finetune.finished_best(job) or job.made_path()
    result = export(job, path)
    console.say(
        f"Exported {path} as {job.workdir / 'export' / 'saved_model'}; their "
        f"outputs differ by {result['largest_difference']:.2g} at most."
    )
