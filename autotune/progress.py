"""The progress bar of a run: on stderr, and quiet when that is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from autotune.records import Trial
from autotune.tuner.bench import Progress

__all__ = ["Watcher", "watching"]


@dataclass(frozen=True)
class Watcher:
    """What a run calls while it goes on: watch around each trial, say where there is no trial to show."""

    watch: Callable[[Progress], None] = lambda progress: None
    say: Callable[[str], None] = lambda sentence: None


@contextmanager
def watching() -> Iterator[Watcher]:
    """A watcher that draws what is being done: the trial, the best so far and the time left."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Watcher()
        return
    with _Ticking(console) as bar:
        yield Watcher(bar.watch, bar.say)


class _Ticking(Bar):
    """A bar over the budget that moves between events too."""

    def __init__(self, console: Console) -> None:
        # Set before the base class draws for the first time.
        self._since_s = time.monotonic()
        self._seen: Progress | None = None
        # The description last: on a narrow terminal it is what gets cut.
        columns = (BarColumn(bar_width=16), TextColumn("{task.fields[rest]}"), TextColumn("{task.description}"))
        super().__init__(*columns, console=console, transient=True)
        self._task = self.add_task("building the model", total=None, rest="")

    def watch(self, progress: Progress) -> None:
        self._seen = progress
        self._since_s = time.monotonic()
        if progress.order is not None:
            trial = f"trial {progress.trials + 1}: {progress.order.stage.value.replace('_', ' ')}"
            self.update(self._task, description=f"{trial}, {progress.order.config.label()}")

    def say(self, sentence: str) -> None:
        self.update(self._task, description=sentence)

    def get_renderables(self) -> Iterable[RenderableType]:
        if self._seen is not None:
            spent_s = self._seen.spent_s
            if self._seen.order is not None:
                spent_s += time.monotonic() - self._since_s
            left_s = max(0.0, self._seen.budget_s - spent_s)
            rest = f"{left_s // 60:.0f}:{left_s % 60:02.0f} left{_best(self._seen.best)}"
            self.update(self._task, total=self._seen.budget_s, completed=min(spent_s, self._seen.budget_s), rest=rest)
        return super().get_renderables()


def _best(trial: Trial | None) -> str:
    if trial is None or trial.median_images_per_second is None:
        return ""
    return f"; best {trial.median_images_per_second:.2f} images/s, {trial.config.label()}"
