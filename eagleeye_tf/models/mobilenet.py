"""MobileNetV1 and MobileNetV2 for small images (stride 1 in the stem)."""

import keras

from eagleeye_tf.models import blocks

# Filters and stride of each depthwise separable block (Howard et al. 2017,
# table 1).
_V1_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1),
    (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip

# Expansion, filters, repetitions, stride (Sandler et al. 2018, table 2), with
# the first two strides of 2 set to 1 for 32 × 32 pixels.
_V2_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2),
    (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def mobilenet_v1(image_shape, num_classes, width=1.0):
    """MobileNetV1: 46,354,432 MACs at 32 × 32 with 10 classes."""
    image, x = blocks.image_input(image_shape)
    x = blocks.conv_bn(x, blocks.scaled_width(32, width), 3, "conv")
    for number, (filters, strides) in enumerate(_V1_BLOCKS, start=1):
        x = blocks.depthwise_bn(x, f"block{number}_depthwise", strides)
        filters = blocks.scaled_width(filters, width)
        x = blocks.conv_bn(x, filters, 1, f"block{number}_pointwise")
    return blocks.classifier(image, x, num_classes, "mobilenet_v1")


def mobilenet_v2(image_shape, num_classes, width=1.0):
    """MobileNetV2 with inverted residuals and linear bottlenecks."""
    image, x = blocks.image_input(image_shape)
    x = blocks.conv_bn(
        x, blocks.scaled_width(32, width), 3, "conv", activation="relu6"
    )
    number = 0
    for expansion, filters, repetitions, strides in _V2_STAGES:
        filters = blocks.scaled_width(filters, width)
        for repetition in range(repetitions):
            number += 1
            x = _inverted_residual(
                x,
                expansion,
                filters,
                strides if repetition == 0 else 1,
                f"block{number}",
            )
    last = blocks.scaled_width(1280, max(width, 1.0))
    x = blocks.conv_bn(x, last, 1, "last_conv", activation="relu6")
    return blocks.classifier(image, x, num_classes, "mobilenet_v2")


def _inverted_residual(x, expansion, filters, strides, name):
    shortcut = x
    if expansion != 1:
        x = blocks.conv_bn(
            x,
            expansion * x.shape[-1],
            1,
            f"{name}_expand",
            activation="relu6",
        )
    x = blocks.depthwise_bn(x, f"{name}_depthwise", strides, "relu6")
    x = blocks.conv_bn(x, filters, 1, f"{name}_project", activation=None)
    if strides == 1 and shortcut.shape[-1] == filters:
        x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return x
