import keras
import numpy as np
import pytest
import tensorflow as tf
import toys

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf import examples
from eagleeye_tf.candidates import batches

IMAGES = np.arange(5 * 4, dtype=np.float32).reshape(5, 2, 2, 1)
LABELS = np.array([0, 1, 2, 0, 1])


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        part = slice(3 * index, 3 * index + 3)
        return IMAGES[part], LABELS[part]


SOURCES = {
    "tf.data": tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(3),
    "list": [(IMAGES[:3], LABELS[:3]), (IMAGES[3:], LABELS[3:])],
    "PyDataset": Batches(),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_images_and_examples_of_any_source(source):
    joined = np.concatenate(list(batches.of_images(source, batch_size=3)))
    np.testing.assert_array_equal(joined, IMAGES)
    images, labels = examples.as_arrays(source)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_images_of_a_pair():
    pair = list(batches.of_images((IMAGES, LABELS), batch_size=3))
    np.testing.assert_array_equal(np.concatenate(pair), IMAGES)


def test_images_without_labels():
    source = tf.data.Dataset.from_tensor_slices(IMAGES).batch(2)
    joined = np.concatenate(list(batches.of_images(source, batch_size=3)))
    np.testing.assert_array_equal(joined, IMAGES)


def test_arrays_are_batched_in_order_with_a_ragged_end():
    sizes = [len(batch) for batch in batches.of_images(IMAGES, batch_size=2)]
    assert sizes == [2, 2, 1]


def test_images_on_disk_are_read_batch_by_batch(tmp_path, monkeypatch):
    """Made into a tensor at once, they would fill the memory after all."""
    path = tmp_path / "images"
    IMAGES.tofile(path)
    on_disk = np.memmap(path, IMAGES.dtype, "r", shape=IMAGES.shape)
    monkeypatch.delattr(tf.data.Dataset, "from_tensor_slices")
    found = list(batches.of_images(on_disk, batch_size=2))
    assert [len(batch) for batch in found] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(found), IMAGES)
    pairs = list(batches.of_examples(on_disk[1:], LABELS[1:], batch_size=3))
    np.testing.assert_array_equal(pairs[0][0], IMAGES[1:4])
    np.testing.assert_array_equal(pairs[1][1], LABELS[4:])


def test_fingerprint_sees_contents_shape_and_type():
    prints = {
        batches.fingerprint(a)
        for a in (
            IMAGES,
            IMAGES + 1,
            IMAGES.reshape(5, 4),
            IMAGES.view(np.int32),
        )
    }
    assert len(prints) == 4
    assert batches.fingerprint(IMAGES) == batches.fingerprint(IMAGES.copy())


@pytest.fixture
def model():
    built = toys.chain(channels=(16, 16))
    toys.randomise(built)
    return built


def test_fingerprint_sees_a_changed_weight(model):
    before = batches.model_fingerprint(model)
    copy = ee.prune(model, 0.0)
    assert batches.model_fingerprint(copy) == before
    copy.get_layer("logits").bias.assign([1.0, 0, 0, 0])
    assert batches.model_fingerprint(copy) != before


def test_fingerprint_is_of_what_is_computed(model):
    """A log is worth as much once the network is loaded without optimizer."""
    before = batches.model_fingerprint(model)
    copy = ee.prune(model, 0.0)
    copy.compile("sgd", "mse")
    copy.trainable = False
    assert batches.model_fingerprint(copy) == before


def test_fingerprint_of_any_type():
    ones = tf.ones((2, 2), tf.bfloat16).numpy()
    sums = {batches.fingerprint(x) for x in (ones, ones + ones, ones[:1])}
    assert len(sums) == 3


def test_endless_examples_of_several_inputs_are_told():
    both = tf.data.Dataset.from_tensors((IMAGES, IMAGES)).repeat()
    with pytest.raises(errors.InputError, match="Examples have an end"):
        batches.of_images(both, 3, inputs=2)
