"""Imports point one way: programs -> candidates -> pruning (see README)."""

import ast
import pathlib

import pytest

import eagleeye_tf

PACKAGE = pathlib.Path(eagleeye_tf.__file__).parent
EVERYWHERE = {
    "errors",
    "examples",
    "files",
    "locks",
    "outputs",
    "plain_numbers",
    "progress",
    "replicas",
    "tracing",
}
# What each part of the package may import from the others.
ALLOWED = {
    "pruning": set(),
    "candidates": {"pruning"},
    "models": set(),
    "data": set(),
    "training": {"candidates", "pruning"},
    "deployment": {"quiet"},
    "reporting": {"candidates", "pruning"},
    "stages": {
        "candidates",
        "data",
        "deployment",
        "models",
        "pruning",
        "quiet",
        "reporting",
        "training",
    },
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{a.name}" for a in node.names)


def test_every_part_is_known():
    parts = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()}
    assert parts == set(ALLOWED)


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_point_one_way(part):
    allowed = ALLOWED[part] | EVERYWHERE | {part}
    for path in (PACKAGE / part).rglob("*.py"):
        for name in imported(path):
            package, _, rest = name.partition(".")
            if package == "eagleeye_tf":
                assert rest.split(".")[0] in allowed, f"{path}: {name}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_public_apis_only(path):
    for name in imported(path):
        assert not name.startswith(("tensorflow.python", "keras.src")), name


@pytest.mark.parametrize("path", FILES, ids=str)
def test_libraries_have_no_flags_and_print_nothing(path):
    part = path.relative_to(PACKAGE).parts[0]
    if part not in ALLOWED or part == "stages":
        return
    tree = ast.parse(path.read_text())
    assert "absl" not in {n.split(".")[0] for n in imported(path)}
    calls = [n.func for n in ast.walk(tree) if isinstance(n, ast.Call)]
    assert "print" not in {f.id for f in calls if isinstance(f, ast.Name)}


def test_public_names_are_there():
    for name in eagleeye_tf.__all__:
        assert getattr(eagleeye_tf, name).__doc__
    with pytest.raises(AttributeError, match="nothing"):
        _ = eagleeye_tf.nothing
