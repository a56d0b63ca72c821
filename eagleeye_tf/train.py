"""Trains a network by name, as the baseline to prune.

    python -m eagleeye_tf.train --model=mobilenet_v1 --dataset=cifar10 \\
        --workdir=runs/mobilenet

Appears in `--workdir`: `train/model.keras`, `train/epochs.jsonl` (one line
per epoch), `train/checkpoints/`. Killed and started again, it goes on from
its last checkpoint, which is about a minute old.
"""

from absl import flags

from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import fitting
from eagleeye_tf.stages import machines
from eagleeye_tf.stages import recipes  # noqa: F401
from eagleeye_tf.stages import train

flags.adopt_module_key_flags(common)
flags.adopt_module_key_flags(fitting)
flags.adopt_module_key_flags(train)
flags.adopt_module_key_flags(machines)

if __name__ == "__main__":
    console.run(train.main)
