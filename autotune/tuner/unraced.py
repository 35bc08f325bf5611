"""What a search says of configs that it did not race, and where it raced none."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from autotune.records import Outcome, Trial

__all__ = ["no_verdict", "of_stalls"]


def of_stalls(trials: Sequence[Trial], usual_ms: float) -> str | None:
    """Of trials that gave up since every new image size cost them a stall, those that are faster than the baseline's
    usual_ms otherwise; None where none is."""
    ratios = [(trial, usual_ms / trial.warmup_ms[-1]) for trial in trials if trial.has_stalled]
    each = "; ".join(
        f"{trial.config.label()} ({trial.detail}, then {ratio:.2f}x as fast as your baseline)"
        for trial, ratio in ratios
        if ratio > 1.0
    )
    where = "worth a try where images have few sizes and training is long"
    return f"given up for stalls on new image sizes, {where}: {each}" if each else None


def no_verdict(
    trials: Collection[Trial],
    *,
    leader_unraced: bool,
    some_unraced: bool,
    some_untried: bool,
    some_unsound: bool,
    behind: float,
    remedy: str,
) -> str:
    """The sentence of a search that had nothing to race.

    leader_unraced: something faster than the baseline starts too slowly for a race; some_unraced: so does something.
    some_unsound: something failed its check against fp32, or had none. behind: the share by which what is slow is given
    up. remedy: the budget that would do.
    """
    if leader_unraced:
        return "No verdict: what leads starts too slowly for a race within the budget; your baseline stands."
    if some_unraced:
        nothing = "nothing that there was time for looked faster than your baseline, which stands"
        return f"No verdict: {nothing}; a larger --budget tries more."
    if some_untried and len(trials) > 1:
        nothing = "of what was measured nothing may race, and the budget left no time for more"
        return f"No verdict: {nothing}; {remedy}."
    if some_untried:
        return f"No verdict: the budget has no room for another setting and a race of it; {remedy}."
    if some_unsound:
        return "No verdict: what could have been raced did not pass its check against fp32; your baseline stands."
    stalls, slow, late = "for stalls on new image sizes", f"{behind:.0%} or more behind", "in steps that took too long"
    reasons = {stalls if trial.has_stalled else slow for trial in trials if trial.gave_up}
    if any(trial.outcome is Outcome.TIMEOUT for trial in trials):
        reasons.add(late)
    if reasons:
        return f"No verdict: all that trains was given up, {' or '.join(sorted(reasons))}; your baseline stands."
    return "No verdict: no other setting could be timed here; your baseline stands."
