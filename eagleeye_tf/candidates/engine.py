"""The search: propose, score, log, rank (paper, figure 1)."""

import contextlib
import dataclasses
import functools

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import algorithms
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import constraints as constraints_lib
from eagleeye_tf.candidates import evaluators
from eagleeye_tf.candidates import log as log_lib
from eagleeye_tf.candidates import racing
from eagleeye_tf.pruning import channel_graph
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.pruning import strategy as strategy_lib
from eagleeye_tf.pruning.cost import CostModel

CHOICES = {
    "algorithm": tuple(algorithms.ALGORITHMS),
    "evaluation": ("race", "full"),
    "calibration": ("exact", "moving_average"),
}


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """What is searched, and how.

    Attributes:
        macs: MACs that should be left: a share in (0, 1] of the network's
            own, or an absolute number; None for any.
        params: the same for parameters.
        activation_memory: the same for bytes of activation memory.
        max_macs: MACs that may be left at most, given like `macs`; None for
            any number.
        max_params: the same for parameters.
        max_activation_memory: the same for bytes of activation memory.
        tolerance: how far from the budget is near enough, as a share of the
            whole network's cost.
        num_candidates: strategies to score.
        min_ratio: lower end of the pruning ratios, in [0, 1).
        max_ratio: upper end of the pruning ratios (the paper's R).
        importance: name in `importance.IMPORTANCES`, or a function. Those
            that ask for examples are given the calibration set.
        round_to: multiple to which kept channels are rounded up.
        algorithm: name in `algorithms.ALGORITHMS`.
        evaluation: `"race"`, where only the better candidates see all
            images, or `"full"`, where all do.
        calibration: `"exact"`, mean and variance over all calibration
            images; or `"moving_average"`, over batches, as in the paper.
        calibration_momentum: of the moving average, in [0, 1).
        batch_size: images per batch in calibration and scoring.
        seed: of the strategies.

    Raises:
        InputError: if a value is outside its range.
    """

    macs: float | None = 0.5
    params: float | None = None
    activation_memory: float | None = None
    max_macs: float | None = None
    max_params: float | None = None
    max_activation_memory: float | None = None
    tolerance: float = 0.005
    num_candidates: int = 100
    min_ratio: float = 0.0
    max_ratio: float = 0.7
    importance: object = "l1"
    round_to: int = 1
    algorithm: str = "random"
    evaluation: str = "race"
    calibration: str = "exact"
    calibration_momentum: float = 0.9
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self):
        strategy_lib.check_ratio(self.min_ratio, "min_ratio")
        strategy_lib.check_ratio(self.max_ratio, "max_ratio")
        if self.min_ratio > self.max_ratio:
            raise errors.InputError(
                "min_ratio is at most max_ratio. Received: "
                f"min_ratio={self.min_ratio}, max_ratio={self.max_ratio}."
            )
        for name in ("num_candidates", "batch_size"):
            if getattr(self, name) < 1:
                raise errors.InputError(
                    f"{name} is at least 1. Received: {getattr(self, name)}."
                )
        if self.seed < 0:
            raise errors.InputError(
                f"A seed is a whole number >= 0. Received: {self.seed}."
            )
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise errors.InputError(
                    f"{name} is one of {', '.join(choices)}. "
                    f"Received: {getattr(self, name)!r}."
                )
        if not 0 <= self.calibration_momentum < 1:
            raise errors.InputError(
                "calibration_momentum is in [0, 1). "
                f"Received: {self.calibration_momentum}."
            )

    def identity(self):
        """What must not change when a search is continued, as JSON."""
        values = dataclasses.asdict(self)
        del values["num_candidates"]  # A search may be extended.
        if callable(self.importance):
            function = self.importance
            values["importance"] = (
                f"{function.__module__}.{function.__qualname__}"
            )
        return values


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        candidates: all evaluated candidates: those who came farther in the
            race first, then the better score, then fewer MACs.
        drawn: strategies drawn until that many met the constraints.
        full_cost: the `Cost` of the whole network.
        pruner: the `Pruner` that builds candidates.
        model_fingerprint: of the whole network.
        torn: bytes of a last line of the log that was not whole, as a killed
            search leaves it; what it told of was evaluated again.
        has_batch_norm: False if there was nothing to adapt, so that scores
            are vanilla ones.
    """

    candidates: tuple
    drawn: int
    full_cost: object
    pruner: rebuild.Pruner
    model_fingerprint: str
    has_batch_norm: bool
    torn: int = 0

    @property
    def finalists(self):
        """The candidates that have seen all images, best first."""
        most = self.candidates[0].seen
        return tuple(c for c in self.candidates if c.seen == most)

    @property
    def best(self):
        """The best candidate."""
        return self.candidates[0]

    def build(self, candidate=None):
        """The pruned `keras.Model` of a candidate, by default the best.

        Its BN statistics are the inherited ones: fine-tune it, or call
        `adapt_batch_norm`.
        """
        candidate = candidate or self.best
        return self.pruner.prune(candidate.strategy)


def search(
    model,
    calibration,
    sub_validation,
    settings=None,
    log_path=None,
    distribution=None,
    on_evaluation=None,
    cluster=None,
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
        on_evaluation: function of (`Candidate`, number of evaluations in
            all), called as each candidate reaches a rung of the race, old
            ones of a continued search included.
        cluster: a `cluster.Cluster` whose workers evaluate the candidates, on
            images of their own that must be the same; None for this machine.
            Connecting invalidates all variables of this process, those of
            `model` included.

    Returns:
        A `SearchResult`.

    Raises:
        InputError: for a budget that cannot be reached (with the range that
            can), labels that do not fit, images with NaN, or a log that
            belongs to another search.
    """
    settings = settings or SearchSettings()
    graph = _prunable(model)
    algorithm, full_cost = algorithm_for(graph, settings)
    calibration = batches_lib.with_or_without_labels(calibration)
    pruner = make_pruner(model, settings, calibration, graph)
    examples = batches_lib.as_arrays(sub_validation)
    evaluator = evaluators.make(
        pruner,
        calibration,
        examples,
        distribution,
        cluster,
        batch_size=settings.batch_size,
        new_moments=_moments(settings),
    )
    identity = {
        "model": model_fingerprint(model),
        "calibration_set": batches_lib.fingerprint(*calibration),
        "sub_validation_set": batches_lib.fingerprint(*examples),
        **settings.identity(),
    }
    rungs = _rungs(settings, evaluator)
    if len(rungs) > 1 and (calibration[1] < 0).all():
        raise errors.InputError(
            "A race needs labels of the calibration images: give (images, "
            'labels), or SearchSettings(evaluation="full"). Received: images '
            "alone."
        )
    evaluations = sum(rung.candidates for rung in rungs)
    with _open_log(log_path, identity) as log:
        race = racing.Race(
            evaluator,
            rungs,
            log,
            lambda c: on_evaluation and on_evaluation(c, evaluations),
        )
        waiting = settings.num_candidates
        while waiting:
            generation = min(waiting, algorithm.generation or waiting)
            algorithm.update(race.enter(algorithm.suggest(generation)))
            waiting -= generation
        candidates = race.finish()
    candidates.sort(
        key=lambda c: (
            -c.total,
            -c.calibration_total,
            -c.known_score,
            c.macs,
            c.index,
        )
    )
    return SearchResult(
        candidates=tuple(candidates),
        drawn=algorithm.drawn,
        full_cost=full_cost,
        pruner=pruner,
        model_fingerprint=identity["model"],
        has_batch_norm=evaluator.has_batch_norm,
        torn=log.torn if log else 0,
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


def model_fingerprint(model):
    """SHA-256 over the architecture and the weights of a model, as hex."""
    config = np.frombuffer(model.to_json().encode(), np.uint8)
    return batches_lib.fingerprint(config, *model.get_weights())


def constraints_of(settings, full_cost):
    """The `Constraint`s of `SearchSettings` for a network of that `Cost`."""
    wanted = []
    for metric in CostModel.metrics:
        full = getattr(full_cost, metric)
        target = getattr(settings, metric)
        if target is not None:
            wanted.append(
                constraints_lib.make(metric, target, settings.tolerance, full)
            )
        most = getattr(settings, f"max_{metric}")
        if most is not None:
            wanted.append(constraints_lib.limit(metric, most, full))
    return wanted


def algorithm_for(graph, settings):
    """Where the strategies of a search come from.

    Args:
        graph: the model's `ChannelGraph`.
        settings: `SearchSettings`.

    Returns:
        (one of `algorithms.ALGORITHMS`, the `Cost` of the whole network).

    Raises:
        InputError: if no strategy meets the constraints.
    """
    cost_model = CostModel(graph)
    full_cost = cost_model.full()
    constraints = constraints_of(settings, full_cost)
    constraints_lib.check_reachable(
        constraints, cost_model, graph.groups, settings
    )
    make = algorithms.ALGORITHMS[settings.algorithm]
    return make(graph.groups, cost_model, constraints, settings), full_cost


def _moments(settings):
    """What collects the statistics of a BN layer."""
    if settings.calibration == "exact":
        return adaptive_bn.Moments
    return functools.partial(
        adaptive_bn.MovingAverage, settings.calibration_momentum
    )


def _rungs(settings, evaluator):
    count = settings.num_candidates
    if settings.evaluation == "full":
        return racing.full(count, evaluator)
    return racing.race(count, evaluator, settings.batch_size)


def _open_log(path, identity):
    if path is None:
        return contextlib.nullcontext()
    return log_lib.SearchLog(path, identity)
