"""The formats a network can be shipped in: how to write and to open each."""

import dataclasses
import math
import pathlib

import keras
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf.deployment import litert
from eagleeye_tf.deployment import onnx
from eagleeye_tf.deployment import saved_model


@dataclasses.dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        file: name of the file or folder.
        write: function of (model, folder of its SavedModel, path, images).
        tolerance: see `agreement.largest_difference`.
        require: function that raises InputError unless packages for it are
            installed.
    """

    file: str
    write: object
    tolerance: float
    require: object = lambda: None


def _litert(precision, tolerance):
    def write(_, saved, path, images):
        litert.convert(saved, path, precision, images)

    return Format(f"model_{precision}.tflite", write, tolerance)


# All but the SavedModel and `.keras`, which are always there.
FORMATS = {
    "litert": _litert("float32", 1e-3),
    "litert_float16": _litert("float16", 1e-2),
    # How far 8 bits may be off depends on the network: accuracy tells.
    "litert_int8": _litert("int8", math.inf),
    "onnx": Format(
        "model.onnx",
        lambda model, saved, path, images: onnx.convert(model, path),
        1e-3,
        onnx.require,
    ),
}


def require(names):
    """Raises InputError unless files of these formats can be written and run.

    Args:
        names: of formats, in `FORMATS`.
    """
    for name in names:
        if name not in FORMATS:
            raise errors.InputError(
                f"Formats are {', '.join(FORMATS)}. Received: {name!r}."
            )
        FORMATS[name].require()


def is_keras(path):
    """Whether a path names a file of Keras, and not one that only serves."""
    path = pathlib.Path(path)
    return not path.is_dir() and path.suffix not in (".tflite", ".onnx")


def open_model(path, num_threads=1):
    """A model of any format, called with a batch of float32 images.

    Args:
        path: a `.keras`, `.tflite` or `.onnx` file, or a SavedModel folder.
        num_threads: of the CPU; TensorFlow's own are not its affair.

    Raises:
        InputError: if there is no such model.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return saved_model.ServedModel(path)
    match path.suffix:
        case ".tflite":
            return litert.LiteRTModel(path, num_threads)
        case ".onnx":
            return onnx.OnnxModel(path, num_threads)
        case ".keras":
            model = keras.models.load_model(path, compile=False)
            (image,) = model.inputs
            return tf.function(
                lambda images: model(images, training=False),
                input_signature=[tf.TensorSpec(image.shape, tf.float32)],
            )
    raise errors.InputError(
        "A model is a .keras, .tflite or .onnx file, or a SavedModel folder. "
        f"Received: {str(path)!r}."
    )


def size(path):
    """Bytes of a file, or of all files in a folder."""
    path = pathlib.Path(path)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
