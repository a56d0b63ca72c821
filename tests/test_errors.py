import hashlib

import keras
import pytest
import tensorflow as tf

from eagleeye_tf import errors


def read():
    return tf.io.read_file("missing.txt")


class Reading(keras.layers.Layer):
    def call(self, images):
        return read()


@pytest.mark.parametrize(
    "function",
    [read, tf.function(read), lambda: Reading()(tf.zeros((1, 2)))],
)
def test_cause_of_a_tensorflow_error_is_one_plain_line(function):
    with pytest.raises(tf.errors.NotFoundError) as raised:
        function()
    assert "{{" in str(raised.value)
    told = errors.cause(raised.value)
    assert told == "missing.txt; No such file or directory"


@pytest.mark.parametrize(
    "error, told",
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(), "no reason given"),
        (RuntimeError("first\nsecond"), "first"),
    ],
)
def test_cause_of_other_errors(error, told):
    assert errors.cause(error).endswith(told)


def test_a_change_in_words():
    assert errors.change("seed", None, 3) == "seed was None, now it is 3"
    sums = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()
    assert errors.change("data", *sums) == "data is not the same any more"
    assert errors.change("data", None, sums[0]).startswith("data is not")
