from __future__ import annotations

import time

import pytest
import torch

from autotune.probes.clock import timed


def test_the_result_comes_back_with_its_time() -> None:
    result, milliseconds = timed(lambda: time.sleep(0.02) or 7, torch.device("cpu"))
    assert result == 7
    assert milliseconds >= 20.0


@pytest.mark.gpu
def test_the_gpus_work_is_timed_and_not_its_launch() -> None:
    device = torch.device("cuda")
    big = torch.rand(8192, 8192, device=device)
    big @ big
    began = time.perf_counter()
    _, milliseconds = timed(lambda: big @ big, device)
    assert 1.0 < milliseconds <= 1000.0 * (time.perf_counter() - began)
