import math

import pytest

from eagleeye_tf import errors
from eagleeye_tf.training import schedules
from eagleeye_tf.training.schedules import TrainingSettings


def rate(settings, step, steps_per_epoch=10):
    value = schedules.learning_rate(settings, steps_per_epoch)
    return float(value(step)) if callable(value) else value


def test_cosine_by_hand():
    settings = TrainingSettings(epochs=4, learning_rate=0.2)
    for step in (0, 10, 20, 40):
        expected = 0.2 * (1 + math.cos(math.pi * step / 40)) / 2
        assert rate(settings, step) == pytest.approx(expected, abs=1e-7)


def test_step_is_the_papers():
    """Divided by 10 at epochs 150 and 250 of 350 (supplement)."""
    settings = TrainingSettings(epochs=350, learning_rate=0.1, schedule="step")
    rates = [rate(settings, 10 * epoch + 5) for epoch in (149, 150, 249, 250)]
    assert rates == pytest.approx([0.1, 0.01, 0.01, 0.001])


def test_step_falls_with_the_first_step_of_an_epoch():
    """Seven epochs of one step: three, then two, then two."""
    settings = TrainingSettings(epochs=7, learning_rate=1.0, schedule="step")
    rates = [rate(settings, step, 1) for step in range(7)]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    one = TrainingSettings(epochs=1, learning_rate=1.0, schedule="step")
    assert rate(one, 0, 1) == pytest.approx(0.1)  # Its middle is past 3/7.


def test_constant():
    settings = TrainingSettings(learning_rate=0.3, schedule="constant")
    assert rate(settings, 10_000) == 0.3


@pytest.mark.parametrize("schedule", schedules.SCHEDULES)
def test_warmup_by_hand(schedule):
    """Two epochs of ten steps: step 4 is the fifth of twenty."""
    settings = TrainingSettings(
        epochs=10, learning_rate=0.2, schedule=schedule, warmup_epochs=2
    )
    plain = TrainingSettings(epochs=10, learning_rate=0.2, schedule=schedule)
    for step, share in ((0, 1 / 20), (4, 5 / 20), (19, 1), (20, 1), (99, 1)):
        expected = share * rate(plain, step)
        assert rate(settings, step) == pytest.approx(expected, rel=1e-6)


def test_what_was_made_before_a_setting_came_goes_on():
    """Its files know nothing of it."""
    old = {
        "epochs": 30,
        "learning_rate": 0.01,
        "schedule": "cosine",
        "warmup_epochs": 0.0,
        "weight_decay": 1e-4,
        "momentum": 0.9,
        "label_smoothing": 0.0,
        "distillation_weight": 0.0,
        "distillation_temperature": 4.0,
        "batch_size": 128,
        "seed": 0,
    }
    assert TrainingSettings().identity() == old
    new = {"mixup": 0.2, "ema_momentum": 0.9, "precision": "bfloat16"}
    assert TrainingSettings(**new).identity() == {**old, **new}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("learning_rate", 0.0),
        ("learning_rate", -1.0),
        ("learning_rate", math.inf),
        ("weight_decay", math.inf),
        ("distillation_temperature", math.inf),
        ("weight_decay", -1e-4),
        ("momentum", 1.0),
        ("label_smoothing", 1.0),
        ("precision", "float16"),
        ("mixup", -0.1),
        ("mixup", math.inf),
        ("ema_momentum", -0.1),
        ("ema_momentum", 1.0),
        ("batch_size", 0),
        ("seed", -1),
        ("schedule", "linear"),
        ("warmup_epochs", -1),
        ("warmup_epochs", 30),
    ],
)
def test_values_outside_their_range(name, value):
    with pytest.raises(errors.InputError, match=f"^{name} is .*{value}"):
        TrainingSettings(**{name: value})
