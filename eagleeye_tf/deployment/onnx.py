"""ONNX files: convert, and run with ONNX Runtime; both are optional extras."""

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf.deployment import serving


def convert(model, path):
    """Writes a `.onnx` file.

    Args:
        model: `keras.Model` with one input and one output.
        path: file to write; an older one is replaced once it is whole.

    Raises:
        InputError: if the packages for it are missing.
        ExportError: if ONNX has no such operation.
    """
    _package("tf2onnx")
    (spec,) = model.inputs
    # Keras makes of them what the model takes.
    signature = tf.TensorSpec(spec.shape, tf.float32, name="images")
    with files.replacing(path) as temporary:
        try:
            serving.Inference(model).export(
                str(temporary),
                format="onnx",
                verbose=False,
                input_signature=[signature],
            )
            _restore_constants(temporary, model, signature)
        except Exception as error:  # tf2onnx raises all kinds.
            raise errors.ExportError(
                f"ONNX cannot represent the network: {errors.cause(error)}"
            ) from error


def _restore_constants(path, model, signature):
    """Makes constants of what tf2onnx takes for inputs beside the images.

    They are tensors that layers hold without a variable, such as the mean of
    a `Normalization`, in the order in which they are met.
    """
    onnx = _package("onnx")
    traced = tf.function(
        lambda images: model(images, training=False)
    ).get_concrete_function(signature)
    held = [x for x in traced.captured_inputs if x.dtype != tf.resource]
    content = onnx.load(path)
    inputs = content.graph.input
    for entry, value in zip(inputs[1:], held, strict=True):
        constant = onnx.numpy_helper.from_array(value.numpy(), entry.name)
        content.graph.initializer.append(constant)
    del inputs[1:]
    onnx.save(content, path)


class OnnxModel(serving.ServingModel):
    """A `.onnx` file, run by ONNX Runtime.

    Args:
        path: the file.
        num_threads: of the CPU.

    Raises:
        InputError: if ONNX Runtime is missing, or cannot read the file, or it
            has several inputs or outputs.
    """

    def __init__(self, path, num_threads=1):
        runtime = _package("onnxruntime")
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
        inputs = self._session.get_inputs()
        outputs = self._session.get_outputs()
        super().__init__(path, inputs, outputs)
        self._input = inputs[0].name
        # What is open has a name instead of a number.
        self.input_shape = tuple(
            n if isinstance(n, int) else None for n in inputs[0].shape
        )
        self.classes = outputs[0].shape[-1]

    def _serve(self, images):
        images = np.asarray(images, np.float32)
        (outputs,) = self._session.run(None, {self._input: images})
        return outputs


def require():
    """Raises InputError unless the packages for ONNX are installed."""
    for package in ("tf2onnx", "onnxruntime"):
        _package(package)


def _package(package):
    try:
        return __import__(package)
    except ImportError as error:
        raise errors.InputError(
            f"ONNX needs the package {package}: pip install "
            "'.[onnx]', or leave out that format."
        ) from error
