"""Scores pruning strategies that meet a budget, without training any.

    python -m eagleeye_tf.search --model=resnet56.keras --dataset=cifar10 \\
        --macs=0.5 --num_candidates=100 --workdir=runs/resnet56

Appears in `--workdir`: `search/log.jsonl` (one line per candidate; the search
goes on from it when it is killed), `search/result.json` (what was found), and
`search/latency.jsonl` (one line per network measured, for a budget in latency).
"""

from absl import flags

from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import latency
from eagleeye_tf.stages import machines
from eagleeye_tf.stages import recipes  # noqa: F401
from eagleeye_tf.stages import search

for _module in (common, search, latency, machines):
    flags.adopt_module_key_flags(_module)

if __name__ == "__main__":
    console.run(search.main)
