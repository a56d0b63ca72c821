"""Does a score before fine-tuning tell the accuracy after it?

    python -m eagleeye_tf.correlate --model=my_model.keras --dataset=cifar10 \\
        --num_candidates=24 --epochs=5 --workdir=runs/study

Scores random strategies in every way there is, fine-tunes all of them, and
correlates. Appears in `--workdir`: `correlate/scores.jsonl`,
`correlate/finetuned.jsonl`, `correlate/study.json`, which says what was
studied, and what comes of these three: `correlate/result.json`, from the third
fine-tuning on, and in the end figures. `python -m eagleeye_tf.report` draws
them again anywhere, at any time. Killed and started again, it goes on where it
was.
"""

from absl import flags

from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import correlate
from eagleeye_tf.stages import fitting
from eagleeye_tf.stages import recipes  # noqa: F401
from eagleeye_tf.stages import search
from eagleeye_tf.stages import tuning

for _module in (common, search, fitting, tuning, correlate):
    flags.adopt_module_key_flags(_module)

if __name__ == "__main__":
    console.run(correlate.main)
