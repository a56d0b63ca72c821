"""Proves on your own model that pruning cuts it right.

    python -m eagleeye_tf.verify --model=my_model.keras

Random strategies are cut, and each pruned network is compared with the whole
one in which the same channels are ignored. Ends with exit code 4, and the
first layer that differs, if one is wrong. Nothing is written.
"""

from absl import flags

from eagleeye_tf.stages import console
from eagleeye_tf.stages import modules
from eagleeye_tf.stages import recipes  # noqa: F401
from eagleeye_tf.stages import verify

flags.adopt_module_key_flags(modules)
flags.adopt_module_key_flags(verify)
for _name in (
    "data_dir",
    "dataset",
    "exclude",
    "image_size",
    "importance",
    "max_ratio",
    "min_ratio",
    "model",
    "round_to",
    "seed",
    "weights",
    "width",
):
    flags.declare_key_flag(_name)

if __name__ == "__main__":
    console.run(verify.main)
