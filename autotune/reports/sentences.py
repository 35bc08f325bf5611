"""The sentences that every report has, as plain text: a report escapes and lays them out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from autotune.config import TrainingConfig
from autotune.records import Machine, Outcome, RunRecord, Status
from autotune.reports import drift, knob_sentences, profile_sentences
from autotune.reports.batch_sentences import divisors_hint
from autotune.reports.energy_sentences import energy
from autotune.reports.memory_sentences import memory_fit
from autotune.reports.si import GIB, gib

__all__ = ["advice", "course", "failures", "headline", "left_out", "machine", "measured", "title"]

_NOT_TRIED_SHOWN = 6


def title(record: RunRecord) -> str:
    """Which model, on what, with which effective batch, and for which objective if another than speed."""
    if record.job is None:
        return f"{record.profile.model} on {record.profile.device}" if record.profile else "a recorded trace"
    model = record.workload.model if record.workload else record.job.model.name
    device = record.machine.device_name if record.machine else record.job.device
    objective = f", objective {record.objective}" if record.objective != "throughput" else ""
    return f"{model} on {device}, effective batch {record.job.effective_batch}{objective}"


def headline(record: RunRecord) -> str:
    """The verdict, or why there is none."""
    if record.recommendation:
        return record.recommendation.verdict.sentence
    if not record.is_search:
        return profile_sentences.headline(record.profile) if record.profile else "Nothing was measured."
    reason = f": {record.error}" if record.error else ""
    timed = sum(bool(trial.step_ms) and trial.outcome is Outcome.OK for trial in record.trials)
    kept = f" {timed} of {len(record.trials)} trials gave a time." if record.trials else " Nothing was measured."
    if record.status is Status.INTERRUPTED:
        resume = "--resume in place of --force" if "--force" in record.command else "--resume"
        return f"No verdict: the run was interrupted.{kept} The same command goes on with {resume}."
    if record.status is Status.FAILED:
        return f"No verdict: the run failed{reason}.{kept}"
    return f"No verdict{reason}.{kept}"


def advice(record: RunRecord) -> str | None:
    """What to train with, and the memory it takes: `Train with bf16, batch 16: it peaked at 41.0 of 139.8 GiB.`"""
    if record.recommendation is None:
        return None
    config = record.recommendation.config
    what = f"Keep your baseline, {config.label()}" if config == record.baseline else f"Train with {config.label()}"
    memory = _memory(record, config)
    return f"{what}: it peaked at {memory}." if memory else f"{what}."


def _memory(record: RunRecord, config: TrainingConfig) -> str | None:
    peaks = [t.peak_memory_bytes for t in record.trials if t.config == config and t.peak_memory_bytes is not None]
    if not peaks:
        return None
    total = record.machine.device_memory_bytes if record.machine else None
    return f"{gib(max(peaks) / GIB)} of {gib(total / GIB)} GiB" if total else f"{gib(max(peaks) / GIB)} GiB"


def failures(record: RunRecord) -> list[str]:
    """One line for each config and way to fail: `fp16, batch 16: crashed: killed by SIGSEGV`."""
    lines = (
        f"{trial.config.label()}: {trial.outcome}{f': {trial.detail}' if trial.detail else ''}"
        for trial in record.trials
        if trial.outcome is not Outcome.OK
    )
    return list(dict.fromkeys(lines))


def left_out(record: RunRecord) -> list[str]:
    """What was not measured, and why."""
    lines = [*record.left_out, *filter(None, [_bad(record), knob_sentences.suggestion(record), divisors_hint(record)])]
    if record.not_tried:
        labels = [config.label() for config in record.not_tried[:_NOT_TRIED_SHOWN]]
        more = len(record.not_tried) - len(labels)
        rest = f" and {more} more" if more else ""
        configs = "config" if len(record.not_tried) == 1 else "configs"
        want = f"{configs} for want of budget, the race's share set aside"
        lines.append(f"{len(record.not_tried)} {want}: {'; '.join(labels)}{rest}")
    return lines


def _bad(record: RunRecord) -> str | None:
    skipped = record.workload.skipped if record.workload else 0
    if not skipped:
        return None
    return f"{skipped} broken {'image or box' if skipped == 1 else 'images or boxes'} of the data (--skip-bad)"


def machine(record: RunRecord) -> list[tuple[str, str]]:
    """(name, value) of what a reader needs in order to place the figures."""
    return list(_machine_rows(record.machine)) if record.machine else []


def _machine_rows(machine: Machine) -> Iterator[tuple[str, str]]:
    memory = f", {gib(machine.device_memory_bytes / GIB)} GiB" if machine.device_memory_bytes else ""
    yield "device", f"{machine.device_name}{memory}"
    if machine.device_type != "cpu":
        yield "driver, CUDA, cuDNN", f"{machine.driver or '?'}, {machine.cuda or '?'}, {machine.cudnn or '?'}"
    bf16 = "vectorised" if machine.native_bf16 else "no fast code"
    yield "processor", f"{machine.cpu_name}, {machine.cpu_cores} cores, {machine.threads} threads"
    yield "bf16", bf16
    yield "memory", f"{gib(machine.memory_bytes / GIB)} GiB"
    yield "software", f"torch {machine.torch}, torchvision {machine.torchvision}, autotune {machine.autotune}"
    yield "system", f"Python {machine.python}, {machine.os}"


def _course(record: RunRecord) -> Iterator[tuple[str, str | None]]:
    """What else was seen on the way."""
    yield "drift", drift.sentence(record)
    yield "memory fit", memory_fit(record)
    yield "energy", energy(record)


def course(record: RunRecord) -> list[str]:
    """The same as lines: `drift: the baseline's speed changed by ...`"""
    return [f"{name}: {value}" for name, value in _course(record) if value]


def measured(record: RunRecord) -> list[tuple[str, str]]:
    """(name, value) of how the figures came about, enough to repeat them."""
    job, workload = record.job, record.workload
    rows = [("command", shlex.join(record.command)), ("started", record.started)]
    if workload:
        trainable = f"{workload.trainable_parameters:,} of {workload.parameters:,} parameters trained"
        images = f"{workload.images_in_turn} of them in turn"
        skipped = f", {workload.skipped} left out as bad" if workload.skipped else ""
        categories = "1 category" if workload.categories == 1 else f"{workload.categories} categories"
        boxes = f"{workload.mean_boxes:.1f} boxes an image, {categories}"
        rows += [
            ("model", f"{workload.model}, {trainable}, {workload.input}"),
            ("data", f"{workload.data}, {images}{skipped}; {boxes}"),
        ]
    if job is None:
        return rows
    rows += [
        ("optimizer", f"{job.optimizer}, learning rate {job.learning_rate:g} (small, so that the weights stay)"),
        ("seed", str(job.seed)),
    ]
    if record.is_search:
        rows.append(("budget", f"{record.spent_s:.0f} of {record.budget_s:.0f} s spent, search: {record.search}"))
        rows += [(name, value) for name, value in _course(record) if value]
    return rows
