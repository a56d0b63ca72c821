"""Every recipe in flags/ is what its program takes."""

import pathlib
import re
import subprocess
import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from eagleeye_tf.stages import finetune  # noqa: F401  (defines flags)
from eagleeye_tf.stages import search
from eagleeye_tf.stages import train  # noqa: F401  (defines flags)

RECIPES = sorted((pathlib.Path(__file__).parents[1] / "flags").iterdir())
PROGRAMS = {"eagleeye_tf", "eagleeye_tf.correlate", "eagleeye_tf.train"}


@pytest.fixture
def parsed():
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["test"])
    with flagsaver.flagsaver():
        yield lambda path: flags.FLAGS(["test", f"--flagfile={path}"])


def head(path):
    lines = path.read_text().splitlines()
    return "\n".join(x[1:].strip() for x in lines if x.startswith("#"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe(path, parsed):
    rest = parsed(path)
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
# epochs, learning rate.
@pytest.mark.parametrize(
    ("name", "macs", "max_ratio", "candidates", "epochs", "rate"),
    [
        ("imagenet_resnet50_75", 0.75, 0.4, 1000, 120, 1e-2),
        ("imagenet_resnet50_50", 0.5, 0.7, 1000, 120, 1e-2),
        ("imagenet_resnet50_25", 0.25, 0.8, 1000, 120, 1e-2),
        ("imagenet_mobilenet_v1_50", 0.5, 0.7, 1500, 120, 1e-2),
        ("cifar10_mobilenet_v1_26m", 26.5e6, 0.7, 1500, 30, 1e-3),
        ("cifar10_mobilenet_v1_12m", 12.1e6, 0.9, 1500, 30, 1e-3),
        ("cifar10_mobilenet_v1_3m", 3.3e6, 0.95, 1500, 30, 1e-3),
    ],
)
def test_hyperparameters_of_the_paper(
    name, macs, max_ratio, candidates, epochs, rate, parsed
):
    (path,) = (p for p in RECIPES if p.stem == name)
    parsed(path)
    settings = search.search_settings()
    assert (settings.macs, settings.max_ratio) == (macs, max_ratio)
    assert settings.num_candidates == candidates
    values = flags.FLAGS
    assert (values.epochs, values.learning_rate) == (epochs, rate)


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
        parsed(path)


def test_ci_runs_the_readmes_command():
    root = pathlib.Path(__file__).parents[1]
    command = next(
        line
        for line in (root / "README.md").read_text().splitlines()
        if "python -m pytest" in line
    )
    assert command in (root / ".ci" / "run").read_text().splitlines()
