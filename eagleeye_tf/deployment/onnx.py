"""ONNX files: convert, and run with ONNX Runtime; both are optional extras."""

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import files


def convert(model, path):
    """Writes a `.onnx` file.

    Args:
        model: `keras.Model` with one input and one output.
        path: file to write; an older one is replaced once it is whole.

    Raises:
        InputError: if the packages for it are missing.
        ExportError: if ONNX has no such operation.
    """
    _require("tf2onnx")
    (spec,) = model.inputs
    signature = tf.TensorSpec(spec.shape, spec.dtype, name="images")
    with files.replacing(path) as temporary:
        try:
            model.export(
                str(temporary),
                format="onnx",
                verbose=False,
                input_signature=[signature],
            )
        except Exception as error:  # tf2onnx raises all kinds.
            raise errors.ExportError(
                f"ONNX cannot represent the network: {errors.cause(error)}"
            ) from error


class OnnxModel:
    """A `.onnx` file, called like a Keras model.

    Args:
        path: the file.
        num_threads: of the CPU.

    Raises:
        InputError: if ONNX Runtime is missing, or cannot read the file.
    """

    def __init__(self, path, num_threads=1):
        runtime = _require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        try:
            self._session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # Classes of a private module.
            raise errors.InputError(
                f"{str(path)!r} is not an ONNX model: {errors.cause(error)}"
            ) from error
        (first,) = self._session.get_inputs()
        self._input = first.name

    def __call__(self, images, training=False):
        """Outputs (batch, classes) for a batch of images, as an array."""
        if training:
            raise ValueError("An ONNX model only serves. Received: training.")
        images = np.asarray(images, np.float32)
        (outputs,) = self._session.run(None, {self._input: images})
        return outputs


def _require(package):
    try:
        return __import__(package)
    except ImportError as error:
        raise errors.InputError(
            f"ONNX needs the package {package}: pip install "
            "'eagleeye_tf[onnx]', or leave out that format."
        ) from error
