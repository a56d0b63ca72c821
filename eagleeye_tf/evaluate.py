"""Test accuracy and cost of a network: `.keras` file or SavedModel.

    python -m eagleeye_tf.evaluate --model=runs/resnet56/export/saved_model \\
        --dataset=cifar10 --workdir=runs/resnet56

Appears in `--workdir`: nothing; the figures are printed.
"""

from absl import flags

from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import evaluate
from eagleeye_tf.stages import recipes  # noqa: F401

flags.adopt_module_key_flags(common)
flags.adopt_module_key_flags(evaluate)

if __name__ == "__main__":
    console.run(evaluate.main)
