"""In how many bits training computes on a CPU."""

import contextlib

import tensorflow as tf

PRECISIONS = ("float32", "bfloat16")

# oneDNN's graph rewriter; the plain name is that of float16 on GPUs.
_OPTION = "auto_mixed_precision_onednn_bfloat16"


@contextlib.contextmanager
def in_use(precision):
    """Lets functions that are called meanwhile compute in it.

    In bfloat16 TensorFlow gives convolutions and matrix products operands of
    16 bits and adds up in 32; weights, gradients, statistics and the
    optimizer's state stay float32, and so does a model that is saved. It
    leaves everything in float32 on GPUs, and on processors that have no
    instructions for it. The option is TensorFlow's, for the whole process:
    functions that other threads call meanwhile compute so, too.

    Args:
        precision: one of `PRECISIONS`.
    """
    if precision == "float32":
        yield
        return
    before = tf.config.optimizer.get_experimental_options().get(_OPTION, False)
    tf.config.optimizer.set_experimental_options({_OPTION: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({_OPTION: before})
