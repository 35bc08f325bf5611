"""The bench: where a search has its configs measured. It keeps the journal, the budget and the live sessions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Protocol

from autotune.config import Circumstances, TrainingConfig
from autotune.errors import AutotuneError
from autotune.probes.device_state import StateProbe
from autotune.records import SIDES_AT_MOST, Job, Machine, Outcome, Stage, Trial, WorkloadFacts
from autotune.tuner.journal import Journal, Key
from autotune.tuner.order import Order
from autotune.tuner.partial import Partial
from autotune.tuner.passes import batches_in_turn
from autotune.tuner.session import Server, Session, TrialFailed

__all__ = [
    "Bench",
    "Leader",
    "LiveBench",
    "Progress",
    "circumstances",
    "compiling_s",
    "fail_if_unusable",
    "leader",
    "step_timeout_s",
]

# A step that compiles may take this share of what is left of the budget beyond its own limit, and this at least.
_COMPILING_SHARE = 0.5
_COMPILING_AT_LEAST_S, _COMPILING_AT_MOST_S = 60.0, 3600.0


@dataclass(frozen=True)
class Leader:
    """The fastest config so far, by the mean over all its timed steps: a single trial's may be lucky."""

    config: TrainingConfig
    images_per_second: float


@dataclass(frozen=True)
class Progress:
    """What a run is doing: the order being measured, the trials so far, and the budget."""

    order: Order | None
    trials: int
    best: Leader | None
    spent_s: float
    budget_s: float


class Bench(Protocol):
    """What a search needs; the replay of recorded trials offers the same."""

    circumstances: Circumstances
    seed: int
    keeps_sessions: bool
    memory_bytes: int | None  # what a trial may take
    input_elements: int | None  # of the largest image as the detector takes it
    batches_in_turn: int | None  # after so many steps the images come again in the same batches; None: not known

    @property
    def remaining_s(self) -> float:
        """What is left of the budget, in seconds; negative where it is overdrawn."""
        ...

    def rehearsals(self, steps: int) -> int:
        """How many steps a fresh child takes after its warm-up to have met the images of so many timed ones."""
        ...

    def measure(self, order: Order) -> Trial: ...

    def release(self, config: TrainingConfig) -> None:
        """End the session that was kept for a config, if one is."""
        ...


def leader(trials: Sequence[Trial]) -> Leader | None:
    """Who leads after these trials; None where none has a time."""
    times_ms: dict[TrainingConfig, list[float]] = {}
    for trial in trials:
        if trial.outcome is Outcome.OK and trial.step_ms:
            times_ms.setdefault(trial.config, []).extend(trial.step_ms)
    found = [Leader(each, 1000.0 * each.images_per_step / fmean(ms)) for each, ms in times_ms.items()]
    return max(found, key=lambda each: each.images_per_second, default=None)


def circumstances(job: Job, machine: Machine) -> Circumstances:
    """What decides which values of a knob make sense for a job on a machine."""
    return Circumstances(
        device_type=machine.device_type,
        effective_batch=job.effective_batch,
        compute_capability=machine.compute_capability or (0, 0),
        native_bf16=machine.native_bf16,
    )


class LiveBench:
    """Measures in child processes on the real device.

    On a CPU sessions are kept where the search asks for it: a warmed-up child need not warm up again, and memory is
    there for two. On a GPU a kept child would hold memory that the next trial needs, so each order gets a fresh one.
    """

    def __init__(
        self, job: Job, machine: Machine, journal: Journal | None, budget_s: float, watch: Callable[[Progress], None]
    ) -> None:
        self.circumstances = circumstances(job, machine)
        self.seed = job.seed
        self.memory_bytes: int | None = job.memory_limit_bytes or machine.device_memory_bytes or machine.memory_bytes
        self.keeps_sessions = machine.device_type == "cpu"
        self.input_elements: int | None = None
        self.batches_in_turn: int | None = None
        self.budget_s = budget_s
        self.spent_s = 0.0
        self.trials: list[Trial] = []
        self._job = job
        self._machine = machine
        self._journal = journal
        self._watch = watch
        self._usual: frozenset[str] = frozenset()  # disturbances that repeating does not get rid of
        self._server: Server | None = None
        self._kept: dict[TrainingConfig, Session] = {}

    def use(self, server: Server, workload: WorkloadFacts | None = None) -> None:
        """Measure with this server, on which the job is prepared; workload: what that gave."""
        self._server = server
        self.input_elements = workload.input_elements if workload else None
        if workload:
            self.batches_in_turn = batches_in_turn(workload.images_in_turn, self._job.effective_batch)

    def close(self) -> None:
        """End the server, and its children with it."""
        # The server first: after a Ctrl-C an answer of its may still be under way, and no child may be reaped by it.
        if self._server is not None:
            self._server.close()
        for session in self._kept.values():
            session.close()
        self._kept.clear()

    @property
    def remaining_s(self) -> float:
        return self.budget_s - self.spent_s

    def rehearsals(self, steps: int) -> int:
        if self.circumstances.on_cpu or not steps:
            return 0
        return min(steps, self.batches_in_turn or steps) - 1

    def release(self, config: TrainingConfig) -> None:
        session = self._kept.pop(config, None)
        if session is not None:
            session.close()

    def measure(self, order: Order) -> Trial:
        """The trial that answers an order: from the journal where it stands there, measured otherwise.

        A trial under throttling or beside another process on the GPU is measured once more where the budget has room,
        and the less disturbed of the two is the answer. What a repeat did not get rid of is this machine's usual state,
        as a power cap can be: nothing more is repeated for it.
        """
        trial = self._answer(order)
        if not self._is_worth_repeating(trial, order):
            return trial
        again = self._answer(order, repeated=True)
        if again.disturbances < trial.disturbances:
            return again
        self._usual |= again.disturbances
        return trial

    def _is_worth_repeating(self, trial: Trial, order: Order) -> bool:
        # A second time a stall would be none the shorter.
        was_slow = trial.gave_up and not trial.has_stalled
        told = bool(trial.step_ms) or was_slow or trial.outcome in (Outcome.OUT_OF_MEMORY, Outcome.THRASH)
        affordable = self.remaining_s - order.reserve_s >= trial.duration_s
        return told and affordable and not trial.disturbances <= self._usual

    def _answer(self, order: Order, *, repeated: bool = False) -> Trial:
        self._watch(Progress(order, len(self.trials), leader(self.trials), self.spent_s, self.budget_s))
        key = (order.stage, order.config, order.block)
        known = self._journal.find(key, repeated=repeated, beside=_block(order)) if self._journal else None
        if known is not None and not _answers(known, order):
            known = None
        trial = known or self._measure(order).model_copy(update={"repeated": repeated})
        # First here: a Ctrl-C while the disk takes it must not lose it for the record.
        self.trials.append(trial)
        self.spent_s += trial.duration_s
        if known is None and self._journal:
            self._journal.append(trial)
        self._watch(Progress(None, len(self.trials), leader(self.trials), self.spent_s, self.budget_s))
        return trial

    def _measure(self, order: Order) -> Trial:
        began_s = time.monotonic()
        partial = Partial(self.rehearsals(len(order.steps)), plans_kernels=not self.circumstances.on_cpu)
        probe = StateProbe(self._machine, needs_energy=order.needs_energy)
        session: Session | None = None
        cpu_before_s = 0.0
        outcome, detail = Outcome.OK, ""
        try:
            server = self._live_server()
            # What moves the weights happens in a child of its own.
            kept = self._kept.pop(order.config, None) if order.stage is not Stage.NUMERICS else None
            session = kept or server.start(order.config)
            cpu_before_s = session.cpu_s()
            partial.take(session, replace(order, step_timeout_s=step_timeout_s(order, self.remaining_s)), probe)
            detail = partial.remark
            _fail_beyond(order.most_bytes, partial.peak_memory_bytes or 0)
        except TrialFailed as failure:
            outcome, detail = failure.outcome, failure.detail
            if outcome is Outcome.TIMEOUT and order.config.compile:
                detail += ", compiling included; a larger --budget leaves it more time"
        except BaseException:
            probe.close()
            if session is not None:
                session.close()
            raise
        # What a child that is gone has used cannot be told from what others use.
        cpu_used_s = session.cpu_s() - cpu_before_s if session and outcome is Outcome.OK else None
        state = probe.read(cpu_used_s)
        if session is not None:
            if outcome is Outcome.OK and order.keep and self.keeps_sessions:
                self._kept[order.config] = session
            else:
                session.close()
        if order.needs_energy and outcome is Outcome.OK and partial.step_ms and probe.energy is None:
            timed_s = sum(partial.step_ms) / 1000.0
            outcome, detail = Outcome.UNSUPPORTED, f"NVML told no energy over the {timed_s:.2g} s of timed steps"
        return Trial(
            number=len(self.trials) + 1,
            stage=order.stage,
            block=order.block,
            config=order.config,
            outcome=outcome,
            detail=detail,
            worst_case_ms=partial.worst_case_ms,
            warmup_ms=tuple(partial.warmup_ms),
            rehearsal_ms=tuple(partial.rehearsal_ms),
            step_ms=tuple(partial.step_ms),
            steps=tuple(partial.steps),
            peak_memory_bytes=partial.peak_memory_bytes,
            startup_s=partial.startup_s,
            gave_up=partial.gave_up,
            skipped_updates=partial.skipped_updates,
            losses=partial.losses,
            compilation=partial.compilation,
            state=state,
            energy=probe.energy,
            timeline=probe.timeline(),
            predicted_peak_bytes=order.predicted_bytes,
            largest_tensor_elements=partial.largest_tensor_elements,
            duration_s=time.monotonic() - began_s,
        )

    def _live_server(self) -> Server:
        """A fresh one where the server has ended; with it went all children, those that were kept as well."""
        if self._server is None or not self._server.alive:
            self._restart()
        assert self._server is not None
        return self._server

    def _restart(self) -> None:
        if self._server is not None:
            self._server.close()
        self._kept.clear()
        self._server = Server(self._job.device)
        self._server.prepare(self._job)


def compiling_s(remaining_s: float, reserve_s: float) -> float:
    """How long compiling may take, of what is left of the budget and not reserved for what follows; -inf for what is
    to come whatever it takes."""
    wanted_s = min(max(_COMPILING_AT_LEAST_S, _COMPILING_SHARE * remaining_s), _COMPILING_AT_MOST_S)
    return min(wanted_s, max(0.0, remaining_s - reserve_s))


def _fail_beyond(most_bytes: int | None, peak_bytes: int) -> None:
    if most_bytes is not None and peak_bytes > most_bytes:
        detail = f"took {peak_bytes / 1e9:.2f} GB, which leaves too little for batches to come"
        raise TrialFailed(Outcome.OUT_OF_MEMORY, detail)


def step_timeout_s(order: Order, remaining_s: float) -> float:
    """How long a step of an order is waited for, compiling included, where so much of the budget is left.

    What is checked was compiled in its trials: what that takes again is in the time that its check may take."""
    compiles = order.config.compile and order.stage is not Stage.NUMERICS
    # The race's time is what is reserved: none of it is kept from its own sides.
    reserve_s = -math.inf if order.stage.is_race else order.reserve_s
    return order.step_timeout_s + (compiling_s(remaining_s, reserve_s) if compiles else 0.0)


def _block(order: Order) -> list[Key]:
    """What a journal knows the sides of an order's block by."""
    first = (order.block or 0) // SIDES_AT_MOST * SIDES_AT_MOST
    return [(order.stage, side, first + place) for place, side in enumerate(order.sides)]


def _answers(trial: Trial, order: Order) -> bool:
    """Whether a trial of the journal timed the steps of an order. A resumed run has less time left than the killed one
    had then, so that it may plan a race of other steps; only the same images can be compared."""
    if order.stage is Stage.NUMERICS:
        return True
    cut_short = trial.gave_up or trial.outcome is not Outcome.OK
    return trial.steps == tuple(order.steps)[: len(trial.steps) if cut_short else None]


def fail_if_unusable(trial: Trial) -> None:
    """Raise an AutotuneError where the baseline failed for a reason that no smaller batch mends."""
    if trial.outcome in (Outcome.OK, Outcome.OUT_OF_MEMORY, Outcome.THRASH):
        return
    raise AutotuneError(
        f"the baseline ({trial.config.label()}) does not train: {trial.outcome}, {trial.detail}; "
        "nothing can be compared with it"
    )
