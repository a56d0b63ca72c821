"""What images a user's model takes, and whether its classes are the data's."""

import os

from eagleeye_tf import errors
from eagleeye_tf import examples
from eagleeye_tf import quiet
from eagleeye_tf.deployment import formats
from eagleeye_tf.models import zoo
from eagleeye_tf.pruning import network


def image_shape(path, source, size):
    """Shape (height, width, channels) of the images that a model takes.

    Args:
        path: see `formats.open_model`; or an `.h5` file.
        source: the `source.Source` of its images.
        size: height and width that the user asks for; None for the model's.

    Raises:
        InputError: if the model has several inputs or outputs, other classes
            than the source, or another image size; or if it takes any size
            and none is given.
    """
    inputs, classes = _inputs_and_classes(path)
    shape = inputs[0][1:]
    if len(inputs) != 1 or len(shape) != 3:
        raise errors.InputError(
            "The programs take models with one input (batch, height, "
            f"width, channels). {path!r} has inputs {inputs}."
        )
    if classes == 1:
        raise errors.InputError(
            f"The programs take models with one output for each class. "
            f"{path!r} has a single one: for two classes that is a Dense(2)."
        )
    if classes != len(source.class_names):
        raise errors.InputError(
            f"{path!r} has {classes} outputs, but "
            f"{source.name!r} has {len(source.class_names)} classes: "
            "give the data set that the model was trained for."
        )
    given = (size or shape[0], size or shape[1], shape[2])
    if None in given:
        raise errors.InputError(
            f"{path!r} takes images of any size: say which with --image_size."
        )
    if any(a not in (None, b) for a, b in zip(shape, given, strict=True)):
        raise errors.InputError(
            f"{path!r} takes images of shape {shape}. Received: "
            f"--image_size={size}."
        )
    return given


def _inputs_and_classes(path):
    """Input shapes and number of classes of a model of any format."""
    if os.path.exists(path) and not formats.is_keras(path):
        with quiet.silent_stderr():  # LiteRT tells of its delegate.
            served = formats.open_model(path)
        return [served.input_shape], served.classes
    model = network.as_functional(zoo.load_file(path))
    shapes = [tuple(x.shape) for x in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise errors.InputError(
            "The programs take models with one output (batch, classes). "
            f"{path!r} has outputs {shapes}."
        )
    examples.require_tensor_output(model, path)
    return [tuple(x.shape) for x in model.inputs], shapes[0][1]
