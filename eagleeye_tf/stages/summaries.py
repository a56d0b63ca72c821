"""Summaries for TensorBoard, in `tensorboard/` of a workdir.

tensorboard --logdir=runs/mine/tensorboard
"""

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams_api


class Summaries:
    """What one run tells TensorBoard.

    Args:
        job: a `job.Job`; of several processes that work together the one
            that leads writes.
        folder: path of what the run writes to, below the job's workdir; its
            summaries lie in the same place below `tensorboard/`.
    """

    def __init__(self, job, folder):
        place = folder.relative_to(job.workdir)
        self._writer = tf.summary.create_noop_writer()
        if job.leads:
            self._writer = tf.summary.create_file_writer(
                str(job.workdir / "tensorboard" / place)
            )

    def scalars(self, step, values):
        """Writes `{name: number}` of a step, from 0."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def settings(self, values):
        """Writes settings, a dict, for TensorBoard's HParams page."""
        known = {
            name: value
            for name, value in values.items()
            if isinstance(value, bool | int | float | str)
        }
        with self._writer.as_default(step=0):
            hparams_api.hparams(known)

    def flush(self):
        """Writes what is still in memory."""
        self._writer.flush()
