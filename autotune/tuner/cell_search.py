"""The search: each cell screened near its own largest batch, batch ladders on the cells within reach, a race.

A cell is one combination of settings. Host-bound cells look alike at small batches and settings interact, so cells are
compared where each is at its best. What the race compares has trained on the worst case in a process of its own.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import median

from autotune.config import Knob, TrainingConfig
from autotune.errors import DeviceError
from autotune.records import SIDES_AT_MOST, Outcome, Recommended, Stage, Trial, Verdict, VerdictKind
from autotune.tuner import memory_margin
from autotune.tuner.bench import Bench, fail_if_unusable
from autotune.tuner.budget import STEPS_AT_LEAST, Budget
from autotune.tuner.cell import Cell
from autotune.tuner.checks import Checks
from autotune.tuner.climb import Climb
from autotune.tuner.extra_search import CELLS_AT_MOST, CELLS_WITHIN, carried_over, try_extra_knobs
from autotune.tuner.memory_probes import MemoryProbes
from autotune.tuner.numerics import STEPS
from autotune.tuner.objective import Objective
from autotune.tuner.order import Order
from autotune.tuner.outlook import Outlook
from autotune.tuner.promise import is_hopeless
from autotune.tuner.search import Findings
from autotune.tuner.space import Space
from autotune.tuner.stalls import Stalls
from autotune.tuner.standings import Standings
from autotune.tuner.unraced import no_verdict, of_stalls

__all__ = ["CellSearch"]

# A config that is this much slower than the leader while warming up is given up.
_GIVE_UP, _GIVE_UP_ERRORS, _GIVE_UP_AT_MOST = 1.35, 3.0, 2.5
# A cell that is expected to stay this far behind the leader is screened after the ladders of the others.
_UNPROMISING = 0.1
_RACERS = 4
# Where memory may run short, two batches of each width of numbers are probed before anything else.
_PROBES = 4


class CellSearch:
    """objective: what the recommended config is the best in."""

    name = "cells"

    def __init__(self, objective: Objective = Objective.THROUGHPUT) -> None:
        self.objective = objective

    def run(self, bench: Bench, space: Space) -> Findings:
        return _Run(bench, space, self.objective).findings()


class _Run:
    def __init__(self, bench: Bench, space: Space, objective: Objective) -> None:
        self.bench = bench
        self.space = space
        self.objective = objective
        self.own_cell = Cell(space.baseline)  # the baseline's
        limit_bytes = memory_margin.in_trial(bench.memory_bytes)
        self.memory = MemoryProbes(space, limit_bytes, bench.input_elements, self._probe)
        self.waiting: list[Cell] = []  # to be screened
        self.screened: list[Cell] = []
        self.standings = Standings(objective, limit_bytes)
        self.budget = Budget(bench, self.standings, objective)
        self.climb = Climb(
            self.standings,
            lambda cell, config: self._try(cell, config, Stage.BATCH_SIZES),
            lambda: self.standings.lead - self._hopeless,
        )
        self.racers: list[TrainingConfig] = []
        self.faster_but_slow_to_start = False
        self.not_tried: list[TrainingConfig] = []
        self.notes: list[str] = []

    def findings(self) -> Findings:
        self.baseline = self._measure_baseline()
        self.stalls = Stalls(self.baseline.config)
        self.standings.begin(self.baseline)
        self.checks = Checks(
            self.standings, self.budget, train=self._losses, racers=lambda: self.racers, choose=self._choose
        )
        self.memory.begin(self.baseline)
        settings = [self.baseline.config, *self.space.settings(self.baseline.config)]
        if not self.space.settings_fixed:
            own = [self.own_cell] if self.space.allows(self.baseline.config) else []
            cells = [*own, *(Cell(each) for each in settings[1:])]
            self.own_cell.take(self.baseline)
            self.stalls.take(self.own_cell.settings, self.baseline)
            self._screen_and_climb(cells)
            self._try_extra_knobs(cells)
            self._hold_first_heats()
            self.checks.before_the_race()
        self._tell_of_stalls()
        result, config = self.checks.after_the_race(*self._decide())
        if config == self.baseline.config and not self.standings.fits(self.baseline):
            self.notes.append(self._tight())
        # What was refused while the race's reserve was larger may have been tried later.
        not_tried = tuple(config for config in dict.fromkeys(self.not_tried) if config not in self.standings.trials)
        return Findings(
            self.baseline.config,
            Recommended(config=config, verdict=result),
            not_tried,
            (*self.memory.notes, *self.notes, *self.checks.notes),
        )

    def _measure_baseline(self) -> Trial:
        """The baseline at the largest divisor of the effective batch that fits."""
        cell = self.own_cell
        sizes = self.memory.baseline_sizes(cell)
        detail = "its tensors are too large to be indexed"
        while (size := cell.memory.candidate(sizes, self.bench.memory_bytes)) is not None:
            config = self._at(cell, size)
            # Time the fewest, then as many as the budget has room for.
            first = self._measure(Stage.BASELINE, config, range(STEPS_AT_LEAST), block=0)
            fail_if_unusable(first)
            cell.take(first)
            if first.outcome is Outcome.OK:
                if (baseline := self._measure_fully(first)) is not None:
                    return baseline
                # It fits or does not as the allocator likes: a smaller one is surer.
                cell.memory.fail(size)
            if not cell.memory.peaks:
                self.memory.probe(cell, below=size)
            detail = first.detail
        raise DeviceError(f"not even one image at a time fits into memory ({detail}); try a smaller --image-size")

    def _measure_fully(self, first: Trial) -> Trial | None:
        """The baseline with as many steps as the budget has room for; None where it fits no second time."""
        self.budget.set_pace(first)
        baseline = first
        # A single step may be too short for its energy to be told.
        if len(self.budget.steps) > len(first.steps) or (self.objective is Objective.ENERGY and first.energy is None):
            baseline = self._measure(Stage.BASELINE, first.config, self.budget.steps, block=1)
            fail_if_unusable(baseline)
            if baseline.outcome is not Outcome.OK:
                return None
        return baseline

    def _at(self, cell: Cell, size: int) -> TrainingConfig:
        return cell.settings.at_batch_size(size, self.space.where.effective_batch)

    def _measure(
        self,
        stage: Stage,
        config: TrainingConfig,
        steps: range,
        *,
        block: int | None = None,
        give_up_ms: float | None = None,
        step_timeout_s: float | None = None,
        predicted_bytes: int | None = None,
        most_bytes: int | None = None,
        watch_tensors: bool = False,
        sides: tuple[TrainingConfig, ...] = (),
    ) -> Trial:
        # A child whose weights have moved, or that has seen the worst case alone, times nothing.
        keep = stage not in (Stage.MEMORY, Stage.NUMERICS)
        order = Order(
            stage,
            config,
            steps,
            block,
            keep=keep,
            give_up_ms=give_up_ms,
            step_timeout_s=step_timeout_s or self.budget.timeout_s,
            usual_worst_case_ms=self.standings.usual_worst_case_ms,
            needs_energy=self.objective is Objective.ENERGY and (stage, block) != (Stage.BASELINE, 0),
            predicted_bytes=predicted_bytes,
            most_bytes=most_bytes,
            watch_tensors=watch_tensors,
            sides=sides,
            reserve_s=self.budget.for_race_s(self.racers) if self.standings.trials else 0.0,
        )
        trial = self.bench.measure(order)
        self.budget.take(trial)
        return trial

    def _probe(self, cell: Cell, config: TrainingConfig) -> Trial | None:
        """What a config takes on the worst case; before the baseline has run, whatever that costs."""
        is_own = cell is self.own_cell
        if not is_own and not self._affordable(config):
            return None
        limit_s = None if is_own else self._step_limit_s()
        return self._measure(Stage.MEMORY, config, range(0), step_timeout_s=limit_s, watch_tensors=is_own)

    def _screen_and_climb(self, cells: list[Cell]) -> None:
        """Screen the cells, the most promising first, each new setting before any of them twice. Before the first of
        which nothing is expected the ladders of the others are climbed down: the budget may end here."""
        outlook, self.waiting, climbs_anew = Outlook(), list(cells), False
        while self.waiting:
            # Of equals the one that starts much faster, and of those the first, in the profile's order.
            cell = max(self.waiting, key=lambda each: self._rank(each, outlook))
            if not self.stalls.bars(cell.settings):
                waits = outlook.expect(cell.settings) < self.standings.lead - _UNPROMISING
                is_last = self._is_last(cell)
                if (waits or is_last) and self.screened:
                    self.climb.down(self.screened, self.memory.sizes)
                if is_last and not climbs_anew:
                    # The ladders of all others may have taken all the trials there are for ladders.
                    climbs_anew = True
                    self.climb.begin_anew()
                self._screen(cell)
                if (gain := self._screened_gain(cell)) is not None:
                    outlook.take(self.stalls.to_blame(cell.settings), gain)
            self.waiting.remove(cell)
        self.climb.down(cells, self.memory.sizes)
        self.notes += self.climb.notes()
        self.notes += self.stalls.notes()

    def _rank(self, cell: Cell, outlook: Outlook) -> tuple[bool, float, int]:
        return not self._is_last(cell), outlook.expect(cell.settings), -self._slowness(cell)

    def _is_last(self, cell: Cell) -> bool:
        return self.space.is_last(cell.settings) and cell is not self.own_cell

    def _slowness(self, cell: Cell) -> int:
        """How often the time that a cell's start is expected to take doubles a second."""
        return round(math.log2(max(1.0, self.budget.start_s(cell.settings))))

    @property
    def _hopeless(self) -> float:
        """How far behind the leader a config is given up, as ln of a ratio: where steps are noisy, farther."""
        widened = min(math.log(_GIVE_UP_AT_MOST), _GIVE_UP_ERRORS * math.sqrt(2.0) * self.standings.deviation)
        return max(math.log(_GIVE_UP * self.objective.patience), widened)

    def _screened_gain(self, cell: Cell) -> float | None:
        """What the cell brought at its largest batch. What was given up, or ended in a step that took too long, is as
        far behind as it takes for that."""
        if (gain := self.standings.gain_of(cell)) > -math.inf:
            return gain
        trials = [trial for config, trial in self.standings.trials.items() if Cell(config) == cell]
        ended = any(trial.gave_up or trial.outcome is Outcome.TIMEOUT for trial in trials)
        return self.standings.lead - self._hopeless if ended else None

    def _screen(self, cell: Cell) -> None:
        """Time a cell at the largest batch that it trains with."""
        if self.memory.near_the_limit and self._affordable(cell.settings):
            self.memory.learn(cell, [self.own_cell, *self.screened], self.waiting)
        self.screened.append(cell)
        while (size := cell.memory.candidate(self.memory.sizes, self.memory.limit_bytes)) is not None:
            config = self._at(cell, size)
            if config in self.standings.trials:
                return
            trial = self._try(cell, config, Stage.SETTINGS)
            # A step that never ends for want of memory may do so in a smaller batch; one for cuDNN's choice does not.
            if trial is None or (trial.outcome is Outcome.TIMEOUT and not self.memory.near_the_limit):
                return

    def _affordable(self, config: TrainingConfig) -> bool:
        return self.budget.affords_trial(config, self.racers, self.checks.of_the_leader())

    def _step_limit_s(self) -> float:
        return self.budget.step_limit_s(self.racers, self.checks.of_the_leader())

    def _try(self, cell: Cell, config: TrainingConfig, stage: Stage) -> Trial | None:
        """Measure a config where the budget has room for it beside the race."""
        if not self._affordable(config):
            self.not_tried.append(config)
            return None
        # While it warms up it trains on the first of the timed steps, which the leader has timed.
        give_up_ms = math.exp(self._hopeless) * self.standings.leader.step_ms[0]
        limit_s = self._step_limit_s()
        trial = self._measure(
            stage,
            config,
            self.budget.steps,
            give_up_ms=give_up_ms,
            step_timeout_s=limit_s,
            predicted_bytes=cell.memory.beyond(config.batch_size),
        )
        self.standings.take(trial)
        cell.take(trial)
        if trial.outcome is not Outcome.TIMEOUT or not self.memory.near_the_limit:
            self.stalls.take(cell.settings, trial)
        if trial.outcome is Outcome.TIMEOUT and limit_s < self.budget.timeout_s and not config.compile:
            more = "which is what the race left it; a larger --budget leaves it more"
            self.notes.append(f"{config.label()}: {trial.detail}, {more}")
        self._choose(config)
        return trial

    def _hold_first_heats(self) -> None:
        """Where more than can race are close to the fastest, time them beside each other. Then what leads may be
        another, on which what extra knobs helped is still to be tried: that meets the best of them."""
        self._try_what_helped()
        # What would be recommended of those that tie need not be one of the fastest.
        self._hold_heat([*self.racers, *self._close()])
        if new := [config for config in self._try_what_helped() if config in self._close()]:
            self._hold_heat([*self.racers, *new])

    def _try_what_helped(self) -> list[TrainingConfig]:
        new = [each for each in carried_over(self.space, self.standings).values() if each not in self.standings.trials]
        for config in new:
            self._try(Cell(config), config, Stage.KNOBS)
        return new

    def _close(self) -> list[TrainingConfig]:
        return [trial.config for trial in self.standings.close()]

    def _hold_heat(self, close: Sequence[TrainingConfig]) -> None:
        """A block of heats, where there are more sides than can race and the budget has room for all of it. Of what it
        has no room for, the costliest to start is left out, and the last of those."""
        sides = list(dict.fromkeys(close))[:SIDES_AT_MOST]
        while len(sides) > _RACERS and not (width := self._affordable_width(sides)):
            others = [config for config in sides if config not in self.racers]
            sides.remove(max(reversed(others or sides), key=self.budget.start_s))
        if len(sides) <= _RACERS:
            return
        block = len(self.standings.heats)
        steps = range(self.standings.next_step, self.standings.next_step + width)
        self.standings.begin_heat()
        dice = random.Random(f"{self.bench.seed} {block}")
        for place in dice.sample(range(len(sides)), len(sides)):
            config = sides[place]
            self.bench.release(config)
            trial = self._measure(
                Stage.HEATS,
                config,
                steps,
                block=SIDES_AT_MOST * block + place,
                step_timeout_s=self._step_limit_s(),
                most_bytes=memory_margin.in_race(self.bench.memory_bytes),
                sides=tuple(sides),
            )
            self.standings.take_heat(trial)
            self._choose(config)

    def _affordable_width(self, sides: Sequence[TrainingConfig]) -> int:
        """How many steps a side takes: whole passes over the images, or as many as a trial; 0: that costs too much."""
        checks = self.checks.of_the_leader()
        for width in (self.budget.race(sides).wide, len(self.budget.steps)):
            if self.budget.affords_heat(sides, width, self.racers, checks):
                return width
        return 0

    def _tell_of_stalls(self) -> None:
        sound = [
            each for each in self.standings.trials.values() if each.config.arithmetic not in self.standings.unsound
        ]
        if note := of_stalls(sound, self.baseline.step_ms[0]):
            self.notes.append(note)

    def _tight(self) -> str:
        """What there is to say of a baseline that stands and leaves too little memory free."""
        share = (self.baseline.peak_memory_bytes or 0) / (self.bench.memory_bytes or 1)
        others = [trial for trial in self.standings.of(self.own_cell) if trial is not self.baseline]
        way_out = ""
        if others:
            roomy = max(others, key=self.standings.gain)
            speed = f"{math.exp(self.standings.gain(roomy)):.2f}x its speed in the trials"
            way_out = f"; {roomy.config.label()} leaves more free, at {speed}"
        return f"your baseline took {share:.0%} of the memory: images unlike those seen may not fit{way_out}"

    def _losses(self, config: TrainingConfig, limit_s: float) -> Trial:
        return self._measure(Stage.NUMERICS, config, range(STEPS), step_timeout_s=limit_s)

    def _choose(self, newest: TrainingConfig) -> None:
        """Choose the racers anew; their children stay alive for the race, and the others' end. What starts too slowly
        for a race gives way to what can be raced."""
        before, self.racers = self.racers, self.standings.racers(_RACERS)
        while costly := [each for each in self.racers if self._starts_too_slowly(each)]:
            self._leave_out_of_the_race(costly[0], "starting")
            self.racers = self.standings.racers(_RACERS)
        # On a machine that keeps children, memory for two is there, and not for more.
        for config in {*before, newest} - {*self.racers[:1], self.baseline.config}:
            self.bench.release(config)

    def _try_extra_knobs(self, cells: list[Cell]) -> None:
        """What --knobs asks for, on the fastest config of the leading cells."""
        if not self.space.extra_knobs:
            return
        fastest = [max(own, key=self.standings.gain) for cell in cells if (own := self.standings.of(cell))]
        fastest.sort(key=self.standings.gain, reverse=True)
        within = [
            each for each in fastest if self.standings.gain(each) > self.standings.gain(fastest[0]) - CELLS_WITHIN
        ]
        try_extra_knobs(
            self.space,
            [trial.config for trial in within[:CELLS_AT_MOST]],
            lambda config: self.standings.trials.get(config) or self._try(Cell(config), config, Stage.KNOBS),
            self.standings.worth,
            self._is_hopeless,
        )
        self._weigh_compiled()

    def _is_hopeless(self, knob: Knob, leader: TrainingConfig) -> bool:
        # What compiles takes too long to be tried on what is not close as it is.
        if knob.name == "compile" and self.standings.trials[leader] not in self.standings.close():
            return True
        reason = is_hopeless(self.space.profile, knob, median(self.standings.trials[leader].step_ms))
        if reason is not None and reason not in self.notes:
            self.notes.append(reason)
        return reason is not None

    def _weigh_compiled(self) -> None:
        """Start what is compiled and close to the fastest once more: only the first start compiles all of it. What even
        then takes too long for a race is left out of it, or it would take the verdict with it."""
        for trial in [each for each in self.standings.close() if each.config.compile and each.stage is Stage.KNOBS]:
            config = trial.config
            if self._affordable(config):
                self.bench.release(config)
                limit_s = self._step_limit_s()
                again = self._measure(Stage.KNOBS, config, self.budget.steps, block=1, step_timeout_s=limit_s)
                self.standings.take(again)
                if again.outcome is not Outcome.OK:
                    self._choose(config)
                    continue
            if self.budget.race([config]).least_s() > self.bench.remaining_s:
                self._leave_out_of_the_race(config, "compiling")
            self._choose(config)

    def _starts_too_slowly(self, config: TrainingConfig) -> bool:
        # What is compiled is weighed by its second start.
        return not config.compile and self.budget.is_too_costly_to_race(config)

    def _leave_out_of_the_race(self, config: TrainingConfig, what: str) -> None:
        gain = self.standings.gain(self.standings.trials[config])
        left_s = self.budget.race([config]).most_s() - self.bench.remaining_s
        self.standings.unraceable.add(config)
        if gain <= 0.0:
            return
        self.faster_but_slow_to_start = True
        self.notes.append(
            f"{config.label()}: {math.exp(gain):.2f}x as fast as your baseline in its trials, but {what} takes too "
            f"long for a race within the budget; --budget {math.ceil(self.budget.total_s + 1.2 * left_s)}s would do"
        )

    def _decide(self) -> tuple[Verdict, TrainingConfig]:
        baseline = self.baseline.config
        spent_s = self.budget.total_s - self.bench.remaining_s + self.checks.left_out_s
        probes = _PROBES if self.memory.near_the_limit else 0
        if self.racers or self.space.settings_fixed:
            result = self.budget.race(self.racers).run(
                remedy=self.budget.remedy(self.racers, probes=probes),
                budget_for=lambda race_s: self.budget.enough_s(race_s, spent_s, cut_short=bool(self.not_tried)),
            )
            candidate = self.standings.trials[result.candidate]
            return result, self.objective.recommended(result, self.standings.trials[baseline], candidate)
        sentence = no_verdict(
            self.standings.trials.values(),
            leader_unraced=self.faster_but_slow_to_start,
            some_unraced=bool(self.standings.unraceable),
            some_untried=bool(self.not_tried),
            some_unsound=bool(self.standings.unsound | self.standings.unchecked),
            behind=_GIVE_UP * self.objective.patience - 1.0,
            remedy=self.budget.remedy([], probes=probes),
        )
        return Verdict(kind=VerdictKind.NOT_MEASURED, candidate=baseline, sentence=sentence), baseline
