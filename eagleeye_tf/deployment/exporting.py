"""A network -> files to ship, each checked against the Keras model."""

import contextlib
import dataclasses
import io
import pathlib
import shutil

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import examples
from eagleeye_tf import files
from eagleeye_tf import quiet
from eagleeye_tf.deployment import agreement
from eagleeye_tf.deployment import formats as formats_lib
from eagleeye_tf.deployment import saved_model

# int8 has its ranges from so many images; outputs are compared on a few of
# them.
RANGE_IMAGES = 256
_COMPARED_IMAGES = 64


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """A file whose outputs are the Keras model's.

    Attributes:
        format: "saved_model" or a name in `formats.FORMATS`.
        path: `pathlib.Path` of the file, or of a SavedModel's folder.
        bytes: its size.
        difference: largest absolute difference of an output from the Keras
            model's, on the images that were compared.
    """

    format: str
    path: pathlib.Path
    bytes: int
    difference: float


def export(model, directory, images, formats=()):
    """Writes a SavedModel, and files in other formats, and checks them all.

        ee.export(model, "shipped", images, ["litert", "litert_int8"])

    The SavedModel may differ by 1e-4 of the largest output (or of 1 if all
    are smaller), "litert" and "onnx" by 1e-3, "litert_float16" by 1e-2.
    "litert_int8" has only to be finite: how accurate it still is, labelled
    images tell.

    Args:
        model: `keras.Model` with one input and one output (batch, classes).
        directory: folder for `saved_model/` and, by format,
            `model_float32.tflite`, `model_float16.tflite`,
            `model_int8.tflite` and `model.onnx`; older ones are removed
            first.
        images: real inputs, with labels or without: an array, or a
            `tf.data.Dataset`, a Keras `PyDataset` or a list of batches, in
            any order. 256 drawn from all of them, always the same ones, give
            int8 its ranges; outputs are compared on 64 of those.
        formats: "litert", "litert_float16", "litert_int8", "onnx", or
            several of them.

    Returns:
        List of `ExportedFile`, the SavedModel first, then as in `formats`.

    Raises:
        InputError: if there is no such format, its packages are missing, or
            model and images do not fit.
        ExportError: if a format cannot represent the network, or a file does
            not give its outputs; that file is removed, all others are there.
    """
    written, failures = attempt(model, directory, images, formats)
    if failures:
        raise failed(failures)
    return written


def failed(failures):
    """The ExportError that tells of all failures that `attempt` gave."""
    return errors.ExportError(
        f"{' '.join(f'{why}.' for why in failures.values())} All other files "
        f"are there: leave out {', '.join(failures)}."
    )


def attempt(model, directory, images, formats):
    """Exports to all formats that can be had; arguments as for `export`.

    Returns:
        (list of `ExportedFile`, `{format: why there is no such file}`).

    Raises:
        InputError: see `export`.
        ExportError: if not even the SavedModel can be had.
    """
    formats = [formats] if isinstance(formats, str) else formats
    formats_lib.require(formats)
    files.check_path(directory)
    images = examples.some_images(images, RANGE_IMAGES)
    _require_one_input_and_output(model, images.shape)
    some = np.asarray(images[:_COMPARED_IMAGES], np.float32)
    saved = pathlib.Path(directory) / "saved_model"
    saved.parent.mkdir(parents=True, exist_ok=True)
    clear(saved.parent)
    with _no_chatter():
        difference = saved_model.export(model, saved, some)
    written, failures = [_record("saved_model", saved, difference)], {}
    if formats:
        expected = np.asarray(model(some, training=False))
    for name in formats:
        kind = formats_lib.FORMATS[name]
        path = saved.with_name(kind.file)
        try:
            with _no_chatter():
                kind.write(model, saved, path, images)
            file = check(name, path, some, expected, kind.tolerance)
        except errors.ExportError as error:
            path.unlink(missing_ok=True)
            failures[name] = str(error).rstrip(".")
            continue
        written.append(file)
    return written, failures


def clear(directory):
    """Removes what `export` writes to a `pathlib.Path`, in all formats."""
    for name in ("saved_model", "saved_model.tmp"):
        shutil.rmtree(directory / name, ignore_errors=True)
    for kind in formats_lib.FORMATS.values():
        (directory / kind.file).unlink(missing_ok=True)


def check(name, path, images, expected, tolerance):
    """Compares a file with the Keras model: its `ExportedFile`.

    Args:
        name: of the format.
        path: of the file, in any format but SavedModel.
        images: float32 array (examples, …).
        expected: the Keras model's outputs for them.
        tolerance: see `agreement.largest_difference`.

    Raises:
        ExportError: if it does not run, or gives others.
    """
    try:
        with _no_chatter():
            found = np.asarray(formats_lib.open_model(path)(images))
    except Exception as error:  # Runtimes raise classes of their own.
        raise errors.ExportError(
            f"{path} does not run: {errors.cause(error)}"
        ) from error
    difference = agreement.largest_difference(found, expected, tolerance, path)
    return _record(name, path, difference)


def _require_one_input_and_output(model, shape):
    inputs = [tuple(x.shape) for x in getattr(model, "inputs", None) or ()]
    outputs = [tuple(x.shape) for x in getattr(model, "outputs", None) or ()]
    if (
        len(inputs) != 1
        or len(outputs) != 1
        or not tf.TensorShape(inputs[0][1:]).is_compatible_with(shape[1:])
    ):
        raise errors.InputError(
            "A model to export has one input, which takes the images, and one "
            f"output. Received: inputs {inputs}, outputs {outputs}, images of "
            f"shape {shape}."
        )
    if inputs[0][0] is not None:
        raise errors.InputError(
            "A model to export takes batches of any size. Received one for "
            f"{inputs[0][0]} images: build it with keras.Input(shape), without "
            "a batch size."
        )
    examples.require_tensor_output(model)


def _record(name, path, difference):
    return ExportedFile(name, path, formats_lib.size(path), difference)


@contextlib.contextmanager
def _no_chatter():
    """Converters and runtimes write to the terminal what nobody asked for."""
    with quiet.silent_stderr(), contextlib.redirect_stdout(io.StringIO()):
        yield
