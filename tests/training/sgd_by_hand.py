"""A small training, and what it comes to, worked out in NumPy."""

import keras
import numpy as np
import tensorflow as tf

from eagleeye_tf.training import loop
from eagleeye_tf.training.schedules import TrainingSettings

layers = keras.layers
FEATURES = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
LABELS = (FEATURES[:, 0] > 0).astype(np.int64)

# Shares of Beta(1e8, 1e8) are a half, by a standard deviation of 4e-5.
HALVES = 1e8


def linear(probabilities=False):
    x = keras.Input((5,))
    y = layers.Dense(2, activation="softmax" if probabilities else None)(x)
    model = keras.Model(x, y)
    generator = np.random.default_rng(1)
    model.layers[-1].kernel.assign(generator.normal(size=(5, 2)))
    return model


def batches(epoch, first=0, size=8):
    order = np.random.default_rng(epoch).permutation(24)
    dataset = tf.data.Dataset.from_tensor_slices(
        (FEATURES[order], LABELS[order])
    )
    return dataset.batch(size, drop_remainder=True).skip(first)


def fit(model, directory, epochs=3, batches=batches, **kwargs):
    settings = TrainingSettings(
        epochs=epochs,
        learning_rate=0.5,
        schedule="constant",
        weight_decay=kwargs.pop("weight_decay", 0.01),
        label_smoothing=kwargs.pop("label_smoothing", 0.1),
        distillation_weight=kwargs.pop("distillation_weight", 0.0),
        distillation_temperature=3.0,
        mixup=kwargs.pop("mixup", 0.0),
        ema_momentum=kwargs.pop("ema_momentum", 0.0),
        precision=kwargs.pop("precision", "float32"),
        warmup_epochs=kwargs.pop("warmup_epochs", 0),
        momentum=kwargs.pop("momentum", 0.9),
        batch_size=8,
    )
    validate = kwargs.pop("validate", lambda: (3, 4))
    return loop.fit(model, batches, 3, settings, directory, validate, **kwargs)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def by_hand(
    model,
    epochs,
    weight_decay=0.01,
    taught=0.0,
    teacher=None,
    rising=1,
    momentum=0.9,
    pairs=None,
    ema_momentum=0.0,
):
    """SGD with Nesterov momentum on softmax cross-entropy, in NumPy.

    Of `pairs`, so many a batch, both examples are half the other. With
    `ema_momentum` it returns averages, which begin with the first step.
    """
    smoothing, temperature, steps = 0.1, 3.0, 0
    kernel, bias = (np.array(w, np.float64) for w in model.get_weights())
    speed = [np.zeros_like(kernel), np.zeros_like(bias)]
    averages = kernel, bias
    losses = []
    for epoch in range(epochs):
        epoch_losses = []
        size = {"size": 2 * pairs} if pairs else {}
        for x, labels in batches(epoch, **size).as_numpy_iterator():
            target = np.eye(2)[labels]
            if pairs:
                x, target = (
                    y.reshape(pairs, 2, -1).mean(1).repeat(2, axis=0)
                    for y in (x, target)
                )
            logits = x @ kernel + bias
            p = softmax(logits)
            target = target * (1 - smoothing) + smoothing / 2
            loss = -(target * np.log(p)).sum(1).mean()
            gradient = (p - target) / len(x)
            if teacher:
                a, b = (
                    softmax(z / temperature)
                    for z in (x @ teacher[0] + teacher[1], logits)
                )
                gap = temperature**2 * (a * np.log(a / b)).sum(1).mean()
                loss = (1 - taught) * loss + taught * gap
                gradient *= 1 - taught
                gradient += taught * temperature * (b - a) / len(x)
            epoch_losses.append(loss)
            steps += 1
            rate = 0.5 * min(steps / rising, 1)
            gradients = [
                x.T @ gradient + weight_decay * kernel,  # not on the bias
                gradient.sum(0),
            ]
            for i, g in enumerate(gradients):
                speed[i] = momentum * speed[i] - rate * g
            kernel = kernel + momentum * speed[0] - rate * gradients[0]
            bias = bias + momentum * speed[1] - rate * gradients[1]
            kept = ema_momentum if steps > 1 else 0
            averages = [
                kept * average + (1 - kept) * weight
                for average, weight in zip(
                    averages, (kernel, bias), strict=True
                )
            ]
        losses.append(np.mean(epoch_losses))
    return *averages, losses
