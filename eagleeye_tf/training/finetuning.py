"""Fine-tuning from Python, with whatever holds the training examples."""

import collections.abc
import contextlib
import hashlib
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import examples as examples_lib
from eagleeye_tf import files
from eagleeye_tf import locks
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
            place. With several replicas made in the scope of `distribution`.
            Keras keeps the BN statistics of the first one alone, so they are
            re-estimated at the end, on about 1,280 training images; so they
            are with `settings.ema_momentum`.
        examples: `(images, labels)`, arrays, which are shuffled anew for each
            epoch; or a `tf.data.Dataset`, a Keras `PyDataset` or a list of
            batches (images, labels), which are taken as they come.
        settings: `TrainingSettings`; None for the defaults. Its `batch_size`
            is for arrays; batches have the size that they come with.
        validation: examples of the same kinds, counted after each epoch;
            None for none.
        teacher: the whole network, for `settings.distillation_weight`.
        directory: where checkpoints go, from which the same call goes on, and
            whose weights take the place of the model's own: one folder for
            each network. A `PyDataset` hears of the epochs that were before.
            None for none.
        distribution: a `tf.distribute.Strategy`; None for the current one.
        verbose: whether to show a progress bar.

    Returns:
        List of `Epoch`, one for each.

    Raises:
        InputError: if examples are not what they should be, `directory`
            belongs to another architecture, other arrays, another teacher or
            other settings, or the loss is no longer finite.
    """
    settings = settings or schedules.TrainingSettings()
    if teacher is not None and not settings.distillation_weight:
        raise errors.InputError(
            "A teacher teaches by distillation: give "
            "TrainingSettings(distillation_weight=…) above 0. Received: 0."
        )
    if directory is not None:
        files.check_path(directory)
    distribution = distribution or tf.distribute.get_strategy()
    source = _source(examples, settings)
    examples_lib.check(model, *source.some)
    if (source.some[1] == -1).all():
        raise errors.InputError(
            "Fine-tuning takes labelled examples. Received: labels that are "
            "all -1, which stands for unknown."
        )
    count = _counter(model, validation, settings.batch_size, distribution)
    total = settings.epochs * source.steps
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
        lock = locks.of_folder(directory, "fine-tuning")
        before_writing = stack.enter_context(lock)
        files.claim(
            directory,
            {
                **settings.identity(),
                "steps": source.steps,
                "network": _architecture(model),
                "examples": source.fingerprint,
                "teacher": teacher and batches_lib.model_fingerprint(teacher),
            },
            is_locked=True,
        )
        on_step = None
        if verbose:
            bar = progress.bar(total, "Fine-tuning", "step")
            on_step = progress.by_step(stack.enter_context(bar), source.steps)
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
            before_writing=before_writing,
            # Whoever calls again may bring the weights that are left.
            keep_start=True,
        )


def _architecture(model):
    """SHA-256 over layers and their shapes; Keras' names are not the same."""
    layers = [
        (type(layer).__name__, [tuple(w.shape) for w in layer.weights])
        for layer in model.layers
    ]
    return hashlib.sha256(repr(layers).encode()).hexdigest()


def _counter(model, validation, batch_size, distribution):
    """Function that counts correct validation answers: (correct, total)."""
    if validation is None:
        return lambda: (0, 0)
    images, labels = examples_lib.as_arrays(validation)
    examples_lib.check(model, images, labels)
    batches = batches_lib.of_examples(images, labels, batch_size)
    return scoring.Scorer(model, batches, distribution).count


def _source(examples, settings):
    if examples_lib.is_pair(examples):
        return _Arrays(*examples_lib.as_arrays(examples), settings)
    if isinstance(examples, tf.data.Dataset):
        return _Dataset(examples)
    if isinstance(examples, keras.utils.PyDataset):
        return _PyDataset(examples)
    if isinstance(examples, collections.abc.Sequence):
        return _Batches(examples)
    raise errors.InputError(
        "Training examples are a pair of arrays, a tf.data.Dataset, a "
        "PyDataset or a list of batches, which can be seen more than once. "
        f"Received: a {type(examples).__name__}."
    )


class _Arrays:
    """Shuffled in an order that depends on the seed and the epoch alone.

    Attributes:
        some: `(images, labels)` of a batch or more, arrays.
        fingerprint: of all examples; None where each look may show others.
        steps: batches per epoch.
    """

    def __init__(self, images, labels, settings):
        self.some = images[: settings.batch_size], labels
        self._images, self._labels = images, labels
        self.fingerprint = batches_lib.fingerprint(images, labels)
        self._seed = settings.seed
        self._batch_size = settings.batch_size
        self.steps = len(images) // self._batch_size

    def batches(self, epoch, first):
        """The `tf.data.Dataset` of an epoch, from a batch on."""
        generator = np.random.default_rng((self._seed, epoch))
        order = generator.permutation(len(self._images))
        order = order[: self.steps * self._batch_size]

        def read(rows):
            images, labels = tf.numpy_function(
                lambda rows: (self._images[rows], self._labels[rows]),
                [rows],
                [self._images.dtype, self._labels.dtype],
            )
            images.set_shape((None, *self._images.shape[1:]))
            labels.set_shape((None,))
            return images, labels

        rows = tf.data.Dataset.from_tensor_slices(order)
        return rows.batch(self._batch_size).skip(first).map(read).prefetch(2)


class _Dataset:
    """A `tf.data.Dataset` of batches; attributes as of `_Arrays`."""

    fingerprint = None

    def __init__(self, dataset):
        self.steps = int(examples_lib.require_an_end(dataset).cardinality())
        if self.steps == tf.data.UNKNOWN_CARDINALITY:
            self.steps = sum(1 for _ in dataset)
        _require_some(self.steps)
        self.some = examples_lib.of_batch(next(iter(dataset)))
        self._dataset = dataset.map(
            lambda images, labels: (images, tf.reshape(labels, [-1]))
        )

    def batches(self, _, first):
        """See `_Arrays`."""
        return self._dataset.skip(first)


class _Batches:
    """A sequence of batches; attributes as of `_Arrays`."""

    fingerprint = None

    def __init__(self, batches):
        self._batches = batches
        self.steps = self._count()
        _require_some(self.steps)
        self.some = images, labels = examples_lib.of_batch(batches[0])
        self._spec = (
            tf.TensorSpec((None, *images.shape[1:]), images.dtype),
            tf.TensorSpec((None,), labels.dtype),
        )

    def batches(self, epoch, first):
        """See `_Arrays`."""

        def read():
            for step in range(first, self.steps):
                yield examples_lib.of_batch(self._batches[step])

        generated = tf.data.Dataset.from_generator(
            read, output_signature=self._spec
        )
        return generated.prefetch(2)

    def _count(self):
        return len(self._batches)


class _PyDataset(_Batches):
    """A `PyDataset`, which may make other batches in each epoch."""

    def __init__(self, batches):
        self._epoch = None
        super().__init__(batches)

    def batches(self, epoch, first):
        """See `_Arrays`."""
        if self._epoch is None:
            self._epoch = 0
            self._batches.on_epoch_begin()
        while self._epoch < epoch:
            self._epoch += 1
            self._batches.on_epoch_end()
            self._batches.on_epoch_begin()
        return super().batches(epoch, first)

    def _count(self):
        return examples_lib.require_an_end(self._batches).num_batches


def _require_some(steps):
    if not steps:
        raise errors.InputError("There are no training examples.")
