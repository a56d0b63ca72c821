"""Every recipe in flags/ is what its program takes."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from absl import flags

from eagleeye_tf.candidates import engine
from eagleeye_tf.models import zoo
from eagleeye_tf.pruning import cost
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.pruning import strategy
from eagleeye_tf.stages import finetune  # noqa: F401  (defines flags)
from eagleeye_tf.stages import search
from eagleeye_tf.stages import train  # noqa: F401  (defines flags)

RECIPES = sorted((pathlib.Path(__file__).parents[1] / "flags").iterdir())
PROGRAMS = {"eagleeye_tf", "eagleeye_tf.correlate", "eagleeye_tf.train"}


def flagfile(path):
    return f"--flagfile={path}"


def head(path):
    lines = path.read_text().splitlines()
    return "\n".join(x[1:].strip() for x in lines if x.startswith("#"))


def recipe(name):
    (path,) = (p for p in RECIPES if p.stem == name)
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe(path, parsed):
    rest = parsed(flagfile(path))
    assert rest == ["test"]
    values = flags.FLAGS
    assert values.model and values.dataset and values.workdir
    command = re.search(
        rf"python -m (\S+) --flagfile=flags/{path.name}", head(path)
    )
    assert command, "The head of a recipe gives its command."
    assert command[1] in PROGRAMS
    for word in ("Hardware:", "Expected"):
        assert word in head(path)
    if command[1] != "eagleeye_tf.train":
        settings = search.search_settings()
        assert settings.macs is not None


# Paper, section 4 and supplement: share of operations, R, candidates,
# epochs, learning rate. R of the CIFAR-10 rows is ours.
@pytest.mark.parametrize(
    ("name", "macs", "max_ratio", "candidates", "epochs", "rate"),
    [
        ("imagenet_resnet50_75", 0.75, 0.4, 1000, 120, 1e-2),
        ("imagenet_resnet50_50", 0.5, 0.7, 1000, 120, 1e-2),
        ("imagenet_resnet50_25", 0.25, 0.8, 1000, 120, 1e-2),
        ("imagenet_mobilenet_v1_50", 0.5, 0.7, 1500, 120, 1e-2),
        ("cifar10_mobilenet_v1_26m", 26.5e6, 0.5, 1500, 30, 1e-3),
        ("cifar10_mobilenet_v1_12m", 12.1e6, 0.9, 1500, 30, 1e-3),
        ("cifar10_mobilenet_v1_3m", 3.3e6, 0.95, 1500, 30, 1e-3),
    ],
)
def test_hyperparameters_of_the_paper(
    name, macs, max_ratio, candidates, epochs, rate, parsed
):
    parsed(flagfile(recipe(name)))
    settings = search.search_settings()
    assert (settings.macs, settings.max_ratio) == (macs, max_ratio)
    assert settings.num_candidates == candidates
    assert settings.algorithm == "random"
    values = flags.FLAGS
    assert (values.epochs, values.learning_rate) == (epochs, rate)


# Paper, tables of correlation coefficients: operations left, importance, and
# what vanilla and adaptive-BN evaluation have there.
@pytest.mark.parametrize(
    ("name", "macs", "importance", "expected"),
    [
        (
            "cifar10_mobilenet_v1",
            None,
            "l1",
            "ρ 0.613 0.933 τ 0.500 0.790 φ 0.689 0.937",
        ),
        (
            "cifar10_mobilenet_v1_50",
            0.5,
            "l1",
            "ρ 0.638 0.854 τ 0.369 0.656 φ 0.511 0.829",
        ),
        (
            "cifar10_mobilenet_v1_62",
            0.625,
            "l1",
            "ρ 0.655 0.857 τ 0.457 0.610 φ 0.632 0.785",
        ),
        (
            "cifar10_resnet50",
            None,
            "l1",
            "ρ 0.279 0.681 τ 0.324 0.365 φ 0.450 0.519",
        ),
        (
            "imagenet_mobilenet_v2",
            None,
            "l1",
            "ρ -0.09 0.634 τ -0.162 0.404 φ -0.216 0.564",
        ),
        (
            "imagenet_mobilenet_v1_l2",
            None,
            "l2",
            "ρ 0.074 0.535 τ 0.014 0.367 φ 0.021 0.516",
        ),
    ],
)
def test_correlation_studies_of_the_paper(
    name, macs, importance, expected, parsed
):
    path = recipe(f"correlate_{name}")
    parsed(flagfile(path))
    settings = search.study_settings()
    budget = (1, 1) if macs is None else (macs, 0.005)
    assert (settings.macs, settings.tolerance) == budget
    assert settings.importance == importance
    assert settings.algorithm == "random"
    assert (settings.min_ratio, settings.max_ratio) == (0, 0.7)
    assert settings.num_candidates == 50
    values, is_cifar10 = flags.FLAGS, name.startswith("cifar10")
    assert (values.epochs, values.learning_rate, values.weight_decay) == (
        (30, 1e-3, 5e-4) if is_cifar10 else (20, 1e-2, 1e-4)
    )
    told = head(path).partition("Expected in the paper:")[2]
    assert " ".join(re.findall(r"[ρτφ]|-?\d\.\d+", told)) == expected


CIFAR10_MOBILENETS = [
    f"cifar10_mobilenet_v1_{budget}{kind}"
    for budget in ("26m", "12m", "3m")
    for kind in ("", "_uniform", "_scaled")
]


@pytest.fixture(scope="module")
def mobilenet():
    model = zoo.build("mobilenet_v1", (32, 32, 3), 10)
    graph = rebuild.Pruner(model).graph
    return graph, cost.CostModel(graph)


@pytest.mark.parametrize("name", CIFAR10_MOBILENETS)
def test_budgets_are_met(name, parsed, mobilenet):
    """By what the baselines are, and by what the search draws."""
    path = recipe(name)
    parsed(flagfile(path))
    values, (graph, cost_model) = flags.FLAGS, mobilenet
    budget = {"26m": 26.5e6, "12m": 12.1e6, "3m": 3.3e6}[name.split("_")[3]]
    most = 0.005 * cost_model.full().macs
    if name.endswith("_scaled"):
        model = zoo.build(values.model, (32, 32, 3), 10, values.width)
        full = cost.CostModel(rebuild.Pruner(model).graph).full()
        assert f"{full.macs:,} MACs, {full.params:,} parameters" in head(path)
        assert abs(full.macs - budget) <= most
        return
    settings = search.search_settings()
    assert (settings.macs, settings.tolerance) == (budget, 0.005)
    if name.endswith("_uniform"):
        (proposal,) = engine.make_algorithm(graph, settings).suggest(1)
        assert abs(proposal.macs - budget) <= most
        return
    ratios = np.random.default_rng(0).uniform(
        settings.min_ratio, settings.max_ratio, (20_000, len(graph.groups))
    )
    kept = strategy.kept_channels(ratios, graph.groups)
    macs = cost_model.of(kept, ["macs"])["macs"]
    text = head(path).replace("\n", " ")
    percentile = re.search(r"is the (\d+)\w\w percentile", text)[1]
    assert 100 * (macs < budget).mean() == pytest.approx(
        int(percentile), abs=1.5
    )
    met = re.search(r"and (\d+) % of them meet it", text)[1]
    share = 100 * (abs(macs - budget) <= most).mean()
    assert share == pytest.approx(int(met), abs=1)


@pytest.mark.parametrize("budget", ["26m", "12m", "3m"])
def test_baselines_have_the_budget_of_the_search(budget, parsed):
    """In images, epochs and all else that is no part of the search."""

    def settings(name, *but):
        parsed(flagfile(recipe(name)))
        values = flags.FLAGS.flag_values_dict()
        return {k: v for k, v in values.items() if k not in but}

    ours = f"cifar10_mobilenet_v1_{budget}"
    less = "workdir", "search_algorithm", "num_candidates", "flagfile"
    less += "min_ratio", "max_ratio"
    assert settings(f"{ours}_uniform", *less) == settings(ours, *less)
    less = "workdir", "width", "flagfile"
    scaled = settings(f"{ours}_scaled", *less)
    assert scaled == settings("cifar10_mobilenet_v1_train", *less)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_nobody_scores_on_images_that_the_network_was_trained_on(path, parsed):
    parsed(flagfile(path))
    made_by = re.fullmatch(r"runs/(\w+)/train/model.keras", flags.FLAGS.model)
    if made_by:
        parts = "dataset", "sub_validation_images", "calibration_images"
        images = {part: flags.FLAGS[part].value for part in parts}
        parsed(flagfile(recipe(f"{made_by[1]}_train")))
        assert images == {part: flags.FLAGS[part].value for part in parts}
        assert flags.FLAGS.workdir == f"runs/{made_by[1]}"


@pytest.mark.parametrize(
    "path", [p for p in RECIPES if "imagenet" in p.stem], ids=lambda p: p.stem
)
def test_imagenet_is_calibrated_on_100_batches_as_in_the_paper(path, parsed):
    parsed(flagfile(path))
    values = flags.FLAGS
    assert values.calibration_images == 100 * values.batch_size


# In a process of its own: a program's module takes the place of the function
# of its name.
_UNSEEN = """
import importlib, pathlib
from absl import flags
import eagleeye_tf

shown = set()
for path in pathlib.Path(eagleeye_tf.__file__).parent.glob("*.py"):
    if "adopt_module_key_flags" in path.read_text():
        name = f"eagleeye_tf.{path.stem}"
        importlib.import_module(name)
        shown |= {f.name for f in flags.FLAGS.get_key_flags_for_module(name)}
for module, defined in flags.FLAGS.flags_by_module_dict().items():
    if module.startswith("eagleeye_tf.stages"):
        print(*({flag.name for flag in defined} - shown))
"""


def test_every_flag_is_in_the_help_of_a_program():
    told = subprocess.check_output([sys.executable, "-c", _UNSEEN], text=True)
    assert told.split() == []


def test_unknown_flag_in_a_recipe_is_noticed(tmp_path, parsed):
    path = tmp_path / "typo.flags"
    path.write_text("--num_candidate=3\n")
    with pytest.raises(flags.UnrecognizedFlagError):
        parsed(flagfile(path))


def test_ci_runs_the_readmes_command():
    root = pathlib.Path(__file__).parents[1]
    command = next(
        line
        for line in (root / "README.md").read_text().splitlines()
        if "python -m pytest" in line
    )
    assert command in (root / ".ci" / "run").read_text().splitlines()
