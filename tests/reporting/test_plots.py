import pytest

from eagleeye_tf.candidates.log import Candidate
from eagleeye_tf.pruning.strategy import PruningStrategy
from eagleeye_tf.reporting import calibration
from eagleeye_tf.reporting import plots
from eagleeye_tf.reporting import study

STUDY = study.Study(
    indices=[0, 1, 2],
    ways={
        "vanilla": [0.1, 0.1, 0.1],
        "adaptive BN": [0.5, 0.6, 0.7],
        "first rung": [0.5, 0.7, 0.6],
        "after one epoch": [0.8, 0.81, 0.82],
        "parameters": [1_000_000, 2_000_000, 3_000_000],
        "MACs": [30_000_000, 20_000_000, 10_000_000],
    },
    accuracies=[0.9, 0.91, 0.92],
    epochs=[[0.8, 0.81, 0.82]],
    failures={},
)


@pytest.fixture
def drawn(monkeypatch):
    """Draws a figure; returns it and its axes."""
    drawings = []
    monkeypatch.setattr(plots, "_write", lambda d, _: drawings.append(d))

    def draw(name, *arguments):
        getattr(plots, name)("stem", *arguments)
        drawing = drawings.pop()
        drawing.canvas.draw()
        return drawing, drawing.axes

    return draw


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_every_way_of_scoring_has_its_own_words(drawn):
    drawing, grid = drawn("correlation", STUDY)
    assert [axes.get_xlabel() for axes in grid] == [
        "vanilla score before fine-tuning",
        "adaptive-BN score before fine-tuning",
        "accuracy on the first rung of a race",
        "sub-validation accuracy after epoch 1",
        "parameters left, millions",
        "MACs left, millions",
    ]
    assert {axes.get_ylabel() for axes in grid[::2]} == {
        "test accuracy, fine-tuned"
    }
    assert grid[1].get_title() == "adaptive BN: Kendall τ 1.00"
    assert grid[5].get_title() == "MACs: Kendall τ -1.00"
    # Counts are in millions even where all are small, shares in percent.
    assert "20" in ticks(grid[5].xaxis) and "60 %" in ticks(grid[1].xaxis)
    assert drawing.get_size_inches()[0] == 7


def test_constant_scores_have_a_narrow_histogram(drawn):
    _, grid = drawn("histograms", STUDY)
    low, high = grid[0].get_xlim()
    assert 0.09 < low < 0.1 < high < 0.11
    assert [axes.get_xlabel() for axes in grid] == [
        "vanilla score before fine-tuning",
        "adaptive-BN score before fine-tuning",
        "sub-validation accuracy after epoch 1",
        "test accuracy, fine-tuned",
    ]
    counts = [sum(bar.get_height() for bar in axes.patches) for axes in grid]
    assert counts == [3, 3, 3, 3]


def test_ticks_of_calibration_images_are_apart(drawn):
    points = [
        calibration.Point(images, 0.5, 0.6, 0.7, 0.8)
        for images in (6400, 12_800, 13_000)
    ]
    _, (left, right) = drawn("calibration", points)
    assert ticks(left.xaxis) == ticks(right.xaxis) == ["6,400", "13,000"]
    assert left.get_ylabel() == "adaptive-BN score"
    assert right.get_ylabel() == "agreement with 13,000 images"
    assert len(left.lines[0].get_xdata()) == 3


def test_both_distances_say_what_they_are(drawn):
    layers = [calibration.Distance("bn", 0.5, 0.6, 0.1, 0.2)]
    _, grid = drawn("distances", layers)
    labels = [axes.get_ylabel().replace("\n", " ") for axes in grid]
    assert labels == [
        f"relative distance of {what} to those of sub-validation"
        for what in ("means", "variances")
    ]


@pytest.mark.parametrize("has_batch_norm", [True, False])
def test_candidates_say_how_they_were_scored(has_batch_norm, drawn):
    candidate = Candidate(
        0,
        PruningStrategy((("a", 0.5),)),
        (4,),
        50,
        3,
        7,
        True,
        1,
        2,
        3,
        3,
        4,
        1.0,
    )
    _, (axes,) = drawn("candidates", [candidate], 100, has_batch_norm)
    kind = "adaptive-BN" if has_batch_norm else "vanilla"
    assert axes.get_ylabel() == f"{kind} score"
    assert axes.get_xlabel() == "MACs left"


def test_groups_have_room_however_many_they_are(drawn):
    sizes = {}
    for count in (10, 120):
        names = [f"group{number}" for number in range(count)]
        drawing, (axes,) = drawn("kept", names, [8] * count, [4] * count)
        sizes[count] = drawing.get_size_inches()
        assert ticks(axes.yaxis) == names
        assert axes.yaxis_inverted()  # The first one on top.
        assert (axes.get_xlabel(), axes.get_ylabel()) == (
            "channels",
            "channel group",
        )
    assert sizes[10][0] == sizes[120][0] == 7
    assert sizes[120][1] - sizes[10][1] > 110 * 8 / 72  # Letters of 8 points.


def looks(axes):
    return [(line.get_marker(), line.get_linestyle()) for line in axes.lines]


def test_lines_differ_without_colours(drawn):
    ratios, scores = (0.25, 0.5, 0.75), [[0.9, 0.8, 0.7], [0.9, 0.6, 0.3]]
    _, (axes,) = drawn("sensitivity", ["a", "b"], ratios, scores, 0.95)
    assert axes.get_ylabel() == "adaptive-BN score"
    whole, *lines = axes.lines
    assert list(whole.get_ydata()) == [0.95, 0.95]
    assert [list(line.get_ydata()) for line in lines] == [
        [0.9, 0.9],
        [0.8, 0.6],
        [0.7, 0.3],
    ]
    assert len(set(looks(axes))) == 4
    assert len({line.get_color() for line in lines}) == 1
    winners = {f"winner {i}": [0.5, 0.6] for i in range(4)}
    _, (axes,) = drawn("epochs", winners)
    assert len(set(looks(axes))) == 4
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "epoch",
        "sub-validation accuracy",
    )
