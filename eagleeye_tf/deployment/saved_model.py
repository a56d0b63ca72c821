"""SavedModel: export, check, and use without Keras."""

import pathlib
import shutil

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf.deployment import agreement
from eagleeye_tf.deployment import serving

_SIGNATURE = "serving_default"


class ServedModel(serving.ServingModel):
    """The serving signature of a SavedModel.

    Args:
        path: the folder.

    Raises:
        InputError: if it is no SavedModel, has no such signature, or that has
            several inputs or outputs, or an input of unknown rank.
    """

    def __init__(self, path):
        try:
            self._loaded = tf.saved_model.load(str(path))
        except (OSError, ValueError) as error:
            raise errors.InputError(
                f"{str(path)!r} is not a SavedModel: {error}"
            ) from error
        signature = self._loaded.signatures.get(_SIGNATURE)
        if signature is None:
            raise errors.InputError(
                f"{str(path)!r} needs a signature {_SIGNATURE!r}. Received: "
                f"{sorted(self._loaded.signatures)}."
            )
        inputs = signature.structured_input_signature[1]
        outputs = signature.structured_outputs
        super().__init__(path, inputs, outputs)
        ((self._input, image),) = inputs.items()
        ((self._output, answer),) = outputs.items()
        if image.shape.rank is None or answer.shape.rank is None:
            raise errors.InputError(
                f"{str(path)!r} needs a signature {_SIGNATURE!r} of known "
                f"ranks. Received: {image.shape} and {answer.shape}."
            )
        self.input_shape = tuple(image.shape)
        self.classes = answer.shape[-1]
        self._signature = signature

    def _serve(self, images):
        return self._signature(**{self._input: images})[self._output]


def write(model, path):
    """Writes a SavedModel that runs as in inference, unchecked.

    Args:
        model: `keras.Model` with one input.
        path: folder that is not there yet.
    """
    (image,) = model.inputs
    serving.Inference(model).export(
        str(path),
        format="tf_saved_model",
        verbose=False,
        # Keras makes of them what the model takes.
        input_signature=[tf.TensorSpec(image.shape, tf.float32, image.name)],
    )


def export(model, path, images, tolerance=1e-4):
    """Writes a SavedModel and proves that it gives the model's outputs.

    Args:
        model: `keras.Model` with one input and one output.
        path: folder to write; replaced if it exists.
        images: array (examples, …), real inputs to compare on.
        tolerance: largest difference allowed, as a share of the largest
            output.

    Returns:
        The largest absolute difference of any output.

    Raises:
        ExportError: if the outputs differ by more than the tolerance; what
            was written is removed.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(path.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    write(model, temporary)
    images = tf.cast(images, tf.float32)
    expected = np.asarray(model(images, training=False))
    served = np.asarray(ServedModel(temporary)(images))
    try:
        difference = agreement.largest_difference(
            served, expected, tolerance, "the SavedModel"
        )
    except errors.ExportError:
        shutil.rmtree(temporary)
        raise
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)
    return difference
