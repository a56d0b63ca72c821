"""SavedModel: export, check, and use without Keras."""

import pathlib
import shutil

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf.deployment import agreement

_SIGNATURE = "serving_default"


class ServedModel:
    """The serving signature of a SavedModel, called like a Keras model.

    Attributes:
        input_shape: (batch, …), None for what is open.
        classes: number of outputs per image.

    Raises:
        InputError: if `path` holds no SavedModel with one input and output.
    """

    def __init__(self, path):
        try:
            self._loaded = tf.saved_model.load(str(path))
        except (OSError, ValueError) as error:
            raise errors.InputError(
                f"{str(path)!r} is not a SavedModel: {error}"
            ) from error
        signature = self._loaded.signatures.get(_SIGNATURE)
        inputs = signature.structured_input_signature[1] if signature else {}
        if len(inputs) != 1:
            raise errors.InputError(
                f"{str(path)!r} needs a signature {_SIGNATURE!r} with one "
                f"input. Received inputs: {sorted(inputs)}."
            )
        ((self._input, spec),) = inputs.items()
        self.input_shape = tuple(spec.shape)
        (output,) = signature.structured_outputs.values()
        self.classes = output.shape[-1]
        self._serve = signature

    def __call__(self, images, training=False):
        """Outputs (batch, classes) for a batch of images."""
        if training:
            raise ValueError("A SavedModel only serves. Received: training.")
        (output,) = self._serve(**{self._input: images}).values()
        return output


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
    model.export(str(temporary), format="tf_saved_model", verbose=False)
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
