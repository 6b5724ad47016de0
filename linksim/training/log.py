"""How a training goes, told: a bar or lines on the console, and the learning curve."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from linksim.files.tables import write_table
from linksim.progress import Pace, counting_progress


class Teller:
    """Progress over the steps: a bar on a terminal, else a line every half minute."""

    def __init__(self, console: Console, *, done: int, total: int, batch_size: int) -> None:
        self._console = console
        self._total = total
        self._batch_size = batch_size
        self._pace = Pace(done)
        self._progress = None
        if console.is_terminal:
            self._progress = counting_progress(console, "step", "{task.fields[loss]}")
            self._task = self._progress.add_task("train", total=total, completed=done, loss="")
            self._progress.start()

    def step(self, done: int, loss: Any) -> None:
        """Tell that so many steps are done, if it is time to."""
        if self._progress is not None:
            if done % 10 == 0:
                self._progress.update(self._task, completed=done, loss=f"loss {float(loss):.5f}")
        elif self._pace.due():
            self.line(
                f"step {done} of {self._total}: loss {float(loss):.5f}, "
                f"{self._pace.rate(done) * self._batch_size:.3g} crops a second, "
                f"{self._pace.left(done, self._total)} left"
            )

    def validation(self, done: int, metrics: Mapping[str, float]) -> None:
        """A line about what a validation measured."""
        at = ", ".join(
            f"{name.removeprefix('psnr_')} {value:.2f}"
            for name, value in metrics.items()
            if name.startswith("psnr_")
        )
        line = f"step {done}: PSNR {metrics['val_psnr']:.2f} dB ({at})"
        if "val_snr_error_db" in metrics:
            line += f", SNR error {metrics['val_snr_error_db']:.2f} dB"
        if "val_accuracy" in metrics:
            line += f", accuracy {metrics['val_accuracy']:.3f}"
        self.line(line)

    def line(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def stop(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()


class Curve:
    """The learning curve: a row a logged step, kept in the checkpoints, so that steps which are
    done again after a cut-off are there once."""

    def __init__(self, rows: Sequence[dict[str, float]] = ()) -> None:
        self.rows = [dict(row) for row in rows]

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add values of a step, counted from 1, to its row."""
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append({"step": step})
        self.rows[-1] |= {name: round(float(value), 6) for name, value in values.items()}

    def write(self, path: Path) -> None:
        """Write it as CSV."""
        write_table(path, pd.DataFrame(self.rows))
