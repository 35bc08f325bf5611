from __future__ import annotations

import math
from pathlib import Path

import pytest

from autotune.config import Circumstances, Precision, TrainingConfig
from autotune.records import DataSpec, Job, ModelSpec, Outcome, Stage, Trial, load_run
from autotune.tuner.bench import LiveBench
from autotune.tuner.numerics import STEPS, Guard, objection
from autotune.tuner.order import Order
from autotune.tuner.session import Server

CONFIG = TrainingConfig.baseline(Circumstances("cuda", 4, (8, 0)))


def _trial(*losses: float, **fields: object) -> Trial:
    return Trial(
        **{"number": 1, "stage": Stage.NUMERICS, "config": CONFIG, "outcome": Outcome.OK, "losses": losses, **fields}
    )


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
    reason = objection(_trial(*losses), _trial(*plain))
    assert (reason is None) is sound


def test_what_an_h200_trained_in_bf16_is_sound() -> None:
    """The numerics trials of the recorded run, in which one loss lies 31% from fp32's."""
    trials = load_run(Path(__file__).parents[1] / "data" / "h200" / "frcnn_resnet50-verdict").trials
    plain, ours = [trial for trial in trials if trial.stage is Stage.NUMERICS]
    assert (plain.config.precision, ours.config.precision) == (Precision.FP32, Precision.BF16)
    assert objection(ours, plain) is None
    # By chance a little more in that step is as sound.
    luckless = ours.model_copy(update={"losses": (*ours.losses[:-1], 0.9 * ours.losses[-1])})
    assert objection(luckless, plain) is None
    # The same losses, an update late, are those of a run that the first update did not reach.
    late = ours.model_copy(update={"losses": (ours.losses[0], *ours.losses[:-1])})
    assert objection(late, plain) is not None


def test_an_overflow_is_objected_to_and_a_few_skipped_updates_are_not() -> None:
    plain = _trial(2.0, 1.8)
    assert objection(_trial(outcome=Outcome.NON_FINITE, detail="the loss is nan in step 1"), plain)
    # The GradScaler lowers its first scale so, and the steps are taken again.
    assert objection(_trial(2.0, 1.8, skipped_updates=2), plain) is None


def test_what_could_not_be_checked_is_not_objected_to() -> None:
    assert objection(_trial(outcome=Outcome.OUT_OF_MEMORY), _trial(2.0)) is None
    assert objection(_trial(math.pi), _trial(outcome=Outcome.TIMEOUT)) is None


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

    assert "from fp32's" in (Guard(baseline, lambda config: False).check(bf16, losses) or "")


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
    assert objection(ours, plain) is None
    assert overflowing.outcome is Outcome.NON_FINITE
    assert "overflow" in (objection(overflowing, plain) or "")
