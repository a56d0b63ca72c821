"""What a pruned network has of the whole one beside its weights."""

import graphs
import keras
import numpy as np
import toys

import eagleeye_tf as ee
from eagleeye_tf.pruning import rebuild

layers = keras.layers


def test_saves_and_loads_without_this_package(tmp_path):
    model = graphs.strangers_shortcuts()
    smaller = ee.prune(model, 0.5)
    path = tmp_path / "smaller.keras"
    smaller.save(path)
    x = toys.images(model)
    np.testing.assert_array_equal(
        toys.outputs(keras.models.load_model(path), x),
        toys.outputs(smaller, x),
    )


def test_names_dtypes_and_trainable_flags_survive():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, name="a", dtype="mixed_bfloat16")(image)
    x = layers.Conv2D(6, 3, name="b", trainable=False)(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, layers.Dense(3, name="c")(x), name="mine")
    smaller = ee.prune(model, 0.5)
    assert smaller.name == "mine"
    assert [x.name for x in smaller.layers] == [x.name for x in model.layers]
    for before, after in zip(model.layers, smaller.layers, strict=True):
        assert before.dtype_policy.name == after.dtype_policy.name
        assert before.trainable == after.trainable


def test_flags_and_policies_of_nested_models_survive():
    image = keras.Input((8, 8, 3))
    frozen = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(6, 3, name="a")], name="frozen"
    )
    frozen.trainable = False
    inner = keras.Input((6, 6, 6))
    nested = keras.Model(inner, layers.Conv2D(8, 3)(inner), name="nested")
    nested.dtype_policy = "mixed_bfloat16"
    x = layers.GlobalAveragePooling2D()(nested(frozen(image)))
    smaller = ee.prune(keras.Model(image, layers.Dense(3)(x)), 0.5)
    assert not smaller.get_layer("frozen").trainable
    assert not smaller.get_layer("frozen").get_layer("a").trainable
    assert smaller.get_layer("nested").dtype_policy.name == "mixed_bfloat16"
    assert smaller.get_layer("nested").trainable
    assert len(smaller.trainable_weights) == 4


def test_initial_values_of_what_is_not_cut_survive():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(
        4, 3, bias_initializer=keras.initializers.Constant(np.arange(4.0))
    )(image)
    head = keras.initializers.Constant(np.arange(3.0))
    x = layers.Dense(3, bias_initializer=head, name="head")(
        layers.GlobalAveragePooling2D()(x)
    )
    model = keras.Model(image, x)
    smaller = rebuild.Pruner(model).prune(0.5, fresh=True)
    np.testing.assert_array_equal(smaller.get_layer("head").bias, [0, 1, 2])


def test_sequential_stays_sequential():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3, name="a"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )
    smaller = ee.prune(model, 0.5)
    assert isinstance(smaller, keras.Sequential)
    assert smaller.get_layer("a").filters == 4
    assert ee.cost(smaller) == ee.cost(model, 0.5)


def test_config_values_that_know_the_width():
    image = keras.Input((8, 8, 3))
    initial = keras.initializers.Constant(list(range(8)))
    x = layers.Conv2D(8, 3, bias_initializer=initial, name="a")(image)
    x = layers.Conv2D(6, 3, name="b")(x)
    x = layers.Dropout(0.5, noise_shape=(None, 1, 1, 6))(x)
    flat = layers.Reshape((-1,))
    y = layers.Conv2D(2, 4, name="c")(x)
    x = layers.Concatenate()([flat(x), flat(y)])
    model = keras.Model(image, layers.Dense(3)(x))
    smaller = ee.prune(model, 0.5)
    assert smaller.get_layer("a").filters == 4
    assert smaller.get_layer("b").filters == 6  # The noise has a shape.
    smaller(toys.images(model), training=True)
    assert smaller.count_params() == ee.cost(model, 0.5).params


def test_models_dtype_policy_survives():
    model = toys.chain()
    model.dtype_policy = keras.DTypePolicy("mixed_float16")
    assert ee.prune(model, 0.5).dtype_policy.name == "mixed_float16"


def test_adapted_normalization_survives():
    image = keras.Input((8, 8, 3))
    normalization = layers.Normalization()
    data = np.random.default_rng(0).normal(5, 3, (16, 8, 8, 3))
    normalization.adapt(data)
    x = layers.Conv2D(4, 3)(normalization(image))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    x = toys.images(model)
    np.testing.assert_array_equal(
        toys.outputs(ee.prune(model, 0.0), x), toys.outputs(model, x)
    )
