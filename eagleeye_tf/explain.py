"""What can be pruned in a model, what cannot and why, and what it brings.

    python -m eagleeye_tf.explain --model=my_model.keras
    python -m eagleeye_tf.explain --model=my_model.keras --sensitivity \\
        --dataset=folder --data_dir=my_images --workdir=runs/mine

Appears in `--workdir`, with --sensitivity: `explain/sensitivity_R.jsonl` of
each ratio R, from which a killed run goes on, `explain/result.json`,
`explain/sensitivity.png` and `.svg`.
"""

from absl import flags

from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import explain
from eagleeye_tf.stages import recipes  # noqa: F401
from eagleeye_tf.stages import search

for _module in (common, search, explain):
    flags.adopt_module_key_flags(_module)

if __name__ == "__main__":
    console.run(explain.main)
