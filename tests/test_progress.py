from eagleeye_tf import progress


def test_work_of_an_earlier_run_is_not_taken_for_speed(monkeypatch):
    bar = progress.bar(1000, "Steps", "step")
    clock = bar.start_t
    monkeypatch.setattr(bar, "_time", lambda: clock)
    bar.mininterval, bar.delay = 0, 0
    bar.go_on_from(700)
    for _ in range(5):  # A second each.
        clock += 1
        bar.n += 1
        bar.update(0)
    told = bar.format_dict
    bar.close()
    assert told["n"] == 705
    assert told["initial"] == 700
    assert told["rate"] == 1
