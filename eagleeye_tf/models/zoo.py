"""A network by name, or from a user's file."""

import os
import types

import keras

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf.models import mobilenet
from eagleeye_tf.models import resnet
from eagleeye_tf.models import vgg

NETWORKS = {
    "mobilenet_v1": mobilenet.mobilenet_v1,
    "mobilenet_v2": mobilenet.mobilenet_v2,
    "resnet20": resnet.resnet20,
    "resnet50": resnet.resnet50,
    "resnet56": resnet.resnet56,
    "vgg16_bn": vgg.vgg16_bn,
}


def is_file(name):
    """Whether `name` means a model file rather than a network to build.

    A file has a suffix or a separator, or is a SavedModel: another folder that
    happens to be called "resnet20" does not hide that network.
    """
    suffixes = ".keras", ".h5", ".tflite", ".onnx"
    is_saved_model = os.path.exists(os.path.join(name, "saved_model.pb"))
    return name.endswith(suffixes) or os.sep in name or is_saved_model


def check_name(name):
    """Raises InputError unless `build` knows a network of that name."""
    application = getattr(keras.applications, name, None)
    if name not in NETWORKS and not isinstance(application, types.FunctionType):
        raise errors.InputError(
            f"There is no model {name!r}: give the path of a .keras file, "
            f"one of {', '.join(NETWORKS)}, or a network of "
            "keras.applications such as MobileNet or ResNet50."
        )


def load_file(path, image_shape=None):
    """Loads a user's model; code inside the file is never run.

    Args:
        path: a `.keras` or `.h5` file. A model for batches of one size is
            opened to those of any.
        image_shape: (height, width, channels) for a model that takes images
            of any size; others keep theirs.

    Raises:
        InputError: if there is no such file, or Keras cannot read it.
    """
    if not os.path.exists(path):
        raise errors.InputError(f"There is no model file {path!r}.")
    if os.path.isdir(path):
        raise errors.InputError(
            f"{path!r} is a folder; a SavedModel does not say how its layers "
            "are connected. Give the .keras file that it was made from."
        )
    if path.endswith(".weights.h5"):
        raise errors.InputError(
            f"{path!r} holds weights without the model: give the .keras file, "
            "or the weights as --weights to a model given by name."
        )
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # A foreign file can fail in any way.
        raise errors.InputError(
            f"Keras cannot load {path!r} ({type(error).__name__}: "
            f"{errors.cause(error)}). Custom layers must be registered with "
            "keras.saving.register_keras_serializable and imported first."
        ) from error
    # A Sequential that was never built has no inputs.
    inputs = getattr(model, "inputs", None)
    if not inputs or len(inputs) > 1:
        return model
    batch, *shape = inputs[0].shape
    if image_shape and None in shape:
        return _with_image_shape(model, image_shape)
    if batch is None:
        return model
    try:
        return _with_image_shape(model, shape)
    except ValueError as error:
        raise errors.InputError(
            f"{path!r} takes batches of {batch} images alone, and cannot be "
            f"opened to those of any size ({errors.cause(error)}): build it "
            "with keras.Input(shape), without a batch size."
        ) from error


def build(name, image_shape, num_classes, width=1.0, weights=None):
    """Builds a network that takes raw pixels in [0, 255].

    Args:
        name: one of `NETWORKS`, or a class of `keras.applications`.
        image_shape: (height, width, channels).
        num_classes: number of outputs.
        width: width multiplier of the channels, > 0; only for `NETWORKS`.
        weights: file of weights for the network, or, for
            `keras.applications`, "imagenet"; None for fresh ones.

    Returns:
        A `keras.Model`.

    Raises:
        InputError: for an unknown name, or arguments that do not go with it.
    """
    if name in NETWORKS:
        if width <= 0:
            raise errors.InputError(
                f"A width multiplier is above 0. Received: {width}."
            )
        model = NETWORKS[name](image_shape, num_classes, width)
        if weights:
            _load_weights(model, weights)
        return model
    if width != 1.0:
        raise errors.InputError(
            f"width goes with {', '.join(NETWORKS)} only. Received: "
            f"width={width} for {name!r}."
        )
    return _application(name, image_shape, num_classes, weights)


def _application(name, image_shape, num_classes, weights):
    """A network of `keras.applications` behind its own `preprocess_input`."""
    check_name(name)
    constructor = getattr(keras.applications, name)
    image = keras.Input(image_shape, name="image")
    local = weights not in (None, "imagenet")
    try:
        model = constructor(
            input_tensor=_preprocess(name)(image),
            weights=None if local else weights,
            classes=num_classes,
        )
    except Exception as error:  # Downloads fail with bare exceptions.
        raise errors.InputError(
            f"keras.applications.{name} cannot be built for images "
            f"{tuple(image_shape)}, {num_classes} classes and weights "
            f"{weights!r}: {errors.cause(error)}"
        ) from error
    model = keras.Model(image, model.outputs[0], name=model.name)
    if local:
        _load_weights(model, weights)
    return model


def _preprocess(name):
    """The `preprocess_input` that goes with a network."""
    modules = [
        module
        for module in vars(keras.applications).values()
        if isinstance(module, types.ModuleType)
        and hasattr(module, "preprocess_input")
    ]
    for module in modules:
        if hasattr(module, name):
            return module.preprocess_input
    if name.startswith("MobileNetV3"):  # Not listed in its own module.
        return keras.applications.mobilenet_v3.preprocess_input
    raise errors.InputError(
        f"keras.applications.{name} has no preprocess_input: save it as a "
        ".keras file that takes pixels in [0, 255] and give its path."
    )


def weights_digest(path):
    """SHA-256 of a file of weights, as hex.

    Raises:
        InputError: if there is no such file.
    """
    _require_weights_file(path)
    return files.digest(path)


def _require_weights_file(path):
    if not os.path.isfile(path):
        raise errors.InputError(f"There is no weights file {path!r}.")


def _load_weights(model, path):
    _require_weights_file(path)
    try:
        if path.endswith(".keras"):
            model.set_weights(load_file(path).get_weights())
        else:
            model.load_weights(path)
    except errors.InputError:
        raise
    except Exception as error:  # A foreign file can fail in any way.
        raise errors.InputError(
            f"{path!r} holds no weights that fit {model.name!r} "
            f"({type(error).__name__}: {errors.cause(error)})."
        ) from error


def _with_image_shape(model, image_shape):
    """The same model for images of one size, in batches of any.

    The one makes its MACs known; the other lets it be exported, and meet a
    data set's last images.
    """
    config = model.get_config()
    for entry in config["layers"]:
        entry.pop("build_config", None)
        if entry["class_name"] == "InputLayer":
            entry["config"]["batch_shape"] = [None, *image_shape]
    fixed = type(model).from_config(config)
    fixed.set_weights(model.get_weights())
    return fixed
