"""EagleEye channel pruning for Keras 3 on TensorFlow.

    import eagleeye_tf as ee

    groups = ee.channel_groups(model)
    smaller = ee.prune(model, 0.3)
    ee.adapt_batch_norm(smaller, images)

Names are loaded when first used, so that importing the package is quick.
"""

import importlib

__version__ = "0.1.0"

_EXPORTS = {
    "channel_groups": "eagleeye_tf.pruning.channel_graph",
    "prune": "eagleeye_tf.pruning.rebuild",
    "cost": "eagleeye_tf.pruning.cost",
    "explain": "eagleeye_tf.reporting.explanation",
    "register_rule": "eagleeye_tf.pruning.layer_rules",
    "Rule": "eagleeye_tf.pruning.rule_base",
    "Trace": "eagleeye_tf.pruning.rule_base",
    "Weight": "eagleeye_tf.pruning.rule_base",
    "PerChannel": "eagleeye_tf.pruning.normalization_rules",
    "Channels": "eagleeye_tf.pruning.labels",
    "verify": "eagleeye_tf.pruning.verification",
    "Verification": "eagleeye_tf.pruning.verification",
    "PruningStrategy": "eagleeye_tf.pruning.strategy",
    "adapt_batch_norm": "eagleeye_tf.candidates.adaptive_bn",
    "search": "eagleeye_tf.candidates.engine",
    "SearchSettings": "eagleeye_tf.candidates.settings",
    "SearchResult": "eagleeye_tf.candidates.result",
    "finetune": "eagleeye_tf.training.finetuning",
    "TrainingSettings": "eagleeye_tf.training.schedules",
    "export": "eagleeye_tf.deployment.exporting",
    "Latencies": "eagleeye_tf.candidates.latency",
    "Stopwatch": "eagleeye_tf.deployment.stopwatch",
    "InputError": "eagleeye_tf.errors",
    "ExportError": "eagleeye_tf.errors",
    "VerificationError": "eagleeye_tf.errors",
    "PlausibilityWarning": "eagleeye_tf.errors",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__():
    return __all__
