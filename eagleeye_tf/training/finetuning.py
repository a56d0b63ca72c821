"""Fine-tuning from Python, with whatever holds the training examples."""

import contextlib
import dataclasses
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import progress
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import scoring
from eagleeye_tf.training import loop
from eagleeye_tf.training import schedules


def finetune(
    model,
    examples,
    settings=None,
    validation=None,
    teacher=None,
    directory=None,
    distribution=None,
    verbose=True,
):
    """Fine-tunes a network as the programs do: SGD with a schedule.

    Args:
        model: `keras.Model` with one output (batch, classes); changed in
            place. With several replicas made in the scope of `distribution`,
            and its BN statistics are then those of the first replica: call
            `adapt_batch_norm` at the end.
        examples: `(images, labels)`, arrays, which are shuffled anew for each
            epoch; or a `tf.data.Dataset`, a Keras `PyDataset` or a list of
            batches (images, labels), which are taken as they come.
        settings: `TrainingSettings`; None for the defaults. Batches have the
            size that they come with.
        validation: examples of the same kinds, counted after each epoch;
            None for none.
        teacher: the whole network, for `settings.distillation_weight`.
        directory: where checkpoints go, from which the same call goes on;
            None for none.
        distribution: a `tf.distribute.Strategy`; None for the current one.
        verbose: whether to show a progress bar.

    Returns:
        List of `Epoch`, one for each.

    Raises:
        InputError: if examples are not what they should be, or the loss is
            no longer finite.
    """
    settings = settings or schedules.TrainingSettings()
    if settings.distillation_weight and teacher is None:
        raise errors.InputError(
            "Distillation needs a teacher: give the whole network. Received: "
            f"distillation_weight={settings.distillation_weight}, no teacher."
        )
    distribution = distribution or tf.distribute.get_strategy()
    source = _source(examples, settings)
    scoring.check_labels(model, source.labels)
    settings = dataclasses.replace(settings, batch_size=source.batch_size)
    count = _counter(model, validation, settings.batch_size, distribution)
    total = settings.epochs * source.steps
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
        on_step = None
        if verbose:
            bar = progress.bar(total, "Fine-tuning", "step")
            on_step = _shown_by(stack.enter_context(bar), source.steps)
        return loop.fit(
            model,
            source.batches,
            source.steps,
            settings,
            pathlib.Path(directory),
            count,
            distribution,
            on_step,
            teacher,
        )


def _shown_by(bar, steps):
    def on_step(epoch, step, loss):
        done = epoch * steps + step
        if not bar.n:
            bar.go_on_from(done)
        bar.set_postfix(epoch=epoch + 1, loss=f"{loss:.3f}", refresh=False)
        bar.update()

    return on_step


def _counter(model, validation, batch_size, distribution):
    """Function that counts correct validation answers: (correct, total)."""
    if validation is None:
        return lambda: (0, 0)
    images, labels = batches_lib.as_arrays(validation)
    scoring.check_labels(model, labels)
    batches = batches_lib.of_examples(images, labels, batch_size)
    return scoring.Scorer(model, batches, distribution).count


def _source(examples, settings):
    if isinstance(examples, tuple) and len(examples) == 2:
        return _Arrays(*batches_lib.as_arrays(examples), settings)
    if isinstance(examples, tf.data.Dataset):
        return _Dataset(examples)
    return _Batches(examples)


class _Arrays:
    """Shuffled in an order that depends on the seed and the epoch alone.

    Attributes:
        labels: of some examples at least, int array.
        batch_size: examples per batch.
        steps: batches per epoch.
    """

    def __init__(self, images, labels, settings):
        self._images, self.labels = images, labels
        self._seed = settings.seed
        self.batch_size = settings.batch_size
        self.steps = len(images) // self.batch_size

    def batches(self, epoch, first):
        """The `tf.data.Dataset` of an epoch, from a batch on."""
        generator = np.random.default_rng((self._seed, epoch))
        order = generator.permutation(len(self._images))
        order = order[first * self.batch_size : self.steps * self.batch_size]

        def read(rows):
            images, labels = tf.numpy_function(
                lambda rows: (self._images[rows], self.labels[rows]),
                [rows],
                [self._images.dtype, self.labels.dtype],
            )
            images.set_shape((None, *self._images.shape[1:]))
            labels.set_shape((None,))
            return images, labels

        rows = tf.data.Dataset.from_tensor_slices(order)
        return rows.batch(self.batch_size).map(read).prefetch(2)


class _Dataset:
    """A `tf.data.Dataset` of batches; attributes as of `_Arrays`."""

    def __init__(self, dataset):
        self._dataset = dataset
        self.steps = int(dataset.cardinality())
        if self.steps == tf.data.INFINITE_CARDINALITY:
            raise errors.InputError(
                "An epoch has an end: give a tf.data.Dataset with take(…)."
            )
        if self.steps == tf.data.UNKNOWN_CARDINALITY:
            self.steps = sum(1 for _ in dataset)
        self.labels = _labels(next(iter(dataset), None))
        self.batch_size = len(self.labels)

    def batches(self, _, first):
        """See `_Arrays`."""
        return self._dataset.map(_pair).skip(first)


class _Batches:
    """A `PyDataset` or a sequence of batches; attributes as of `_Arrays`."""

    def __init__(self, batches):
        self._batches = batches
        self._is_keras = isinstance(batches, keras.utils.PyDataset)
        self.steps = batches.num_batches if self._is_keras else len(batches)
        if not self.steps:
            raise errors.InputError("There are no training examples.")
        self.labels = _labels(batches[0])
        self.batch_size = len(self.labels)
        images = np.asarray(batches[0][0])
        self._spec = (
            tf.TensorSpec((None, *images.shape[1:]), images.dtype),
            tf.TensorSpec((None,), self.labels.dtype),
        )

    def batches(self, _, first):
        """See `_Arrays`."""

        def read():
            for step in range(first, self.steps):
                images, labels = self._batches[step][:2]
                yield np.asarray(images), np.asarray(labels).reshape(-1)
            if self._is_keras:
                self._batches.on_epoch_end()

        generated = tf.data.Dataset.from_generator(
            read, output_signature=self._spec
        )
        return generated.prefetch(2)


def _pair(images, labels, *_):
    return images, tf.reshape(labels, [-1])


def _labels(batch):
    """Labels of a batch, int array (examples,).

    Raises:
        InputError: unless it is one of (images, labels).
    """
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise errors.InputError(
            "Fine-tuning takes batches (images, labels). Received a "
            f"{type(batch).__name__}."
        )
    labels = np.asarray(batch[1])
    if labels.size != len(batch[0]):
        raise errors.InputError(
            "Labels are one whole number for each image, the index of its "
            f"class. Received: labels of shape {labels.shape} for "
            f"{len(batch[0])} images."
        )
    return labels.reshape(-1)
