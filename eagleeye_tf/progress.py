"""Progress bars with an ETA."""

import sys

import tqdm


def bar(total, description, unit):
    """A tqdm bar with an ETA, on the terminal's error stream.

    Where that is a file, a line every ten seconds is enough.
    """
    is_watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    return _Bar(
        total=total,
        desc=description,
        unit=unit,
        dynamic_ncols=True,
        smoothing=0.1,
        mininterval=0.1 if is_watched else 10,
        delay=0.5,  # What fails at once shows its error alone.
    )


def by_step(bar, steps):
    """What shows the steps of a training in a bar.

    Args:
        bar: a `bar` over the steps of all epochs.
        steps: how many an epoch has.

    Returns:
        Function of (epoch, step, loss), both from 0, for `training.loop.fit`.
    """

    def on_step(epoch, step, loss):
        if not bar.n:
            bar.go_on_from(epoch * steps + step)
        bar.set_postfix(epoch=epoch + 1, loss=f"{loss:.3f}", refresh=False)
        bar.update()
        if step == 0:  # However rarely a file is written to.
            bar.refresh()

    return on_step


class _Bar(tqdm.tqdm):
    """Shows how it ended, even if that was before it showed anything."""

    def go_on_from(self, done):
        """Work of an earlier run does not count as done at this one's speed."""
        self.n = self.initial = self.last_print_n = done

    def close(self):
        if self.n:
            self.delay = 0
        super().close()
