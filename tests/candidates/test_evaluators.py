import functools

import digit_models
import keras
import numpy as np
import tensorflow as tf
import toys

import eagleeye_tf as ee
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import evaluators
from eagleeye_tf.candidates import racing
from eagleeye_tf.candidates import rebuilt_evaluator
from eagleeye_tf.candidates.open_evaluator import OpenEvaluator
from eagleeye_tf.candidates.rebuilt_evaluator import RebuiltEvaluator
from eagleeye_tf.pruning import rebuild


def made(model, **options):
    """Both evaluators of a model, on the same random images."""
    x = toys.images(model, count=40).astype(np.uint8)
    labels = np.arange(40) % 4
    calibration = x[:16], labels[:16]
    sub_validation = x[16:], labels[16:]
    pruner = rebuild.Pruner(model)
    quick = evaluators.make(
        pruner, calibration, sub_validation, batch_size=8, **options
    )
    slow = RebuiltEvaluator(
        pruner,
        calibration,
        sub_validation,
        batch_size=8,
        **options,
    )
    return pruner, quick, slow


def evaluated(evaluator, strategy):
    trial = evaluator.start(strategy)
    answers = [
        evaluator.count([trial], 0, 24, adapted=False),
        evaluator.calibrate([trial], 8),
        evaluator.calibrate([trial], 16),
        evaluator.count([trial], 0, 10),
        evaluator.count([trial], 10, 24),
        evaluator.count([trial], 0, 24),
    ]
    return [answer for (answer,) in answers], trial.moments


def test_groups_computed_apart_give_the_same():
    image = keras.Input((9, 9, 6))
    x = keras.layers.Conv2D(8, 3, groups=2, strides=2, padding="same")(image)
    x = keras.layers.Conv2D(12, 2, groups=4, dilation_rate=2, name="d")(x)
    x = keras.layers.Reshape((3, 3, 1, 12))(x)
    x = keras.layers.Conv3D(6, 1, groups=3, use_bias=False)(x)
    model = keras.Model(image, x)
    toys.scramble(model)
    images = toys.images(model)
    expected = toys.outputs(model, images)
    rebuilt_evaluator.compute_groups_apart(model)
    found = toys.outputs(model, images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    # That is another computation: one convolution for each group.
    graph = tf.function(lambda x: model(x)).get_concrete_function(images).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("Conv2D") == 2 + 4 and kinds.count("Conv3D") == 3


def test_open_and_rebuilt_networks_agree():
    """Their outputs are compared in `pruning/test_open_network.py`."""
    model = toys.dense_block()
    toys.scramble(model)
    pruner, quick, slow = made(model)
    assert isinstance(quick, OpenEvaluator)
    for ratio in (0.0, 0.3, 0.6):
        found, moments = evaluated(quick, pruner.strategy(ratio))
        expected, others = evaluated(slow, pruner.strategy(ratio))
        assert found == expected
        assert found[3] + found[4] == found[5]
        for path, moment in moments.items():
            for statistic in ("mean", "variance"):
                a = getattr(moment, statistic)
                b = getattr(others[path], statistic)
                np.testing.assert_allclose(
                    a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max()
                )


def test_statistics_are_those_of_all_images_so_far():
    model = toys.chain()
    toys.scramble(model)
    pruner, *both = made(model)
    x = toys.images(model, count=40).astype(np.uint8)
    for evaluator in both:
        strategy = pruner.strategy(0.4)
        trial = evaluator.start(strategy)
        for stop in (8, 16):
            evaluator.calibrate([trial], stop)
            evaluator.rest(trial)
        smaller = ee.prune(model, strategy)
        ee.adapt_batch_norm(smaller, x[:16], batch_size=8)
        assert trial.moments.keys() == {"bn0", "bn1"}
        for path, moments in trial.moments.items():
            layer = smaller.get_layer(path)
            for found, expected in (
                (moments.mean, layer.moving_mean),
                (moments.variance, layer.moving_variance),
            ):
                np.testing.assert_allclose(
                    found, expected, rtol=1e-3, atol=1e-3
                )


def test_each_device_computes_its_own_candidate(two_replicas):
    model = digit_models.trained()
    sets = [
        tuple(x[:64] for x in digits)
        for digits in (digit_models.for_training(), digit_models.for_test())
    ]
    pruner = rebuild.Pruner(model)
    alone, both = (
        evaluators.make(pruner, *sets, distribution, batch_size=16)
        for distribution in (None, two_replicas)
    )
    strategies = [pruner.strategy(ratio) for ratio in (0.2, 0.6)]
    trials = [both.start(strategy) for strategy in strategies]
    assert both.width == 2
    calibrated = both.calibrate(trials, 64)
    scored = both.count(trials, 0, 64)
    assert scored[0] != scored[1]
    for place, strategy in enumerate(strategies):
        trial = alone.start(strategy)
        assert alone.calibrate([trial], 64) == [calibrated[place]]
        assert alone.count([trial], 0, 64) == [scored[place]]
        for path, moments in trial.moments.items():
            np.testing.assert_allclose(
                moments.mean, trials[place].moments[path].mean, rtol=1e-5
            )


def test_traces_do_not_grow_with_the_candidates():
    model = toys.chain()
    pruner, quick, _ = made(model)
    for ratio in np.linspace(0, 0.9, 20):
        evaluated(quick, pruner.strategy(float(ratio)))
    assert quick.traces == 2  # One that adapts, one that scores.


def test_networks_without_an_open_form_are_rebuilt():
    model = toys.grouped_chain()
    pruner, quick, _ = made(model)
    assert isinstance(quick, RebuiltEvaluator)
    found, _ = evaluated(quick, pruner.strategy(0.5))
    assert found[3] + found[4] == found[5]


def test_moving_average_by_hand():
    average = adaptive_bn.MovingAverage(0.9)
    average.add(4, np.array([1.0]), np.array([3.0]))
    average.add(2, np.array([2.0]), np.array([5.0]))
    # 0.9 (0.9·0 + 0.1·1) + 0.1·2; 0.9 (0.9·1 + 0.1·3) + 0.1·5
    np.testing.assert_allclose(average.mean, [0.29])
    np.testing.assert_allclose(average.variance, [1.58])
    assert average.count == 6


def test_moving_average_is_used():
    model = toys.chain()
    toys.scramble(model)
    options = {"new_moments": functools.partial(adaptive_bn.MovingAverage, 0.5)}
    pruner, quick, _ = made(model, **options)
    trial = quick.start(pruner.strategy(0.0))
    quick.calibrate([trial], 16)
    x = toys.images(model, count=40).astype(np.uint8)[:16].astype(np.float32)
    features = keras.Model(model.input, model.get_layer("conv0").output)
    means = [np.asarray(features(x[a : a + 8])).mean((0, 1, 2)) for a in (0, 8)]
    expected = 0.25 * means[0] + 0.5 * means[1]
    np.testing.assert_allclose(trial.moments["bn0"].mean, expected, rtol=1e-4)


def test_catching_up_repeats_the_same_arithmetic():
    """A killed race has lost the statistics, which must be the same again."""
    model = toys.dense_block()
    toys.scramble(model)
    pruner, quick, _ = made(model)
    rungs = [
        racing.Rung(1, 8, 0),
        racing.Rung(1, 12, 8),
        racing.Rung(1, 16, 24),
    ]
    trials = [quick.start(pruner.strategy(0.3)) for _ in range(2)]
    for number in (1, 2, 3):
        list(quick.advance(trials[:1], rungs[:number], vanilla=False))
    list(quick.advance(trials[1:], rungs, vanilla=False))
    for path, moments in trials[0].moments.items():
        for statistic in ("mean", "variance"):
            np.testing.assert_array_equal(
                getattr(moments, statistic),
                getattr(trials[1].moments[path], statistic),
            )


def test_integers_stay_integers():
    """An image minus 128 is no uint8, unless it is computed as one."""
    image = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.ops.cast(image - 128, "float32")
    x = keras.layers.Conv2D(8, 3)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(4)(x))
    images = toys.images(model, count=40).astype(np.uint8)
    bias = model.layers[-1].bias
    bias.assign(bias - model.predict(images, verbose=0).mean(0))
    labels = model.predict(images, verbose=0).argmax(1)
    assert len(set(labels.tolist())) > 1
    examples = images, labels
    evaluator = evaluators.make(rebuild.Pruner(model), examples, examples)
    assert isinstance(evaluator, OpenEvaluator)
    trial = evaluator.start(evaluator.pruner.strategy(0.0))
    assert evaluator.count([trial], 0, 40, adapted=False) == [40]
