import contextlib
import io
import json

import pytest
import toys

from eagleeye_tf.deployment import stopwatch
from eagleeye_tf.stages import search


@pytest.fixture
def measured_here(monkeypatch):
    """In this process: others take long to load TensorFlow."""

    def measure(paths, num_threads, image_shape, *_):
        arguments = str(num_threads), json.dumps(image_shape), "[]"
        with contextlib.redirect_stdout(io.StringIO()) as told:
            stopwatch.main(*arguments, *map(str, paths))
        return json.loads(told.getvalue())

    monkeypatch.setattr(stopwatch, "measure", measure)
    monkeypatch.setattr(stopwatch, "_SECONDS", 0.01)


def test_search_for_a_latency_measured_here(
    measured_here, set_flags, tmp_path, capsys
):
    check_search_for_a_latency("saved_model", set_flags, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["saved_model", "litert"])
def test_search_for_a_latency(name, set_flags, tmp_path, capsys):
    check_search_for_a_latency(name, set_flags, tmp_path, capsys)


def check_search_for_a_latency(name, set_flags, tmp_path, capsys):
    """Real measurements; how fast the networks are is not judged."""
    network = toys.chain(channels=(24, 32), classes=10)
    toys.scramble(network)
    set_flags(
        model=network,
        latency=0.6,
        latency_tolerance=1.0,
        latency_measurements=8,
        latency_format=name,
        num_candidates=3,
    )
    search.main()
    told = capsys.readouterr().out
    folder = tmp_path / "work" / "search"
    found = json.loads((folder / "result.json").read_text())
    latency = found["latency"]
    assert latency["format"] == name and latency["num_threads"] == 1
    assert latency["measurements"] == 8
    best = found["candidates"][0]
    assert 0 < latency["measured"][str(best["index"])] < 5 * latency["full_ms"]
    assert found["settings"]["macs"] is None
    assert " latency |" in told
    assert (
        f"{latency['full_ms']:.3g} ms for an image ({name}, 1 thread)" in told
    )
    before = (folder / "latency.jsonl").read_text()
    assert before.count("\n") == 9
    search.main()  # Everything is known.
    assert json.loads((folder / "result.json").read_text()) == found
    assert (folder / "latency.jsonl").read_text() == before
