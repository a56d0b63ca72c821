"""The few layers that all networks of the zoo are made of."""

import keras

_BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}


def image_input(image_shape):
    """Raw pixels in [0, 255]; returns `(input, scaled to [-1, 1])`."""
    image = keras.Input(image_shape, name="image")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")
    return image, scaled(image)


def scaled_width(channels, width):
    """`channels` times a width multiplier, at least 1."""
    return max(1, round(channels * width))


def conv_bn(x, filters, kernel, name, strides=1, activation="relu"):
    """Convolution without bias, BN and, unless None, an activation."""
    x = keras.layers.Conv2D(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return batch_norm(x, name, activation)


def depthwise_bn(x, name, strides=1, activation="relu"):
    """3 × 3 depthwise convolution without bias, BN, activation."""
    x = keras.layers.DepthwiseConv2D(
        3,
        strides,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=name,
    )(x)
    return batch_norm(x, name, activation)


def batch_norm(x, name, activation="relu"):
    """BN and, unless None, an activation, named after layer `name`."""
    x = keras.layers.BatchNormalization(name=f"{name}_bn", **_BATCH_NORM)(x)
    if activation is None:
        return x
    return keras.layers.Activation(activation, name=f"{name}_{activation}")(x)


def classifier(image, x, num_classes, name):
    """Global average pooling and logits; returns the `keras.Model`."""
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = keras.layers.Dense(num_classes, name="logits")(x)
    return keras.Model(image, logits, name=name)
