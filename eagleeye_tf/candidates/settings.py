"""What a search looks for, and how."""

import dataclasses
import functools

from eagleeye_tf import errors
from eagleeye_tf import plain_numbers
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import algorithms
from eagleeye_tf.pruning import importance as importance_lib
from eagleeye_tf.pruning import strategy as strategy_lib

CHOICES = {
    "algorithm": tuple(algorithms.ALGORITHMS),
    "evaluation": ("race", "full"),
    "calibration": ("exact", "moving_average"),
}

# Settings that came later, and what they are in searches made before them.
LATER = {"exclude": []}

# Which one: the first began with 25 random strategies.
_EVOLUTION = 2

_METRICS = ("macs", "params", "activation_memory", "latency", "latency_ms")
_BUDGETS = (*_METRICS, *(f"max_{metric}" for metric in _METRICS))
_LATENCIES = tuple(name for name in _BUDGETS if "latency" in name)
_LEAST = {
    "num_candidates": 1,
    "batch_size": 1,
    "latency_measurements": 8,
    "round_to": 1,
}


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """What is searched, and how.

    Attributes:
        macs: MACs that should be left: a share in (0, 1] of the network's
            own, or an absolute number; None for any, but for 0.5 if no budget
            at all is given. With a tolerance of 1 the budget 1 is none.
        params: the same for parameters.
        activation_memory: the same for bytes of activation memory.
        max_macs: MACs that may be left at most, given like `macs`; None for
            any number.
        max_params: the same for parameters.
        max_activation_memory: the same for bytes of activation memory.
        latency: latency of one image that should be left, as a share in
            (0, 1] of the network's own; None for any. What it is measured
            with is for `engine.search` to know.
        latency_ms: the same in milliseconds, instead.
        max_latency: latency that may be left at most, given like `latency`.
        max_latency_ms: the same in milliseconds, instead.
        tolerance: how far from the budget is near enough, as a share of the
            whole network's cost.
        params_tolerance: the same for parameters; None for `tolerance`.
        activation_memory_tolerance: the same for activation memory.
        latency_tolerance: the same for latency, which cannot be met as well.
        latency_measurements: networks to measure, from which the latency of
            all others is predicted.
        num_candidates: strategies to score; uniform pruning has but one.
        min_ratio: lower end of the pruning ratios, in [0, 1).
        max_ratio: upper end of the pruning ratios (the paper's R).
        exclude: names of layers, or patterns of them ("stage1_*"), whose
            channel groups stay whole.
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

    macs: float | None = None
    params: float | None = None
    activation_memory: float | None = None
    max_macs: float | None = None
    max_params: float | None = None
    max_activation_memory: float | None = None
    latency: float | None = None
    latency_ms: float | None = None
    max_latency: float | None = None
    max_latency_ms: float | None = None
    tolerance: float = 0.005
    params_tolerance: float | None = None
    activation_memory_tolerance: float | None = None
    latency_tolerance: float = 0.025
    latency_measurements: int = 40
    num_candidates: int = 100
    min_ratio: float = 0.0
    max_ratio: float = 0.7
    exclude: tuple = ()
    importance: object = "l1"
    round_to: int = 1
    algorithm: str = "evolution"
    evaluation: str = "race"
    calibration: str = "exact"
    calibration_momentum: float = 0.9
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self):
        plain_numbers.check(self)
        if self.algorithm == "uniform":
            object.__setattr__(self, "num_candidates", 1)
        strategy_lib.check_ratio(self.min_ratio, "min_ratio")
        strategy_lib.check_ratio(self.max_ratio, "max_ratio")
        self._check_exclude()
        if self.min_ratio > self.max_ratio:
            raise errors.InputError(
                "min_ratio is at most max_ratio. Received: "
                f"min_ratio={self.min_ratio}, max_ratio={self.max_ratio}."
            )
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise errors.InputError(
                    f"{name} is at least {least}. Received: "
                    f"{getattr(self, name)}."
                )
        importance_lib.resolve(self.importance)
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
        if not 0 <= self.latency_tolerance <= 1:
            raise errors.InputError(
                "latency_tolerance is a share in [0, 1] of the whole network's "
                f"latency. Received: {self.latency_tolerance}."
            )
        if not 0 <= self.calibration_momentum < 1:
            raise errors.InputError(
                "calibration_momentum is in [0, 1). "
                f"Received: {self.calibration_momentum}."
            )
        has_target = any(getattr(self, n) is not None for n in _METRICS)
        if self.algorithm == "uniform" and self.has_budget and not has_target:
            raise errors.InputError(
                "Uniform pruning needs a budget to derive its ratio from: "
                "give macs, params, activation_memory or latency. Received: "
                "upper limits alone."
            )
        for name in ("latency", "max_latency"):
            self._check_latency(name, f"{name}_ms")

    def _check_exclude(self):
        names = self.exclude
        if not isinstance(names, (tuple, list)) or not all(
            isinstance(name, str) for name in names
        ):
            raise errors.InputError(
                f"exclude is a tuple or list of names. Received: {names!r}."
            )
        object.__setattr__(self, "exclude", tuple(names))

    def _check_latency(self, name, name_ms):
        share, milliseconds = getattr(self, name), getattr(self, name_ms)
        if share is not None and milliseconds is not None:
            raise errors.InputError(
                f"A latency is given as a share or in milliseconds. Received: "
                f"{name}={share} and {name_ms}={milliseconds}."
            )
        if share is not None and not 0 < share <= 1:
            raise errors.InputError(
                f"{name} is a share in (0, 1] of the whole network's; give "
                f"milliseconds as {name_ms}. Received: {share}."
            )
        if milliseconds is not None and not milliseconds > 0:
            raise errors.InputError(
                f"{name_ms} is above 0. Received: {milliseconds}."
            )

    @property
    def has_budget(self):
        """Whether any is given."""
        return any(getattr(self, name) is not None for name in _BUDGETS)

    def target(self, metric):
        """The budget in MACs, parameters or activation memory; or None."""
        if metric == "macs" and not self.has_budget:
            return 0.5
        return getattr(self, metric)

    def tolerance_of(self, metric):
        """How far from the budget in such a metric is near enough."""
        own = getattr(self, f"{metric}_tolerance", None)
        return self.tolerance if own is None else own

    @property
    def latency_budget(self):
        """Those of the four settings of latency that are given: a dict."""
        values = {name: getattr(self, name) for name in _LATENCIES}
        return {n: amount for n, amount in values.items() if amount is not None}

    @property
    def has_latency_budget(self):
        """Whether anything has to be measured."""
        return bool(self.latency_budget)

    def identity(self):
        """What must not change when a search is continued, as JSON."""
        values = dict(vars(self))  # Nothing is copied, a function least of all.
        del values["num_candidates"]  # A search may be extended.
        if not self.has_budget:
            values["macs"] = self.target("macs")
        if self.algorithm == "evolution":
            values["evolution"] = _EVOLUTION
        values["exclude"] = list(self.exclude)
        if not self.has_latency_budget:
            del values["latency_tolerance"], values["latency_measurements"]
        if callable(self.importance):  # What it does is not in its name.
            kind = type(self.importance)
            function = self.importance
            name = getattr(function, "__qualname__", kind.__qualname__)
            values["importance"] = f"{function.__module__}.{name}"
        return plain_numbers.without_later(values, LATER)

    @property
    def new_moments(self):
        """What collects the statistics of a BN layer: makes a new one."""
        if self.calibration == "exact":
            return adaptive_bn.Moments
        momentum = self.calibration_momentum
        return functools.partial(adaptive_bn.MovingAverage, momentum)
