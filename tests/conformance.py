"""Does pruning do right by a network? One row of a table per network.

    python tests/conformance.py [name …]

prints the table for networks of keras.applications, by default one of each
family.
"""

import dataclasses
import pathlib
import sys
import tempfile
import time

from eagleeye_tf import quiet  # noqa: F401

# isort: split
import keras
import numpy as np
import toys

import eagleeye_tf as ee
from eagleeye_tf.deployment import saved_model
from eagleeye_tf.models import zoo
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.pruning import verification
from eagleeye_tf.pruning.channel_graph import ChannelGraph
from eagleeye_tf.reporting import tables

# One of each CNN family, and the smallest images that it takes.
FAMILIES = {
    "ConvNeXtTiny": 32,
    "DenseNet121": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "InceptionResNetV2": 75,
    "InceptionV3": 75,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "NASNetMobile": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "VGG16": 32,
    "Xception": 71,
}


@dataclasses.dataclass(frozen=True)
class Conformance:
    """What holds for one network, pruned by 0.3.

    Attributes:
        groups: `{name: size}` of the channel groups.
        left: share of the parameters that is left.
        verification: see `ee.verify`.
        loads: whether it computes the same after saving and loading.
        serves: the same of a SavedModel; None if not tried.
        frozen: `{(cause, reason): channels}`, outputs and inputs left out.
        seconds: to analyse, to build.
    """

    groups: dict
    left: float
    verification: ee.Verification
    loads: bool
    serves: bool | None
    frozen: dict
    seconds: tuple

    @property
    def holds(self):
        served = self.serves is not False
        return self.verification.passed and self.loads and served


def check(model, directory, ratio=0.3, serve=False):
    """The `Conformance` of a model whose weights are scrambled for it."""
    toys.scramble(model)
    inputs = toys.any_inputs(model)
    start = time.perf_counter()
    graph = ChannelGraph(model)
    analysed = time.perf_counter()
    pruner = rebuild.Pruner(model, graph=graph)
    smaller = pruner.prune(ratio)
    built = time.perf_counter()
    return Conformance(
        groups={group.name: group.size for group in graph.groups},
        left=smaller.count_params() / model.count_params(),
        verification=verification.verify_pruner(pruner, ratio, inputs),
        loads=_loads(smaller, inputs, directory),
        serves=_serves(smaller, inputs[0], directory) if serve else None,
        frozen=_frozen(graph),
        seconds=(analysed - start, built - analysed),
    )


def _loads(model, inputs, directory):
    path = pathlib.Path(directory) / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    pairs = zip(
        toys.flat_outputs(model, inputs),
        toys.flat_outputs(loaded, inputs),
        strict=True,
    )
    return all(np.array_equal(a, b) for a, b in pairs)


def _serves(model, images, directory):
    path = pathlib.Path(directory) / "saved_model"
    saved_model.export(model, path, images)  # Raises if it differs.
    return True


def _frozen(graph):
    frozen = {}
    for entry in graph.frozen:
        if not entry.reason.endswith("of the model"):
            key = (entry.cause, entry.reason)
            frozen[key] = frozen.get(key, 0) + entry.channels
    return frozen


def main(names):
    rows = []
    for name in names or FAMILIES:
        size = FAMILIES.get(name, 75)
        model = zoo.build(name, (size, size, 3), 5)
        with tempfile.TemporaryDirectory() as directory:
            found = check(model, directory, serve=True)
        rows.append(
            (
                name,
                str(len(found.groups)),
                f"{found.left:.0%}",
                "yes" if found.verification.passed else "NO",
                f"{found.verification.error:.0e}",
                str(found.verification.cost_agrees),
                "yes" if found.loads else "NO",
                "yes" if found.serves else "NO",
                " ".join(f"{s:.1f}" for s in found.seconds),
                str(sum(found.frozen.values())),
            )
        )
        print(rows[-1], file=sys.stderr)
        for (cause, reason), channels in list(found.frozen.items())[:3]:
            print(f"  {channels} channels: {cause} {reason}", file=sys.stderr)
    header = (
        "network",
        "groups",
        "parameters left",
        "equals the zeroed network",
        "difference",
        "cost agrees",
        "loads",
        "SavedModel",
        "seconds to analyse, to build",
        "frozen channels",
    )
    print(tables.table(header, rows))


if __name__ == "__main__":
    main(sys.argv[1:])
