"""Fine-tuning from Python, compared with SGD worked out in NumPy."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import toys
from sgd_by_hand import FEATURES
from sgd_by_hand import LABELS
from sgd_by_hand import batches
from sgd_by_hand import by_hand
from sgd_by_hand import linear
from sklearn import datasets

import eagleeye_tf as ee
from eagleeye_tf import locks
from eagleeye_tf import progress
from eagleeye_tf.training import finetuning

SETTINGS = ee.TrainingSettings(
    epochs=3,
    learning_rate=0.5,
    schedule="constant",
    weight_decay=0.01,
    label_smoothing=0.1,
    batch_size=8,
)


class Shuffled(keras.utils.PyDataset):
    """Other batches in each epoch, those of `sgd_by_hand.batches`."""

    def __init__(self):
        super().__init__()
        self.on_epoch_end()

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self._batches[index]

    def on_epoch_end(self):
        self._epoch = getattr(self, "_epoch", -1) + 1
        self._batches = list(batches(self._epoch).as_numpy_iterator())


class Endless(keras.utils.PyDataset):
    """Has no end."""

    num_batches = None


def test_py_dataset_by_hand():
    model = linear()
    kernel, bias, losses = by_hand(model, epochs=3)
    epochs = ee.finetune(model, Shuffled(), SETTINGS, verbose=False)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4)
    np.testing.assert_allclose([e.loss for e in epochs], losses, rtol=1e-4)


def uneven():
    """Batches of 4, 8 and 12: the first one says nothing of the others."""
    images, labels = next(batches(0, size=24).as_numpy_iterator())
    ends = np.cumsum([0, 4, 8, 12])
    return [
        (images[a:b], labels[a:b]) for a, b in zip(ends, ends[1:], strict=False)
    ]


def generated(parts):
    spec = tf.TensorSpec((None, 5)), tf.TensorSpec((None,), tf.int64)
    return tf.data.Dataset.from_generator(lambda: parts, output_signature=spec)


@pytest.mark.parametrize("kind", ["tf.data", "list", "unknown length"])
def test_batches_as_they_come(kind, monkeypatch):
    parts = uneven()
    sources = {
        "tf.data": generated(parts).apply(
            tf.data.experimental.assert_cardinality(3)
        ),
        "list": parts,
        "unknown length": generated(parts),
    }
    monkeypatch.setattr("sgd_by_hand.batches", lambda epoch: generated(parts))
    model = linear()
    kernel, _, losses = by_hand(model, epochs=3)
    epochs = ee.finetune(model, sources[kind], SETTINGS, verbose=False)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4)
    np.testing.assert_allclose([e.loss for e in epochs], losses, rtol=1e-4)


def test_arrays_are_seen_once_an_epoch_in_another_order():
    seen = []

    class Spy(keras.layers.Layer):
        def call(self, x):
            tf.py_function(lambda x: seen.append(x.numpy()), [x], [])
            return x

    x = keras.Input((5,))
    model = keras.Model(x, keras.layers.Dense(2)(Spy()(x)))
    ee.finetune(model, (FEATURES, LABELS), SETTINGS, verbose=False)
    rows = np.concatenate(seen[-9:])  # Before that, a look at the outputs.
    assert rows.shape == (72, 5)
    orders = rows.reshape(3, 24, 5)
    for order in orders:
        np.testing.assert_array_equal(
            np.sort(order, axis=0), np.sort(FEATURES, axis=0)
        )
    assert (orders[0] != orders[1]).any() and (orders[1] != orders[2]).any()


def test_goes_on_where_it_was_killed(tmp_path):
    class Killed(Exception):
        pass

    class Deadly(Shuffled):
        def __getitem__(self, index):
            if self._epoch == 1 and index == 2:
                raise Killed
            return super().__getitem__(index)

    model = linear()
    with pytest.raises(Exception, match="Killed"):
        ee.finetune(model, Deadly(), SETTINGS, None, None, tmp_path)
    again = linear()
    epochs = ee.finetune(again, Shuffled(), SETTINGS, None, None, tmp_path)
    kernel, _, losses = by_hand(linear(), epochs=3)
    np.testing.assert_allclose(again.get_weights()[0], kernel, rtol=1e-4)
    np.testing.assert_allclose([e.loss for e in epochs], losses, rtol=1e-4)


@pytest.mark.parametrize("kind", ["arrays", "tf.data", "list", "PyDataset"])
def test_an_epoch_goes_on_from_any_batch(kind):
    source = finetuning._source(
        {
            "arrays": (FEATURES, LABELS),
            "tf.data": generated(uneven()),
            "list": uneven(),
            "PyDataset": Shuffled(),
        }[kind],
        SETTINGS,
    )
    whole, rest = (
        list(source.batches(1, first).as_numpy_iterator()) for first in (0, 2)
    )
    assert len(whole) == 3
    ((images, labels),) = rest
    np.testing.assert_array_equal(images, whole[2][0])
    np.testing.assert_array_equal(labels, whole[2][1])


def test_teachers_that_do_not_fit():
    settings = dataclasses.replace(SETTINGS, distillation_weight=0.5)
    for shape, told in (
        ((4,), r"of shape \(None, 5\). Received: .*\(None, 4\)"),
        (None, "does not say what it takes"),
    ):
        teacher = keras.Sequential([keras.layers.Dense(2)])
        if shape:
            teacher = keras.Sequential([keras.Input(shape), *teacher.layers])
        with pytest.raises(ee.InputError, match=told):
            ee.finetune(linear(), (FEATURES, LABELS), settings, teacher=teacher)


def test_models_and_labels_that_do_not_fit():
    unbuilt = keras.Sequential([keras.layers.Dense(2)])
    with pytest.raises(ee.InputError, match="begins with keras.Input"):
        ee.finetune(unbuilt, (FEATURES, LABELS), SETTINGS)
    with pytest.raises(ee.InputError, match="all -1"):
        ee.finetune(linear(), (FEATURES, np.full_like(LABELS, -1)), SETTINGS)
    with pytest.raises(ee.InputError, match=r"labels.astype\(int\)"):
        ee.finetune(linear(), (FEATURES, LABELS.astype(float)), SETTINGS)


def test_another_teacher_is_refused(tmp_path):
    teacher = linear()
    settings = dataclasses.replace(SETTINGS, distillation_weight=0.5)
    arguments = (FEATURES, LABELS), settings, None
    ee.finetune(linear(), *arguments, teacher, tmp_path)
    teacher.layers[-1].bias.assign([1.0, 0.0])
    with pytest.raises(ee.InputError, match="teacher"):
        ee.finetune(linear(), *arguments, teacher, tmp_path)


@pytest.fixture(scope="module")
def digits():
    images, labels = datasets.load_digits(return_X_y=True)
    images = np.repeat(16 * images.reshape(-1, 8, 8, 1), 3, axis=-1)
    return images.astype(np.float32), labels


@pytest.mark.slow
def test_search_and_finetune_in_a_notebook(digits):
    """The example of the README, on real digits."""
    images, labels = digits
    images, labels = images[:1440], labels[:1440]
    held_out = digits[0][1440:], digits[1][1440:]
    model = toys.chain(channels=(16, 32, 32), classes=10)
    settings = ee.TrainingSettings(epochs=12, learning_rate=0.05, batch_size=48)
    before = ee.finetune(model, (images, labels), settings, held_out)
    assert before[-1].correct > 0.85 * before[-1].total == 0.85 * 357

    result = ee.search(
        model,
        (images[:256], labels[:256]),
        (images[256:768], labels[256:768]),
        ee.SearchSettings(macs=0.5, tolerance=0.02, num_candidates=20),
    )
    smaller = result.build()
    after = ee.finetune(
        smaller,
        tf.data.Dataset.from_tensor_slices((images, labels))
        .shuffle(1440, seed=0)
        .batch(48),
        ee.TrainingSettings(
            epochs=4, learning_rate=0.02, distillation_weight=0.5
        ),
        validation=held_out,
        teacher=model,
    )
    answers = toys.outputs(smaller, held_out[0]).argmax(1)
    assert after[-1].correct == (answers == held_out[1]).sum()
    assert after[-1].correct > before[-1].correct - 0.05 * 357
    assert smaller.count_params() < 0.8 * model.count_params()


@pytest.mark.parametrize(
    ("examples", "told"),
    [
        (tf.data.Dataset.from_tensors((FEATURES, LABELS)).repeat(), "take"),
        ([], "no training examples"),
        ([(FEATURES, LABELS + 7)], "Labels must lie in"),
        ([(FEATURES, LABELS[:5])], "one whole number for each image"),
        ([FEATURES], "Received: a ndarray"),
        ([(FEATURES, LABELS, LABELS)], "without sample weights.* a tuple of 3"),
        (tf.data.Dataset.from_tensors((FEATURES, LABELS)).take(0), "There are"),
        ((pair for pair in [(FEATURES, LABELS)]), "Received: a generator"),
        (Endless(), "PyDataset with num_batches"),
        ([(FEATURES, LABELS.astype(float))], "whole numbers"),
    ],
)
def test_examples_that_are_none(examples, told):
    with pytest.raises(ee.InputError, match=told):
        ee.finetune(linear(), examples, SETTINGS)


def test_a_folder_belongs_to_one_network_and_its_settings(tmp_path):
    def finetune(model, **changes):
        settings = dataclasses.replace(SETTINGS, epochs=1, **changes)
        examples = FEATURES, LABELS
        return ee.finetune(model, examples, settings, directory=tmp_path)

    model = linear()
    finetune(model)
    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    with pytest.raises(ee.InputError, match="network is not the same"):
        finetune(other)
    with pytest.raises(
        ee.InputError, match="learning_rate was 0.5, now it is 0.1"
    ):
        finetune(linear(), learning_rate=0.1)
    with pytest.raises(ee.InputError, match="examples is not the same"):
        ee.finetune(
            linear(),
            (FEATURES, 1 - LABELS),
            dataclasses.replace(SETTINGS, epochs=1),
            directory=tmp_path,
        )
    with locks.of_folder(tmp_path, "fine-tuning"):
        with pytest.raises(ee.InputError, match="Another fine-tuning"):
            finetune(linear())


def test_interrupted_in_a_notebook_and_called_again(tmp_path, monkeypatch):
    """The model object is no longer what it was when it began."""
    settings = dataclasses.replace(SETTINGS, epochs=2)
    examples = FEATURES, LABELS
    whole = linear()
    ee.finetune(whole, examples, settings)
    model = linear()

    def interrupt(bar, steps):
        def on_step(epoch, step, loss):
            if step == 2:
                raise KeyboardInterrupt

        return on_step

    with monkeypatch.context() as patch:
        patch.setattr(progress, "by_step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ee.finetune(model, examples, settings, directory=tmp_path)
    assert (model.get_weights()[0] != linear().get_weights()[0]).any()
    ee.finetune(model, examples, settings, directory=tmp_path)
    np.testing.assert_array_equal(
        model.get_weights()[0], whole.get_weights()[0]
    )


def test_validation_may_not_be_empty():
    with pytest.raises(ee.InputError, match="set of examples is empty"):
        ee.finetune(linear(), (FEATURES, LABELS), SETTINGS, [])


def test_distillation_needs_a_teacher():
    settings = dataclasses.replace(SETTINGS, distillation_weight=0.5)
    examples = FEATURES, LABELS
    with pytest.raises(ee.InputError, match="needs a teacher"):
        ee.finetune(linear(), examples, settings)
    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    with pytest.raises(ee.InputError, match="has the classes.*2.*3"):
        ee.finetune(linear(), examples, settings, teacher=other)
    with pytest.raises(ee.InputError, match="above 0"):
        ee.finetune(linear(), examples, SETTINGS, teacher=linear())


def test_labels_beyond_the_classes_in_a_later_batch():
    """A target of zeros would teach that no class is right."""
    later = [(FEATURES[:12], LABELS[:12]), (FEATURES[12:], LABELS[12:] + 2)]
    with pytest.raises(ee.InputError, match="step 2.*labels beyond"):
        ee.finetune(linear(), later, SETTINGS)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
def test_labels_of_any_integer_type(dtype):
    model = linear()
    typed = [
        (images, labels.astype(dtype))
        for images, labels in batches(0).as_numpy_iterator()
    ]
    ee.finetune(model, typed, dataclasses.replace(SETTINGS, epochs=1))
    expected = linear()
    ee.finetune(
        expected,
        list(batches(0).as_numpy_iterator()),
        dataclasses.replace(SETTINGS, epochs=1),
    )
    np.testing.assert_array_equal(
        model.get_weights()[0], expected.get_weights()[0]
    )


def test_a_replica_without_a_share_changes_nothing(two_replicas, monkeypatch):
    """Batches of 4, 8, 11 and 1: the last leaves one replica without any."""
    images, labels = next(batches(0, size=24).as_numpy_iterator())
    ends = (0, 4, 12, 23, 24)
    parts = [
        (images[a:b], labels[a:b]) for a, b in zip(ends, ends[1:], strict=False)
    ]
    monkeypatch.setattr("sgd_by_hand.batches", lambda epoch: generated(parts))
    kernel, _, losses = by_hand(linear(), epochs=3)
    with two_replicas.scope():
        model = linear()
    epochs = ee.finetune(model, parts, SETTINGS, distribution=two_replicas)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4)
    np.testing.assert_allclose([e.loss for e in epochs], losses, rtol=1e-4)


def test_statistics_after_training_on_replicas_are_of_all(two_replicas):
    """Keras keeps those that the first replica saw of its shares."""
    with two_replicas.scope():
        x = keras.Input((5,))
        normed = keras.layers.BatchNormalization(name="bn")(x)
        model = keras.Model(x, keras.layers.Dense(2)(normed))
    parts = [(FEATURES[:16], LABELS[:16]), (FEATURES[16:], LABELS[16:])]
    epochs = ee.finetune(
        model, parts, SETTINGS, parts, distribution=two_replicas
    )
    bn = model.get_layer("bn")
    for found, expected in (
        (bn.moving_mean, FEATURES.mean(axis=0)),
        (bn.moving_variance, FEATURES.var(axis=0)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    answers = toys.outputs(model, FEATURES).argmax(1)
    assert epochs[-1].correct == (answers == LABELS).sum()


def test_a_folder_that_is_removed_meanwhile_is_not_made_anew(tmp_path):
    """Somebody else may have begun there, with other settings."""
    folder = tmp_path / "run"

    class Removing(Shuffled):
        def __getitem__(self, index):
            if self._epoch == 1:
                shutil.rmtree(folder, ignore_errors=True)
            return super().__getitem__(index)

    with pytest.raises(FileNotFoundError, match="was removed or replaced"):
        ee.finetune(linear(), Removing(), SETTINGS, directory=folder)
    assert not folder.exists()
