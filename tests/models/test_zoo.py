import keras
import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf.models import zoo


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def build(name, classes=10, size=32, **kwargs):
    return zoo.build(name, (size, size, 3), classes, **kwargs)


# Trainable parameters of the same networks for CIFAR-10 in other frameworks:
# ResNet-20 and -56 with zero-padded shortcuts 0.27 M and 0.85 M (He et al.
# 2016, table 6; the exact counts are those of Y. Idelbayev's reproduction),
# the others as in K. Liu's pytorch-cifar, whose MobileNetV2 and VGG-16 differ
# by what is noted.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet20", 269_722),
        ("resnet56", 853_018),
        ("resnet50", 23_520_842),
        ("mobilenet_v1", 3_217_226),
        # pytorch-cifar: 14,728,266; its convolutions have 4,224 biases.
        ("vgg16_bn", 14_728_266 - 4_224),
        # pytorch-cifar: 2,296,922; it puts a projection with BN into the
        # shortcut wherever the width changes at stride 1 (32 -> 16, 16 -> 24,
        # 64 -> 96 and 160 -> 320 channels), and expands by 1 in block 1 with
        # a convolution where this network has none.
        (
            "mobilenet_v2",
            2_296_922
            - sum(
                a * b + 2 * b
                for a, b in [(32, 16), (16, 24), (64, 96), (160, 320)]
            )
            - (32 * 32 + 2 * 32),
        ),
    ],
)
def test_trainable_parameters(name, parameters):
    assert trainable(build(name)) == parameters


def test_macs_of_mobilenet_v1_by_hand():
    """Howard et al. 2017, table 1, with stride 1 in the stem."""
    macs, size, channels = 32 * 32 * 27 * 32, 32, 32
    for filters, stride in [
        (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
        *[(512, 1)] * 5, (1024, 2), (1024, 1),
    ]:  # fmt: skip
        size //= stride
        macs += size * size * (9 * channels + channels * filters)
        channels = filters
    assert macs + 10 * 1024 == 46_354_432
    assert ee.cost(build("mobilenet_v1")).macs == 46_354_432


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("MobileNet", 568_740_352),
        ("VGG16", 15_470_264_320),
        ("ResNet50", 3_857_973_248),
    ],
)
def test_published_macs_at_imagenet_size(name, macs):
    assert ee.cost(build(name, classes=1000, size=224)).macs == macs


@pytest.mark.slow
def test_equals_the_networks_of_others(real_data):
    for ours, theirs in (
        ("resnet20", "resnet20"),
        ("resnet56", "resnet56"),
        ("mobilenet_v1", "mobilenet_v1"),
    ):
        path = real_data / "baselines" / f"{theirs}_cifar10.keras"
        here, there = (
            ee.cost(build(ours)),
            ee.cost(keras.models.load_model(path)),
        )
        assert (here.macs, here.params) == (there.macs, there.params)


@pytest.mark.parametrize("name", sorted(zoo.NETWORKS))
@pytest.mark.parametrize("size", [8, pytest.param(32, marks=pytest.mark.slow)])
def test_gives_logits_for_raw_pixels(name, size):
    model = build(name, classes=7, size=size, width=0.25)
    answers = toys.outputs(model, toys.images(model))
    assert answers.shape == (2, 7)
    assert np.isfinite(answers).all()


def test_width_multiplier():
    model = build("vgg16_bn", width=0.5)
    filters = [
        layer.filters
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    ]
    assert filters == [32] * 2 + [64] * 2 + [128] * 3 + [256] * 6


@pytest.mark.parametrize(
    "name",
    [
        "MobileNet",
        "ResNet50",
        pytest.param("DenseNet121", marks=pytest.mark.slow),
    ],
)
def test_applications_come_with_their_preprocessing(name):
    """Raw pixels in: the same as preprocess_input and the bare network."""
    keras.utils.set_random_seed(3)
    bare = getattr(keras.applications, name)(
        weights=None, input_shape=(32, 32, 3), classes=4
    )
    toys.randomise(bare)
    model = build(name, classes=4)
    model.set_weights(bare.get_weights())
    module = {
        "MobileNet": keras.applications.mobilenet,
        "ResNet50": keras.applications.resnet50,
        "DenseNet121": keras.applications.densenet,
    }[name]
    x = toys.images(model)
    np.testing.assert_allclose(
        toys.outputs(model, x),
        toys.outputs(bare, module.preprocess_input(x.copy())),
        atol=1e-5,
    )


def test_weights_from_files(tmp_path):
    first = build("resnet20", width=0.25)
    first.save_weights(tmp_path / "w.weights.h5")
    first.save(tmp_path / "w.keras")
    for name in ("w.weights.h5", "w.keras"):
        keras.utils.set_random_seed(5)
        model = build("resnet20", width=0.25, weights=str(tmp_path / name))
        x = toys.images(model)
        np.testing.assert_array_equal(
            toys.outputs(model, x), toys.outputs(first, x)
        )


def test_weights_that_do_not_fit(tmp_path):
    build("resnet20", width=0.25).save(tmp_path / "w.keras")
    with pytest.raises(errors.InputError, match="no weights that fit"):
        build("resnet20", weights=str(tmp_path / "w.keras"))
    for name in ("w.weights.h5", "w.h5", "w.txt"):
        (tmp_path / name).write_text("These are no weights.")
        with pytest.raises(errors.InputError, match=f"{name}' holds no weig"):
            build("resnet20", weights=str(tmp_path / name))
    with pytest.raises(errors.InputError, match="no weights file"):
        build("resnet20", weights=str(tmp_path / "missing.h5"))


@pytest.mark.parametrize("name", ["resnet19", "preprocess_input", "resnet"])
def test_unknown_network(name):
    with pytest.raises(errors.InputError, match=f"no model '{name}'"):
        build(name)


def test_width_of_an_application():
    with pytest.raises(errors.InputError, match="width=0.5 for 'MobileNet'"):
        build("MobileNet", width=0.5)


def test_batches_of_one_size_become_those_of_any(tmp_path):
    image = keras.Input(batch_shape=(32, 8, 8, 3))
    x = keras.layers.BatchNormalization()(image)
    x = keras.layers.Conv2D(4, 3, trainable=False)(x)
    model = keras.Model(
        image, keras.layers.Dense(10)(keras.ops.mean(x, (1, 2)))
    )
    model.save(tmp_path / "m.keras")
    opened = zoo.load_file(str(tmp_path / "m.keras"))
    assert opened.inputs[0].shape == (None, 8, 8, 3)
    assert not opened.layers[2].trainable
    x = np.random.default_rng(0).uniform(size=(32, 8, 8, 3)).astype("float32")
    expected = np.asarray(model(x))
    np.testing.assert_array_equal(np.asarray(opened(x)), expected)
    assert opened(x[:5]).shape == (5, 10)


def test_batches_of_one_size_that_cannot_be_opened(tmp_path):
    image = keras.Input(batch_shape=(32, 8, 8, 3))
    x = keras.ops.reshape(image, (32, -1))
    keras.Model(image, keras.layers.Dense(10)(x)).save(tmp_path / "m.keras")
    with pytest.raises(errors.InputError, match="batches of 32 images alone"):
        zoo.load_file(str(tmp_path / "m.keras"))


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(errors.InputError, match="no model file"):
        zoo.load_file(str(tmp_path / "missing.keras"))
    damaged = tmp_path / "damaged.keras"
    damaged.write_bytes(b"PK not a zip")
    with pytest.raises(errors.InputError, match="cannot load.*damaged"):
        zoo.load_file(str(damaged))
    with pytest.raises(errors.InputError, match="is a folder; a SavedModel"):
        zoo.load_file(str(tmp_path))
    weights = tmp_path / "net.weights.h5"
    zoo.build("resnet20", (32, 32, 3), 10, 0.25).save_weights(weights)
    with pytest.raises(errors.InputError, match="without the model.*--weights"):
        zoo.load_file(str(weights))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_file_is_not_run(tmp_path, suffix):
    witness = tmp_path / "witness"
    image = keras.Input((4, 4, 3))
    harmful = keras.layers.Lambda(
        lambda x, path=str(witness): (open(path, "w").close(), x)[1],
        output_shape=(4, 4, 3),
    )
    path = str(tmp_path / f"stranger{suffix}")
    keras.Model(image, harmful(image)).save(path)
    witness.unlink(missing_ok=True)  # Building the model has called it.
    with pytest.raises(errors.InputError, match="cannot load"):
        zoo.load_file(path)
    assert not witness.exists()
