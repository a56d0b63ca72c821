"""Stage: proves on a user's model that pruning cuts it right."""

import numpy as np
from absl import flags

from eagleeye_tf import errors
from eagleeye_tf import progress
from eagleeye_tf.candidates import ranges
from eagleeye_tf.pruning import channel_graph
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.pruning import verification
from eagleeye_tf.reporting import tables
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import search

_NUM_STRATEGIES = flags.DEFINE_integer(
    "num_strategies", 3, "Random strategies to check.", lower_bound=1
)


def main():
    settings = search.search_settings()
    if settings.importance == "taylor":
        raise errors.InputError(
            "--importance=taylor asks for images, which are not read here: "
            "leave it out. Whether networks are cut right does not depend on "
            "which channels go."
        )
    model = common.model_alone()
    graph = channel_graph.ChannelGraph(model)
    channel_graph.require_groups(graph)
    pruner = rebuild.Pruner(
        model, settings.importance, settings.round_to, graph
    )
    found = _verify(pruner, settings)
    header = (
        "strategy",
        "channels kept",
        "largest difference",
        "allowed",
        "cost formula",
        "first layer that differs",
    )
    rows = (_row(number, pruner, *pair) for number, pair in enumerate(found, 1))
    console.say(tables.table(header, rows))
    failures = [check for _, check in found if not check.passed]
    if failures:
        raise errors.VerificationError(
            f"{len(failures)} of {len(found)} pruned networks do not compute "
            f"what {model.name!r} computes without the same channels, first "
            f"seen at {failures[0].first_difference or 'their cost'}. Give "
            "that layer a rule (eagleeye_tf.register_rule), and report it if "
            "it is one of Keras' own."
        )
    console.say(
        "Every pruned network computes what the whole one computes when the "
        "removed channels are ignored."
    )


def _verify(pruner, settings):
    """Checks random strategies: list of (ratios, what came of them)."""
    generator = np.random.default_rng(settings.seed)
    groups = pruner.graph.groups
    ranges.check_excluded(pruner.graph, settings)
    found = []
    with progress.bar(_NUM_STRATEGIES.value, "Verify", "strategy") as bar:
        for number in range(1, 1 + _NUM_STRATEGIES.value):
            drawn = generator.uniform(*ranges.of_ratios(groups, settings))
            names = (group.name for group in groups)
            ratios = dict(zip(names, drawn.tolist(), strict=True))
            check = verification.verify_pruner(
                pruner, ratios, seed=settings.seed + number
            )
            found.append((ratios, check))
            bar.update()
    return found


def _row(number, pruner, ratios, found):
    kept = pruner.kept(ratios)
    size = sum(group.size for group in pruner.graph.groups)
    agreement = {True: "agrees", False: "differs", None: "size of images open"}
    return (
        str(number),
        f"{kept.sum():,} of {size:,}",
        f"{found.error:.1e}",
        f"{found.tolerance:.0e}",
        agreement[found.cost_agrees],
        found.first_difference or "none",
    )
