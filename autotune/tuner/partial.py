"""The steps of a trial: warm-up, the worst case, the timed ones; and when a trial is cut short."""

from __future__ import annotations

from autotune.probes.device_state import StateProbe
from autotune.records import Compilation, Outcome, Stage
from autotune.tuner.order import Order
from autotune.tuner.session import Session, TrialFailed

__all__ = ["Partial"]

# No more warm-up steps than this, settled or not.
_WARMUP_STEPS_AT_MOST = 10
# Optimizer steps on the worst case after which its memory is known.
_MEMORY_STEPS = 2
# A step that beats the one before it on the same images by more than this says that the time had not settled yet.
_SETTLED = 0.95
# Steps on two new image sizes that take this many times the settled one, and this long at least: kernels are chosen or
# compiled anew for every image size, as cuDNN does for depthwise convolutions in channels_last on an H200.
_STALLED_TIMES, _STALLED_AT_LEAST_MS = 10.0, 1000.0
# A worst case that takes no longer than this many times the baseline's is slow for its images.
_SLOW = 3.0


class Partial:
    """What a trial has measured so far; it stands whatever happens next.

    rehearsals: so many of the steps after the first are taken once before the clock starts. On a GPU the first step on
    an image size plans its kernels and takes memory: in fp16 on an H200 that can double it, and in training each size
    comes again and again. plans_kernels: whether a new image size may cost that much.
    """

    def __init__(self, rehearsals: int = 0, *, plans_kernels: bool = False) -> None:
        self.rehearsals = rehearsals
        self.plans_kernels = plans_kernels
        self.rehearsal_ms: list[float] = []
        self.worst_case_ms: float | None = None
        self.warmup_ms: list[float] = []
        self.step_ms: list[float] = []
        self.steps: list[int] = []
        self.peak_memory_bytes: int | None = None
        self.startup_s: float | None = None
        self.gave_up = False
        self.remark = ""
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
            answer = session.numerics(len(order.steps), order.step_timeout_s)
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

    def _stalls_on_new_sizes(self, order: Order) -> bool:
        """Whether both new image sizes of the warm-up took so long for being new alone: the first batch's, which holds
        the start as well, and the worst case's. A third would take as long again, up to 19 s on an H200."""
        worst_ms = self.worst_case_ms or 0.0
        stall_ms = max(_STALLED_AT_LEAST_MS, _STALLED_TIMES * self.warmup_ms[-1], _SLOW * order.usual_worst_case_ms)
        return self.plans_kernels and min(self.warmup_ms[0], worst_ms) >= stall_ms

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
        if self.gave_up:
            return
        if order.config.compile:
            # What is compiled anew for the shapes of the later steps should not be in their time.
            for number in (*order.steps[1:], order.steps.start):
                self.warmup_ms.append(self._step(session, number, order))
        elif order.give_up_ms is not None and self._stalls_on_new_sizes(order):
            # Measuring it takes as long for each image size to come, and so does training on it.
            self.gave_up = True
            first, later = _seconds(self.worst_case_ms or 0.0), _seconds(self.warmup_ms[-1])
            self.remark = f"{first} for the first step on an image size, {later} from the second on"
        else:
            # The first timed batch is known already.
            for number in order.steps[1 : 1 + self.rehearsals]:
                self.rehearsal_ms.append(self._step(session, number, order))

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


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000.0:.2g} s"
