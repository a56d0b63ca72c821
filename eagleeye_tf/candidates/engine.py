"""The search: propose, score, log, rank (paper, figure 1)."""

import contextlib
import dataclasses
import operator
import warnings

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf import examples as examples_lib
from eagleeye_tf import progress
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import algorithms
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import constraints as constraints_lib
from eagleeye_tf.candidates import evaluators
from eagleeye_tf.candidates import log as log_lib
from eagleeye_tf.candidates import plausibility
from eagleeye_tf.candidates import racing
from eagleeye_tf.candidates import ranges
from eagleeye_tf.candidates import rankings as rankings_lib
from eagleeye_tf.candidates import result as result_lib
from eagleeye_tf.candidates import sampling
from eagleeye_tf.candidates import settings as settings_lib
from eagleeye_tf.pruning import channel_graph
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.pruning.cost import CostModel


def search(
    model,
    calibration,
    sub_validation,
    settings=None,
    log_path=None,
    distribution=None,
    on_evaluation=None,
    cluster=None,
    latencies=None,
    verbose=True,
):
    """Scores many pruning strategies of a model without training any.

    Args:
        model: trained functional or Sequential `keras.Model` with one
            output (batch, classes); never changed.
        calibration: `(images, labels)` or iterable of such batches: training
            examples that re-estimate BN statistics. Images alone will do for
            `evaluation="full"`.
        sub_validation: `(images, labels)` or iterable of such batches:
            training examples, not among the former, not augmented.
        settings: `SearchSettings`; None for the defaults.
        log_path: file to log candidates to, and to continue from.
        distribution: a `tf.distribute.Strategy`; None for the current one.
        on_evaluation: function of (`Candidate`, the best so far), called as
            each candidate reaches a rung of the race, old ones of a continued
            search included.
        cluster: a `cluster.Cluster` whose workers evaluate the candidates, on
            images of their own that must be the same; None for this machine.
            Connecting invalidates all variables of this process, those of
            `model` included, and finalists are not measured.
        latencies: a `latency.Latencies` for budgets in latency.
        verbose: whether to show a progress bar.

    Returns:
        A `SearchResult`.

    Raises:
        InputError: for a budget that cannot be reached (with the range that
            can), labels that do not fit, images with NaN, or a log that
            belongs to another search.

    Warns:
        PlausibilityWarning: if the network itself is no better than a guess,
            if BN hides in layers of the user's own, or if there are not so
            many networks as candidates are asked for.
    """
    settings = settings or settings_lib.SearchSettings()
    examples_lib.check_classifier(model)
    graph = _prunable(model)
    adaptive_bn.warn_of_hidden(model)
    fingerprint = batches_lib.model_fingerprint(model)
    calibration, sub_validation = _arrays(model, calibration, sub_validation)
    is_measured = latencies is not None and settings.has_latency_budget
    cost_model = CostModel(graph)
    if is_measured:
        cost_model = _measured(latencies, fingerprint, settings, log_path)
    algorithm = make_algorithm(graph, settings, cost_model)
    rankings = rankings_lib.Rankings(
        make_pruner(model, settings, calibration, graph),
        settings.importance,
        log_path,
        {
            "model": fingerprint,
            "calibration_set": batches_lib.fingerprint(*calibration),
            "sub_validation_set": batches_lib.fingerprint(*sub_validation),
            **settings.identity(),
            "latency_model": cost_model.fingerprint if is_measured else None,
        },
    )
    evaluator = evaluators.make(
        rankings.pruner,
        calibration,
        sub_validation,
        distribution,
        cluster,
        batch_size=settings.batch_size,
        new_moments=settings.new_moments,
    )
    if cluster is None:
        plausibility.check(evaluator, *sub_validation, settings.batch_size)
    rungs = _rungs(settings, evaluator, calibration[1])
    evaluations = sum(rung.candidates for rung in rungs)
    with (
        _open_log(log_path, rankings.identity) as log,
        _Progress(verbose, evaluations, on_evaluation) as on_candidate,
    ):
        rankings.keep()
        race = racing.Race(evaluator, rungs, log, on_candidate)
        _enter_all(race, algorithm, settings.num_candidates)
        candidates = race.finish()
    result = result_lib.SearchResult(
        candidates=tuple(sorted(candidates, key=result_lib.by_merit)),
        drawn=algorithm.drawn,
        full_cost=cost_model.full(),
        pruner=rankings.pruner,
        model_fingerprint=fingerprint,
        calibration=calibration[0],
        settings=settings,
        has_batch_norm=evaluator.has_batch_norm,
        torn=log.torn if log else 0,
    )
    if is_measured and cluster is None:
        return _confirmed(result, latencies)
    return result


def _enter_all(race, algorithm, count):
    """Brings `count` candidates to a race; fewer if there are no more.

    Warns:
        PlausibilityWarning: if there are no more.
    """
    entered = 0
    while entered < count:
        generation = min(count - entered, algorithm.generation or count)
        try:
            algorithm.update(race.enter(algorithm.suggest(generation)))
        except sampling.ExhaustedError as error:
            generation = len(race.enter(error.found))
            if not entered + generation:
                raise
            warnings.warn(
                f"The search ends with {entered + generation} candidates "
                f"instead of {count}. {error}",
                errors.PlausibilityWarning,
                stacklevel=3,
            )
            return
        entered += generation


def _arrays(model, calibration, sub_validation):
    """Both sets as arrays (images, labels), with images of one type."""
    calibration = examples_lib.with_or_without_labels(calibration)
    sub_validation = examples_lib.as_arrays(sub_validation)
    if calibration[0].dtype != sub_validation[0].dtype:
        calibration, sub_validation = (
            (images.astype(np.float32), labels)
            for images, labels in (calibration, sub_validation)
        )
    for images, labels in (calibration, sub_validation):
        examples_lib.check(model, images, labels)
    if (sub_validation[1] < 0).all():
        raise errors.InputError(
            "Sub-validation images need labels, by which candidates are "
            "scored. Received: -1, which is no class."
        )
    return examples_lib.mixed(*calibration), examples_lib.mixed(*sub_validation)


def _measured(latencies, fingerprint, settings, log_path):
    """The `latency.LatencyModel` of a search for a budget in latency."""
    if latencies.model_fingerprint != fingerprint:
        raise errors.InputError(
            "Latencies belong to one network. Received: those of another one "
            "than the model that is searched."
        )
    latencies.remember_beside(log_path)
    return latencies.fit(settings)


class _Progress:
    """Shows candidates as they come, and tells somebody else of them."""

    def __init__(self, verbose, evaluations, on_evaluation):
        self._bar = None
        if verbose:
            self._bar = progress.bar(evaluations, "Search", "evaluation")
        self._on_evaluation = on_evaluation
        self._best = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def __call__(self, candidate):
        far = operator.attrgetter("seen", "known_score")
        if self._best is None or far(candidate) > far(self._best):
            self._best = candidate
        if self._bar is not None:
            score = f"{self._best.known_score:.2%}"
            self._bar.set_postfix(best=score, refresh=False)
            self._bar.update()
        if self._on_evaluation:
            self._on_evaluation(candidate, self._best)


def _confirmed(result, latencies):
    """The result with its finalists in the order that their latency gives."""
    settings = result.settings
    met, missed, measured = latencies.confirm(result.finalists, settings)
    left = [c for c in result.candidates if c.index not in measured]
    finalists = [c for c in left if c.finalist]
    return dataclasses.replace(
        result,
        candidates=(*met, *finalists, *missed, *left[len(finalists) :]),
        latency_model=latencies.fit(settings),
        measured=measured,
        winners=tuple(met),
    )


def _prunable(model):
    graph = channel_graph.ChannelGraph(model)
    channel_graph.require_groups(graph)
    return graph


def make_pruner(model, settings, calibration, graph=None):
    """The `rebuild.Pruner` of a search.

    Args:
        model: the whole network.
        settings: `SearchSettings`.
        calibration: `(images, labels)` for importances that look at them.
        graph: the model's `ChannelGraph`, if it was analysed before.

    Raises:
        InputError: if nothing can be pruned, or the importance does not fit.
    """
    return rebuild.Pruner(
        model,
        settings.importance,
        settings.round_to,
        graph or _prunable(model),
        examples=calibration,
    )


def make_algorithm(graph, settings, cost_model=None):
    """Where the strategies of a search come from.

    Args:
        graph: the model's `ChannelGraph`.
        settings: `SearchSettings`.
        cost_model: a `CostModel`, if there is one; a `latency.LatencyModel`
            for budgets in latency.

    Returns:
        One of `algorithms.ALGORITHMS`.

    Raises:
        InputError: if no strategy meets the constraints.
    """
    cost_model = cost_model or CostModel(graph)
    is_measured = constraints_lib.LATENCY in cost_model.metrics
    if settings.has_latency_budget and not is_measured:
        raise errors.InputError(
            "A budget in latency has to be measured, which is done by "
            "eagleeye_tf.search and ee.search(…, latencies=…) alone. Received: "
            f"{settings.latency_budget}. Give a budget in macs or params."
        )
    ranges.check_excluded(graph, settings)
    constraints = constraints_lib.wanted(settings, cost_model)
    constraints_lib.check_reachable(
        constraints, cost_model, graph.groups, settings
    )
    make = algorithms.ALGORITHMS[settings.algorithm]
    return make(graph.groups, cost_model, constraints, settings)


def _rungs(settings, evaluator, calibration_labels):
    """The rungs of a race, or the only one of a full evaluation."""
    count = settings.num_candidates
    if settings.evaluation == "full":
        return racing.full(count, evaluator)
    rungs = racing.race(count, evaluator, settings.batch_size)
    if len(rungs) > 1 and (calibration_labels < 0).all():
        raise errors.InputError(
            "A race needs labels of the calibration images: give (images, "
            'labels), or SearchSettings(evaluation="full"). Received: images '
            "alone."
        )
    return rungs


def _open_log(path, identity):
    if path is None:
        return contextlib.nullcontext()
    return log_lib.SearchLog(path, identity)
