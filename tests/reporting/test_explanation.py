import keras
import toys

import eagleeye_tf as ee

layers = keras.layers


def test_a_model_is_explained():
    """MACs are those of a layer; none is shared."""
    told = ee.explain(toys.chain(channels=(6, 9), classes=10))
    first, second = 64 * 9 * 3 * 6, 64 * 9 * 6 * 9
    whole = first + second + 9 * 10
    assert f"|    conv0 |        6 |  conv0 | {first / whole:.2%} |" in told
    assert "logits is an output of the model" in told


def test_a_model_of_open_size_has_no_shares():
    image = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="c")(image))
    told = ee.explain(keras.Model(image, layers.Dense(3)(x)))
    assert "|     c |        4 |      c |" in told and "MACs" not in told
