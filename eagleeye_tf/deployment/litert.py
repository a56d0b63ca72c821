"""LiteRT (formerly TensorFlow Lite): convert, and run on the CPU.

Networks run on XNNPACK, which LiteRT uses by default.
"""

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf.deployment import serving

PRECISIONS = ("float32", "float16", "int8")


def convert(saved_model, path, precision, images):
    """Writes a `.tflite` file.

    Args:
        saved_model: folder of a SavedModel with one input and output.
        path: file to write; an older one is replaced once it is whole.
        precision: one of `PRECISIONS`. "float16" are weights alone, which
            LiteRT computes with in float32; "int8" are weights and
            activations, with float32 inputs and outputs.
        images: array (examples, …), whose activations tell int8 its ranges.

    Raises:
        ExportError: if LiteRT has no such operation.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.representative_dataset = lambda: (
            [np.asarray(image[np.newaxis], np.float32)] for image in images
        )
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        ]
    try:
        content = converter.convert()
    except Exception as error:  # The converter raises classes of its own.
        raise errors.ExportError(
            f"LiteRT cannot represent the network in {precision}: "
            f"{errors.cause(error)}"
        ) from error
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)


class LiteRTModel(serving.ServingModel):
    """A `.tflite` file, run by LiteRT.

    Args:
        path: the file.
        num_threads: of the CPU.

    Raises:
        InputError: if it is not such a file, or has several inputs or outputs.
    """

    def __init__(self, path, num_threads=1):
        try:
            self._interpreter = Interpreter(
                model_path=str(path), num_threads=num_threads
            )
        except (ValueError, OSError) as error:
            raise errors.InputError(
                f"{str(path)!r} is not a LiteRT model: {errors.cause(error)}"
            ) from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        super().__init__(path, inputs, outputs)
        if inputs[0]["dtype"] != np.float32:
            raise errors.InputError(
                f"{str(path)!r} takes images of type "
                f"{np.dtype(inputs[0]['dtype']).name}; here they are float32. "
                "Convert the network with float inputs."
            )
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        # It is given the size of each batch, whatever the file says.
        sizes = inputs[0]["shape_signature"][1:]
        self.input_shape = None, *(None if n < 0 else int(n) for n in sizes)
        self.classes = int(outputs[0]["shape_signature"][-1])
        self._batch = None

    def _serve(self, images):
        images = np.asarray(images, np.float32)
        if len(images) != self._batch:
            self._batch = len(images)
            self._interpreter.resize_tensor_input(self._input, images.shape)
            self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(self._input, images)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)
