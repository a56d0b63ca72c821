"""Functions that TensorFlow traces once."""

import tensorflow as tf


def concrete(function, signature):
    """A function traced for its signature, to be called like the function.

    That is what a `tf.function` does when it is called first. But those of
    many networks, one after the other, TensorFlow takes for one that is traced
    too often, and warns; it says nothing of concrete ones.

    Args:
        function: of tensors.
        signature: list of a `TensorSpec`, or a structure of such, for each
            argument.
    """
    traced = tf.function(function, input_signature=signature)
    return traced.get_concrete_function()
