"""Every kind of graph: the right groups, cut right, saved and loaded."""

import conformance
import graphs
import keras
import more_graphs  # noqa: F401, enters more of them
import nested_graphs  # noqa: F401, likewise
import pytest
import tensorflow as tf

from eagleeye_tf.models import zoo


@pytest.mark.parametrize("name", list(graphs.GRAPHS))
def test_small_graphs(name, tmp_path):
    build, groups = graphs.GRAPHS[name]
    if name == "channels_first" and not _convolves_channels_first():
        pytest.skip("Without oneDNN CPUs take images with channels last only.")
    found = conformance.check(build(), tmp_path, ratio=0.4)
    assert found.groups == groups
    assert found.holds, found


def _convolves_channels_first():
    try:
        tf.nn.conv2d(
            tf.zeros((1, 1, 2, 2)), tf.zeros((1, 1, 1, 1)), 1, "SAME", "NCHW"
        )
    except tf.errors.UnimplementedError:
        return False
    return True


# Their layers are of kinds that the other families or small graphs have, too.
_SLOW = {
    "ConvNeXtTiny",
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "NASNetMobile",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "Xception",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in _SLOW else ())
        for name in conformance.FAMILIES
    ],
)
def test_one_of_each_family(name, tmp_path):
    size = conformance.FAMILIES[name]
    model = zoo.build(name, (size, size, 3), 5)
    found = conformance.check(model, tmp_path, serve=name == "MobileNet")
    assert found.holds, found
    assert found.left < 0.85
    expected = {"ConvNeXtTiny"}  # Layer normalization mixes its channels.
    assert bool(found.frozen) == (name in expected), found.frozen


def _applications():
    """Names of all CNNs of keras.applications."""
    return [
        name
        for name in dir(keras.applications)
        if name[0].isupper() and callable(getattr(keras.applications, name))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", _applications())
def test_all_applications(name, tmp_path):
    size = 331 if name == "NASNetLarge" else 75
    model = zoo.build(name, (size, size, 3), 5)
    found = conformance.check(model, tmp_path, serve=True)
    assert found.holds, found
    assert found.left < 0.85
