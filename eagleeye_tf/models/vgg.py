"""VGG-16 with batch normalization for small images."""

import keras

from eagleeye_tf.models import blocks

# Convolutions and filters of each stage (Simonyan and Zisserman 2015,
# configuration D).
_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def vgg16_bn(image_shape, num_classes, width=1.0):
    """VGG-16, BN behind every convolution, one dense layer at the end.

    The dense hidden layers of the original, made for 7 × 7 features, give way
    to global average pooling, as is the custom for CIFAR.
    """
    image, x = blocks.image_input(image_shape)
    for stage, (repetitions, filters) in enumerate(_STAGES, start=1):
        filters = blocks.scaled_width(filters, width)
        for number in range(1, repetitions + 1):
            x = blocks.conv_bn(x, filters, 3, f"stage{stage}_conv{number}")
        if min(x.shape[1:3]) > 1:
            x = keras.layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
    return blocks.classifier(image, x, num_classes, "vgg16_bn")
