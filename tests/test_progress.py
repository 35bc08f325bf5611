from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from autotune.config import TrainingConfig
from autotune.progress import _Ticking, watching
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.bench import Progress
from autotune.tuner.order import Order

CONFIG = TrainingConfig(batch_size=4, precision="bf16", channels_last=True)
BEST = Trial(number=1, stage=Stage.SETTINGS, config=CONFIG, outcome=Outcome.OK, step_ms=(500.0,), steps=(0,))


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


def test_a_stderr_that_is_no_terminal_stays_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with watching() as watcher:
        watcher.watch(Progress(None, 1, BEST, spent_s=1.0, budget_s=2.0))
    assert capfd.readouterr() == ("", "")
