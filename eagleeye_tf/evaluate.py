"""Test accuracy of a model file, and its cost or size.

    python -m eagleeye_tf.evaluate --model=runs/resnet56/export/saved_model \\
        --dataset=cifar10

Takes `.keras`, `.h5`, `.tflite` and `.onnx` files and SavedModel folders, and
leaves nothing behind: the figures are printed. A model given by name is that
of `train/model.keras` in `--workdir`, where `--weights` are saved, too.
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
