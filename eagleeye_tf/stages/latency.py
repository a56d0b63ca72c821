"""Budgets in latency: their flags, and the measurements behind them."""

from absl import flags

from eagleeye_tf import progress
from eagleeye_tf.candidates import latency as latency_lib
from eagleeye_tf.candidates import settings as settings_lib
from eagleeye_tf.deployment import formats
from eagleeye_tf.deployment import stopwatch

_DEFAULTS = settings_lib.SearchSettings()

_LATENCY = flags.DEFINE_float(
    "latency",
    None,
    "Latency of one image to leave, as a share in (0, 1] of the network's own. "
    "It is measured in the format and with the threads below.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_LATENCY_MS = flags.DEFINE_float(
    "latency_ms", None, "The same in milliseconds.", lower_bound=0.0
)
_MAX_LATENCY = flags.DEFINE_float(
    "max_latency",
    None,
    "Latency to leave at most, given like --latency.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_MAX_LATENCY_MS = flags.DEFINE_float(
    "max_latency_ms", None, "The same in milliseconds.", lower_bound=0.0
)
_TOLERANCE = flags.DEFINE_float(
    "latency_tolerance",
    _DEFAULTS.latency_tolerance,
    "How far from --latency is near enough, as a share of the whole network's.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_MEASUREMENTS = flags.DEFINE_integer(
    "latency_measurements",
    _DEFAULTS.latency_measurements,
    "Networks to build and measure, from which the latency of all others is "
    "predicted. The best candidates are measured in any case.",
    lower_bound=8,
)
_FORMAT = flags.DEFINE_enum(
    "latency_format",
    "litert",
    list(stopwatch.FORMATS),
    "What latency is measured in: on the CPU, but for a SavedModel where there "
    "is a GPU.",
)
_THREADS = flags.DEFINE_integer(
    "latency_threads", 1, "Threads of the CPU to measure with.", lower_bound=1
)


def settings():
    """The `SearchSettings` about latency that the flags describe.

    Raises:
        InputError: if the packages for the format are missing.
    """
    budgets = _LATENCY, _LATENCY_MS, _MAX_LATENCY, _MAX_LATENCY_MS
    is_wanted = any(flag.value is not None for flag in budgets)
    if is_wanted and _FORMAT.value in formats.FORMATS:
        formats.require([_FORMAT.value])
    return {
        "latency": _LATENCY.value,
        "latency_ms": _LATENCY_MS.value,
        "max_latency": _MAX_LATENCY.value,
        "max_latency_ms": _MAX_LATENCY_MS.value,
        "latency_tolerance": _TOLERANCE.value,
        "latency_measurements": _MEASUREMENTS.value,
    }


def latencies(job, model, settings):
    """The `latency.Latencies` of a search; None without a budget for it.

    Networks are measured behind a progress bar, unless the log knows them.
    """
    if not settings.has_latency_budget:
        return None
    images, _ = job.data.arrays(job.data.calibration)
    watch = stopwatch.Stopwatch(_FORMAT.value, _THREADS.value, images)
    told = _Progress()
    found = latency_lib.Latencies(
        model, watch, job.workdir / "search" / "latency.jsonl", told
    )
    try:
        found.fit(settings)
    finally:
        told.close()
    return found


class _Progress:
    """A bar while there is something to measure."""

    def __init__(self):
        self._bar = None

    def __call__(self, done, total):
        if self._bar is None and done < total:
            self._bar = progress.bar(total, "Measuring latency", "network")
            self._bar.go_on_from(done)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            if done == total:
                self.close()

    def close(self):
        """Ends the bar, so that what follows has a line of its own."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def summary(result):
    """What was measured, for `search/result.json`; None if nothing was."""
    model = result.latency_model
    if model is None:
        return None
    return {
        "format": _FORMAT.value,
        "num_threads": _THREADS.value,
        "full_ms": model.full_ms,
        "error": model.error,
        "measurements": len(model.measurements),
        "measured": {str(i): ms for i, ms in result.measured.items()},
        "winners": [candidate.index for candidate in result.winners],
    }
