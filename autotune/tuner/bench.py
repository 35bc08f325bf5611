"""The bench: where a search has its configs measured. It keeps the journal, the budget and the live sessions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from autotune.config import Circumstances, TrainingConfig
from autotune.errors import AutotuneError
from autotune.probes.device_state import StateProbe
from autotune.records import SIDES_AT_MOST, Compilation, Job, Machine, Outcome, Stage, Trial, WorkloadFacts
from autotune.tuner.journal import Journal, Key
from autotune.tuner.session import Server, Session, TrialFailed

__all__ = ["Bench", "LiveBench", "Order", "Progress", "circumstances", "fail_if_unusable"]

# No more warm-up steps than this, settled or not.
_WARMUP_STEPS_AT_MOST = 10
# Optimizer steps on the worst case after which its memory is known.
_MEMORY_STEPS = 2
# A step that beats the one before it on the same images by more than this says that the time had not settled yet.
_SETTLED = 0.95
# A step that compiles may take this share of what is left of the budget beyond its own limit, and this at least.
_COMPILING_SHARE = 0.5
_COMPILING_AT_LEAST_S = 60.0


@dataclass(frozen=True)
class Order:
    """One measurement that a search asks for.

    steps: which of the replayed batches to time, in order; none for the worst case's memory alone. keep: leave the
    child alive for more, where the bench can. give_up_ms: a settled step slower than this ends the trial early.
    step_timeout_s: the longest a step may take. needs_energy: a trial whose timed steps gave no energy is unsupported.
    reserve_s: what of the budget a repeat of a disturbed trial must leave. predicted_bytes: the peak that is expected.
    watch_tensors: look for the largest tensor, where no step is timed. sides: all of its block, in order, which belong
    together in time; none outside races.
    """

    stage: Stage
    config: TrainingConfig
    steps: range
    block: int | None = None
    keep: bool = False
    give_up_ms: float | None = None
    step_timeout_s: float = 60.0
    needs_energy: bool = False
    reserve_s: float = 0.0
    predicted_bytes: int | None = None
    watch_tensors: bool = False
    sides: tuple[TrainingConfig, ...] = ()


@dataclass(frozen=True)
class Progress:
    """What a run is doing: the order being measured, the trials so far, and the budget."""

    order: Order | None
    trials: int
    best: Trial | None
    spent_s: float
    budget_s: float


class Bench(Protocol):
    """What a search needs; the replay of recorded trials offers the same."""

    circumstances: Circumstances
    seed: int
    keeps_sessions: bool
    memory_bytes: int | None  # what a trial may take
    input_elements: int | None  # of the largest image as the detector takes it

    @property
    def remaining_s(self) -> float:
        """What is left of the budget, in seconds; negative where it is overdrawn."""
        ...

    def measure(self, order: Order) -> Trial: ...

    def release(self, config: TrainingConfig) -> None:
        """End the session that was kept for a config, if one is."""
        ...


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
        told = bool(trial.step_ms) or trial.gave_up or trial.outcome in (Outcome.OUT_OF_MEMORY, Outcome.THRASH)
        affordable = self.remaining_s - order.reserve_s >= trial.duration_s
        return told and affordable and not trial.disturbances <= self._usual

    def _answer(self, order: Order, *, repeated: bool = False) -> Trial:
        self._watch(Progress(order, len(self.trials), self._best(), self.spent_s, self.budget_s))
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
        self._watch(Progress(None, len(self.trials), self._best(), self.spent_s, self.budget_s))
        return trial

    def _measure(self, order: Order) -> Trial:
        began_s = time.monotonic()
        partial = _Partial()
        probe = StateProbe(self._machine, needs_energy=order.needs_energy)
        session: Session | None = None
        cpu_before_s = 0.0
        outcome, detail = Outcome.OK, ""
        try:
            # What moves the weights happens in a child of its own.
            kept = self._kept.pop(order.config, None) if order.stage is not Stage.NUMERICS else None
            session = kept or self._start(order.config)
            cpu_before_s = session.cpu_s()
            partial.take(session, replace(order, step_timeout_s=self._step_timeout_s(order)), probe)
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

    def _step_timeout_s(self, order: Order) -> float:
        if not order.config.compile:
            return order.step_timeout_s
        return order.step_timeout_s + max(_COMPILING_AT_LEAST_S, _COMPILING_SHARE * self.remaining_s)

    def _start(self, config: TrainingConfig) -> Session:
        """A fresh child; where an earlier trial took the server with it, from a fresh server."""
        if self._server is None or not self._server.alive:
            self._restart()
        assert self._server is not None
        return self._server.start(config)

    def _restart(self) -> None:
        if self._server is not None:
            self._server.close()
        self._kept.clear()
        self._server = Server(self._job.device)
        self._server.prepare(self._job)

    def _best(self) -> Trial | None:
        timed = [trial for trial in self.trials if trial.outcome is Outcome.OK and trial.step_ms]
        return max(timed, key=lambda trial: trial.median_images_per_second or 0.0, default=None)


class _Partial:
    """What a trial has measured so far; it stands whatever happens next."""

    def __init__(self) -> None:
        self.worst_case_ms: float | None = None
        self.warmup_ms: list[float] = []
        self.step_ms: list[float] = []
        self.steps: list[int] = []
        self.peak_memory_bytes: int | None = None
        self.startup_s: float | None = None
        self.gave_up = False
        self.skipped_updates = 0
        self.losses: tuple[float, ...] = ()
        self.largest_tensor_elements: int | None = None
        self._compilation: Compilation | None = None
        self._compiling_steps = 0
        self._compiled = False
        self._skipped = False
        self._stalls: list[int] = []

    def take(self, session: Session, order: Order, probe: StateProbe) -> None:
        """Take the steps of an order; probe is told when the timed ones begin and end.

        Raises TrialFailed where one does not end well."""
        if order.stage is Stage.NUMERICS:
            answer = session.numerics(len(order.steps), order.step_timeout_s * len(order.steps))
            self.losses, self.skipped_updates = tuple(answer["losses"]), answer["skipped"]
            self.peak_memory_bytes = answer["peak_memory_bytes"]
            return
        if not order.steps:
            # The optimizer holds its state from the first update on.
            self.worst_case_ms = max(self._step(session, None, order) for _ in range(_MEMORY_STEPS))
            return
        fresh = session.steps_taken == 0
        if fresh:
            self._warm_up(session, order)
        for number in order.steps:
            if self.gave_up:
                return
            if not self.step_ms:
                probe.begin_timed()
            taken = self._step(session, number, order)
            # The first timed step repeats the last warm-up step: where it is much faster, it was one more of them.
            while fresh and not self.step_ms and not self._settled(taken):
                self.warmup_ms.append(taken)
                probe.begin_timed()
                taken = self._step(session, number, order)
            self._compiling_steps += self._compiled
            self.step_ms.append(taken)
            self.steps.append(number)
            self.skipped_updates += self._skipped
        probe.end_timed()
        if self.step_ms and self.skipped_updates == len(self.step_ms):
            raise TrialFailed(Outcome.NON_FINITE, "the gradients overflowed in every timed step: no weight was updated")

    def _warm_up(self, session: Session, order: Order) -> None:
        """At least three steps: the first batch, the worst case, the first batch again, on until no update is skipped.

        The worst case comes second: only from then on does the optimizer hold its state.
        """
        self.warmup_ms.append(self._step(session, order.steps.start, order))
        self.worst_case_ms = self._step(session, None, order)
        self.warmup_ms.append(self._step(session, order.steps.start, order))
        while self._skipped and len(self.warmup_ms) < _WARMUP_STEPS_AT_MOST:
            self.warmup_ms.append(self._step(session, order.steps.start, order))
        # A step that is still getting faster says nothing yet of how slow the config is.
        settled = False
        while self._too_slow(order) and not settled:
            taken = self._step(session, order.steps.start, order)
            settled = self._settled(taken)
            self.warmup_ms.append(taken)
        self.gave_up = self._too_slow(order)
        if order.config.compile and not self.gave_up:
            # What is compiled anew for the shapes of the later steps should not be in their time.
            for number in (*order.steps[1:], order.steps.start):
                self.warmup_ms.append(self._step(session, number, order))

    @property
    def compilation(self) -> Compilation | None:
        """What the child has compiled up to the last step."""
        if self._compilation is None:
            return None
        return self._compilation.model_copy(update={"timed_steps": self._compiling_steps})

    def _too_slow(self, order: Order) -> bool:
        return order.give_up_ms is not None and self.warmup_ms[-1] > order.give_up_ms

    def _settled(self, taken_ms: float) -> bool:
        return taken_ms >= _SETTLED * self.warmup_ms[-1] or len(self.warmup_ms) >= _WARMUP_STEPS_AT_MOST

    def _step(self, session: Session, number: int | None, order: Order) -> float:
        first = session.steps_taken == 0
        answer = session.step(number, order.step_timeout_s, watch_tensors=order.watch_tensors)
        if first:
            self.startup_s = answer.began_s - session.ordered_s
        self._compilation, self._compiled = answer.compilation, answer.compiled
        self._skipped = answer.skipped
        self.largest_tensor_elements = answer.largest_tensor_elements
        self.peak_memory_bytes = max(self.peak_memory_bytes or 0, answer.peak_memory_bytes)
        self._stalls.append(answer.stalls)
        # The allocator has run out in two consecutive steps: throughput collapses before memory does.
        recent = self._stalls[-3:]
        if len(recent) == 3 and recent[0] < recent[1] < recent[2]:
            raise TrialFailed(
                Outcome.THRASH, f"memory ran short in two consecutive steps ({answer.stalls} stalls in all)"
            )
        return answer.ms


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
