from __future__ import annotations

import io
import math
import re

import pytest
from rich.console import Console

from autotune.config import TrainingConfig
from autotune.progress import _Ticking, watching
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.bench import Leader, Progress, leader
from autotune.tuner.order import Order

CONFIG = TrainingConfig(batch_size=4, precision="bf16", channels_last=True)
BEST = Leader(CONFIG, 8.0)


def test_the_bar_shows_the_trial_the_best_so_far_and_the_time_left() -> None:
    screen = io.StringIO()
    with _Ticking(Console(file=screen, force_terminal=True, width=200)) as bar:
        assert "building the model" in screen.getvalue() or bar.tasks[0].description == "building the model"
        bar.watch(Progress(Order(Stage.BATCH_SIZES, CONFIG, range(2)), 1, BEST, spent_s=60.0, budget_s=185.0))
        bar.refresh()
        text = screen.getvalue()
    assert "trial 2: batch sizes, bf16 + channels_last, batch 4" in text
    assert "best 8.00 images/s" in text
    assert re.search(r"[12]:\d\d left", text), "125 s less what the test took"


def test_the_best_is_told_by_all_that_was_timed_of_it_and_not_by_its_luckiest_trial() -> None:
    def timed(config: TrainingConfig, *step_ms: float, outcome: Outcome = Outcome.OK) -> Trial:
        steps = tuple(range(len(step_ms)))
        return Trial(number=1, stage=Stage.SETTINGS, config=config, outcome=outcome, step_ms=step_ms, steps=steps)

    lucky = CONFIG.model_copy(update={"channels_last": False})
    crashed = timed(lucky, 1.0, outcome=Outcome.CRASHED)
    trials = [timed(lucky, 400.0), timed(CONFIG, 500.0), timed(lucky, 700.0, 700.0), timed(CONFIG), crashed]
    assert leader(trials[:1]) == Leader(lucky, 10.0)
    assert leader(trials) == Leader(CONFIG, 8.0)
    assert leader([]) is None


def test_a_log_gets_a_line_of_what_begins_when_one_is_due(capfd: pytest.CaptureFixture[str]) -> None:
    order = Order(Stage.BATCH_SIZES, CONFIG, range(2))
    with watching(line_every_s=0.0) as watcher:
        watcher.say("building the model")
        watcher.watch(Progress(order, 1, BEST, spent_s=60.0, budget_s=185.0))
        watcher.watch(Progress(None, 2, BEST, spent_s=70.0, budget_s=185.0))
        watcher.watch(Progress(order, 2, None, spent_s=200.0, budget_s=185.0))
    out, log = capfd.readouterr()
    assert out == ""
    first, second, third = log.splitlines()
    assert first == "autotune: building the model"
    assert second == (
        "autotune: trial 2: batch sizes, bf16 + channels_last, batch 4; 2:05 left; "
        "best 8.00 images/s, bf16 + channels_last, batch 4"
    )
    assert third == "autotune: trial 3: batch sizes, bf16 + channels_last, batch 4; 0:00 left"


def test_a_log_that_was_never_there_or_is_closed_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (None, closed := io.StringIO()):
        closed.close()
        with watching(line_every_s=0.0) as watcher:
            monkeypatch.setattr("sys.stderr", stream)
            watcher.say("building the model")
            watcher.watch(Progress(Order(Stage.BATCH_SIZES, CONFIG, range(2)), 1, BEST, spent_s=1.0, budget_s=math.inf))
        monkeypatch.undo()


def test_what_ends_before_a_line_is_due_stays_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with watching() as watcher:
        watcher.say("building the model")
        watcher.watch(Progress(Order(Stage.BATCH_SIZES, CONFIG, range(2)), 1, BEST, spent_s=1.0, budget_s=2.0))
    assert capfd.readouterr() == ("", "")
