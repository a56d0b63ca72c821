import json

import pytest
import toys

from eagleeye_tf.stages import search


@pytest.mark.parametrize(
    "name", ["saved_model", pytest.param("litert", marks=pytest.mark.slow)]
)
def test_search_for_a_latency(name, set_flags, tmp_path, capsys):
    """Real measurements; how fast the networks are is not judged."""
    network = toys.chain(channels=(24, 32, 24), classes=10)
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
