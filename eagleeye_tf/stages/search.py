"""Stage: scores pruning strategies that meet a budget, without training any."""

import dataclasses
import gc
import itertools
import sys

import tensorflow as tf
from absl import flags

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf.candidates import algorithms
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import cluster as cluster_lib
from eagleeye_tf.candidates import constraints
from eagleeye_tf.candidates import engine
from eagleeye_tf.candidates import ranges
from eagleeye_tf.candidates import settings as settings_lib
from eagleeye_tf.pruning import channel_graph
from eagleeye_tf.pruning import importance
from eagleeye_tf.pruning.cost import CostModel
from eagleeye_tf.reporting import tables
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import latency
from eagleeye_tf.stages import machines
from eagleeye_tf.stages import modules
from eagleeye_tf.stages import processes
from eagleeye_tf.stages import summaries

_MACS = flags.DEFINE_float(
    "macs",
    None,
    "Multiply-accumulates to leave: a share in (0, 1] of the network's own, "
    "or an absolute number. By default 0.5, or any if another budget is given. "
    "--macs=1 --tolerance=1 sets no budget.",
    lower_bound=0.0,
)
_PARAMS = flags.DEFINE_float(
    "params", None, "Parameters to leave, like --macs.", lower_bound=0.0
)
_ACTIVATION_MEMORY = flags.DEFINE_float(
    "activation_memory",
    None,
    "Bytes of activations needed at once to leave, like --macs.",
    lower_bound=0.0,
)
_MOST = {
    metric: flags.DEFINE_float(
        f"max_{metric}",
        None,
        f"{what} to leave at most, given like --{metric}.",
        lower_bound=0.0,
    )
    for metric, what in (
        ("macs", "Multiply-accumulates"),
        ("params", "Parameters"),
        ("activation_memory", "Bytes of activations needed at once"),
    )
}
_TOLERANCE = flags.DEFINE_float(
    "tolerance",
    0.005,
    "How far from the budget is near enough, as a share of the whole "
    "network's cost.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_TOLERANCES = {
    f"{metric}_tolerance": flags.DEFINE_float(
        f"{metric}_tolerance",
        None,
        f"The same for {what} alone.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    for metric, what in (
        ("params", "parameters"),
        ("activation_memory", "activation memory"),
    )
}
_NUM_CANDIDATES = flags.DEFINE_integer(
    "num_candidates", 100, "Strategies to score.", lower_bound=1
)
_MIN_RATIO = flags.DEFINE_float(
    "min_ratio",
    0.0,
    "Lower end of pruning ratios, in [0, 1).",
    lower_bound=0.0,
    upper_bound=1.0,
)
_MAX_RATIO = flags.DEFINE_float(
    "max_ratio",
    0.7,
    "Upper end of pruning ratios, in [0, 1).",
    lower_bound=0.0,
    upper_bound=1.0,
)
_EXCLUDE = flags.DEFINE_list(
    "exclude",
    [],
    "Names of layers, or patterns of them (stage1_*), whose channels stay.",
)
_IMPORTANCE = flags.DEFINE_string(
    "importance",
    "l1",
    f"Which channels go first, one of {', '.join(importance.IMPORTANCES)}: "
    "those of least L1 or L2 norm, nearest to the others, of least BN scale, "
    "of least influence on the loss of the calibration images (taylor), or "
    "any (random). Or module:function of your own.",
)
_ROUND_TO = flags.DEFINE_integer(
    "round_to",
    1,
    "Kept channels are rounded up to a multiple of this.",
    lower_bound=1,
)
_ALGORITHM = flags.DEFINE_enum(
    "search_algorithm",
    None,
    list(algorithms.ALGORITHMS),
    "Where strategies come from: evolution, the default of a search, makes "
    "new ones of the best; random draws all, as in the paper; uniform is the "
    "one that prunes all groups alike.",
)


_EVALUATION = flags.DEFINE_enum(
    "evaluation",
    settings_lib.SearchSettings.evaluation,
    settings_lib.CHOICES["evaluation"],
    "Who sees how many images: in a race only the better candidates see all; "
    "in a full evaluation, as in the paper, all do.",
)
_CALIBRATION = flags.DEFINE_enum(
    "calibration",
    "exact",
    settings_lib.CHOICES["calibration"],
    "BN statistics over all calibration images, or, as in the paper, a "
    "moving average over their batches.",
)
_CALIBRATION_MOMENTUM = flags.DEFINE_float(
    "calibration_momentum",
    0.9,
    "Of the moving average, in [0, 1): what each batch leaves of it.",
    lower_bound=0.0,
    upper_bound=0.999999,
)


# Settings of a search that are also those of other stages.
_OWN = ("batch_size", "seed")


def search_settings():
    """The `SearchSettings` that the flags describe.

    Raises:
        InputError: if a value is outside its range.
    """
    return settings_lib.SearchSettings(
        macs=_MACS.value,
        params=_PARAMS.value,
        activation_memory=_ACTIVATION_MEMORY.value,
        **{f"max_{metric}": flag.value for metric, flag in _MOST.items()},
        **latency.settings(),
        tolerance=_TOLERANCE.value,
        **{name: flag.value for name, flag in _TOLERANCES.items()},
        num_candidates=_NUM_CANDIDATES.value,
        min_ratio=_MIN_RATIO.value,
        max_ratio=_MAX_RATIO.value,
        exclude=tuple(_EXCLUDE.value),
        importance=_importance(),
        round_to=_ROUND_TO.value,
        algorithm=_ALGORITHM.value or settings_lib.SearchSettings.algorithm,
        evaluation=_EVALUATION.value,
        calibration=_CALIBRATION.value,
        calibration_momentum=_CALIBRATION_MOMENTUM.value,
        batch_size=common.BATCH_SIZE.value,
        seed=common.SEED.value,
    )


def study_settings():
    """The same for a study, whose strategies are a sample of all that fit.

    Raises:
        InputError: if a value is outside its range, or another algorithm than
            the random one is asked for.
    """
    if _ALGORITHM.value not in (None, "random"):
        raise errors.InputError(
            "Studies and benchmarks draw their strategies at random: leave "
            f"out --search_algorithm. Received: {_ALGORITHM.value!r}."
        )
    return dataclasses.replace(  # And all of them see all images.
        search_settings(), algorithm="random", evaluation="full"
    )


def _importance():
    """The name, or the function that `module:function` means."""
    module, colon, name = _IMPORTANCE.value.partition(":")
    if not colon:
        return module
    function = getattr(modules.load(_IMPORTANCE, module), name, None)
    if function is None:
        raise errors.InputError(
            f"--importance: {module!r} has no {name!r}. Received: "
            f"{_IMPORTANCE.value!r}."
        )
    return function


def require_reachable(model):
    """Raises InputError if no strategy meets the budgets, but for latency.

    Also if --exclude names what the network does not have.

    Args:
        model: the network to prune, trained or not.
    """
    settings, graph = search_settings(), channel_graph.ChannelGraph(model)
    channel_graph.require_groups(graph)
    ranges.check_excluded(graph, settings)
    cost_model = CostModel(graph)
    wanted = constraints.wanted(settings, cost_model)
    constraints.check_reachable(wanted, cost_model, graph.groups, settings)


def require_same(found):
    """Raises InputError if flags ask for another search than was made.

    Only flags that were given count: a stage that comes after a search need
    not be told again.

    Args:
        found: the settings that `search/result.json` holds.
    """
    asked = {**settings_lib.LATER, **search_settings().identity()}
    found = {**settings_lib.LATER, **found}
    for name in sorted((asked.keys() & found.keys()) - {*_OWN}):
        value = found[name]
        given = name in flags.FLAGS and flags.FLAGS[name].present
        if given and asked[name] != value:
            raise errors.InputError(
                f"The search in this workdir was made with --{name}="
                f"{_as_typed(value)}. Received: --{name}="
                f"{_as_typed(flags.FLAGS[name].value)}; leave it out, "
                "or search in another --workdir."
            )


def _as_typed(value):
    return ",".join(value) if isinstance(value, list) else value


def search(job):
    """Searches behind a progress bar; returns the `SearchResult`.

    With a cluster, a process of its own leads the search, since connecting
    takes all variables away; its log is then taken over.
    """
    if machines.has_cluster():
        code = processes.run("eagleeye_tf.search", sys.argv[1:])
        if code < 0:
            console.say(f"The search was ended by signal {-code}.")
        if code:  # Of a signal as shells give it.
            sys.exit(code if code > 0 else 128 - code)
    return _search(job)


def identity(job, model, settings, **more):
    """What the log of a study depends on: plain values."""
    return {
        "model": batches_lib.model_fingerprint(model),
        "split": job.split(),
        **settings.identity(),
        **more,
    }


def _search(job, has_cluster=False):
    settings = search_settings()
    model = job.trained_model()
    latencies = latency.latencies(job, model, settings)
    gc.collect()  # What was measured; TensorFlow would look for it on workers.
    cluster = machines.search_cluster() if has_cluster else None
    data = job.data
    calibration = data.arrays(data.calibration)
    examples = data.arrays(data.sub_validation)
    on_evaluation = None
    if cluster is None:  # Connecting to one takes all resources away.
        told = summaries.Summaries(job, job.workdir / "search")
        told.settings(settings.identity())
        on_evaluation = _teller(told)
    result = engine.search(
        model,
        calibration,
        examples,
        settings,
        job.workdir / "search" / "log.jsonl",
        job.distribution,
        on_evaluation,
        cluster,
        latencies,
    )
    if result.torn:
        console.say(
            f"The log's last line was not whole ({result.torn} bytes); what "
            "it told of was evaluated again."
        )
    if latencies and cluster is not None:
        return result  # Finalists are yet to be measured.
    groups = [(group.name, group.size) for group in result.pruner.graph.groups]
    rankings = [ranking.tolist() for ranking in result.pruner.rankings]
    summary = {
        "split": job.split(),
        "groups": groups,
        "rankings": rankings,
        **_summary(result, settings),
    }
    files.write_json(job.workdir / "search" / "result.json", summary)
    return result


def _teller(told):
    """What writes summaries of candidates as they come."""
    numbers = itertools.count(1)

    def on_evaluation(candidate, best):
        scores = {
            "score": candidate.known_score,
            "best_score": best.known_score,
        }
        told.scalars(next(numbers), scores)

    return on_evaluation


def in_words(result):
    """The table of a search with the figures that describe all of it."""
    return tables.search_summary(result, latency=latency.summary(result))


def _summary(result, settings):
    """What a search found, as JSON: best candidate first."""
    return {
        "model": result.model_fingerprint,
        "settings": {
            **settings.identity(),
            "num_candidates": settings.num_candidates,
        },
        "drawn": result.drawn,
        "has_batch_norm": result.has_batch_norm,
        "full": dataclasses.asdict(result.full_cost),
        "candidates": [c.to_json() for c in result.candidates],
        "latency": latency.summary(result),
    }


def main():
    processes.end_with_parent()
    if machines.has_cluster():  # A worker of this machine may need them.
        tf.config.set_visible_devices([], "GPU")
    job = common.open_job()
    if search_settings().has_latency_budget and not processes.is_child():
        # Who has connected to a cluster can build no network to measure.
        result = search(job)
    else:
        try:
            result = _search(job, machines.has_cluster())
        except cluster_lib.ClusterChangedError as change:
            console.say(f"{change} Connecting anew.")
            processes.start_anew()
    if not processes.is_child():  # Whoever started this one tells it.
        console.say(in_words(result))
