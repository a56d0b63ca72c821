"""ResNets for small images (He et al. 2016)."""

import keras
from keras import ops

from eagleeye_tf.models import blocks


def resnet20(image_shape, num_classes, width=1.0):
    """Basic blocks, 3 per stage, zero-padded shortcuts (section 4.2)."""
    return _basic_resnet(image_shape, num_classes, width, 3, "resnet20")


def resnet56(image_shape, num_classes, width=1.0):
    """Basic blocks, 9 per stage, zero-padded shortcuts (section 4.2)."""
    return _basic_resnet(image_shape, num_classes, width, 9, "resnet56")


def resnet50(image_shape, num_classes, width=1.0):
    """Bottleneck blocks, projection shortcuts, a 3 × 3 stem of stride 1."""
    image, x = blocks.image_input(image_shape)
    x = blocks.conv_bn(x, blocks.scaled_width(64, width), 3, "conv")
    for stage, repetitions in enumerate((3, 4, 6, 3), start=1):
        filters = blocks.scaled_width(32 * 2**stage, width)
        for block in range(1, repetitions + 1):
            strides = 2 if block == 1 and stage > 1 else 1
            name = f"stage{stage}_block{block}"
            x = _bottleneck(x, filters, strides, block == 1, name)
    return blocks.classifier(image, x, num_classes, "resnet50")


def _basic_resnet(image_shape, num_classes, width, repetitions, name):
    image, x = blocks.image_input(image_shape)
    x = blocks.conv_bn(x, blocks.scaled_width(16, width), 3, "conv")
    for stage in (1, 2, 3):
        filters = blocks.scaled_width(8 * 2**stage, width)
        for block in range(1, repetitions + 1):
            strides = 2 if block == 1 and stage > 1 else 1
            x = _basic(x, filters, strides, f"stage{stage}_block{block}")
    return blocks.classifier(image, x, num_classes, name)


def _basic(x, filters, strides, name):
    shortcut = x
    if strides != 1:
        shortcut = keras.layers.MaxPooling2D(
            1, strides, name=f"{name}_subsample"
        )(x)
    extra = filters - x.shape[-1]
    if extra:
        shortcut = ops.pad(
            shortcut,
            [[0, 0], [0, 0], [0, 0], [extra // 2, extra - extra // 2]],
        )
    x = blocks.conv_bn(x, filters, 3, f"{name}_conv1", strides)
    x = blocks.conv_bn(x, filters, 3, f"{name}_conv2", activation=None)
    return _join(x, shortcut, name)


def _bottleneck(x, filters, strides, project, name):
    shortcut = x
    if project:
        shortcut = blocks.conv_bn(
            x, 4 * filters, 1, f"{name}_shortcut", strides, None
        )
    x = blocks.conv_bn(x, filters, 1, f"{name}_conv1")
    x = blocks.conv_bn(x, filters, 3, f"{name}_conv2", strides)
    x = blocks.conv_bn(x, 4 * filters, 1, f"{name}_conv3", activation=None)
    return _join(x, shortcut, name)


def _join(x, shortcut, name):
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)
