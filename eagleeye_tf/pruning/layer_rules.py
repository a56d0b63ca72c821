"""The rule of each layer type and operation: how channels pass, what is cut.

A layer type is one entry in `RULES`; a raw `keras.ops` operation is one entry
in `OPERATION_RULES`. Whatever has no entry is left as it is, and the channels
that touch it are frozen.
"""

import keras

from eagleeye_tf import errors
from eagleeye_tf.pruning import live_code
from eagleeye_tf.pruning import normalization_rules
from eagleeye_tf.pruning import passing_rules
from eagleeye_tf.pruning import rule_base
from eagleeye_tf.pruning import serialized
from eagleeye_tf.pruning import shape_rules
from eagleeye_tf.pruning import slicing_rules
from eagleeye_tf.pruning import weighted_rules


def _entries(rule, names):
    return dict.fromkeys(names.split(), rule)


def _ranks(rule, names, ranks=(1, 2, 3)):
    """Entries of `<name>1D` to `<name>3D` for each name."""
    return {f"{name}{r}D": rule for name in names.split() for r in ranks}


RULES = {
    **_ranks(weighted_rules.Convolution(), "Conv"),
    **_entries(
        weighted_rules.TransposedConvolution(),
        "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
    ),
    **_ranks(weighted_rules.SeparableConvolution(), "SeparableConv", (1, 2)),
    **_ranks(weighted_rules.DepthwiseConvolution(), "DepthwiseConv", (1, 2)),
    "Dense": weighted_rules.Dense(),
    "EinsumDense": weighted_rules.EinsumDense(),
    "BatchNormalization": normalization_rules.BatchNormalization(),
    "GroupNormalization": normalization_rules.GroupNormalization(),
    "PReLU": weighted_rules.PReLU(),
    **_entries(
        passing_rules.MixesAxes(),
        "Softmax LayerNormalization RMSNormalization UnitNormalization",
    ),
    "Activation": passing_rules.Activation(),
    "Normalization": passing_rules.FrozenPassage(),
    "Rescaling": passing_rules.Rescaling(),
    **_entries(passing_rules.Dropout(), "Dropout AlphaDropout"),
    **_entries(
        rule_base.Rule(),
        "ReLU LeakyReLU ELU GaussianNoise GaussianDropout "
        "ActivityRegularization Identity",
    ),
    **_ranks(rule_base.Rule(), "SpatialDropout"),
    **_entries(
        passing_rules.Merge(), "Add Subtract Multiply Average Maximum Minimum"
    ),
    "Concatenate": passing_rules.Concatenate(),
    **_ranks(
        passing_rules.Spatial(),
        "AveragePooling MaxPooling AdaptiveAveragePooling AdaptiveMaxPooling "
        "ZeroPadding Cropping UpSampling",
    ),
    # These know no data_format.
    **_entries(
        passing_rules.Spatial(always_last=True), "Cropping1D UpSampling1D"
    ),
    **_entries(
        passing_rules.Spatial(),
        "Resizing CenterCrop RandomCrop RandomFlip RandomRotation "
        "RandomTranslation RandomZoom",
    ),
    **_ranks(
        shape_rules.GlobalPooling(), "GlobalAveragePooling GlobalMaxPooling"
    ),
    "Flatten": shape_rules.Flatten(),
    "Reshape": shape_rules.Reshape(),
    "Permute": shape_rules.MovedAxes(shape_rules.permuted),
    "RepeatVector": shape_rules.MovedAxes(shape_rules.repeated_vector),
    # Of keras.applications' own: InceptionResNetV2 adds with a scale,
    # ConvNeXt scales channels and drops whole branches in training.
    "CustomScaleLayer": passing_rules.Merge(),
    "LayerScale": normalization_rules.LayerScale("gamma"),
    "StochasticDepth": rule_base.Rule(),
}


OPERATION_RULES = {
    **_entries(
        passing_rules.ElementWise(),
        "Abs Absolute Arccos Arccosh Arcsin Arcsinh Arctan Arctanh Cast Cbrt "
        "Ceil Celu Clip ConvertToTensor Copy Cos Cosh Elu Erf Erfc Erfinv Exp "
        "Exp2 Expm1 Floor Gelu HardShrink HardSigmoid HardSilu HardTanh "
        "Isfinite Isinf Isnan LeakyRelu Log Log10 Log1p Log2 LogSigmoid "
        "LogicalNot NanToNum Negative OnesLike ReLU Reciprocal Relu Relu6 "
        "Round Rsqrt Selu Sigmoid Sign Silu Sin Sinh SoftShrink Softplus "
        "Softsign SparsePlus SparseSigmoid Sqrt Square Squareplus "
        "StopGradient Tan Tanh TanhShrink Threshold Trunc ZerosLike",
    ),
    **_entries(
        passing_rules.Arithmetic(),
        "Add Arctan2 Divide DivideNoNan Equal FloorDivide Fmax Fmin Fmod "
        "Greater GreaterEqual Hypot Isclose Less LessEqual Logaddexp "
        "LogicalAnd LogicalOr LogicalXor Maximum Minimum Mod Multiply "
        "NotEqual Power Subtract TrueDivide Where",
    ),
    **_entries(
        passing_rules.Spatial(),
        "AdaptiveAveragePool AdaptiveMaxPool AveragePool MaxPool Resize",
    ),
    **_entries(
        passing_rules.MixesAxes(), "Flip LogSoftmax Roll Softmax Sparsemax"
    ),
    **_entries(
        shape_rules.Reduction(),
        "Amax Amin Max Mean Min Prod Std Sum Var Logsumexp",
    ),
    "Concatenate": passing_rules.Concatenate(),
    "GetItem": slicing_rules.GetItem(),
    "Pad": slicing_rules.Pad(),
    "Split": slicing_rules.Split(),
    "Stack": slicing_rules.Stack(),
    "Reshape": shape_rules.ReshapeOperation(),
    "Transpose": shape_rules.MovedAxes(shape_rules.transposed),
    "Swapaxes": shape_rules.MovedAxes(shape_rules.swapped),
    "Moveaxis": shape_rules.MovedAxes(shape_rules.moved),
    "ExpandDims": shape_rules.MovedAxes(shape_rules.expanded),
    "Squeeze": shape_rules.MovedAxes(shape_rules.squeezed),
}


_registered = {}


def register_rule(layer_class, rule):
    """Tells how the channels of a layer of your own pass and are cut.

    Args:
        layer_class: a subclass of `keras.layers.Layer`; exactly this class,
            not its subclasses.
        rule: a `Rule`; `Rule()` itself for a layer without weights that
            treats each channel alone, `PerChannel(names)` for one with
            per-channel weights, or a subclass of `Rule`. Or a layer class of
            Keras, whose rule then is used for `layer_class`, too.

    Raises:
        InputError: if one of them is something else.
    """
    if isinstance(rule, type) and rule.__name__ in RULES:
        rule = RULES[rule.__name__]
    if not (
        isinstance(layer_class, type)
        and issubclass(layer_class, keras.layers.Layer)
        and isinstance(rule, rule_base.Rule)
    ):
        raise errors.InputError(
            "A rule is registered for a layer class, and is a Rule or a layer "
            f"class of Keras that has one. Received: {layer_class!r}, {rule!r}."
        )
    _registered[layer_class] = rule


def rule_for(call):
    """The rule of a call's layer type or operation."""
    changed = rule_base.changed_weights(call.layer)
    if changed is not None:
        return rule_base.NoRule(changed)
    if live_code.is_keras(type(call.operation)):
        rules = OPERATION_RULES if call.layer is None else RULES
        rule = rules.get(call.class_name)
    else:
        rule = _registered.get(type(call.operation))
    if rule is None:
        return rule_base.NoRule()
    if _mixes_in_constants(call):
        return rule_base.NoRule("takes a constant among its tensors")
    count = len(call.data)
    if count != 1 and not rule.many_inputs:
        return rule_base.NoRule(f"takes {count} tensors, its rule one")
    return rule


def _mixes_in_constants(call):
    """Whether a list of operands has some that are not tensors of the graph."""
    lists = (a for a in call.args if isinstance(a, (list, tuple)))
    return any(
        0 < len(list(serialized.tensor_refs(items))) < len(items)
        for items in lists
    )
