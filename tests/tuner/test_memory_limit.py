"""What is recommended under a limit on memory trains over the whole data set, rare large images and all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny
from autotune.records import DataSpec, ModelSpec, Outcome
from autotune.tuner.request import Request
from autotune.tuner.run import run
from benchmarks.long_training import outcome_of_training

LIMIT_BYTES = 800_000_000


@pytest.fixture
def rarely_large(tmp_path: Path) -> DataSpec:
    """200 images, of which 4 have four times the others' area: few steps meet one, fewer meet two."""
    items = tiny.items(200)
    for index in (13, 77, 120, 181):
        image, target = items[index]
        items[index] = (torch.nn.functional.interpolate(image[None], scale_factor=2.0)[0], target)
    torch.save(items, tmp_path / "items.pt")
    return DataSpec(kind="pickle", pickle_path=str(tmp_path / "items.pt"), label="rarely large")


@pytest.mark.usefixtures("short_run")
def test_the_recommended_config_lasts_for_200_steps_over_the_whole_data_set(rarely_large: DataSpec) -> None:
    record = run(
        Request(
            model=ModelSpec(name="tiny:padding"),
            data=rarely_large,
            device="cpu",
            effective_batch=8,
            memory_limit_bytes=LIMIT_BYTES,
            threads=1,
            budget_s=300.0,
        )
    )
    assert record.recommendation is not None
    assert record.job is not None
    config = record.recommendation.config
    assert outcome_of_training(record.job, config, 200)[0] is Outcome.OK
    # Of usual images the whole effective batch fits: it is the rare ones that end a training, sooner or later.
    whole = config.at_batch_size(8, 8)
    assert config.batch_size < whole.batch_size
    outcome, detail, _ = outcome_of_training(record.job, whole, 200)
    assert outcome is Outcome.OUT_OF_MEMORY, detail
