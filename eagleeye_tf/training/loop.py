"""The training loop, on one or several replicas, resumable anywhere."""

import math
import warnings

import keras
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import replicas
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.training import mixup
from eagleeye_tf.training import objective as objective_lib
from eagleeye_tf.training import precision
from eagleeye_tf.training import quick_batch_norm
from eagleeye_tf.training import records as records_lib
from eagleeye_tf.training import schedules

# Enough for the statistics of BN: see BUILD_NOTES.
_SETTLING_IMAGES = 1280

# Share of an average that the weights of its start may have unsaid.
_MOST_OF_START = 0.05


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
    keep_start=False,
    own_distribution=None,
):
    """Trains a model, or goes on where an earlier call was killed.

    Where BN statistics do not fit the weights in the end, they are estimated
    anew, and the last epoch's validation is that of the model as it is then.

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
        keep_start: whether the first checkpoint is made before the first
            step, for callers that cannot bring the same weights again.
        own_distribution: a `tf.distribute.Strategy` of this process alone;
            None if `distribution` is.

    Returns:
        List of `Epoch`, one for each.

    Raises:
        InputError: if there is not one full batch, nothing is trainable, the
            teacher does not fit, or the checkpoint is damaged.
        DivergenceError: if the loss is no longer finite.
    """
    _check(model, steps_per_epoch, settings)
    distribution = distribution or tf.distribute.get_strategy()
    with distribution.scope():
        optimizer = _optimizer(model, settings, steps_per_epoch)
    first = training_batches(0, 0)
    objective = objective_lib.Objective(model, teacher, settings, first)
    spec = replicas.share(first, distribution).element_spec
    step = _train_step(
        model, optimizer, objective, settings, distribution, spec
    )
    seconds = checkpoint_seconds if leads else None
    records = records_lib.Records(
        directory, model, optimizer, seconds, before_writing
    )
    if keep_start:
        records.keep_start()
    _require_same_place(records, distribution)
    for epoch in range(len(records.epochs), settings.epochs):
        batches = training_batches(epoch, records.step)
        for batch in replicas.share(batches, distribution):
            with precision.in_use(settings.precision):
                loss = float(step(batch))
            _require_finite(loss, records.step + 1, epoch + 1, settings)
            if on_step:
                on_step(epoch, records.step, loss)
            records.add_step(loss)
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        loss = records.mean_loss
        records.add(records_lib.Epoch(epoch + 1, loss, rate, *validate()))
    if settings.ema_momentum:
        with distribution.scope():
            optimizer.finalize_variable_values(model.trainable_variables)
    elif distribution.num_replicas_in_sync == 1:
        return records.epochs
    alone = own_distribution or distribution
    _settle_batch_norm(model, training_batches, settings, alone)
    records.amend(*validate())
    return records.epochs


def _check(model, steps_per_epoch, settings):
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
    _warn_of_old_averages(settings, settings.epochs * steps_per_epoch)


def _warn_of_old_averages(settings, steps):
    """Warns if the start would be a good part of an average of weights."""
    of_start = settings.ema_momentum ** (steps - 1)
    if settings.ema_momentum and of_start > _MOST_OF_START:
        # Leaves exp(-5) of the start, less than a hundredth.
        fitting = max(1 - float(f"{5 / steps:.1g}"), 0)
        warnings.warn(
            f"{of_start:.0%} of the average with ema_momentum="
            f"{settings.ema_momentum} would be the weights after the first of "
            f"these {steps} steps: lower it, to {fitting:g} or so, or train "
            "for longer.",
            errors.PlausibilityWarning,
            stacklevel=4,
        )


def _require_finite(loss, step, epoch, settings):
    if not math.isfinite(loss):  # And so are the weights by now.
        raise errors.DivergenceError(
            f"The training loss is {loss} in step {step} of epoch {epoch}: "
            f"lower learning_rate={settings.learning_rate}, or look for NaN in "
            "the images and for labels beyond the classes."
        )


def _settle_batch_norm(model, training_batches, settings, distribution):
    """Estimates BN statistics of a trained network on some training batches.

    Keras keeps those that the first of several replicas saw, and those of
    weights that an average takes the place of. What is frozen stays.
    """
    frozen = [
        (layer, layer.get_weights())
        for layer in adaptive_bn.batch_norm_layers(model).values()
        if not layer.trainable
    ]
    last = settings.epochs - 1
    images, _ = next(iter(training_batches(last, 0)))
    # A data set may come in another order when it is read again.
    batches = training_batches(last, 0)
    some = batches.take(math.ceil(_SETTLING_IMAGES / len(images)))

    def as_trained(step, batch):
        images = tf.cast(batch[0], tf.float32)
        if not settings.mixup:
            return images
        seed = tf.stack([_seed(settings), tf.cast(step, tf.int32)])
        mixed, _, _ = mixup.mix(images, settings.mixup, seed)
        return mixed

    adaptive_bn.adapt_batch_norm(
        model, some.enumerate().map(as_trained), distribution=distribution
    )
    for layer, weights in frozen:
        layer.set_weights(weights)


def _seed(settings):
    return settings.seed % (2**31 - 1)


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
        use_ema=settings.ema_momentum > 0,
        ema_momentum=settings.ema_momentum,
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

    def batch_seed():
        """Of what is random in a step, the same when a run goes on."""
        context = tf.distribute.get_replica_context()
        place = count * tf.cast(optimizer.iterations, tf.int32)
        place += tf.cast(context.replica_id_in_sync_group, tf.int32)
        return tf.stack([_seed(settings), place])

    def replica_step(images, labels):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(objective(images, labels, batch_seed()))
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
