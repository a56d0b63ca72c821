"""Exports a network as SavedModel and `.keras`, and checks the export.

    python -m eagleeye_tf.export --model=my_model.keras --dataset=cifar10 \\
        --workdir=runs/resnet56

If winners of a search for `--model` were fine-tuned in `--workdir`, the best of
them is exported; otherwise `--model` itself.

Appears in `--workdir`: `export/saved_model/`, `export/model.keras`,
`export/result.json` (largest difference between the two); with `--format` files
in other formats, those of the whole network in `export/full/`, and what was
measured of each.
"""

from absl import flags

from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import export
from eagleeye_tf.stages import recipes  # noqa: F401

flags.adopt_module_key_flags(common)
flags.adopt_module_key_flags(export)

if __name__ == "__main__":
    console.run(export.main)
