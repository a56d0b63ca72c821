"""Small networks, and ways to make any network easy to reason about."""

import keras
import numpy as np

layers = keras.layers


def chain(channels=(8, 12), classes=4, size=8):
    """conv-BN-ReLU twice, pooled: two groups, named conv0 and conv1."""
    image = x = keras.Input((size, size, 3), name="image")
    for number, filters in enumerate(channels):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{number}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"bn{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x))


def grouped_chain(classes=4):
    """A grouped convolution, which has no open form, and a BN."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, name="first")(image)
    x = layers.Conv2D(8, 3, groups=2, name="grouped")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x))


def dense_block(growth=4, classes=4):
    """DenseNet-style: each convolution sees all features before it."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same", name="stem")(image)
    for number in range(3):
        y = layers.BatchNormalization(name=f"bn{number}")(x)
        y = layers.ReLU(name=f"relu{number}")(y)
        y = layers.Conv2D(growth, 3, padding="same", name=f"conv{number}")(y)
        x = layers.Concatenate(name=f"concat{number}")([x, y])
    x = layers.Conv2D(10, 1, name="transition")(x)
    x = layers.AveragePooling2D(2, name="halve")(x)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x))


class Bilinear(layers.Layer):
    """y = (x U) * (x V), each channel of y from one column of U and of V."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        for name in ("u", "v"):
            weight = self.add_weight(shape=(shape[-1], self.units), name=name)
            setattr(self, name, weight)

    def call(self, x):
        return (x @ self.u) * (x @ self.v)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def scramble(model, seed=0):
    """Random weights everywhere, offsets and statistics included."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if not np.issubdtype(
            keras.backend.standardize_dtype(weight.dtype), np.floating
        ):
            continue
        if "variance" in weight.name or "gamma" in weight.name:
            value = generator.uniform(0.5, 2, weight.shape)
        else:
            fan_in = max(1, np.prod(weight.shape[:-1]))
            value = generator.normal(0, fan_in**-0.5, weight.shape)
        weight.assign(value)
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()


def randomise(model, seed=0):
    """Random weights everywhere; BN of a zero input gives zero.

    Offsets and means are zero, so that a filter of zeros stays a channel of
    zeros through BN and ReLU; scales and variances are random.
    """
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            randomise(layer, seed + 1)
        elif isinstance(layer, keras.layers.BatchNormalization):
            size = layer.moving_mean.shape
            layer.moving_mean.assign(np.zeros(size))
            layer.moving_variance.assign(generator.uniform(0.5, 2, size))
            if layer.scale:
                layer.gamma.assign(generator.uniform(0.5, 2, size))
            if layer.center:
                layer.beta.assign(np.zeros(size))
        elif isinstance(layer, keras.layers.Normalization):
            continue
        else:
            for weight in layer.trainable_weights:
                fan_in = max(1, np.prod(weight.shape[:-1]))
                weight.assign(generator.normal(0, fan_in**-0.5, weight.shape))


def images(model, count=2, seed=0):
    """Random float32 images in [0, 255] for a model."""
    shape = (count, *model.inputs[0].shape[1:])
    values = np.random.default_rng(seed).uniform(0, 255, shape)
    return values.astype(np.float32)


def outputs(model, x):
    """Inference outputs as a NumPy array."""
    return np.asarray(model(x, training=False))


def any_inputs(model, seed=0):
    """List of arrays of standard normal numbers, two examples each."""
    generator = np.random.default_rng(seed)
    return [
        generator.normal(size=(2, *(n or 8 for n in x.shape[1:]))).astype(
            x.dtype
        )
        for x in model.inputs
    ]


def flat_outputs(model, inputs):
    """List of a model's inference outputs, whatever their structure."""
    flat = keras.Model(model.inputs, model.outputs)
    tensors = [keras.ops.convert_to_tensor(x) for x in inputs]
    results = flat(tensors, training=False)
    return [np.asarray(x) for x in keras.tree.flatten(results)]
