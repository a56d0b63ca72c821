"""Examples come in many forms, and wrong ones are told in one sentence."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import examples

layers = keras.layers

IMAGES = np.arange(5 * 4, dtype=np.float32).reshape(5, 2, 2, 1)
LABELS = np.array([0, 1, 2, 0, 1])
INPUTS = np.zeros((2, 3), np.float32)


def identity(classes=3):
    x = keras.Input((classes,))
    return keras.Model(x, layers.Identity()(x))


def test_a_list_of_two_may_be_a_pair_or_batches():
    images, labels = examples.as_arrays([IMAGES, LABELS])
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    batches = [[IMAGES[:2], LABELS[:2]], [IMAGES[2:], LABELS[2:]]]
    images, labels = examples.as_arrays(batches)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    images, labels = examples.with_or_without_labels([IMAGES[:2], IMAGES[2:]])
    np.testing.assert_array_equal(images, IMAGES)
    assert (labels == -1).all()


def test_examples_without_an_end():
    endless = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).repeat()
    for read in (examples.as_arrays, examples.with_or_without_labels):
        with pytest.raises(errors.InputError, match="have an end"):
            read(endless.batch(2))


def test_examples_that_are_not_batched():
    single = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    with pytest.raises(errors.InputError, match=r"dataset\.batch"):
        examples.as_arrays(single)


def test_sample_weights_and_several_inputs():
    with pytest.raises(errors.InputError, match="tuple of 3"):
        examples.as_arrays([(IMAGES, LABELS, LABELS)])
    with pytest.raises(errors.InputError, match="one array of images"):
        examples.as_arrays([((IMAGES, IMAGES), LABELS)])
    one, two = keras.Input((2, 2, 1)), keras.Input((2, 2, 1))
    model = keras.Model([one, two], layers.Flatten()(one + two))
    with pytest.raises(errors.InputError, match="has one input"):
        examples.check(model, IMAGES, LABELS)


def test_images_of_another_shape():
    with pytest.raises(errors.InputError, match=r"\(3,\).*\(2, 2, 1\)"):
        examples.check(identity(), IMAGES, LABELS)
    anywhere = keras.Input((None, None, 1))
    pooled = layers.GlobalMaxPooling2D()(layers.Conv2D(3, 1)(anywhere))
    examples.check(keras.Model(anywhere, pooled), IMAGES, LABELS)


def test_labels_may_be_unknown_but_not_some_of_them():
    examples.check(identity(), INPUTS, np.array([-1, -1]))
    with pytest.raises(errors.InputError, match="from -1 to 1"):
        examples.check(identity(), INPUTS, np.array([-1, 1]))


def test_column_of_labels():
    _, labels = examples.as_arrays((IMAGES, LABELS[:, np.newaxis]))
    np.testing.assert_array_equal(labels, LABELS)


def test_examples_that_do_not_match():
    with pytest.raises(errors.InputError, match="one integer class for each"):
        examples.as_arrays((IMAGES, LABELS[:3]))


def test_the_way_out_of_one_hot_labels():
    images, labels = np.zeros((6, 4, 4, 3)), np.eye(6)
    for given in ((images, labels), [(images, labels)]):
        with pytest.raises(errors.InputError, match=r"labels\.argmax\(-1\)"):
            examples.as_arrays(given)


def test_an_empty_slice():
    with pytest.raises(errors.InputError, match="is empty"):
        examples.as_arrays((np.zeros((0, 4, 4, 3)), np.zeros(0, int)))


def test_some_images_are_of_all_kinds_and_always_the_same():
    images = np.arange(1_000.0)[:, np.newaxis]
    found = examples.some_images(images, 50)
    assert found.shape == (50, 1)
    assert len(np.unique(found)) == 50
    assert found.min() < 150 and found.max() > 850
    np.testing.assert_array_equal(examples.some_images(images, 50), found)
    every = examples.some_images(images, 2_000)
    np.testing.assert_array_equal(np.sort(every, axis=0), images)


@pytest.mark.parametrize("labelled", [True, False])
def test_some_images_of_batches_are_those_of_the_whole(labelled):
    images = np.arange(1_000.0)[:, np.newaxis]
    batches = np.array_split(images, 13)
    if labelled:  # Whatever labels are.
        batches = [(batch, np.eye(len(batch))) for batch in batches]
    found = examples.some_images(batches, 50)
    np.testing.assert_array_equal(found, examples.some_images(images, 50))
    with pytest.raises(errors.InputError, match="set of images is empty"):
        examples.some_images([], 50)


def test_no_batches():
    with pytest.raises(errors.InputError, match="empty"):
        examples.as_arrays([])


def test_labels_beyond_the_classes():
    with pytest.raises(errors.InputError, match=r"\[0, 3\).*from 0 to 3"):
        examples.check(identity(), INPUTS, np.array([0, 3]))


def test_labels_that_are_not_whole_numbers():
    with pytest.raises(errors.InputError, match="float64"):
        examples.check(identity(), INPUTS, np.array([0.0, 1.0]))


def test_one_output_unit_has_no_top1():
    with pytest.raises(errors.InputError, match="at least 2 classes"):
        examples.check(identity(1), INPUTS, np.array([0, 1]))


def test_an_output_in_a_dict_is_told():
    model = identity()
    named = keras.Model(model.inputs, {"logits": model.outputs[0]})
    with pytest.raises(errors.InputError, match=r"is a dict, \['logits'\]"):
        examples.check(named, INPUTS, np.array([0, 1]))
    same = keras.Model(named.inputs, named.outputs)
    examples.check(same, INPUTS, np.array([0, 1]))


def test_sorted_examples_are_mixed():
    labels = np.repeat(np.arange(4), 25)
    images = labels[:, np.newaxis] * 10
    mixed_images, mixed_labels = examples.mixed(images, labels)
    np.testing.assert_array_equal(mixed_images[:, 0], mixed_labels * 10)
    np.testing.assert_array_equal(np.bincount(mixed_labels), [25] * 4)
    assert len(set(mixed_labels[:20].tolist())) == 4
    again, _ = examples.mixed(mixed_images, mixed_labels)
    assert again is mixed_images  # Once is enough.
    unknown = np.full(100, -1)
    assert examples.mixed(images, unknown)[0] is images
