"""Training as the programs do it, on real digits."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import toys
from tests_data import write_numbered_folder

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf import locks
from eagleeye_tf.data import sources
from eagleeye_tf.data import splits
from eagleeye_tf.stages import fitting
from eagleeye_tf.stages import job as job_lib
from eagleeye_tf.training.schedules import TrainingSettings

SETTINGS = TrainingSettings(epochs=1, learning_rate=0.05, batch_size=64)


def job(tmp_path, distribution, source=None):
    source = source or sources.open_source("digits")
    return job_lib.Job(
        model="resnet20",
        dataset="digits",
        workdir=pathlib.Path(tmp_path),
        data=splits.split(source, (8, 8, 3), 50, 60),
        distribution=distribution,
        batch_size=SETTINGS.batch_size,
        seed=0,
    )


def statistics(model):
    layer = model.get_layer("bn1")
    return np.array([layer.moving_mean, layer.moving_variance])


def test_keras_keeps_the_statistics_of_one_replica_only(two_replicas):
    """The trap: a mean of 0 on one replica, of 10 on the other, is 0."""
    with two_replicas.scope():
        x = keras.Input((1,))
        layer = keras.layers.BatchNormalization(momentum=0.0)
        model = keras.Model(x, layer(x))
    values = np.repeat([[0.0], [10.0]], 4, axis=0).astype(np.float32)
    batches = two_replicas.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices(values).batch(8)
    )

    @tf.function
    def step(batch):
        two_replicas.run(lambda x: model(x, training=True), args=(batch,))

    for batch in batches:
        step(batch)
    assert float(layer.moving_mean[0]) == 0.0
    ee.adapt_batch_norm(model, values, 8, two_replicas)
    assert float(layer.moving_mean[0]) == 5.0
    assert float(layer.moving_variance[0]) == 25.0


def test_statistics_are_estimated_anew_after_several_replicas(
    tmp_path, two_replicas
):
    here = job(tmp_path, two_replicas)
    with two_replicas.scope():
        model = toys.chain(classes=10)
    fitting.fit(model, here, SETTINGS, tmp_path, "Training")
    after = statistics(model)
    batches = here.data.training_batches(64, SETTINGS.seed, SETTINGS.epochs - 1)
    ee.adapt_batch_norm(model, batches.take(20), 64, two_replicas)
    np.testing.assert_allclose(statistics(model), after, rtol=1e-5)


def test_one_replica_keeps_its_moving_average(tmp_path):
    here = job(tmp_path, tf.distribute.get_strategy())
    model = toys.chain(classes=10)
    epochs = fitting.fit(model, here, SETTINGS, tmp_path, "Training")
    assert len(epochs) == 1
    after = statistics(model)
    images, _ = here.data.arrays(here.data.calibration)
    ee.adapt_batch_norm(model, images, 64)
    assert np.abs(statistics(model) - after).max() > 1e-3


def test_two_do_not_train_in_one_folder(tmp_path):
    here = job(tmp_path, tf.distribute.get_strategy())
    model = toys.chain(classes=10)
    with locks.of_folder(tmp_path, "training"):
        with pytest.raises(errors.InputError, match="Another training"):
            fitting.fit(model, here, SETTINGS, tmp_path, "Training")


def test_unreadable_image_is_named(tmp_path):
    folder = write_numbered_folder(tmp_path / "images", 250)
    source = sources.open_source(str(folder))
    here = job(tmp_path, tf.distribute.get_strategy(), source)
    (path, _), *_ = [
        (item.numpy().decode(), label)
        for item, label in here.data.train.items().take(1)
    ]
    pathlib.Path(path).write_bytes(b"not an image")
    model = toys.chain(classes=2)
    with pytest.raises(errors.InputError, match=pathlib.Path(path).name):
        fitting.fit(model, here, SETTINGS, tmp_path, "Training")
