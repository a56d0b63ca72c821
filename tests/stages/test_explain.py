import json

import digit_models
import keras
import pytest
import toys

from eagleeye_tf import errors
from eagleeye_tf.pruning import importance
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.pruning.channel_graph import ChannelGraph
from eagleeye_tf.pruning.strategy import PruningStrategy
from eagleeye_tf.stages import common
from eagleeye_tf.stages import explain
from eagleeye_tf.stages import report

layers = keras.layers


def saved(tmp_path, model):
    path = tmp_path / "model.keras"
    model.save(path)
    return str(path)


def test_tables_of_a_model(set_flags, tmp_path, capsys):
    model = toys.chain(channels=(8, 12), classes=4, size=8)
    set_flags(
        model=saved(tmp_path, model), dataset=None, workdir=None, macs=0.4
    )
    explain.main()
    shown = capsys.readouterr().out
    # 27·8·64 = 13,824, 9·8·12·64 = 55,296 and 12·4 = 48 MACs; 256, 924 and 52
    # weights, BN's four vectors included.
    rows = [line.strip("| ").split("|") for line in shown.splitlines()]
    rows = [[cell.strip() for cell in row] for row in rows]
    assert ["conv0", "8", "conv0", "19.99%", "20.78%"] in rows
    assert ["conv1", "12", "conv1", "79.94%", "75.00%"] in rows
    assert ["(frozen)", "", "", "0.07%", "4.22%"] in rows
    assert "logits is an output of the model" in shown
    # At ratio 0.7: 3 and 4 channels.
    low = 27 * 3 * 64 + 9 * 3 * 4 * 64 + 4 * 4
    assert f"{low:,} to 69,168 macs ({low / 69168:.2%} to 100.00%" in shown
    assert "102,400 random strategies" in shown
    assert "met 40.0000% ± 0.5000% of 69,168 macs" in shown


def test_what_is_excluded_is_told(set_flags, tmp_path, capsys):
    path = saved(tmp_path, toys.chain(channels=(8, 12), classes=4, size=8))
    options = {"model": path, "dataset": None, "workdir": None}
    set_flags(**options, exclude=["conv0"])
    explain.main()
    shown = capsys.readouterr().out
    low = 27 * 8 * 64 + 9 * 8 * 4 * 64 + 4 * 4  # 4 of the 12 alone.
    assert "With ratios from 0.0 to 0.7, and conv0 whole, it can" in shown
    assert f"{low:,} to 69,168 macs" in shown
    set_flags(**options, exclude=["conv9"])
    with pytest.raises(errors.InputError, match="'conv9', which fits none"):
        explain.main()


def test_unreachable_budget_is_told_with_the_range(set_flags, tmp_path, capsys):
    path = saved(tmp_path, toys.chain())
    set_flags(model=path, dataset=None, workdir=None, macs=0.01)
    explain.main()
    assert "strategies, none met 1.0000%" in capsys.readouterr().out


def test_images_of_any_size(set_flags, tmp_path, capsys):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(6, 3, name="a")(image)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(4, name="logits")(x))
    set_flags(model=saved(tmp_path, model), dataset=None, workdir=None)
    with pytest.raises(errors.InputError, match="size of the images"):
        explain.main()
    shown = capsys.readouterr().out
    assert "| group | channels | layers |" in shown
    assert "logits is an output of the model" in shown


def test_layers_that_are_not_counted(set_flags, tmp_path, capsys):
    image = keras.Input((8, 3))
    x = layers.LSTM(5, name="lstm")(layers.Conv1D(6, 3, name="a")(image))
    x = layers.Dense(3)(layers.Dense(4, name="b")(x))
    model = keras.Model(image, x)
    set_flags(model=saved(tmp_path, model), dataset=None, workdir=None)
    explain.main()
    assert "for lack of a rule: lstm." in capsys.readouterr().out


def test_sensitivity(set_flags, tmp_path, capsys):
    model = toys.chain(channels=(16, 24), classes=10)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    # What it knows of other digits makes scores differ.
    model.fit(*digit_models.for_test(), epochs=8, verbose=0)
    flags = {"model": saved(tmp_path, model), "sensitivity": True}
    set_flags(**flags, sensitivity_ratios=["0.5", "0.75"])
    explain.main()
    shown = capsys.readouterr().out
    assert "| cut alone | ratio 0.5 | ratio 0.75 |" in shown
    folder = tmp_path / "work" / "explain"
    logs = {
        ratio: (folder / f"sensitivity_{ratio}.jsonl").read_text().splitlines()
        for ratio in (0.0, 0.5, 0.75)
    }
    assert [len(lines) for lines in logs.values()] == [1 + 1, 1 + 2, 1 + 2]
    assert (folder / "sensitivity.png").stat().st_size > 10_000
    assert "conv1" in (folder / "sensitivity.svg").read_text()
    # Each score is that of its group and its ratio.
    scored = {}
    for line in (json.loads(x) for lines in logs.values() for x in lines[1:]):
        score = line["correct"] / line["total"]
        scored[tuple(line["strategy"].values())] = score
    assert json.loads((folder / "result.json").read_text()) == {
        "names": ["conv0", "conv1"],
        "ratios": [0.5, 0.75],
        "scores": [
            [scored[0.5, 0], scored[0.75, 0]],
            [scored[0, 0.5], scored[0, 0.75]],
        ],
        "full_score": scored[0, 0],
    }
    assert len(set(scored.values())) > 2
    page = report.write(tmp_path / "work").read_text()
    assert "Sensitivity" in page and "cut alone" in page
    # Again: nothing is scored twice.
    explain.main()
    assert capsys.readouterr().out == shown
    assert all(
        (folder / f"sensitivity_{ratio}.jsonl").read_text().splitlines()
        == lines
        for ratio, lines in logs.items()
    )
    # Another ratio comes beside those that are known.
    set_flags(**flags, sensitivity_ratios=["0.25", "0.5", "0.25"])
    explain.main()
    result = json.loads((folder / "result.json").read_text())
    assert result["ratios"] == [0.25, 0.5]
    assert [row[1] for row in result["scores"]] == [
        scored[0.5, 0],
        scored[0, 0.5],
    ]


def test_sensitivity_cuts_by_the_importance_asked_for(set_flags, tmp_path):
    """Its log is that of one importance."""
    path = saved(tmp_path, toys.chain(channels=(4, 6), classes=10))
    flags = {
        "model": path,
        "sensitivity": True,
        "sensitivity_ratios": ["0.5"],
    }
    set_flags(**flags, importance="random")
    explain.main()
    graph = ChannelGraph(keras.models.load_model(path))
    expected = importance.rank_channels(graph, "random")
    by_norm = importance.rank_channels(graph, "l1")
    assert any((a != b).any() for a, b in zip(expected, by_norm, strict=True))
    header, *lines = (
        (tmp_path / "work" / "explain" / "sensitivity_0.5.jsonl")
        .read_text()
        .splitlines()
    )
    assert json.loads(header)["importance"] == "random"
    pruner = rebuild.Pruner(graph.model, rankings=expected, graph=graph)
    data = common.open_job().data
    pictures, labels = data.arrays(data.sub_validation)
    for line in map(json.loads, lines):
        model = pruner.prune(PruningStrategy.from_json(line["strategy"]))
        answers = toys.outputs(model, pictures.astype("float32")).argmax(1)
        assert line["vanilla_correct"] == (answers == labels).sum()
    set_flags(**flags, importance="l1")
    with pytest.raises(errors.InputError, match="importance was 'random'"):
        explain.main()


@pytest.mark.parametrize("ratio", ["1.2", "half"])
def test_ratios_that_are_none(set_flags, ratio):
    set_flags(sensitivity=True, sensitivity_ratios=[ratio])
    with pytest.raises(errors.InputError, match=r"in \[0, 1\)"):
        explain.main()


def test_modules_of_ones_own(set_flags, tmp_path, monkeypatch, capsys):
    (tmp_path / "my_layers.py").write_text(
        "import keras\n"
        "import eagleeye_tf as ee\n"
        "@keras.saving.register_keras_serializable('mine')\n"
        "class Twice(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 2 * x\n"
        "ee.register_rule(Twice, ee.Rule())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import my_layers

    image = keras.Input((8, 8, 3))
    x = my_layers.Twice()(layers.Conv2D(5, 3, name="mine")(image))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    set_flags(model=saved(tmp_path, model), custom_modules=["my_layers"])
    explain.main()
    assert "|     mine |        5 |" in capsys.readouterr().out
    set_flags(custom_modules=["not_there"])
    with pytest.raises(errors.InputError, match="cannot import 'not_there'"):
        explain.main()
