"""The progress of a run, on stderr: a bar; where that is no terminal, as in a job's log, a line now and then."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from autotune.tuner.bench import Leader, Progress
from autotune.tuner.order import Order

__all__ = ["Watcher", "watching"]

# In a log no two lines come closer than this, and what ends within it has none.
_LINE_EVERY_S = 10.0


@dataclass(frozen=True)
class Watcher:
    """What a run calls while it goes on: watch around each trial, say where there is no trial to show."""

    watch: Callable[[Progress], None] = lambda progress: None
    say: Callable[[str], None] = lambda sentence: None


@contextmanager
def watching(line_every_s: float = _LINE_EVERY_S) -> Iterator[Watcher]:
    """A watcher that shows what is being done: the trial, the best so far and the time left."""
    console = Console(stderr=True)
    if not console.is_terminal:
        lines = _Lines(line_every_s)
        yield Watcher(lines.watch, lines.say)
        return
    with _Ticking(console) as bar:
        yield Watcher(bar.watch, bar.say)


class _Lines:
    """Lines for a log, of what begins when one is due."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._due_s = time.monotonic() + every_s

    def watch(self, progress: Progress) -> None:
        if progress.order is not None:
            left = f"{_clock(progress.budget_s - progress.spent_s)} left{_best(progress.best)}"
            self.say(f"{_trial(progress.trials, progress.order)}; {left}")

    def say(self, sentence: str) -> None:
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + self._every_s
            # A log that takes no more lines, or was never there, must not end the run.
            with suppress(OSError, ValueError):
                print(f"autotune: {sentence}", file=sys.stderr or io.StringIO(), flush=True)


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
            self.update(self._task, description=_trial(progress.trials, progress.order))

    def say(self, sentence: str) -> None:
        self.update(self._task, description=sentence)

    def get_renderables(self) -> Iterable[RenderableType]:
        if self._seen is not None:
            spent_s = self._seen.spent_s
            if self._seen.order is not None:
                spent_s += time.monotonic() - self._since_s
            rest = f"{_clock(self._seen.budget_s - spent_s)} left{_best(self._seen.best)}"
            self.update(self._task, total=self._seen.budget_s, completed=min(spent_s, self._seen.budget_s), rest=rest)
        return super().get_renderables()


def _trial(before: int, order: Order) -> str:
    return f"trial {before + 1}: {order.stage.value.replace('_', ' ')}, {order.config.label()}"


def _clock(seconds: float) -> str:
    """As 4:05; what is overdrawn as 0:00."""
    minutes, rest = divmod(max(0, int(min(seconds, 1e9))), 60)
    return f"{minutes}:{rest:02d}"


def _best(leader: Leader | None) -> str:
    return f"; best {leader.images_per_second:.2f} images/s, {leader.config.label()}" if leader else ""
