"""What a candidate costs on this machine, and whether a race finds the best.

    python -m eagleeye_tf.benchmark --model=resnet56.keras --dataset=cifar10 \\
        --num_candidates=200 --sub_validation_images=5000 \\
        --workdir=runs/benchmark

Appears in `--workdir`: `benchmark/result.json`, and logs from which a killed
run goes on. Most of the time goes to the paper's protocol, by which every
candidate is evaluated.
"""

from absl import flags

from eagleeye_tf.stages import benchmark
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import recipes  # noqa: F401
from eagleeye_tf.stages import search

flags.adopt_module_key_flags(common)
flags.adopt_module_key_flags(search)
flags.adopt_module_key_flags(benchmark)

if __name__ == "__main__":
    console.run(benchmark.main)
