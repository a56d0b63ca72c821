import numpy as np
import pytest

from eagleeye_tf.pruning.labels import Labels


def test_ties_join_classes_position_by_position():
    labels = Labels()
    a, b, c = labels.new(2), labels.new(2), labels.new(1)
    labels.tie(a, b)
    labels.tie(b[1:], c)
    classes = labels.classes()
    assert classes[a[0]] == classes[b[0]]
    assert classes[a[1]] == classes[b[1]] == classes[c[0]]
    assert classes[a[0]] != classes[a[1]]


def test_without_ties_every_label_is_its_own_class():
    labels = Labels()
    labels.new(3)
    np.testing.assert_array_equal(labels.classes(), [0, 1, 2])


def test_a_layer_produces_the_same_labels_at_each_call():
    labels = Labels()
    first = labels.produced_by("conv", 4)
    np.testing.assert_array_equal(labels.produced_by("conv", 4), first)


def test_arrays_of_different_length_cannot_be_tied():
    labels = Labels()
    with pytest.raises(ValueError, match="2 and 3 labels"):
        labels.tie(labels.new(2), labels.new(3))
