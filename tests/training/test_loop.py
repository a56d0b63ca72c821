import functools
import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import toys
from sgd_by_hand import HALVES
from sgd_by_hand import batches
from sgd_by_hand import by_hand
from sgd_by_hand import fit
from sgd_by_hand import linear

from eagleeye_tf import errors
from eagleeye_tf.training import loop
from eagleeye_tf.training.schedules import TrainingSettings

layers = keras.layers


@pytest.mark.parametrize("probabilities", [False, True])
def test_equals_sgd_by_hand(tmp_path, probabilities):
    model = linear(probabilities)
    kernel, bias, losses = by_hand(model, epochs=3)
    epochs = fit(model, tmp_path)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4)
    np.testing.assert_allclose(
        model.get_weights()[1], bias, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose([e.loss for e in epochs], losses, rtol=1e-4)
    assert [(e.epoch, e.correct, e.total) for e in epochs] == [
        (1, 3, 4),
        (2, 3, 4),
        (3, 3, 4),
    ]


def test_warmup_by_hand(tmp_path):
    model = linear()
    kernel, _, losses = by_hand(model, epochs=3, rising=4)
    epochs = fit(model, tmp_path, warmup_epochs=4 / 3)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4)
    np.testing.assert_allclose([e.loss for e in epochs], losses, rtol=1e-4)
    assert epochs[0].learning_rate == pytest.approx(0.5)  # Of the next step.


def test_another_momentum_by_hand(tmp_path):
    model = linear()
    kernel, _, losses = by_hand(model, epochs=3, momentum=0.5)
    epochs = fit(model, tmp_path, momentum=0.5)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4)
    np.testing.assert_allclose([e.loss for e in epochs], losses, rtol=1e-4)


@pytest.mark.parametrize("replicas", [1, 2])
def test_averages_by_hand(tmp_path, replicas, two_replicas):
    """They are what is validated in the end."""
    scope = [tf.distribute.get_strategy(), two_replicas][replicas - 1]
    expected = by_hand(linear(), epochs=3, ema_momentum=0.7)
    with scope.scope():
        model = linear()
    heard = []

    def validate():
        heard.append(model.get_weights()[0])
        return len(heard), 4

    epochs = fit(
        model,
        tmp_path,
        validate=validate,
        distribution=scope,
        ema_momentum=0.7,
    )
    for weights, values in zip(model.get_weights(), expected, strict=False):
        np.testing.assert_allclose(weights, values, rtol=1e-4)
    np.testing.assert_array_equal(heard[-1], model.get_weights()[0])
    assert [epoch.correct for epoch in epochs] == [1, 2, 4]
    lines = (tmp_path / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["correct"] for line in lines] == [1, 2, 4]
    np.testing.assert_allclose([e.loss for e in epochs], expected[2], rtol=1e-4)


@pytest.mark.parametrize("mixed", [False, True])
def test_statistics_fit_averages(tmp_path, mixed):
    """They are of its outputs for what it was trained on, in pairs."""
    x = keras.Input((5,))
    y = layers.BatchNormalization(name="bn")(layers.Dense(3, name="first")(x))
    frozen = layers.BatchNormalization(name="frozen", trainable=False)
    model = keras.Model(x, layers.Dense(2)(frozen(y)))
    before = [np.asarray(weight) for weight in frozen.weights]
    size = functools.partial(batches, size=2)
    options = {"mixup": HALVES} if mixed else {}
    fit(model, tmp_path, batches=size, ema_momentum=0.5, **options)
    seen = np.concatenate([x for x, _ in size(2).as_numpy_iterator()])
    if mixed:
        seen = seen.reshape(-1, 2, 5).mean(1)
    first = model.get_layer("first")
    seen = seen @ np.asarray(first.kernel) + np.asarray(first.bias)
    bn = model.get_layer("bn")
    np.testing.assert_allclose(bn.moving_mean, seen.mean(0), atol=2e-4)
    np.testing.assert_allclose(bn.moving_variance, seen.var(0), rtol=1e-3)
    for weight, old in zip(frozen.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_who_does_not_lead_writes_nothing(tmp_path):
    fit(linear(), tmp_path, leads=False, checkpoint_seconds=0)
    assert not list(tmp_path.rglob("*"))


def test_replicas_give_the_same_weights(tmp_path, two_replicas):
    kernel, bias, _ = by_hand(linear(), epochs=3)
    with two_replicas.scope():
        model = linear()
    fit(model, tmp_path, distribution=two_replicas)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4)


@pytest.mark.parametrize(
    "seconds, killed, goes_on",
    [
        (0, (2, 1), (2, 1)),
        (60, (2, 1), (2, 0)),
        (0, (0, 2), (0, 2)),  # no epoch is logged yet
        (60, (0, 2), (0, 0)),
    ],
)
def test_killed_and_continued_equals_uninterrupted(
    tmp_path, seconds, killed, goes_on
):
    whole = linear()
    options = {"epochs": 4, "mixup": 1.0, "ema_momentum": 0.7}
    expected = fit(whole, tmp_path / "whole", **options)

    def die(epoch, step, loss):
        if (epoch, step) == killed:
            raise KeyboardInterrupt

    options = {**options, "checkpoint_seconds": seconds}
    with pytest.raises(KeyboardInterrupt):
        fit(linear(), tmp_path / "killed", on_step=die, **options)
    steps = []
    continued = linear()
    epochs = fit(
        continued,
        tmp_path / "killed",
        on_step=lambda epoch, step, loss: steps.append((epoch, step)),
        **options,
    )
    assert steps[0] == goes_on
    assert len(steps) == 12 - 3 * goes_on[0] - goes_on[1]
    assert epochs == expected
    np.testing.assert_array_equal(
        continued.get_weights()[0], whole.get_weights()[0]
    )
    lines = (tmp_path / "killed" / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]


def test_continued_with_dropout_and_bn_equals_uninterrupted(tmp_path):
    def noisy():
        keras.utils.set_random_seed(2)
        x = keras.Input((5,))
        y = layers.Dropout(0.5)(layers.Dense(8)(x))
        y = layers.Dense(2)(layers.BatchNormalization()(y))
        return keras.Model(x, y)

    whole, continued = noisy(), noisy()
    expected = fit(whole, tmp_path / "whole", epochs=3)

    def die(epoch, step, loss):
        if (epoch, step) == (1, 2):
            raise KeyboardInterrupt

    options = {"epochs": 3, "checkpoint_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        fit(noisy(), tmp_path / "killed", on_step=die, **options)
    assert fit(continued, tmp_path / "killed", **options) == expected
    for a, b in zip(continued.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)


def test_only_kernels_decay(tmp_path):
    """Neither BN parameters nor slopes of PReLU; and none need be there."""
    x = keras.Input((5,))
    y = layers.PReLU(alpha_initializer="ones")(layers.BatchNormalization()(x))
    model = keras.Model(x, layers.Dense(2, trainable=False)(y))
    model.layers[-1].kernel.assign(np.zeros((5, 2)))  # No other gradient.
    fit(model, tmp_path, weight_decay=1.0)
    np.testing.assert_array_equal(model.layers[2].alpha, np.ones(5))
    np.testing.assert_array_equal(model.layers[1].gamma, np.ones(5))


@pytest.mark.parametrize("ema_momentum", [0.0, 0.9])
def test_finished_training_is_not_repeated(tmp_path, ema_momentum):
    model = linear()
    first = fit(model, tmp_path, ema_momentum=ema_momentum)
    weights = model.get_weights()
    again = linear()
    assert fit(again, tmp_path, ema_momentum=ema_momentum) == first
    np.testing.assert_array_equal(again.get_weights()[0], weights[0])


def test_layers_that_are_not_trainable_stay(tmp_path):
    x = keras.Input((5,))
    frozen = layers.Dense(4, trainable=False)
    model = keras.Model(x, layers.Dense(2)(frozen(x)))
    before = np.array(frozen.kernel)
    fit(model, tmp_path)
    np.testing.assert_array_equal(before, frozen.kernel)


def test_own_regularisers_count(tmp_path):
    """L2(f) of Keras is f · sum of squares: the gradient gains 2 · f · w."""
    x = keras.Input((5,))
    y = layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.25))(x)
    model = keras.Model(x, y)
    model.set_weights(linear().get_weights())
    kernel, _, _ = by_hand(model, epochs=3, weight_decay=0.5)
    fit(model, tmp_path, weight_decay=0.0)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4)


@pytest.mark.parametrize("ema_momentum", [0.0, 0.9])
def test_mixed_float16_trains(tmp_path, ema_momentum):
    x = keras.Input((5,))
    y = layers.Dense(2, dtype="mixed_float16")(x)
    model = keras.Model(x, y)
    scales = []
    epochs = fit(
        model,
        tmp_path,
        epochs=4,
        on_step=lambda *_: scales.append(loop._uses_float16(model)),
        ema_momentum=ema_momentum,
    )
    assert all(scales)
    assert epochs[-1].loss < epochs[0].loss
    names = [
        name
        for name, _ in tf.train.list_variables(
            tf.train.latest_checkpoint(tmp_path / "checkpoints")
        )
    ]
    assert any("inner_optimizer" in name for name in names)


def test_bfloat16_is_for_training_steps_alone(tmp_path, monkeypatch):
    """Close to float32, whether or not the processor knows it."""
    inside, traced = [], tf.function

    def option():
        options = tf.config.optimizer.get_experimental_options()
        return options.get("auto_mixed_precision_onednn_bfloat16", False)

    def noting(*args, **kwargs):
        def decorate(function):
            step = traced(*args, **kwargs)(function)
            return lambda batch: inside.append(option()) or step(batch)

        return decorate

    monkeypatch.setattr(loop.tf, "function", noting)
    kernel, _, losses = by_hand(linear(), epochs=3)
    model = linear()
    seen = []
    epochs = fit(
        model,
        tmp_path,
        precision="bfloat16",
        on_step=lambda *_: seen.append(option()),
    )
    assert inside == [True] * 9 and not any(seen)
    assert [weight.dtype for weight in model.weights] == ["float32"] * 2
    np.testing.assert_allclose(model.get_weights()[0], kernel, atol=0.05)
    np.testing.assert_allclose([e.loss for e in epochs], losses, rtol=0.02)


def test_diverging_loss_is_told(tmp_path):
    def poisoned(epoch, first):
        factor = np.nan if epoch else 1.0
        return batches(epoch, first).map(lambda x, y: (x * factor, y))

    told = "loss is nan in step 1 of epoch 2: lower learning_rate"
    options = {"batches": poisoned, "checkpoint_seconds": 0}
    with pytest.raises(errors.InputError, match=told):
        fit(linear(), tmp_path, **options)
    # The last checkpoint is from before.
    with pytest.raises(errors.InputError, match=told):
        fit(linear(), tmp_path, **options)


def test_too_large_batches_are_told(tmp_path):
    settings = TrainingSettings(batch_size=999)
    with pytest.raises(errors.InputError, match="batch_size=999"):
        loop.fit(linear(), batches, 0, settings, tmp_path, lambda: (0, 1))


def test_averages_of_the_start_are_told(tmp_path):
    """Of nine steps: 0.8 ** 8 is 17 %, and 0.6 ** 8 is 2 %."""
    told = "17% of the average with ema_momentum=0.8 .* 9 steps: .* to 0.4 or"
    with pytest.warns(errors.PlausibilityWarning, match=told):
        fit(linear(), tmp_path / "old", ema_momentum=0.8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.PlausibilityWarning)
        fit(linear(), tmp_path / "new", ema_momentum=0.6)


def test_nothing_to_train_is_told(tmp_path):
    model = linear()
    model.trainable = False
    with pytest.raises(errors.InputError, match="no trainable weights"):
        fit(model, tmp_path)


def test_convolutional_network_learns_digits(tmp_path):
    from sklearn import datasets

    digits = datasets.load_digits()
    images = np.repeat(digits.images[..., np.newaxis], 3, axis=-1) * 15
    images = images.astype(np.float32)
    train = tf.data.Dataset.from_tensor_slices(
        (images[:1024], digits.target[:1024])
    ).batch(64)
    model = toys.chain(channels=(16, 32), classes=10)
    settings = TrainingSettings(epochs=6, learning_rate=0.1, batch_size=64)

    def validate():
        answers = toys.outputs(model, images[1024:]).argmax(1)
        return int((answers == digits.target[1024:]).sum()), len(answers)

    epochs = loop.fit(
        model, lambda epoch, first: train, 16, settings, tmp_path, validate
    )
    assert epochs[-1].correct / epochs[-1].total > 0.7


@pytest.mark.parametrize("damage", ["state", "data"])
def test_damaged_checkpoint_is_told(tmp_path, damage):
    fit(linear(), tmp_path)
    folder = tmp_path / "checkpoints"
    if damage == "state":
        (folder / "checkpoint").write_text("")
    else:
        next(folder.glob("*.data-*")).unlink()
    with pytest.raises(errors.InputError, match="damaged.*remove that folder"):
        fit(linear(), tmp_path)
