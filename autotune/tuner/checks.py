"""The checks of the numerics in a search: before the race, of what would race, and after it, of what there was no time
for before."""

from __future__ import annotations

from collections.abc import Callable

from autotune.config import TrainingConfig
from autotune.records import Trial, Verdict, VerdictKind
from autotune.tuner.budget import Budget
from autotune.tuner.numerics import Finding, Guard, Soundness
from autotune.tuner.standings import Standings

__all__ = ["Checks"]


class Checks:
    """train: a numerics trial of a config, in so many seconds at most. racers: those that would race now, the leader
    first. choose: choose them anew after what befell a config."""

    def __init__(
        self,
        standings: Standings,
        budget: Budget,
        *,
        train: Callable[[TrainingConfig, float], Trial],
        racers: Callable[[], list[TrainingConfig]],
        choose: Callable[[TrainingConfig], None],
    ) -> None:
        self.notes: list[str] = []
        self._standings = standings
        self._budget = budget
        self._guard = Guard(standings.baseline.config, standings.has_failed)
        self._train = train
        self._racers = racers
        self._choose = choose
        self._owed: list[TrainingConfig] = []

    def of_the_leader(self) -> list[TrainingConfig]:
        """What must train for the leader to be checked; nothing where it needs no check."""
        return self._guard.trainings(self._guard.due(self._racers()[:1]))

    @property
    def left_out_s(self) -> float:
        """What those checks would have taken that there was no time for."""
        return self._budget.checks_s(self._guard.unchecked)

    def before_the_race(self) -> None:
        """Hold the losses of each reduced precision that would race against fp32's, and go on without what fails."""
        while due := self._guard.due(self._racers()):
            config = due[0]
            if not self._budget.affords_checks(self._guard.trainings([config]), self._racers()):
                self._guard.leave_unchecked(config)
                # What leads was promised a check: the race may leave time for it.
                if config.arithmetic == self._racers()[0].arithmetic:
                    self._owed.append(config)
                    continue
                self._standings.unchecked.add(config.arithmetic)
                self._choose(config)
                self.notes.append(f"{_no_time(config)}, so that it was left out of the race")
                continue
            finding = self._guard.check(config, self._train_before_the_race)
            if finding is not None:
                self._heed(finding, config)

    def _train_before_the_race(self, config: TrainingConfig) -> Trial:
        return self._train(config, self._budget.check_limit_s(config, self._racers()))

    def _heed(self, finding: Finding, config: TrainingConfig) -> None:
        if finding.soundness is Soundness.UNSOUND:
            self._standings.unsound.add(config.arithmetic)
            self.notes.append(f"{_words(config)}: {finding.why}")
        elif finding.soundness is Soundness.UNKNOWN:
            # Even of what leads: a larger budget would check the rest, and may not check this.
            self._standings.unchecked.add(config.arithmetic)
            self.notes.append(f"{_unknown(config, finding)}, so that it was left out of the race")
        # The check may have taken longer than expected: what starts slowly is raced only if it still can be.
        self._choose(config)

    def after_the_race(self, result: Verdict, recommended: TrainingConfig) -> tuple[Verdict, TrainingConfig]:
        """Check what raced before there was time for it, in what the race has left; what fails is not recommended."""
        for config in [each for each in self._owed if each.arithmetic == recommended.arithmetic]:
            finding = self._late(config)
            if finding is None:
                self.notes.append(_no_time(config))
            elif finding.soundness is not Soundness.SOUND:
                unsound = finding.soundness is Soundness.UNSOUND
                but = "does not train as fp32 does" if unsound else "could not be checked against fp32"
                self.notes.append(f"{_words(config)}: {finding.why}" if unsound else _unknown(config, finding))
                sentence = f"No verdict: {recommended.label()} won the race, but {but}; your baseline stands."
                result = Verdict(kind=VerdictKind.NOT_MEASURED, candidate=recommended, sentence=sentence)
                recommended = self._standings.baseline.config
        return result, recommended

    def _late(self, config: TrainingConfig) -> Finding | None:
        """None where there is no time for it."""
        finding = None
        while finding is None and self._budget.affords_late_checks(self._guard.trainings([config])):
            finding = self._guard.check(config, lambda each: self._train(each, self._budget.left_s))
        return finding


def _no_time(config: TrainingConfig) -> str:
    return f"numerics: the budget left no time to check {_words(config)} against fp32"


def _unknown(config: TrainingConfig, finding: Finding) -> str:
    return f"numerics: {_words(config)} could not be checked against fp32 ({finding.why})"


def _words(config: TrainingConfig) -> str:
    """What a config computes with: its precision alone, where no compiler and no other product has a part in it."""
    plain = TrainingConfig(batch_size=config.batch_size, precision=config.precision)
    return str(config.precision) if plain.arithmetic == config.arithmetic else config.settings_label()
