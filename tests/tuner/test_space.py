"""What a search may try, where some settings are restricted."""

from __future__ import annotations

import pytest

from autotune.config import Circumstances, Precision, TrainingConfig
from autotune.errors import UsageError
from autotune.tuner.space import Space
from simulated import SimulatedBench, find

GPU = Circumstances("cuda", 16, (9, 0), native_bf16=True)
CPU = Circumstances("cpu", 4)


def test_only_these_values_are_tried_beside_the_baseline() -> None:
    space = Space(GPU, only=("precision=fp32,fp16", "cudnn_benchmark=false"))
    tried = list(space.settings(space.baseline))
    assert {config.precision for config in tried} == {Precision.FP16, Precision.FP32}
    assert {config.channels_last for config in tried} == {False, True}
    assert not any(config.cudnn_benchmark for config in tried)
    assert space.baseline.precision is Precision.DEFAULT, "what all is compared with stays"
    assert space.left_out() == (
        "precision: nothing but fp32, fp16 is tried beside the baseline, as you asked",
        "cudnn_benchmark: nothing but false is tried beside the baseline, as you asked",
    )


def test_a_value_that_is_not_worth_measuring_may_be_asked_for() -> None:
    space = Space(CPU, only=("precision=bf16",))
    assert {config.precision for config in space.settings(space.baseline)} == {Precision.BF16}


@pytest.mark.parametrize("only", ["precision=fp16", "cudnn_benchmark=true", "cudnn_benchmark=false"])
def test_a_value_that_the_device_cannot_take_is_told(only: str) -> None:
    with pytest.raises(UsageError, match=f"only {only}: cannot be used on this cpu; leave it out"):
        Space(CPU, only=(only,))


def test_where_all_settings_are_the_baselines_batch_sizes_are_searched() -> None:
    def step_s(config: TrainingConfig) -> float:
        return 0.2 if config.batch_size == 8 else 0.3

    bench = SimulatedBench(GPU, step_s, noise=0.002, budget_s=300.0)
    found = find(bench, only=("precision=default", "channels_last=false", "cudnn_benchmark=false"))
    assert found.recommendation.config == found.baseline.at_batch_size(8, 16)


@pytest.mark.parametrize("memory_limit_bytes", [None, 20_000])
def test_what_is_left_out_is_tried_at_no_batch_size(memory_limit_bytes: int | None) -> None:
    def step_s(config: TrainingConfig) -> float:
        """The baseline's settings are the fastest by far, in smaller batches."""
        return 0.3 / (2.0 if config.precision is Precision.DEFAULT and config.batch_size < 16 else 1.0)

    bench = SimulatedBench(GPU, step_s, noise=0.002, budget_s=600.0, memory_limit_bytes=memory_limit_bytes)
    found = find(bench, only=("precision=bf16,fp16",), knobs=("optimizer",))
    left_out = {each.config for each in bench.trials if each.config.precision is Precision.DEFAULT and each.step_ms}
    assert left_out == {found.baseline}
    assert found.recommendation.verdict.candidate.precision in (Precision.BF16, Precision.FP16)


def test_what_an_extra_knob_brought_is_not_carried_over_to_settings_that_are_left_out() -> None:
    def step_s(config: TrainingConfig) -> float:
        """All settings are equally fast, and the fused optimizer helps."""
        return 0.3 / (1.1 if config.optimizer_implementation == "fused" else 1.0)

    bench = SimulatedBench(GPU, step_s, budget_s=600.0)
    found = find(bench, only=("precision=bf16",), knobs=("optimizer",))
    fused = {each.config.precision for each in bench.trials if each.config.optimizer_implementation == "fused"}
    assert fused == {Precision.BF16}
    assert found.recommendation.config.precision is Precision.BF16
