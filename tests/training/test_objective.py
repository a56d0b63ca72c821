import functools

import keras
import numpy as np
import pytest
from sgd_by_hand import HALVES
from sgd_by_hand import batches
from sgd_by_hand import by_hand
from sgd_by_hand import fit
from sgd_by_hand import linear

layers = keras.layers


@pytest.mark.parametrize("probabilities", [False, True])
def test_teacher_by_hand(tmp_path, probabilities):
    teacher = linear(probabilities)
    teacher.layers[-1].kernel.assign([[3, 0]] * 2 + [[0, 1]] * 3)
    expected = by_hand(
        linear(), epochs=2, taught=0.7, teacher=teacher.get_weights()
    )
    model = linear(probabilities)
    before = teacher.get_weights()
    epochs = fit(
        model, tmp_path, epochs=2, distillation_weight=0.7, teacher=teacher
    )
    np.testing.assert_allclose(model.get_weights()[0], expected[0], rtol=1e-3)
    np.testing.assert_allclose([e.loss for e in epochs], expected[2], rtol=1e-3)
    for a, b in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_mixed_images_by_hand(tmp_path):
    teacher = linear()
    teacher.layers[-1].kernel.assign([[3, 0]] * 2 + [[0, 1]] * 3)
    expected = by_hand(
        linear(),
        epochs=2,
        taught=0.7,
        teacher=teacher.get_weights(),
        pairs=1,
    )
    model = linear()
    epochs = fit(
        model,
        tmp_path,
        epochs=2,
        batches=functools.partial(batches, size=2),
        mixup=HALVES,
        distillation_weight=0.7,
        teacher=teacher,
    )
    np.testing.assert_allclose(model.get_weights()[0], expected[0], atol=2e-3)
    np.testing.assert_allclose([e.loss for e in epochs], expected[2], rtol=2e-3)


def test_replicas_mix_their_own_images(tmp_path, two_replicas):
    """Two to each."""
    kernel, _, losses = by_hand(linear(), epochs=3, pairs=2)
    with two_replicas.scope():
        model = linear()
    epochs = fit(
        model,
        tmp_path,
        batches=functools.partial(batches, size=4),
        distribution=two_replicas,
        mixup=HALVES,
    )
    np.testing.assert_allclose(model.get_weights()[0], kernel, atol=2e-4)
    np.testing.assert_allclose([e.loss for e in epochs], losses, rtol=1e-3)


def test_the_teacher_answers_as_in_inference(tmp_path):
    """Of the network that winners are cut from nothing changes."""
    x = keras.Input((5,))
    y = layers.BatchNormalization()(layers.Dropout(0.9)(x))
    teacher = keras.Model(x, layers.Dense(2, use_bias=False)(y))
    norm = teacher.layers[2]
    norm.moving_mean.assign([1, 2, 3, 4, 5])
    norm.moving_variance.assign([4] * 5)
    before = [np.array(weight) for weight in teacher.weights]
    kernel = np.array(teacher.layers[-1].kernel)
    scale = (4 + norm.epsilon) ** -0.5
    alike = scale * kernel, -scale * np.arange(1, 6) @ kernel
    model = linear()
    *_, losses = by_hand(model, epochs=2, taught=0.7, teacher=alike)
    epochs = fit(
        model, tmp_path, epochs=2, distillation_weight=0.7, teacher=teacher
    )
    np.testing.assert_allclose([e.loss for e in epochs], losses, rtol=1e-3)
    for a, b in zip(before, teacher.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_weight_there_is_no_teacher(tmp_path):
    model, alone = linear(), linear()
    fit(model, tmp_path / "a", teacher=linear())
    fit(alone, tmp_path / "b")
    np.testing.assert_array_equal(
        model.get_weights()[0], alone.get_weights()[0]
    )
