import warnings

import keras
import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf.candidates import evaluators
from eagleeye_tf.candidates import plausibility
from eagleeye_tf.pruning import rebuild

SETTINGS = ee.SearchSettings(
    macs=0.5, tolerance=0.2, num_candidates=2, batch_size=16, evaluation="full"
)
CLASSES = 3


@pytest.fixture(scope="module")
def known():
    """A network, and 90 images of which it has all right, by class."""
    model = toys.chain(channels=(16, 16), classes=CLASSES)
    toys.scramble(model)
    images = toys.images(model, count=600)
    bias = model.layers[-1].bias
    bias.assign(bias - toys.outputs(model, images).mean(0))
    answers = toys.outputs(model, images).argmax(1)
    chosen = [np.flatnonzero(answers == c)[:30] for c in range(CLASSES)]
    assert [len(x) for x in chosen] == [30] * CLASSES
    chosen = np.concatenate(chosen)
    return model, images[chosen], answers[chosen]


def search(model, images, labels, settings=SETTINGS):
    return ee.search(
        model, images[:40], (images, labels), settings, verbose=False
    )


def test_a_trained_network_is_searched_without_a_word(known):
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.PlausibilityWarning)
        search(*known)


def test_other_classes_are_told(known):
    model, images, labels = known
    told = r"has 0 of 90 .* a guess \(33.3% .* images from -?\d.* to \d"
    with pytest.warns(errors.PlausibilityWarning, match=told):
        search(model, images, (labels + 1) % CLASSES)


@pytest.mark.parametrize("right, is_guess", [(12, True), (13, False)])
def test_a_guess_has_a_third_and_two_standard_deviations(
    known, right, is_guess
):
    """Of 90, 30 + 2 * sqrt(90 * 1/3 * 2/3) = 38.94, that is 13 of a class."""
    model, images, labels = known
    is_right = np.arange(90) % 30 < right
    labels = np.where(is_right, labels, (labels + 1) % CLASSES)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search(model, images, labels)
    told = [x for x in caught if x.category is errors.PlausibilityWarning]
    assert len(told) == is_guess


def test_statistics_that_lag_behind_are_told(known):
    """The network knows everything, once its BN statistics are its own."""
    model, images, _ = known
    late = keras.models.clone_model(model)
    late.set_weights(model.get_weights())
    ee.adapt_batch_norm(late, images)
    bias = late.layers[-1].bias
    bias.assign(bias - toys.outputs(late, images).mean(0))
    labels = toys.outputs(late, images).argmax(1)
    for layer in late.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(layer.moving_mean + 1e3)
    told = "has [0-9]+ of 90 .*, and 90 with"
    with pytest.warns(errors.PlausibilityWarning, match=told) as caught:
        ee.search(late, images, (images, labels), SETTINGS, verbose=False)
    (told,) = [
        warning
        for warning in caught
        if warning.category is errors.PlausibilityWarning
    ]
    assert "--recalibrate" in str(told.message)


def test_two_images_tell_nothing(known):
    model, images, labels = known
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.PlausibilityWarning)
        search(model, images[[0, 30]], (labels[[0, 30]] + 1) % CLASSES)


def test_only_so_many_images_are_looked_at(known):
    """The first are of one class, which all images are not."""
    model, images, labels = known
    many = np.repeat(np.arange(90), 10)
    arrays = images[many], ((labels + 1) % CLASSES)[many]
    own = evaluators.make(rebuild.Pruner(model), arrays, arrays)
    with pytest.warns(errors.PlausibilityWarning, match="0 of 300 .*33.3%"):
        plausibility.check(own, *arrays, batch_size=100)
