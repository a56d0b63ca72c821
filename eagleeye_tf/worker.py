"""Evaluates candidates for a search that another process leads.

    python -m eagleeye_tf.worker --flagfile=search.flags \\
        --cluster=cluster.json --task_index=0 --workdir=/tmp/worker

Takes the same flags as the search, so that it reads the same images; keeps
them, decoded, in `worker_N/` of `--workdir`. TensorFlow's protocol has no
authentication: start workers in private networks only.
"""

from absl import flags

from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import machines
from eagleeye_tf.stages import recipes  # noqa: F401
from eagleeye_tf.stages import worker

flags.adopt_module_key_flags(common)
flags.adopt_module_key_flags(machines)

if __name__ == "__main__":
    console.run(worker.main)
