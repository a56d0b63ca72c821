"""What all models that only serve have in common, whatever their file."""

import abc

import keras

from eagleeye_tf import errors


class Inference(keras.Model):
    """A model to export, which runs as in inference.

    Without it that would be left to each layer, and Keras' layers of
    augmentation work unless they are told not to.

    Args:
        model: a `keras.Model` with one input.
    """

    def __init__(self, model):
        super().__init__(name=model.name)
        self.network = model
        self.built = True

    def call(self, images):
        return self.network(images, training=False)


class ServingModel(abc.ABC):
    """A file that answers, called like a Keras model.

    Attributes:
        input_shape: (batch, …), None for what is open.
        classes: number of outputs per image.

    Args:
        path: the file.
        inputs: what the file takes, one entry each.
        outputs: what it gives.

    Raises:
        InputError: unless the model has one input and one output.
    """

    def __init__(self, path, inputs, outputs):
        if len(inputs) != 1 or len(outputs) != 1:
            raise errors.InputError(
                f"{str(path)!r} needs one input and one output. Received: "
                f"{len(inputs)} and {len(outputs)}."
            )

    def __call__(self, images, training=False):
        """Outputs (batch, classes) for a batch of images.

        Raises:
            ValueError: if it is to run in training mode, which it has not.
        """
        if training:
            raise ValueError(
                f"{type(self).__name__} only serves. Received: training."
            )
        return self._serve(images)

    @abc.abstractmethod
    def _serve(self, images):
        """Outputs for a batch of float32 images."""
