"""What the recommended config is the best in, and how configs are told apart that tie in it."""

from __future__ import annotations

import math
from enum import StrEnum

from autotune.config import TrainingConfig
from autotune.intervals import INDIFFERENCE
from autotune.records import Trial, Verdict, VerdictKind
from autotune.tuner.verdict import ENERGY, SPEED, Measure

__all__ = ["Objective"]

# Peak memory within this share of each other counts as equal.
_SAME_MEMORY = 0.05


class Objective(StrEnum):
    """throughput: the fastest config. memory: the one that takes the least memory within 2% of the fastest. energy: the
    one that trains the most images per joule."""

    THROUGHPUT = "throughput"
    MEMORY = "memory"
    ENERGY = "energy"

    @property
    def measure(self) -> Measure:
        """What configs are compared by."""
        return ENERGY if self is Objective.ENERGY else SPEED

    @property
    def window_s(self) -> float:
        """How long the timed steps of a trial last at least. An energy may be off by 0.1 s at either end of them."""
        return 2.0 if self is Objective.ENERGY else 0.0

    @property
    def error(self) -> float:
        """The standard error, as ln of a ratio, of two trials' energies for the counter's sake: at either end of 2 s it
        is up to 0.1 s behind, evenly distributed, so that one trial's has a deviation of 0.1 s x sqrt(2 / 12)."""
        return math.sqrt(2.0) * 0.1 * math.sqrt(2.0 / 12.0) / self.window_s if self is Objective.ENERGY else 0.0

    @property
    def patience(self) -> float:
        """How many times slower than for speed's sake a config may be before it is given up for its speed: one that
        takes twice the leader's time would have to live on half its power."""
        return 1.5 if self is Objective.ENERGY else 1.0

    @property
    def zone(self) -> float:
        """How much speed, or energy, as ln of a ratio, counts as none."""
        return 0.02 if self is Objective.MEMORY else INDIFFERENCE

    @property
    def tie(self) -> float:
        """The measured difference in speed within which the preferred of two configs is the better."""
        return self.zone if self is Objective.MEMORY else 0.5 * self.zone

    def preference(self, trial: Trial) -> tuple[object, ...]:
        """A sort key among configs that tie: safer numerics first, then less memory, then the simpler setting; for
        the sake of memory the least of it first."""
        # Accumulation is one more thing to get right in a training loop.
        caution = (*trial.config.caution(), trial.config.accumulation_steps)
        if self is Objective.MEMORY:
            return trial.peak_memory_bytes or 0, caution
        # In steps of 5%: smaller differences are the allocator's.
        steps = round(math.log(trial.peak_memory_bytes) / _SAME_MEMORY) if trial.peak_memory_bytes else 0
        return caution[0], steps, caution

    def recommended(self, result: Verdict, baseline: Trial, candidate: Trial) -> TrainingConfig:
        """The config to train with: the candidate where it is better, or where it ties and is preferable otherwise.

        The candidate takes part in a tie only where its interval excludes a loss larger than the zone; otherwise the
        baseline stands.
        """
        worth_more = self is not Objective.MEMORY or (result.ratio is not None and math.log(result.ratio) > self.zone)
        if result.kind is VerdictKind.FASTER and worth_more:
            return candidate.config
        if result.low is None or math.log(result.low) < -self.zone:
            return baseline.config
        # min() takes the first of equals: the baseline.
        return min((baseline, candidate), key=self.preference).config
