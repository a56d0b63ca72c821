"""Learning rates over a training run."""

import dataclasses
import math

import keras

from eagleeye_tf import errors
from eagleeye_tf import plain_numbers
from eagleeye_tf.training import precision

SCHEDULES = ("cosine", "step", "constant")

# Where "step" divides the learning rate by 10, as shares of the run: epochs
# 150 and 250 of 350 (paper, supplement).
_STEPS = (150 / 350, 250 / 350)


# Settings that came later: what was made before them had these values.
_LATER = {"mixup": 0.0, "ema_momentum": 0.0, "precision": "float32"}


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Attributes:
        epochs: passes over the training images, >= 1.
        learning_rate: the highest one, > 0.
        schedule: "cosine" down to 0, "step" (divided by 10 after 3/7 and 5/7
            of the run) or "constant".
        warmup_epochs: epochs over which the schedule is multiplied by a
            factor that rises from 0 to 1, >= 0; may be a fraction.
        weight_decay: factor of the L2 penalty on kernels, >= 0. As in the
            paper's framework the gradient gains weight_decay · weight.
        momentum: of SGD (Nesterov), in [0, 1).
        label_smoothing: in [0, 1).
        mixup: each image is mixed with another of its batch (of its replica's
            share of it), by shares from Beta(mixup, mixup); >= 0, where 0
            leaves images as they are. A teacher answers for the mixed images.
        ema_momentum: of the exponential moving average of the weights over
            the steps, in [0, 1), which takes their place in the end, with BN
            statistics that are estimated anew on training batches; 0 leaves
            the weights of the last step.
        distillation_weight: share of the loss, in [0, 1], that asks for the
            answers of a teacher instead of the labels.
        distillation_temperature: by which the logits of both are divided
            before they are compared, > 0.
        precision: "float32", or "bfloat16" for convolutions and matrix
            products on CPUs that are quicker at it; see `precision.in_use`.
        batch_size: images per step, shared by the replicas.
        seed: of shuffling and augmentation.

    Raises:
        InputError: if a value is outside its range.
    """

    epochs: int = 30
    learning_rate: float = 0.01
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    weight_decay: float = 1e-4
    momentum: float = 0.9
    label_smoothing: float = 0.0
    mixup: float = 0.0
    ema_momentum: float = 0.0
    distillation_weight: float = 0.0
    distillation_temperature: float = 4.0
    precision: str = "float32"
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self):
        plain_numbers.check(self)
        rules = (
            ("epochs", self.epochs >= 1, "at least 1"),
            (
                "learning_rate",
                0 < self.learning_rate < math.inf,
                "above 0, and finite",
            ),
            (
                "warmup_epochs",
                0 <= self.warmup_epochs < self.epochs,
                f"at least 0 and below epochs={self.epochs}",
            ),
            (
                "weight_decay",
                0 <= self.weight_decay < math.inf,
                "at least 0, and finite",
            ),
            ("momentum", 0 <= self.momentum < 1, "in [0, 1)"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)"),
            ("ema_momentum", 0 <= self.ema_momentum < 1, "in [0, 1)"),
            ("mixup", 0 <= self.mixup < math.inf, "at least 0, and finite"),
            (
                "distillation_weight",
                0 <= self.distillation_weight <= 1,
                "in [0, 1]",
            ),
            (
                "distillation_temperature",
                0 < self.distillation_temperature < math.inf,
                "above 0, and finite",
            ),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("seed", self.seed >= 0, "at least 0"),
            (
                "schedule",
                self.schedule in SCHEDULES,
                f"one of {', '.join(SCHEDULES)}",
            ),
            (
                "precision",
                self.precision in precision.PRECISIONS,
                f"one of {', '.join(precision.PRECISIONS)}",
            ),
        )
        for name, valid, rule in rules:
            if not valid:
                raise errors.InputError(
                    f"{name} is {rule}. Received: {getattr(self, name)!r}."
                )

    def identity(self):
        """What must not change when a training is continued, as JSON."""
        return plain_numbers.without_later(dataclasses.asdict(self), _LATER)


def learning_rate(settings, steps_per_epoch):
    """The Keras schedule, or number, for `TrainingSettings`."""
    rate = _after_warmup(settings, steps_per_epoch)
    steps = round(settings.warmup_epochs * steps_per_epoch)
    return _WarmUp(rate, steps) if steps else rate


class _WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule, or number, of whose first steps only a part is applied."""

    def __init__(self, rate, steps):
        self._rate, self._steps = rate, steps

    def __call__(self, step):
        rate = self._rate(step) if callable(self._rate) else self._rate
        step = keras.ops.cast(step, "float32")
        return rate * keras.ops.minimum((step + 1) / self._steps, 1.0)

    def get_config(self):
        return {"rate": self._rate, "steps": self._steps}


def _after_warmup(settings, steps_per_epoch):
    steps = settings.epochs * steps_per_epoch
    rate = settings.learning_rate
    if settings.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, steps)
    if settings.schedule == "step":
        # Keras counts a boundary to the rate before it.
        return keras.optimizers.schedules.PiecewiseConstantDecay(
            [round(share * steps) - 1 for share in _STEPS],
            [rate, rate / 10, rate / 100],
        )
    return rate


def rate_at(step, settings, steps_per_epoch):
    """The learning rate of a step, from 0, as a number."""
    rate = learning_rate(settings, steps_per_epoch)
    return float(rate(step)) if callable(rate) else rate
