import keras
import numpy as np
import pytest
import tensorflow as tf
import toys
from pictures import SHAPE
from pictures import bn_first
from pictures import check
from pictures import pictures

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf.candidates import adaptive_bn

layers = keras.layers


# 37 images in batches of 8: the last holds 5.
@pytest.mark.parametrize("batch_size", [1, 8, 37, 64])
def test_equals_numpy_over_all_images(batch_size):
    model, images = bn_first(), pictures(37)
    assert ee.adapt_batch_norm(model, images, batch_size) is model
    check(model, images)


@pytest.mark.parametrize("start", [0.0, 1e6, -3.0, np.nan, np.inf])
def test_whatever_the_statistics_were(start):
    model, images = bn_first(), pictures(20)
    for name in ("bn", "bn2"):
        layer = model.get_layer(name)
        layer.moving_mean.assign(np.full(layer.moving_mean.shape, start))
        layer.moving_variance.assign(
            np.full(layer.moving_mean.shape, abs(start))
        )
    ee.adapt_batch_norm(model, images, 8)
    check(model, images)
    assert np.isfinite(model.get_layer("bn2").moving_variance).all()


def test_later_layers_see_batch_statistics():
    """One batch: BN 2 sees what BN 1 makes with the batch's moments."""
    model, images = bn_first(), pictures(16)
    ee.adapt_batch_norm(model, images, 16)
    normal = (images - images.mean((0, 1, 2))) / np.sqrt(
        images.var((0, 1, 2)) + model.get_layer("bn").epsilon
    )
    features = np.asarray(model.get_layer("conv")(normal))
    np.testing.assert_allclose(
        model.get_layer("bn2").moving_mean,
        features.mean((0, 1, 2)),
        rtol=1e-3,
        atol=1e-4,
    )
    np.testing.assert_allclose(
        model.get_layer("bn2").moving_variance,
        features.var((0, 1, 2)),
        rtol=1e-3,
    )


def test_nothing_but_statistics_changes():
    model, images = bn_first(momentum=0.7, trainable=False), pictures(9)
    config = model.to_json()
    moving = {
        id(v)
        for name in ("bn", "bn2")
        for v in model.get_layer(name).non_trainable_variables
        if "moving" in v.path
    }
    before = [np.array(w) for w in model.weights]
    ee.adapt_batch_norm(model, images, 4)
    for old, weight in zip(before, model.weights, strict=True):
        if id(weight) not in moving:
            np.testing.assert_array_equal(old, weight)
    assert model.to_json() == config


def test_order_of_batches_does_not_matter():
    images = pictures(24)
    first, second = bn_first(), bn_first()
    ee.adapt_batch_norm(first, [images[:10], images[10:]])
    ee.adapt_batch_norm(second, [images[10:], images[:10]])
    check(first, images)
    check(second, images)


@pytest.mark.parametrize("count", [3, 8, 13])
def test_two_replicas_equal_one(two_replicas, count):
    """Replicas hold different data; of 13 = 8 + 5 they share 3 and 2."""
    images = np.sort(pictures(count), axis=0)  # Dark first, bright last.
    with two_replicas.scope():
        model = bn_first()
    ee.adapt_batch_norm(model, images, 8, two_replicas)
    check(model, images)


def test_one_image_for_two_replicas(two_replicas):
    with two_replicas.scope():
        model = bn_first()
    images = pictures(9)  # The second batch has no image for replica 2.
    ee.adapt_batch_norm(model, images, 8, two_replicas)
    check(model, images)


def test_accepts_labelled_tf_data():
    model, images = bn_first(), pictures(10)
    labels = np.zeros(10)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    ee.adapt_batch_norm(model, dataset)
    check(model, images)


def test_nested_sequential():
    inner = keras.Sequential(
        [keras.Input(SHAPE), layers.BatchNormalization(name="bn")],
        name="inner",
    )
    image = keras.Input(SHAPE)
    model = keras.Model(image, layers.Flatten()(inner(image)))
    images = pictures(10)
    ee.adapt_batch_norm(model, images, 4)
    check(inner, images)


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize(
    "before",
    [layers.Rescaling, layers.RandomBrightness, layers.Dropout],
)
def test_base_that_is_called_for_inference(trainable, before):
    """As in the guides to transfer learning: `base(x, training=False)`."""
    inside = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(inside)
    base = keras.Model(inside, layers.BatchNormalization(name="bn")(x))
    base.trainable = trainable
    image = keras.Input((8, 8, 3))
    x = layers.Flatten()(base(before(0.9)(image), training=False))
    model = keras.Model(image, layers.Dense(3)(x))
    images = toys.images(model, 24)
    ee.adapt_batch_norm(model, images, batch_size=8)
    if before is layers.Rescaling:
        images = 0.9 * images
    features = keras.Model(inside, base.get_layer("conv").output)(images)
    np.testing.assert_allclose(
        base.get_layer("bn").moving_mean,
        np.asarray(features).mean((0, 1, 2)),
        rtol=1e-4,
    )


@pytest.mark.parametrize("nested", [False, True])
def test_layer_called_twice_sees_the_values_of_both_calls(nested):
    image = keras.Input(SHAPE)
    layer = layers.BatchNormalization(name="bn")
    shared = layer
    if nested:
        shared = keras.Sequential([keras.Input(SHAPE), layer], name="twin")
    x = layers.Add()([shared(image), shared(layers.Rescaling(10)(image))])
    model = keras.Model(image, layers.Flatten()(x))
    images = pictures(13)
    ee.adapt_batch_norm(model, images, 4)
    both = np.concatenate([images, 10 * images])
    check(shared if nested else model, both)


def test_calls_on_different_sizes_weigh_what_they_hold():
    image = keras.Input((6, 6, 3))
    layer = layers.BatchNormalization(name="bn")
    corner = layers.Cropping2D(2)(image)
    x = [layers.Flatten()(layer(image)), layers.Flatten()(layer(corner))]
    model = keras.Model(image, layers.Concatenate()(x))
    images = np.random.default_rng(0).normal(3, 2, (9, 6, 6, 3))
    images[:, 2:4, 2:4] += 5
    ee.adapt_batch_norm(model, images.astype(np.float32), 4)
    values = np.concatenate(
        [images.reshape(-1, 3), images[:, 2:4, 2:4].reshape(-1, 3)]
    )
    np.testing.assert_allclose(layer.moving_mean, values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, values.var(0), rtol=1e-5)


def test_without_batch_norm_nothing_happens():
    image = keras.Input(SHAPE)
    model = keras.Model(image, layers.Flatten()(image))
    assert ee.adapt_batch_norm(model, pictures(2)) is model


def test_nan_images_are_told():
    images = pictures(8)
    images[3, 2, 2, 1] = np.nan
    model = bn_first()
    before = model.get_layer("bn").moving_mean.numpy().copy()
    with pytest.raises(errors.InputError, match="'bn'.*NaN.*images"):
        ee.adapt_batch_norm(model, images, 4)
    np.testing.assert_array_equal(before, model.get_layer("bn").moving_mean)


def test_no_images_are_told():
    with pytest.raises(errors.InputError, match="empty calibration set"):
        ee.adapt_batch_norm(bn_first(), pictures(2)[:0])


def test_moments_merge_like_numpy():
    values = np.random.default_rng(0).normal(1e4, 1e-2, (30, 2))
    moments = adaptive_bn.Moments()
    for part in (values[:7], values[:0], values[7:8], values[8:]):
        count = len(part)
        mean = part.mean(0) if count else np.nan
        variance = part.var(0) if count else np.nan
        moments.add(count, mean, variance)
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, values.var(0), rtol=1e-6)


def test_repairs_a_pruned_network_on_real_images(real_data):
    """The paper's point: inherited statistics are wrong for a pruned net."""
    import tensorflow_datasets as tfds

    path = real_data / "baselines" / "resnet20_cifar10.keras"
    model = ee.prune(keras.models.load_model(path), 0.2)
    images, labels = tfds.as_numpy(
        tfds.load(
            "cifar10",
            split="train[:1024]",
            data_dir=str(real_data / "tfds"),
            batch_size=-1,
            as_supervised=True,
        )
    )

    def accuracy():
        answers = toys.outputs(model, images[512:].astype(np.float32))
        return (answers.argmax(1) == labels[512:]).mean()

    vanilla = accuracy()
    ee.adapt_batch_norm(model, images[:512])
    assert accuracy() > vanilla + 0.1


def test_a_model_with_any_inputs_and_outputs():
    inputs = [keras.Input(SHAPE, name="a"), keras.Input(SHAPE, name="b")]
    x = layers.BatchNormalization(name="bn")(layers.Add()(inputs))
    model = keras.Model(inputs, {"map": x, "mean": layers.Flatten()(x)})
    a, b = pictures(20), pictures(20, seed=1)
    for batch in ((a, b), {"a": a, "b": b}):
        dataset = tf.data.Dataset.from_tensor_slices((batch, np.arange(20)))
        ee.adapt_batch_norm(model, dataset.batch(8))
        check(model, a + b)
        model.get_layer("bn").moving_mean.assign(np.zeros(3))


@pytest.mark.parametrize(
    "images",
    [pictures(9)[..., :2], pictures(9)[0], []],
)
def test_images_that_the_model_does_not_take(images):
    with pytest.raises(errors.InputError, match="takes batches|no images"):
        ee.adapt_batch_norm(bn_first(), images)


def test_layer_that_no_output_needs():
    inner = keras.Input((6, 5, 3), name="image")
    x = layers.BatchNormalization(name="bn")(inner)
    base = keras.Model(inner, layers.Flatten()(x))
    image = keras.Input(SHAPE)
    unused = layers.BatchNormalization(name="unused")(image)
    x = base({"image": image, "other": unused})
    model = keras.Model(image, layers.Dense(3)(x))
    images = pictures(20)
    ee.adapt_batch_norm(model, images, 8)
    check(base, images)
    assert np.all(np.asarray(model.get_layer("unused").moving_mean) == 0)


def test_examples_of_several_inputs():
    a, b = keras.Input(SHAPE, name="a"), keras.Input((4,), name="b")
    x = layers.Flatten()(layers.BatchNormalization(name="bn")(a))
    x = layers.Concatenate()([x, layers.BatchNormalization(name="other")(b)])
    images, numbers = pictures(20), np.full((20, 4), 3.0, np.float32)
    both = tf.data.Dataset.from_tensor_slices((images, numbers)).batch(8)
    named = {"a": images, "b": numbers}
    labels = np.zeros(20, int)
    labelled = tf.data.Dataset.from_tensor_slices(((images, numbers), labels))
    for examples in (
        (images, numbers),
        [images, numbers],
        named,
        both,
        labelled.batch(8),
        tf.data.Dataset.from_tensor_slices(named).batch(8),
    ):
        model = keras.Model([a, b], layers.Dense(3)(x))
        model.get_layer("other").moving_mean.assign(np.zeros(4))
        ee.adapt_batch_norm(model, examples, 8)
        check(model, images)
        np.testing.assert_allclose(model.get_layer("other").moving_mean, 3.0)
    with pytest.raises(errors.InputError, match="2 inputs takes a tuple or"):
        ee.adapt_batch_norm(model, images)


@pytest.mark.parametrize("nothing", [None, 7, {"image": pictures(2)}])
def test_what_are_no_images(nothing):
    with pytest.raises(errors.InputError, match="Images are an array"):
        ee.adapt_batch_norm(bn_first(), nothing)


@pytest.mark.parametrize("size", [0, 2.5, None])
def test_batch_size_that_is_none(size):
    with pytest.raises(errors.InputError, match="batch_size is a whole number"):
        ee.adapt_batch_norm(bn_first(), pictures(4), size)
