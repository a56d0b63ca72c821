"""Stage: says what can be pruned, what cannot and why, and what it brings."""

import numpy as np
from absl import flags

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf import progress
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import constraints as constraints_lib
from eagleeye_tf.candidates import engine
from eagleeye_tf.candidates import evaluators
from eagleeye_tf.candidates import log as log_lib
from eagleeye_tf.candidates import racing
from eagleeye_tf.candidates import ranges
from eagleeye_tf.candidates import rankings as rankings_lib
from eagleeye_tf.candidates import sampling
from eagleeye_tf.pruning import channel_graph
from eagleeye_tf.pruning import strategy as strategy_lib
from eagleeye_tf.pruning.cost import CostModel
from eagleeye_tf.pruning.strategy import PruningStrategy
from eagleeye_tf.reporting import explanation
from eagleeye_tf.reporting import plots
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import search

_DRAWN_BLOCKS = 25
# The settings of a search that scores of single cuts depend on.
_DECISIVE = (
    "importance",
    "round_to",
    "calibration",
    "calibration_momentum",
    "batch_size",
)

_SENSITIVITY = flags.DEFINE_bool(
    "sensitivity",
    False,
    "Also score each group cut alone; needs --dataset and --workdir.",
)
_RATIOS = flags.DEFINE_list(
    "sensitivity_ratios", ["0.25", "0.5", "0.75"], "Ratios to cut a group by."
)


def main():
    ratios = _sensitivity_ratios()
    job = common.open_job() if _SENSITIVITY.value else None
    model = job.trained_model() if job else common.model_alone()
    settings = search.search_settings()
    graph = channel_graph.ChannelGraph(model)
    try:
        cost_model, obstacle = CostModel(graph), None
    except errors.InputError as error:  # The size of images is open.
        cost_model, obstacle = None, error
    console.say(explanation.channels(graph, cost_model))
    channel_graph.require_groups(graph)
    ranges.check_excluded(graph, settings)
    if obstacle is not None:
        raise obstacle
    console.say("\n" + _reach(graph, cost_model, settings))
    if job:
        _show_sensitivity(job, graph, settings, ratios)


def _reach(graph, cost_model, settings):
    """What the ratios can reach, and how easily they meet the budget."""
    full = cost_model.full()
    costs = constraints_lib.reachable(cost_model, graph.groups, settings)
    stays = ranges.excluded(graph.groups, settings)
    names = [g.name for g, s in zip(graph.groups, stays, strict=True) if s]
    lines = [explanation.reach(costs, full, settings, names)]
    if settings.has_latency_budget:
        lines.append("Budgets in latency are left out: a search measures.")
    constraints = constraints_lib.wanted(settings, cost_model)
    met = drawn = 0
    for index in range(_DRAWN_BLOCKS):
        block = sampling.draw_block(
            index, graph.groups, cost_model, constraints, settings
        )
        met += len(block.rows)
        drawn += sampling.BLOCK
    wanted = " and ".join(c.describe() for c in constraints) or "any budget"
    share = f"{met / drawn:.3%}" if met else "none"
    lines.append(f"Of {drawn:,} random strategies, {share} met {wanted}.")
    return "\n".join(lines)


def _sensitivity_ratios():
    ratios = []
    for text in _RATIOS.value:
        try:
            ratio = float(text)
        except ValueError:
            ratio = text
        strategy_lib.check_ratio(ratio, "ratio in --sensitivity_ratios")
        ratios.append(ratio)
    return list(dict.fromkeys(ratios))


def _show_sensitivity(job, graph, settings, ratios):
    """Scores each group cut alone; goes on from the logs of a killed run."""
    directory = job.workdir / "explain"
    evaluator, rankings = _prepared(job, graph, settings, directory)
    names = [group.name for group in graph.groups]
    bar = progress.bar(1 + len(names) * len(ratios), "Sensitivity", "cut")

    def scores(ratio, strategies):
        # A log for each ratio, so that others can be asked for later.
        log = log_lib.SearchLog(
            directory / f"sensitivity_{ratio}.jsonl",
            {**rankings.identity, "ratio": ratio},
        )
        rungs = racing.full(len(strategies), evaluator)
        proposals = _proposals(rankings.pruner, strategies)
        with log:
            rankings.keep()
            found = racing.run(
                proposals, evaluator, rungs, log, lambda _: bar.update()
            )
        by_index = {candidate.index: candidate.score for candidate in found}
        return [by_index[proposal.index] for proposal in proposals]

    with bar:
        (full_score,) = scores(0.0, [0.0])
        by_ratio = [scores(r, [{name: r} for name in names]) for r in ratios]
    result = {
        "names": names,
        "ratios": ratios,
        "scores": [list(row) for row in zip(*by_ratio, strict=True)],
        "full_score": full_score,
    }
    files.write_json(directory / "result.json", result)
    plots.sensitivity(directory / "sensitivity", **result)
    console.say(
        f"\n{explanation.sensitivity(**result)}\n\n"
        f"Plot: {directory / 'sensitivity.png'}"
    )


def _prepared(job, graph, settings, directory):
    """`(evaluator, rankings)` on the job's calibration and sub-validation."""
    calibration = job.data.arrays(job.data.calibration)
    rankings = rankings_lib.Rankings(
        engine.make_pruner(graph.model, settings, calibration, graph),
        settings.importance,
        directory / "sensitivity.jsonl",
        {
            "purpose": "sensitivity",
            "model": batches_lib.model_fingerprint(graph.model),
            **{name: settings.identity()[name] for name in _DECISIVE},
            **job.split(),
        },
    )
    evaluator = evaluators.make(
        rankings.pruner,
        calibration,
        job.data.arrays(job.data.sub_validation),
        job.distribution,
        batch_size=settings.batch_size,
        new_moments=settings.new_moments,
    )
    return evaluator, rankings


def _proposals(pruner, ratios):
    """What strategies given as ratios come to, in their order."""
    groups = pruner.graph.groups
    strategies = [PruningStrategy.of(groups, wanted) for wanted in ratios]
    kept = np.array([pruner.kept(strategy) for strategy in strategies])
    costs = CostModel(pruner.graph).of(kept)
    return [
        sampling.Proposal(
            index=index,
            strategy=strategy,
            kept=tuple(kept[index].tolist()),
            **{name: int(values[index]) for name, values in costs.items()},
        )
        for index, strategy in enumerate(strategies)
    ]
