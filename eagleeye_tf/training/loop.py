"""The training loop, on one or several replicas, resumable anywhere."""

import dataclasses
import json
import math
import pathlib
import time

import keras
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf import outputs as outputs_lib
from eagleeye_tf import replicas
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.training import quick_batch_norm
from eagleeye_tf.training import schedules


@dataclasses.dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        epoch: its number, from 1.
        loss: mean training loss.
        learning_rate: at its end.
        correct: correct answers on the validation examples.
        total: number of validation examples.
    """

    epoch: int
    loss: float
    learning_rate: float
    correct: int
    total: int


def fit(
    model,
    training_batches,
    steps_per_epoch,
    settings,
    directory,
    validate,
    distribution=None,
    on_step=None,
    teacher=None,
    checkpoint_seconds=60,
    leads=True,
    before_writing=None,
):
    """Trains a model, or goes on where an earlier call was killed.

    Args:
        model: `keras.Model` made in the scope of `distribution`; changed.
        training_batches: function from the epoch, from 0, and the number of
            the first batch of it that is wanted to a `tf.data.Dataset` of
            batches (images, labels); the same each time it is called.
        steps_per_epoch: number of batches, >= 1.
        settings: `TrainingSettings`.
        directory: where checkpoints and `epochs.jsonl` go.
        validate: function without arguments that returns (correct, total).
        distribution: a `tf.distribute.Strategy`; None for the current one.
        on_step: called as `on_step(epoch, step, loss)`, epoch from 0.
        teacher: `keras.Model` for `settings.distillation_weight`, made in the
            scope of `distribution`; sees the same images, in inference mode.
        checkpoint_seconds: at least so much training lies between two
            checkpoints within an epoch.
        leads: False in all but one of several processes that train together,
            which only read what that one writes to `directory`.
        before_writing: called without arguments before anything is written
            there, to raise an error if that must not be; None for nothing.

    Returns:
        List of `Epoch`, one for each.

    Raises:
        InputError: if there is not one full batch, nothing is trainable, or
            the teacher does not fit.
        DivergenceError: if the loss is no longer finite.
    """
    if steps_per_epoch < 1:
        raise errors.InputError(
            "There are fewer training images than batch_size="
            f"{settings.batch_size}: lower it."
        )
    if not model.trainable_variables:
        raise errors.InputError(
            f"Model {model.name!r} has no trainable weights: set "
            "layer.trainable = True for what should be trained."
        )
    distribution = distribution or tf.distribute.get_strategy()
    with distribution.scope():
        optimizer = _optimizer(model, settings, steps_per_epoch)
    first = training_batches(0, 0)
    objective = _Objective(model, teacher, settings, first)
    spec = replicas.share(first, distribution).element_spec
    step = _train_step(
        model, optimizer, objective, settings, distribution, spec
    )
    seconds = checkpoint_seconds if leads else None
    records = _Records(directory, model, optimizer, seconds, before_writing)
    _require_same_place(records, distribution)
    for epoch in range(len(records.epochs), settings.epochs):
        batches = training_batches(epoch, records.step)
        for batch in replicas.share(batches, distribution):
            loss = float(step(batch))
            if not math.isfinite(loss):  # And so are the weights by now.
                raise errors.DivergenceError(
                    f"The training loss is {loss} in step {records.step + 1} "
                    f"of epoch {epoch + 1}: lower "
                    f"learning_rate={settings.learning_rate}, or look for NaN "
                    "in the images and for labels beyond the classes."
                )
            if on_step:
                on_step(epoch, records.step, loss)
            records.add_step(loss)
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        records.add(Epoch(epoch + 1, records.mean_loss, rate, *validate()))
    return records.epochs


def settle_batch_norm(
    model, images, batch_size, distribution, validate, epochs
):
    """Re-estimates BN statistics where Keras keeps the first replica's alone.

    Args:
        model: as for `fit`, trained.
        images: training images that tell the statistics; see
            `adaptive_bn.adapt_batch_norm`.
        batch_size: images per batch, for arrays.
        distribution: a `tf.distribute.Strategy` of this process alone.
        validate: as for `fit`.
        epochs: list of `Epoch`, what `fit` returned.

    Returns:
        The list, its last `Epoch` with the validation of the model as it is
        now.
    """
    adaptive_bn.adapt_batch_norm(model, images, batch_size, distribution)
    correct, total = validate()
    last = dataclasses.replace(epochs[-1], correct=correct, total=total)
    return [*epochs[:-1], last]


def _require_same_place(records, distribution):
    """Raises InputError unless all processes go on from one checkpoint."""
    count = distribution.num_replicas_in_sync
    if count == 1:
        return
    place = tf.constant(100_000 * len(records.epochs) + records.step, tf.int64)

    @tf.function
    def sums():
        places = distribution.run(lambda: tf.stack([place, place**2]))
        return distribution.reduce(
            tf.distribute.ReduceOp.SUM, places, axis=None
        )

    total, squares = (int(value) for value in sums())
    if count * squares != total**2:  # Equal only if all places are.
        raise errors.InputError(
            "Machines that train together need the same --workdir, in a file "
            "system that they share. Received: different checkpoints."
        )


def _optimizer(model, settings, steps_per_epoch):
    optimizer = keras.optimizers.SGD(
        schedules.learning_rate(settings, steps_per_epoch),
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
    )
    if _uses_float16(model):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer


def _uses_float16(model):
    """Whether any layer computes in float16, whose gradients underflow."""
    return any(
        layer.compute_dtype == "float16"
        or (isinstance(layer, keras.Model) and _uses_float16(layer))
        for layer in model.layers
    )


def _loss(settings, probabilities):
    crossentropy = keras.losses.CategoricalCrossentropy(
        from_logits=not probabilities,
        label_smoothing=settings.label_smoothing,
        reduction=None,
    )

    def loss_of(labels, outputs):
        outputs = tf.cast(outputs, tf.float32)
        labels, classes = tf.cast(labels, tf.int64), outputs.shape[-1]
        losses = crossentropy(tf.one_hot(labels, classes), outputs)
        # Such a label would pass for "none of the classes".
        is_known = (labels >= 0) & (labels < classes)
        return tf.where(is_known, losses, float("nan"))

    return loss_of


class _Objective:
    """The loss of each example: labels, and a teacher's answers.

    The teacher's part is T² · KL(softmax(teacher / T), softmax(student / T))
    (Hinton et al. 2015), whose gradient does not fade as T grows.
    """

    def __init__(self, model, teacher, settings, batches):
        self._model = model
        if settings.distillation_weight:
            _check_teacher(teacher, model, settings)
        images, _ = next(iter(batches))
        kind = outputs_lib.gives_probabilities(model, images)
        self._of_labels = _loss(settings, kind)
        self._weight = settings.distillation_weight
        self._temperature = settings.distillation_temperature
        if self._weight:
            self._teacher = teacher
            self._kinds = outputs_lib.gives_probabilities(teacher, images), kind

    def __call__(self, images, labels):
        images = replicas.never_empty(tf.cast(images, tf.float32))
        outputs = self._model(images, training=True)[: tf.size(labels)]
        loss = self._of_labels(labels, outputs)
        if not self._weight:
            return loss
        answers = self._teacher(images, training=False)[: tf.size(labels)]
        expected, found = (
            tf.nn.log_softmax(outputs_lib.logits(x, kind) / self._temperature)
            for kind, x in zip(self._kinds, (answers, outputs), strict=True)
        )
        expected = tf.stop_gradient(expected)
        gap = tf.reduce_sum(tf.exp(expected) * (expected - found), axis=-1)
        taught = self._temperature**2 * gap
        return (1 - self._weight) * loss + self._weight * taught


def _check_teacher(teacher, model, settings):
    if teacher is None:
        raise errors.InputError(
            "Distillation needs a teacher: give the whole network. Received: "
            f"distillation_weight={settings.distillation_weight}, no teacher."
        )
    if teacher.output_shape != model.output_shape:
        raise errors.InputError(
            "A teacher has the classes of the network that it teaches, "
            f"{model.output_shape[-1]}. Received: one with outputs of shape "
            f"{teacher.output_shape}."
        )


def _train_step(model, optimizer, objective, settings, distribution, spec):
    count = distribution.num_replicas_in_sync
    variables = model.trainable_variables
    kernels = [v for v in variables if "kernel" in v.name]

    def batch_size(labels):
        """Examples in the whole batch, of which a replica has its share."""
        own = tf.cast(tf.size(labels), tf.float32)
        if labels.shape[0] is not None or count == 1:
            return count * own
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

    def replica_step(images, labels):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(objective(images, labels))
            loss /= batch_size(labels)
            penalty = sum(map(tf.nn.l2_loss, kernels), tf.zeros(()))
            penalty = settings.weight_decay * penalty
            penalty += sum(model.losses, tf.zeros(()))
            scaled = optimizer.scale_loss(loss + penalty / count)
        gradients = tape.gradient(scaled, variables)
        optimizer.apply(gradients, variables)
        return loss

    @tf.function(input_signature=[spec])
    def step(batch):
        with quick_batch_norm.in_use(model):
            losses = distribution.run(replica_step, args=batch)
        return distribution.reduce(
            tf.distribute.ReduceOp.SUM, losses, axis=None
        )

    return step


class _Records:
    """Checkpoints and the log of epochs, which agree after any kill.

    Attributes:
        epochs: list of `Epoch`, those that are over.
        step: steps done of the present one.
    """

    def __init__(self, directory, model, optimizer, seconds, before_writing):
        self._before_writing = before_writing or (lambda: None)
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / "epochs.jsonl"
        self._seconds = seconds  # None for who only reads.
        self._place = {  # Where the run is, as part of the checkpoint.
            "epochs": tf.Variable(0, dtype=tf.int64, trainable=False),
            "step": tf.Variable(0, dtype=tf.int64, trainable=False),
            "loss": tf.Variable(0, dtype=tf.float64, trainable=False),
        }
        # Keras does not track the states of random generators (Dropout).
        weights = {id(weight) for weight in model.weights}
        states = [v.value for v in model.variables if id(v) not in weights]
        checkpoint = tf.train.Checkpoint(
            model=model,
            optimizer=optimizer,
            random_states=states,
            **self._place,
        )
        self._manager = tf.train.CheckpointManager(
            checkpoint, str(directory / "checkpoints"), max_to_keep=1
        )
        self.epochs = []
        if self._manager.latest_checkpoint:
            self._manager.restore_or_initialize()
            done = int(self._place["epochs"].numpy())
            self.epochs = self._read()[:done]
            if len(self.epochs) < done:
                raise errors.InputError(
                    f"{self._log} tells of {len(self.epochs)} epochs, the "
                    f"checkpoint beside it of {done}: restore the file, or "
                    "remove the folder to start again."
                )
        self.step = int(self._place["step"].numpy())
        self._loss = float(self._place["loss"].numpy())
        self._saved = time.monotonic()

    @property
    def mean_loss(self):
        """Of the present epoch so far."""
        return self._loss / max(self.step, 1)

    def add_step(self, loss):
        """Counts a step; now and then a checkpoint remembers it."""
        self.step += 1
        self._loss += loss
        if self._seconds is None:
            return
        if time.monotonic() - self._saved >= self._seconds:
            self._save()

    def add(self, epoch):
        """Logs an epoch, then checkpoints it: only then does it count."""
        self.epochs.append(epoch)
        self.step, self._loss = 0, 0.0
        if self._seconds is None:
            return
        self._before_writing()
        lines = (json.dumps(dataclasses.asdict(e)) for e in self.epochs)
        with files.replacing(self._log) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines))
        self._save()

    def _save(self):
        self._before_writing()
        self._place["epochs"].assign(len(self.epochs))
        self._place["step"].assign(self.step)
        self._place["loss"].assign(self._loss)
        self._manager.save()
        self._saved = time.monotonic()

    def _read(self):
        if not self._log.exists():  # Killed in the first epoch, or removed.
            return []
        lines = self._log.read_text().splitlines()
        return [Epoch(**json.loads(line)) for line in lines]
