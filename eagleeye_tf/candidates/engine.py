"""The search: propose, score, log, rank (paper, figure 1)."""

import contextlib
import dataclasses
import time

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import constraints as constraints_lib
from eagleeye_tf.candidates import log as log_lib
from eagleeye_tf.candidates import sampling
from eagleeye_tf.candidates.evaluator import Evaluator
from eagleeye_tf.pruning import channel_graph
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.pruning import strategy as strategy_lib
from eagleeye_tf.pruning.cost import CostModel


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """What is searched, and how.

    Attributes:
        macs: MACs that should be left: a share in (0, 1] of the network's
            own, or an absolute number; None for any.
        params: the same for parameters.
        tolerance: how far from the budget is near enough, as a share of the
            whole network's cost.
        num_candidates: strategies to score.
        min_ratio: lower end of the pruning ratios, in [0, 1).
        max_ratio: upper end of the pruning ratios (the paper's R).
        importance: name in `importance.IMPORTANCES`, or a function.
        round_to: multiple to which kept channels are rounded up.
        algorithm: name in `sampling.ALGORITHMS`.
        batch_size: images per batch in calibration and scoring.
        seed: of the strategies.

    Raises:
        InputError: if a value is outside its range.
    """

    macs: float | None = 0.5
    params: float | None = None
    tolerance: float = 0.005
    num_candidates: int = 100
    min_ratio: float = 0.0
    max_ratio: float = 0.7
    importance: object = "l1"
    round_to: int = 1
    algorithm: str = "random"
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
        if self.algorithm not in sampling.ALGORITHMS:
            raise errors.InputError(
                f"A search algorithm is one of "
                f"{', '.join(sampling.ALGORITHMS)}. "
                f"Received: {self.algorithm!r}."
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
        candidates: all scored candidates, best first; equal scores in favour
            of fewer MACs.
        drawn: strategies drawn until that many met the constraints.
        full_cost: the `Cost` of the whole network.
        pruner: the `Pruner` that builds candidates.
        has_batch_norm: False if there was nothing to adapt, so that scores
            are vanilla ones.
    """

    candidates: tuple
    drawn: int
    full_cost: object
    pruner: rebuild.Pruner
    has_batch_norm: bool

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
    calibration_images,
    sub_validation,
    settings=None,
    log_path=None,
    distribution=None,
    on_candidate=None,
):
    """Scores many pruning strategies of a model without training any.

    Args:
        model: trained functional or Sequential `keras.Model` with one
            output (batch, classes); never changed.
        calibration_images: array (examples, …) or iterable of batches:
            training images that re-estimate BN statistics.
        sub_validation: `(images, labels)` or iterable of such batches:
            training examples, not among the former, not augmented.
        settings: `SearchSettings`; None for the defaults.
        log_path: file to log candidates to, and to continue from.
        distribution: a `tf.distribute.Strategy`; None for the current one.
        on_candidate: called with each `Candidate`, old ones of a continued
            search included.

    Returns:
        A `SearchResult`.

    Raises:
        InputError: for a budget that cannot be reached (with the range that
            can), labels that do not fit, images with NaN, or a log that
            belongs to another search.
    """
    settings = settings or SearchSettings()
    pruner = rebuild.Pruner(model, settings.importance, settings.round_to)
    channel_graph.require_groups(pruner.graph)
    algorithm, full_cost = _algorithm(pruner.graph, settings)
    images = _calibration_array(calibration_images)
    examples = batches_lib.as_arrays(sub_validation)
    evaluator = Evaluator(
        pruner, images, examples, settings.batch_size, distribution
    )
    proposals = algorithm.suggest(settings.num_candidates)
    identity = {
        "model": model_fingerprint(model),
        "calibration": batches_lib.fingerprint(images),
        "sub_validation": batches_lib.fingerprint(*examples),
        **settings.identity(),
    }
    candidates = []
    with _open_log(log_path, identity) as log:
        known = {c.index: c for c in log.candidates} if log else {}
        for proposal in proposals:
            candidate = known.get(proposal.index)
            if candidate is None:
                candidate = _score(evaluator, proposal)
                if log:
                    log.append(candidate)
            candidates.append(candidate)
            if on_candidate:
                on_candidate(candidate)
    candidates.sort(key=lambda c: (-c.correct, c.macs, c.index))
    return SearchResult(
        candidates=tuple(candidates),
        drawn=algorithm.drawn,
        full_cost=full_cost,
        pruner=pruner,
        has_batch_norm=evaluator.has_batch_norm,
    )


def model_fingerprint(model):
    """SHA-256 over the architecture and the weights of a model, as hex."""
    config = np.frombuffer(model.to_json().encode(), np.uint8)
    return batches_lib.fingerprint(config, *model.get_weights())


def constraints_of(settings, full_cost):
    """The `Constraint`s of `SearchSettings` for a network of that `Cost`."""
    return [
        constraints_lib.make(
            metric,
            getattr(settings, metric),
            settings.tolerance,
            getattr(full_cost, metric),
        )
        for metric in CostModel.metrics
        if getattr(settings, metric) is not None
    ]


def _algorithm(graph, settings):
    cost_model = CostModel(graph)
    full_cost = cost_model.full()
    constraints = constraints_of(settings, full_cost)
    constraints_lib.check_reachable(
        constraints, cost_model, graph.groups, settings
    )
    make = sampling.ALGORITHMS[settings.algorithm]
    return make(graph.groups, cost_model, constraints, settings), full_cost


def _calibration_array(images):
    if isinstance(images, np.ndarray):
        return images
    batches = batches_lib.of_images(images, batch_size=1024)
    return np.concatenate([batch.numpy() for batch in batches])


def _open_log(path, identity):
    if path is None:
        return contextlib.nullcontext()
    return log_lib.SearchLog(path, identity)


def _score(evaluator, proposal):
    start = time.monotonic()
    scores = evaluator.score(proposal.strategy)
    return log_lib.Candidate(
        index=proposal.index,
        strategy=proposal.strategy,
        kept=proposal.kept,
        macs=proposal.macs,
        params=proposal.params,
        correct=scores.correct,
        vanilla_correct=scores.vanilla_correct,
        total=scores.total,
        seconds=round(time.monotonic() - start, 3),
    )
