"""Fine-tunes the winners of a search.

    python -m eagleeye_tf.finetune --model=resnet56.keras --dataset=cifar10 \\
        --epochs=30 --num_winners=1 --workdir=runs/resnet56

Reads `search/` from `--workdir`. Appears there: `finetune/candidate_N/` with
`model.keras` and `epochs.jsonl`, N being the candidate's number in the search
log, and `finetune/result.json`, which names the best of them by
sub-validation accuracy. Killed and started again, it goes on from its
last checkpoint, which is about a minute old.
"""

from absl import flags

from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import finetune
from eagleeye_tf.stages import fitting
from eagleeye_tf.stages import machines
from eagleeye_tf.stages import recipes  # noqa: F401
from eagleeye_tf.stages import tuning

flags.adopt_module_key_flags(common)
flags.adopt_module_key_flags(fitting)
flags.adopt_module_key_flags(finetune)
flags.adopt_module_key_flags(tuning)
flags.adopt_module_key_flags(machines)

if __name__ == "__main__":
    console.run(finetune.main)
