"""Training as the programs `train` and `finetune` share it."""

import contextlib
import dataclasses
import functools

from absl import flags

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf import locks
from eagleeye_tf import progress
from eagleeye_tf.stages import summaries
from eagleeye_tf.training import loop
from eagleeye_tf.training import precision
from eagleeye_tf.training import schedules

_STEPS_PER_SUMMARY = 10

_SCHEDULE = flags.DEFINE_enum(
    "schedule",
    "cosine",
    schedules.SCHEDULES,
    "Learning rate over the epochs: cosine down to 0, divided by 10 after "
    "3/7 and 5/7 (step), or constant.",
)
_MOMENTUM = flags.DEFINE_float(
    "momentum",
    0.9,
    "Of SGD.",
    lower_bound=0.0,
    upper_bound=0.999,
)
_LABEL_SMOOTHING = flags.DEFINE_float(
    "label_smoothing",
    0.0,
    "Share of the target spread over all classes.",
    lower_bound=0.0,
    upper_bound=0.99,
)
_MIXUP = flags.DEFINE_float(
    "mixup",
    0.0,
    "Mix each training image with another of its batch, by shares from "
    "Beta(mixup, mixup): 1 for shares from 0 to 1 alike, 0.2 for images that "
    "are mostly one, 0 not to mix.",
    lower_bound=0.0,
)
_EMA_MOMENTUM = flags.DEFINE_float(
    "ema_momentum",
    0.0,
    "Of a moving average over the steps' weights, which takes their place in "
    "the end: 0.999 averages some 1,000 steps, 0 leaves the last weights.",
    lower_bound=0.0,
    upper_bound=0.999999,
)
_PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    precision.PRECISIONS,
    "Of convolutions and matrix products while a CPU trains: bfloat16 is "
    "quicker where the processor has instructions for it (AMX, AVX512-BF16), "
    "and changes nothing where it has not, nor on GPUs.",
)


def shared_settings(job):
    """The `TrainingSettings` that do not differ between the programs."""
    return {
        "schedule": _SCHEDULE.value,
        "momentum": _MOMENTUM.value,
        "label_smoothing": _LABEL_SMOOTHING.value,
        "mixup": _MIXUP.value,
        "ema_momentum": _EMA_MOMENTUM.value,
        "precision": _PRECISION.value,
        "batch_size": job.batch_size,
        "seed": job.seed,
    }


def claim(directory, job, settings, **more):
    """Ties a stage's folder to all settings its result depends on."""
    files.claim(directory, {**job.settings(), **settings.identity(), **more})


@contextlib.contextmanager
def _saying_where(directory):
    """Adds to a divergence what is in the way of another attempt."""
    try:
        yield
    except errors.DivergenceError as error:
        raise errors.DivergenceError(
            f"{error} Other settings begin anew: remove {str(directory)!r} "
            "first, or choose another --workdir."
        ) from error


def _told(bar, job, model, settings, directory, steps):
    """`(on_step, validate)` of `loop.fit` that show, and write summaries."""
    told = summaries.Summaries(job, directory)
    told.settings(dataclasses.asdict(settings))
    show = progress.by_step(bar, steps)
    count = job.validator(model)

    def on_step(epoch, step, loss):
        show(epoch, step, loss)
        if step % _STEPS_PER_SUMMARY == 0:
            rate = schedules.rate_at(bar.n - 1, settings, steps)
            told.scalars(bar.n, {"loss": loss, "learning_rate": rate})

    def validate():
        correct, total = count()
        told.scalars(bar.n, {"sub_validation_accuracy": correct / total})
        told.flush()
        return correct, total

    return on_step, validate


def fit(model, job, settings, directory, description, teacher=None):
    """Trains `model` on the job's data behind a progress bar.

    For `teacher` see `loop.fit`.

    Returns:
        List of `records.Epoch`.

    Raises:
        InputError: see `loop.fit`; also for an unreadable image.
    """
    data = job.data
    steps = data.train.size // settings.batch_size
    bar = progress.bar(settings.epochs * steps, description, "step")
    on_step, validate = _told(bar, job, model, settings, directory, steps)
    # Of machines that train together, only the first writes.
    lock = contextlib.nullcontext(None)
    if job.leads:
        lock = locks.of_folder(directory, "training")
    with (
        _saying_where(directory),
        lock as before_writing,
        bar,
        data.naming_unreadable(),
    ):
        return loop.fit(
            model,
            functools.partial(
                data.training_batches, settings.batch_size, settings.seed
            ),
            steps,
            settings,
            directory,
            validate,
            job.distribution,
            on_step,
            teacher,
            leads=job.leads,
            before_writing=before_writing,
            own_distribution=job.own_distribution,
        )
