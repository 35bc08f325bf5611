from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.config import Circumstances, Precision, TrainingConfig
from autotune.records import DataSpec, Job, ModelSpec, Outcome, Stage, Trial, load_run
from autotune.tuner.bench import LiveBench
from autotune.tuner.numerics import STEPS, Finding, Guard, Soundness, finding
from autotune.tuner.order import Order
from autotune.tuner.session import Server

CONFIG = TrainingConfig.baseline(Circumstances("cuda", 4, (8, 0)))


def _trial(*losses: float, **fields: object) -> Trial:
    return Trial(
        **{"number": 1, "stage": Stage.NUMERICS, "config": CONFIG, "outcome": Outcome.OK, "losses": losses, **fields}
    )


def _is_sound(ours: Trial, plain: Trial) -> bool:
    return finding(ours, plain).soundness is Soundness.SOUND


@pytest.mark.parametrize(
    ("losses", "sound"),
    [
        ((2.0, 1.8, 1.6), True),
        ((2.1, 1.7, 1.7), True),  # 5% to 6% apart
        ((2.0, 1.7, 1.0), True),  # 38% in one step of three
        ((2.0, 2.0, 2.0), False),  # it does not fall: 11% and 25% apart
        ((1.0, 0.9, 0.8), False),
        ((2.0, 1.8, 3.3), False),  # more than twice as much in one step
        ((2.0, 1.8, 1.0, 1.9, 1.7, 2.8), False),  # farther with every step
    ],
)
def test_losses_that_part_from_fp32s_by_more_than_a_tenth_are_objected_to(
    losses: tuple[float, ...], sound: bool
) -> None:
    plain = (2.0, 1.8, 1.0, 1.75, 1.25, 1.5)[: len(losses)] if len(losses) > 3 else (2.0, 1.8, 1.6)
    assert _is_sound(_trial(*losses), _trial(*plain)) is sound


def test_what_an_h200_trained_in_bf16_is_sound() -> None:
    """The numerics trials of the recorded run, in which one loss lies 31% from fp32's."""
    trials = load_run(Path(__file__).parents[1] / "data" / "h200" / "frcnn_resnet50-verdict").trials
    plain, ours = [trial for trial in trials if trial.stage is Stage.NUMERICS]
    assert (plain.config.precision, ours.config.precision) == (Precision.FP32, Precision.BF16)
    assert _is_sound(ours, plain)
    # By chance a little more in that step is as sound.
    luckless = ours.model_copy(update={"losses": (*ours.losses[:-1], 0.9 * ours.losses[-1])})
    assert _is_sound(luckless, plain)
    # The same losses, an update late, are those of a run that the first update did not reach.
    late = ours.model_copy(update={"losses": (ours.losses[0], *ours.losses[:-1])})
    assert not _is_sound(late, plain)


def test_an_overflow_is_objected_to_and_a_few_skipped_updates_are_not() -> None:
    plain = _trial(2.0, 1.8)
    overflow = _trial(outcome=Outcome.NON_FINITE, detail="the loss is nan in step 1")
    assert finding(overflow, plain) == Finding(Soundness.UNSOUND, "the loss is nan in step 1")
    # The GradScaler lowers its first scale so, and the steps are taken again.
    assert _is_sound(_trial(2.0, 1.8, skipped_updates=2), plain)


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.OUT_OF_MEMORY, Outcome.UNSUPPORTED])
def test_a_check_that_fails_is_held_against_what_failed_in_it(outcome: Outcome) -> None:
    found = finding(_trial(outcome=outcome, detail="killed by SIGSEGV"), _trial(2.0))
    assert found.soundness is Soundness.UNSOUND
    assert f"({outcome}, killed by SIGSEGV)" in found.why


def test_without_fp32s_losses_nothing_is_known_nor_where_there_was_no_time_to_wait() -> None:
    for outcome in set(Outcome) - {Outcome.OK}:
        found = finding(_trial(math.pi), _trial(outcome=outcome, detail="as the test wants it"))
        assert found.soundness is Soundness.UNKNOWN
        assert f"{outcome}, as the test wants it" in found.why
    late = _trial(outcome=Outcome.TIMEOUT, detail="no 6 steps ended within 20.0 s")
    assert finding(late, _trial(2.0)) == Finding(Soundness.UNKNOWN, f"{CONFIG.label()}: timeout, {late.detail}")


def test_a_precision_is_checked_in_the_references_micro_batches_and_what_is_compiled_in_its_own() -> None:
    baseline = TrainingConfig.baseline(Circumstances("cuda", 16, (8, 0)))
    bf16 = baseline.at_batch_size(4, 16).model_copy(update={"precision": Precision.BF16})
    plain, ours = Guard(baseline, lambda config: False).trainings([bf16])
    assert (plain.precision, ours.precision) == (Precision.FP32, Precision.BF16)
    assert (ours.batch_size, ours.accumulation_steps) == (plain.batch_size, plain.accumulation_steps) == (16, 1)
    compiled = bf16.model_copy(update={"compile": True})
    assert Guard(baseline, lambda config: False).trainings([compiled])[1] == compiled
    assert Guard(baseline, lambda config: True).trainings([bf16])[1] == bf16, "it failed in the reference's"


def test_what_has_no_memory_in_the_references_micro_batches_is_checked_in_its_own() -> None:
    baseline = TrainingConfig.baseline(Circumstances("cuda", 16, (8, 0)))
    bf16 = baseline.at_batch_size(8, 16).model_copy(update={"precision": Precision.BF16})

    def losses(config: TrainingConfig) -> Trial:
        if config.precision is Precision.FP32:
            return _trial(2.0, 1.8)
        return _trial(9.0, 9.0) if config == bf16 else _trial(outcome=Outcome.OUT_OF_MEMORY)

    found = Guard(baseline, lambda config: False).check(bf16, losses)
    assert found is not None
    assert "from fp32's" in found.why


def _losses_up_to(batch_size: int, orders: list[TrainingConfig]) -> Callable[[TrainingConfig], Trial]:
    """fp32 has memory for so large a batch, and the rest for any; what is trained is written down."""

    def losses(config: TrainingConfig) -> Trial:
        orders.append(config)
        fits = config.precision is not Precision.FP32 or config.batch_size <= batch_size
        return _trial(2.0) if fits else _trial(outcome=Outcome.OUT_OF_MEMORY, detail="out of memory")

    return losses


def test_where_fp32_has_no_memory_both_are_trained_in_smaller_micro_batches() -> None:
    baseline = TrainingConfig(batch_size=12, accumulation_steps=2, precision=Precision.BF16)
    fp16 = baseline.model_copy(update={"precision": Precision.FP16})
    guard = Guard(baseline, lambda config: False)
    orders: list[TrainingConfig] = []
    for size in (12, 6):
        assert guard.due([fp16]) == [fp16]
        assert {config.batch_size for config in guard.trainings([fp16])} == {size}, "what the budget must leave"
        assert guard.check(fp16, _losses_up_to(3, orders)) is None
    assert guard.check(fp16, _losses_up_to(3, orders)) == Finding(Soundness.SOUND)
    assert not guard.due([fp16])
    assert [(config.precision, config.batch_size, config.accumulation_steps) for config in orders] == [
        (Precision.FP32, 12, 2),
        (Precision.FP32, 6, 4),
        (Precision.FP32, 3, 8),
        (Precision.FP16, 3, 8),
    ]


def test_fp32_is_not_trained_where_it_is_known_to_have_no_memory() -> None:
    baseline = TrainingConfig(batch_size=16, precision=Precision.BF16)
    fp16 = baseline.model_copy(update={"precision": Precision.FP16})
    guard = Guard(baseline, lambda config: config.precision is Precision.FP32 and config.batch_size > 4)
    assert [config.batch_size for config in guard.trainings([fp16])] == [4, 4]


def test_where_fp32_does_not_train_at_all_no_other_precision_is_trained_for_a_check() -> None:
    baseline = TrainingConfig(batch_size=2, precision=Precision.BF16)
    reduced = [baseline.model_copy(update={"precision": each}) for each in (Precision.FP16, Precision.TF32)]
    guard = Guard(baseline, lambda config: False)
    orders: list[TrainingConfig] = []
    findings = []
    while due := guard.due(reduced):
        findings.append(guard.check(due[0], _losses_up_to(0, orders)))
    assert {config.precision for config in orders} == {Precision.FP32}
    assert [config.batch_size for config in orders] == [2, 1]
    assert [found and found.soundness for found in findings] == [None, Soundness.UNKNOWN, Soundness.UNKNOWN]
    assert guard.trainings(reduced) == []


def test_updates_that_the_scaler_left_out_are_made_up_for(tiny_data: DataSpec) -> None:
    """As on an H200: the first updates of frcnn_resnet50 in fp16 are left out, and its losses lagged behind fp32's."""
    job = Job(model=ModelSpec(name="tiny:steep"), data=tiny_data, device="cpu", effective_batch=4, threads=1)
    with Server("cpu") as server:
        server.prepare(job)
        bench = LiveBench(job, server.machine, None, 1e6, lambda progress: None)
        bench.use(server)

        def trained(precision: Precision, batch_size: int) -> Trial:
            config = TrainingConfig(batch_size=batch_size, accumulation_steps=4 // batch_size, precision=precision)
            return bench.measure(Order(Stage.NUMERICS, config, range(STEPS)))

        plain, ours, overflowing = trained(Precision.FP32, 4), trained(Precision.FP16, 4), trained(Precision.FP16, 2)
    assert ours.skipped_updates > 2
    assert ours.losses == pytest.approx(plain.losses, rel=0.02)
    assert _is_sound(ours, plain)
    assert overflowing.outcome is Outcome.NON_FINITE
    assert "overflow" in finding(overflowing, plain).why
