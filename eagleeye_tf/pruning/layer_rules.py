"""The rule of each layer type and operation: how channels pass, what is cut.

A layer type is one entry in `RULES`; a raw `keras.ops` operation is one entry
in `OPERATION_RULES`. Whatever has no entry is left as it is, and the channels
that touch it are frozen.
"""

import keras

from eagleeye_tf.pruning import passing_rules
from eagleeye_tf.pruning import rule_base
from eagleeye_tf.pruning import weighted_rules

RULES = {
    "Conv1D": weighted_rules.Convolution(),
    "Conv2D": weighted_rules.Convolution(),
    "Conv3D": weighted_rules.Convolution(),
    "SeparableConv1D": weighted_rules.SeparableConvolution(),
    "SeparableConv2D": weighted_rules.SeparableConvolution(),
    "DepthwiseConv1D": weighted_rules.DepthwiseConvolution(),
    "DepthwiseConv2D": weighted_rules.DepthwiseConvolution(),
    "Dense": weighted_rules.Dense(),
    "BatchNormalization": weighted_rules.BatchNormalization(),
    "PReLU": weighted_rules.PReLU(),
    "Activation": passing_rules.Activation(),
    "Softmax": passing_rules.Softmax(),
    "Normalization": passing_rules.FrozenPassage(),
    "Rescaling": passing_rules.Rescaling(),
    "Concatenate": passing_rules.Concatenate(),
    "Dropout": passing_rules.Dropout(),
    "Flatten": passing_rules.Flatten(),
    "Reshape": passing_rules.Reshape(),
    "Permute": passing_rules.Permute(),
    **dict.fromkeys(
        ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"),
        passing_rules.Merge(),
    ),
    **dict.fromkeys(
        (
            f"Global{kind}Pooling{rank}D"
            for kind in ("Average", "Max")
            for rank in (1, 2, 3)
        ),
        passing_rules.GlobalPooling(),
    ),
    **dict.fromkeys(
        (
            f"{kind}{rank}D"
            for kind in (
                "AveragePooling",
                "MaxPooling",
                "ZeroPadding",
                "Cropping",
                "UpSampling",
            )
            for rank in (1, 2, 3)
        ),
        passing_rules.Spatial(),
    ),
    **dict.fromkeys(
        (
            "ReLU",
            "LeakyReLU",
            "ELU",
            "SpatialDropout1D",
            "SpatialDropout2D",
            "SpatialDropout3D",
            "AlphaDropout",
            "GaussianNoise",
            "GaussianDropout",
            "ActivityRegularization",
            "Identity",
        ),
        rule_base.Rule(),
    ),
}


OPERATION_RULES = {
    "Pad": passing_rules.Pad(),
    **dict.fromkeys(
        (
            "Add",
            "Subtract",
            "Multiply",
            "TrueDivide",
            "Divide",
            "Maximum",
            "Minimum",
        ),
        passing_rules.Arithmetic(),
    ),
    **dict.fromkeys(
        (
            "Relu",
            "Relu6",
            "Sigmoid",
            "Silu",
            "Tanh",
            "HardSigmoid",
            "HardSilu",
            "Gelu",
            "Elu",
            "LeakyRelu",
            "Softplus",
            "Identity",
        ),
        rule_base.Rule(),
    ),
}


def rule_for(call):
    """The rule of a call's layer type or operation."""
    if call.layer is None:
        rule = OPERATION_RULES.get(call.class_name)
    elif type(call.layer) is getattr(keras.layers, call.class_name, None):
        rule = RULES.get(call.class_name)
    else:
        rule = None  # Somebody's own layer, whatever its name.
    if rule is None or (len(call.inputs) != 1 and not rule.many_inputs):
        return rule_base.NoRule()
    return rule
