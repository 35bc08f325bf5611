from __future__ import annotations

import math

import pytest

from autotune.config import Precision, TrainingConfig
from autotune.tuner.outlook import Outlook


def _settings(precision: Precision, *, channels_last: bool = False, cudnn_benchmark: bool = False) -> TrainingConfig:
    return TrainingConfig(
        batch_size=1, precision=precision, channels_last=channels_last, cudnn_benchmark=cudnn_benchmark
    )


def test_effects_of_settings_add_up_whatever_was_tried_with_what() -> None:
    outlook = Outlook()
    # bf16 0.6, channels_last 0.1, cudnn_benchmark -0.2; not every combination, and not each setting as often.
    outlook.take(_settings(Precision.FP32), 0.0)
    outlook.take(_settings(Precision.FP32, channels_last=True), 0.1)
    outlook.take(_settings(Precision.BF16, channels_last=True), 0.7)
    outlook.take(_settings(Precision.FP32, cudnn_benchmark=True), -0.2)
    assert outlook.expect(_settings(Precision.BF16)) == pytest.approx(0.6, abs=1e-3)
    assert outlook.expect(_settings(Precision.BF16, cudnn_benchmark=True)) == pytest.approx(0.4, abs=1e-3)


def test_a_setting_that_nothing_is_known_of_is_tried_before_any_that_is_known() -> None:
    outlook = Outlook()
    assert outlook.expect(_settings(Precision.FP32)) == math.inf
    outlook.take(_settings(Precision.FP32), 0.0)
    assert outlook.expect(_settings(Precision.FP32)) == pytest.approx(0.0)
    assert outlook.expect(_settings(Precision.BF16)) == math.inf
