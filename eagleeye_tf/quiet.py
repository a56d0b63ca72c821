"""Imports TensorFlow and Keras: quick, quiet, and with oneDNN's kernels.

For programs only. TensorFlow's C++ libraries write to the terminal before
their own log level applies. What they say is shown after all if the import
fails.
"""

import contextlib
import gc
import os
import platform
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A GPU may have to do for several processes: workers, or who measures latency.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

# On x86 TensorFlow takes oneDNN's kernels of itself where there is AVX-512.
# With AVX2 alone they halve the time of a training step, too.
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
_OURS = "EAGLEEYE_TF_ONEDNN"  # Tells processes that start here whose choice.
if (
    platform.machine().lower() in ("x86_64", "amd64")
    and _ONEDNN not in os.environ
    and "tensorflow" not in sys.modules
):
    os.environ.update({_ONEDNN: "1", _OURS: "1"})
# For processes that are to compute as TensorFlow does without us; a word that
# it does not know leaves the choice to it.
OTHERS_KERNELS = {_ONEDNN: "default"} if _OURS in os.environ else {}


@contextlib.contextmanager
def silent_stderr():
    """Keeps what C++ writes to the terminal, shown only on an exception."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except BaseException:
            captured.seek(0)
            os.write(terminal, captured.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


@contextlib.contextmanager
def no_garbage():
    """Nothing that is made here is garbage, nor looked through for it again.

    To look takes a quarter of the time of TensorFlow's import, and of
    everything later that comes from it a quarter of a second each time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


if "tensorflow" not in sys.modules:
    with silent_stderr(), no_garbage():
        import keras  # noqa: F401
        import tensorflow as tf

        # The first look for GPUs is reported, too.
        tf.config.list_physical_devices()
