import dataclasses
import math

import pytest
import tensorflow as tf
import toys
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from test_fitting import SETTINGS
from test_fitting import job

from eagleeye_tf.stages import fitting
from eagleeye_tf.stages import summaries


def read(folder):
    found = event_accumulator.EventAccumulator(
        str(folder), size_guidance={"tensors": 0}
    )
    found.Reload()
    return {
        tag: {
            e.step: float(tf.make_ndarray(e.tensor_proto))
            for e in found.Tensors(tag)
        }
        for tag in found.Tags()["tensors"]
        if not tag.startswith("_hparams_")
    }


def test_training_is_summarised(tmp_path):
    here = job(tmp_path, tf.distribute.get_strategy())
    settings = dataclasses.replace(SETTINGS, epochs=2, learning_rate=0.1)
    model = toys.chain(classes=10)
    epochs = fitting.fit(model, here, settings, tmp_path / "train", "Training")
    found = read(tmp_path / "tensorboard" / "train")
    steps = here.data.train.size // settings.batch_size
    assert sorted(found["sub_validation_accuracy"]) == [steps, 2 * steps]
    accuracy = found["sub_validation_accuracy"][2 * steps]
    assert accuracy == pytest.approx(epochs[-1].correct / epochs[-1].total)
    # Cosine; the first step, number 0, is written as 1.
    rates = found["learning_rate"]
    for step in (1, steps + 1):
        done = (step - 1) / (2 * steps)
        expected = 0.1 * (1 + math.cos(math.pi * done)) / 2
        assert rates[step] == pytest.approx(expected, rel=1e-5)
    assert set(found["loss"]) == set(rates)


def test_settings_are_hyperparameters(tmp_path):
    here = job(tmp_path, tf.distribute.get_strategy())
    told = summaries.Summaries(here, tmp_path / "train")
    told.settings({"epochs": 3, "schedule": "cosine", "none": None})
    told.flush()
    found = event_accumulator.EventAccumulator(
        str(tmp_path / "tensorboard" / "train")
    )
    found.Reload()
    content = found.SummaryMetadata("_hparams_/session_start_info")
    written = plugin_data_pb2.HParamsPluginData.FromString(
        content.plugin_data.content
    ).session_start_info.hparams
    assert written["epochs"].number_value == 3
    assert written["schedule"].string_value == "cosine"
    assert len(written) == 2


def test_only_who_leads_writes(tmp_path):
    here = dataclasses.replace(job(tmp_path, None), leads=False)
    told = summaries.Summaries(here, tmp_path / "train")
    told.scalars(1, {"loss": 1.0})
    told.flush()
    assert not (tmp_path / "tensorboard").exists()
