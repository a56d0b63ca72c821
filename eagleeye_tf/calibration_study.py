"""How many calibration images does adaptive batch normalization need?

    python -m eagleeye_tf.calibration_study --model=my_model.keras \\
        --dataset=cifar10 --num_candidates=24 --calibration_images=12800 \\
        --workdir=runs/study

Scores random candidates with statistics of one batch, two, four, … Appears in
`--workdir`: `calibration_study/log.jsonl`, `result.json` and figures. Killed
and started again, it goes on where it was.
"""

from absl import flags

from eagleeye_tf.stages import calibration_study
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import recipes  # noqa: F401
from eagleeye_tf.stages import search

for _module in (common, search):
    flags.adopt_module_key_flags(_module)

if __name__ == "__main__":
    console.run(calibration_study.main)
