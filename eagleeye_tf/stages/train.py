"""Stage: trains a network by name, as the baseline to prune."""

import contextlib
import re

from absl import flags

from eagleeye_tf import errors
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import fitting
from eagleeye_tf.stages import machines
from eagleeye_tf.training import schedules

_EPOCHS = flags.DEFINE_integer(
    "train_epochs",
    350,
    "Passes over the training images, of a network given by name.",
    lower_bound=1,
)
_LEARNING_RATE = flags.DEFINE_float(
    "train_learning_rate",
    0.1,
    "Highest learning rate when a network given by name is trained.",
    lower_bound=1e-8,
)
_WEIGHT_DECAY = flags.DEFINE_float(
    "train_weight_decay",
    5e-4,
    "Factor of the L2 penalty on kernels when a network given by name is "
    "trained.",
    lower_bound=0.0,
)
_WARMUP_EPOCHS = flags.DEFINE_float(
    "train_warmup_epochs",
    0.0,
    "Epochs over which the learning rate rises from 0 to its schedule when a "
    "network given by name is trained.",
    lower_bound=0.0,
)


def training_settings(job):
    """The `TrainingSettings` that the flags describe."""
    with _naming_own_flags():
        return schedules.TrainingSettings(
            epochs=_EPOCHS.value,
            learning_rate=_LEARNING_RATE.value,
            weight_decay=_WEIGHT_DECAY.value,
            warmup_epochs=_WARMUP_EPOCHS.value,
            **fitting.shared_settings(job),
        )


@contextlib.contextmanager
def _naming_own_flags():
    """Settings go by other names here than in fine-tuning."""
    try:
        yield
    except errors.InputError as error:
        names = "epochs|learning_rate|weight_decay|warmup_epochs"
        told = re.sub(rf"\b({names})\b(?=[ =])", r"train_\1", str(error))
        raise type(error)(told) from error


def train(job):
    """Trains the job's named model; does nothing if that was done.

    A model that comes with weights is made, and not trained.
    """
    if job.has_weights():
        return job.made_path()
    path = job.trained_path()
    settings = training_settings(job)
    fitting.claim(path.parent, job, settings)
    if path.exists():
        console.say(f"Trained before: {path}")
        return path
    model = job.fresh_model()
    with _naming_own_flags():
        epochs = fitting.fit(model, job, settings, path.parent, "Training")
    job.save_model(model, path)
    last = epochs[-1]
    console.say(
        f"Trained {job.data.name} for {last.epoch} epochs: sub-validation "
        f"accuracy {last.correct / last.total:.2%}. Saved {path}"
    )
    return path


def main():
    machines.train_together(_main)


def _main(several_machines):
    job = common.open_job(several_machines)
    if job.has_file():
        raise errors.InputError(
            "Training takes a model by name, such as --model=mobilenet_v1; "
            "to train a file on, see eagleeye_tf.finetune. Received: "
            f"--model={job.trained_path()}."
        )
    train(job)
