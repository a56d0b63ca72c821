"""What training minimizes: the loss by labels, and by a teacher's answers."""

import keras
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import examples as examples_lib
from eagleeye_tf import outputs as outputs_lib
from eagleeye_tf import replicas
from eagleeye_tf.training import mixup


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


class Objective:
    """The loss of each example: labels, and a teacher's answers.

    The teacher's part is T² · KL(softmax(teacher / T), softmax(student / T))
    (Hinton et al. 2015), whose gradient does not fade as T grows.

    Args:
        model: `keras.Model` that is trained.
        teacher: `keras.Model` for `settings.distillation_weight`; or None.
        settings: `TrainingSettings`.
        batches: `tf.data.Dataset` of batches (images, labels), of which the
            first tells whether outputs are logits or probabilities.

    Raises:
        InputError: if the teacher is missing, or does not fit.
    """

    def __init__(self, model, teacher, settings, batches):
        self._model = model
        if settings.distillation_weight:
            _check_teacher(teacher, model, settings)
        images, _ = next(iter(batches))
        kind = outputs_lib.gives_probabilities(model, images)
        self._of_labels = _loss(settings, kind)
        self._mixup = settings.mixup
        self._weight = settings.distillation_weight
        self._temperature = settings.distillation_temperature
        if self._weight:
            self._teacher = teacher
            self._kinds = outputs_lib.gives_probabilities(teacher, images), kind

    def __call__(self, images, labels, seed):
        """The losses of a batch, (batch,).

        Args:
            images: tensor (batch, …).
            labels: int tensor (batch,).
            seed: int tensor (2,), another for each batch and replica.
        """
        images = replicas.never_empty(tf.cast(images, tf.float32))
        if self._mixup:
            images, shares, partners = mixup.mix(images, self._mixup, seed)
        outputs = self._model(images, training=True)[: tf.size(labels)]
        loss = self._of_labels(labels, outputs)
        if self._mixup:
            shares = shares[: tf.size(labels)]
            others = self._of_labels(partners(labels), outputs)
            loss = shares * loss + (1 - shares) * others
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
    examples_lib.check_classifier(teacher)
    if teacher.output_shape != model.output_shape:
        raise errors.InputError(
            "A teacher has the classes of the network that it teaches, "
            f"{model.output_shape[-1]}. Received: one with outputs of shape "
            f"{teacher.output_shape}."
        )
    expected, found = (
        tf.TensorShape(network.inputs[0].shape) for network in (model, teacher)
    )
    if not expected.is_compatible_with(found):
        raise errors.InputError(
            "A teacher sees the images of the network that it teaches, of "
            f"shape {tuple(expected)}. Received: one for images of shape "
            f"{tuple(found)}."
        )
