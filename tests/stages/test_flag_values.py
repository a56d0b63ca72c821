"""Every flag comes to the setting that it names."""

import dataclasses

import pytest

import eagleeye_tf as ee
from eagleeye_tf.stages import common
from eagleeye_tf.stages import finetune
from eagleeye_tf.stages import search
from eagleeye_tf.stages import train

SEARCH = {
    "macs": 0.41,
    "params": 0.42,
    "activation_memory": 0.43,
    "max_macs": 0.81,
    "max_params": 0.82,
    "max_activation_memory": 0.83,
    "latency": 0.44,
    "max_latency": 0.84,
    "tolerance": 0.011,
    "params_tolerance": 0.012,
    "activation_memory_tolerance": 0.013,
    "latency_tolerance": 0.014,
    "latency_measurements": 17,
    "num_candidates": 23,
    "min_ratio": 0.05,
    "max_ratio": 0.6,
    "exclude": ("stem_*", "conv2"),
    "importance": "l2",
    "round_to": 4,
    "search_algorithm": "random",
    "evaluation": "full",
    "calibration": "moving_average",
    "calibration_momentum": 0.8,
    "batch_size": 24,
    "seed": 5,
}
IN_MILLISECONDS = {"latency_ms": 3.5, "max_latency_ms": 4.5}
SHARED = {
    "schedule": "step",
    "momentum": 0.7,
    "label_smoothing": 0.2,
    "mixup": 0.3,
    "ema_momentum": 0.98,
    "precision": "bfloat16",
    "batch_size": 24,
    "seed": 5,
}
FINE_TUNING = {
    "epochs": 7,
    "learning_rate": 0.02,
    "weight_decay": 0.003,
    "warmup_epochs": 1.5,
    "distillation_weight": 0.6,
    "distillation_temperature": 2.5,
}
TRAINING = {
    "train_epochs": 8,
    "train_learning_rate": 0.3,
    "train_weight_decay": 0.004,
    "train_warmup_epochs": 2.5,
}


def differing(settings):
    """Those that are not the default ones, by name."""
    return {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) != field.default
    }


def test_of_a_search(set_flags):
    set_flags(**SEARCH)
    found = differing(search.search_settings())
    assert found.pop("algorithm") == "random"
    given = {n: v for n, v in SEARCH.items() if n != "search_algorithm"}
    assert found == given
    names = {field.name for field in dataclasses.fields(ee.SearchSettings)}
    assert names == {*given, *IN_MILLISECONDS, "algorithm"}


def test_of_a_latency_in_milliseconds(set_flags):
    set_flags(**IN_MILLISECONDS)
    assert differing(search.search_settings()) == IN_MILLISECONDS


def test_of_fine_tuning_and_training(set_flags):
    set_flags(**SHARED, **FINE_TUNING, **TRAINING)
    job = common.open_job()
    found = differing(finetune.training_settings(job))
    assert found == {**SHARED, **FINE_TUNING}
    assert found.keys() == {
        field.name for field in dataclasses.fields(ee.TrainingSettings)
    }
    named = {name.removeprefix("train_"): v for name, v in TRAINING.items()}
    found = differing(train.training_settings(job))
    assert found == {**SHARED, **named}


@pytest.mark.parametrize(
    "given, sizes",
    [
        # Of 1,438 an eighth and a quarter.
        (
            {"calibration_images": None, "sub_validation_images": None},
            (179, 359),
        ),
        ({"calibration_images": 40, "sub_validation_images": 70}, (40, 70)),
    ],
)
def test_of_the_parts_of_a_data_set(set_flags, given, sizes):
    set_flags(**given)
    data = common.open_job().data
    assert (data.calibration.size, data.sub_validation.size) == sizes
    assert data.train.size == 1438 - sum(sizes)
