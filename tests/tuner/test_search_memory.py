"""The search where memory runs short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from autotune.config import Precision, TrainingConfig
from autotune.records import Outcome, Stage, Trial, VerdictKind
from autotune.tuner.order import Order
from simulated import GPU, SimulatedBench, find, interacting_s

GIB = 2**30


def _limited(limit_gib: float, **bench: object) -> SimulatedBench:
    """A GPU on which an image takes 1 GiB beside 1 GiB for the model, half precision 0.6 of it."""

    def memory_bytes(config: TrainingConfig) -> int:
        half = config.precision in (Precision.BF16, Precision.FP16)
        return int((1.0 + config.batch_size * (0.6 if half else 1.0)) * GIB)

    limit = int(limit_gib * GIB)
    return SimulatedBench(
        GPU,
        lambda config: 0.2 * interacting_s(config),
        budget_s=1200.0,
        memory_bytes=memory_bytes,
        memory_limit_bytes=limit,
        fails=lambda config: Outcome.OK if memory_bytes(config) <= limit else Outcome.OUT_OF_MEMORY,
        **bench,
    )


@pytest.mark.parametrize(("limit_gib", "batch"), [(40.0, 16), (10.0, 8), (6.0, 4), (3.0, 2)])
def test_the_recommended_config_leaves_a_tenth_of_the_memory(limit_gib: float, batch: int) -> None:
    bench = _limited(limit_gib, noise=0.003)
    config = find(bench).recommendation.config
    assert config.batch_size == batch
    assert (1.0 + 0.6 * batch) <= 0.9 * limit_gib
    failed = [trial for trial in bench.trials if trial.outcome is not Outcome.OK and trial.stage is not Stage.MEMORY]
    # The baseline has nothing to be predicted from; for the others small batches tell what is hopeless.
    assert len(failed) <= 1


def test_memory_is_probed_only_where_it_may_run_short() -> None:
    def probes(limit_gib: float) -> list[int]:
        bench = _limited(limit_gib)
        find(bench)
        return [trial.config.batch_size for trial in bench.trials if trial.stage is Stage.MEMORY]

    assert probes(40.0) == []
    assert set(probes(10.0)) == {2, 8}


def test_a_batch_that_is_too_small_for_the_model_hides_no_larger_one() -> None:
    """Live batch norm cannot train on one image; here two fit and sixteen do not."""

    def fails(config: TrainingConfig) -> Outcome:
        if config.batch_size == 1:
            return Outcome.UNSUPPORTED
        return Outcome.OUT_OF_MEMORY if config.batch_size > 4 else Outcome.OK

    bench = SimulatedBench(
        GPU,
        lambda config: 0.2 * interacting_s(config),
        budget_s=1200.0,
        fails=fails,
        memory_limit_bytes=5 * GIB,
        memory_bytes=lambda config: config.batch_size * GIB,
    )
    found = find(bench)
    assert found.baseline.batch_size == 4
    assert found.recommendation.config.batch_size == 4


@pytest.mark.parametrize("limit_gib", [40.0, 10.0, 6.0, 3.0])
def test_each_order_has_a_key_of_its_own_in_the_journal_and_nothing_tried_is_called_untried(limit_gib: float) -> None:
    bench = _limited(limit_gib, noise=0.01)
    found = find(bench)
    keys = [(trial.stage, trial.config, trial.block) for trial in bench.trials]
    assert len(set(keys)) == len(keys)
    assert not set(found.not_tried) & {trial.config for trial in bench.trials if trial.step_ms}


def test_what_the_memory_fit_predicted_stands_in_the_trial_that_verified_it() -> None:
    bench = _limited(12.0)
    find(bench)
    predicted = [trial for trial in bench.trials if trial.predicted_peak_bytes is not None]
    assert predicted
    assert all(trial.stage is Stage.SETTINGS for trial in predicted)
    # Memory grows in a straight line here.
    assert [trial.peak_prediction_error for trial in predicted if trial.outcome is Outcome.OK] == pytest.approx(
        [0.0] * sum(trial.outcome is Outcome.OK for trial in predicted), abs=1e-6
    )


def test_memory_is_probed_in_no_settings_that_only_leaves_out() -> None:
    bench = _limited(10.0)
    found = find(bench, only=("precision=bf16", "channels_last=true"))
    probed = {trial.config.settings_label() for trial in bench.trials if trial.stage is Stage.MEMORY}
    # The baseline's own, which ran out of memory at first; of the others the plainest that may be tried.
    assert probed == {found.baseline.settings_label(), "bf16 + channels_last"}


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.NON_FINITE])
def test_one_mishap_at_the_largest_batch_fails_that_batch_and_two_end_the_cell(outcome: Outcome) -> None:
    def fails_from(batch: int) -> Callable[[TrainingConfig], Outcome]:
        bf16 = Precision.BF16
        return lambda config: outcome if config.precision is bf16 and config.batch_size >= batch else Outcome.OK

    found = find(SimulatedBench(GPU, lambda config: 0.2 * interacting_s(config), fails=fails_from(16), budget_s=900.0))
    assert (found.recommendation.config.precision, found.recommendation.config.batch_size) == (Precision.BF16, 8)
    bench = SimulatedBench(GPU, lambda config: 0.2 * interacting_s(config), fails=fails_from(1), budget_s=900.0)
    assert find(bench).recommendation.config.precision is not Precision.BF16
    tried = Counter(trial.config.settings_label() for trial in bench.trials if trial.outcome is outcome)
    assert set(tried.values()) == {2}


@pytest.mark.parametrize(("limit_gib", "sizes"), [(30.0, [16, 8]), (300.0, [16])])
def test_a_step_that_took_too_long_is_tried_in_a_smaller_batch_where_memory_may_be_short(
    limit_gib: float, sizes: list[int]
) -> None:
    bench = SimulatedBench(
        GPU,
        lambda config: 0.2 * interacting_s(config),
        budget_s=1200.0,
        memory_bytes=lambda config: config.batch_size * GIB,
        memory_limit_bytes=int(limit_gib * GIB),
        fails=lambda config: Outcome.TIMEOUT if config.cudnn_benchmark and config.batch_size > 4 else Outcome.OK,
    )
    find(bench)
    tried = [trial.config for trial in bench.trials if trial.outcome is Outcome.TIMEOUT]
    first = tried[0].settings_label()
    assert [config.batch_size for config in tried if config.settings_label() == first] == sizes


def test_a_probe_of_the_memory_that_does_not_end_is_not_repeated_in_another_batch() -> None:
    def fails(config: TrainingConfig) -> Outcome:
        return Outcome.TIMEOUT if config.precision in (Precision.FP16, Precision.BF16) else Outcome.OK

    bench = SimulatedBench(
        GPU,
        lambda config: 0.2 * interacting_s(config),
        budget_s=1200.0,
        memory_bytes=lambda config: config.batch_size * GIB,
        memory_limit_bytes=17 * GIB,
        fails=fails,
    )
    found = find(bench)
    probed = [trial for trial in bench.trials if trial.stage is Stage.MEMORY and trial.outcome is Outcome.TIMEOUT]
    assert probed
    assert len({trial.config.settings_label() for trial in probed}) == len(probed)
    assert not {trial.config.settings_label() for trial in probed} & {
        trial.config.settings_label() for trial in bench.trials if trial.stage is Stage.SETTINGS
    }
    assert found.recommendation.verdict.kind is not VerdictKind.NOT_MEASURED


def test_a_small_batch_that_fails_otherwise_than_for_memory_is_probed_once_and_then_the_next_larger() -> None:
    """Losses of half precision are not finite below four images: twelve of its cells wait for the same two probes."""

    def memory_bytes(config: TrainingConfig) -> int:
        return int((1.0 + config.batch_size) * GIB)

    def fails(config: TrainingConfig) -> Outcome:
        if config.precision in (Precision.BF16, Precision.FP16) and config.batch_size < 4:
            return Outcome.NON_FINITE
        return Outcome.OK if memory_bytes(config) <= 12 * GIB else Outcome.OUT_OF_MEMORY

    bench = SimulatedBench(
        GPU,
        lambda config: 0.2 * interacting_s(config),
        budget_s=1200.0,
        memory_bytes=memory_bytes,
        memory_limit_bytes=12 * GIB,
        fails=fails,
    )
    found = find(bench)
    probed = Counter(trial.config for trial in bench.trials if trial.stage is Stage.MEMORY)
    assert set(probed.values()) == {1}
    halves = [config for config in probed if config.precision in (Precision.BF16, Precision.FP16)]
    assert [config.batch_size for config in halves] == [2, 4, 8]
    assert (found.recommendation.config.precision, found.recommendation.config.batch_size) == (Precision.BF16, 8)


def test_a_cell_of_which_no_probe_trains_is_probed_three_times() -> None:
    bench = SimulatedBench(
        GPU,
        lambda config: 0.2 * interacting_s(config),
        budget_s=1200.0,
        memory_bytes=lambda config: config.batch_size * GIB,
        memory_limit_bytes=24 * GIB,
        fails=lambda config: Outcome.CRASHED if config.precision is Precision.BF16 else Outcome.OK,
    )
    find(bench)
    probed: dict[str, list[int]] = {}
    for trial in bench.trials:
        if trial.stage is Stage.MEMORY and trial.outcome is Outcome.CRASHED:
            probed.setdefault(trial.config.settings_label(), []).append(trial.config.batch_size)
    assert set(map(tuple, probed.values())) == {(2, 4, 8)}


def test_a_baseline_that_fits_only_once_gives_way_to_a_smaller_one() -> None:
    seen: Counter[TrainingConfig] = Counter()

    def fails(config: TrainingConfig) -> Outcome:
        seen[config] += 1
        return Outcome.OUT_OF_MEMORY if config.batch_size == 16 and seen[config] > 1 else Outcome.OK

    found = find(SimulatedBench(GPU, lambda config: 0.2 * interacting_s(config), fails=fails, budget_s=600.0))
    assert found.baseline.batch_size == 8


def test_where_memory_may_run_short_the_cells_after_the_first_of_a_width_are_not_probed() -> None:
    bench = _limited(10.0)
    find(bench)
    probed = {trial.config.settings_label() for trial in bench.trials if trial.stage is Stage.MEMORY}
    assert 1 <= len(probed) <= 2


def test_a_cell_whose_largest_batch_trains_beyond_the_margin_has_its_ladder_all_the_same() -> None:
    """The baseline may take more than nine tenths: it is the user's own. Smaller batches are faster here."""

    def memory_bytes(config: TrainingConfig) -> int:
        return int((1.0 + config.batch_size) * GIB)

    limit = int(17.5 * GIB)  # of which sixteen images take 97%
    bench = SimulatedBench(
        GPU,
        lambda config: 0.2 * (0.7 + 0.02 * config.batch_size) * (1.2 if config.channels_last else 1.0),
        budget_s=1e6,
        memory_bytes=memory_bytes,
        memory_limit_bytes=limit,
        fails=lambda config: Outcome.OK if memory_bytes(config) <= limit else Outcome.OUT_OF_MEMORY,
    )
    baseline = find(bench).baseline
    assert baseline.batch_size == 16
    own = [trial for trial in bench.trials if trial.config.settings_label() == baseline.settings_label()]
    assert {trial.config.batch_size for trial in own if trial.step_ms} >= {16, 8, 4}


class GrowingBench(SimulatedBench):
    """From the heats on the fastest config takes more of the memory: other images, another order."""

    def __init__(self, growing: Callable[[TrainingConfig], bool], share: float) -> None:
        super().__init__(
            GPU,
            lambda config: 0.2 * interacting_s(config),
            budget_s=600.0,
            memory_bytes=self._peak_bytes,
            memory_limit_bytes=100 * GIB,
        )
        self._growing, self._share, self._stage = growing, share, Stage.BASELINE

    def measure(self, order: Order) -> Trial:
        self._stage = order.stage
        return super().measure(order)

    def _peak_bytes(self, config: TrainingConfig) -> int:
        raced = self._stage in (Stage.HEATS, Stage.RACE)
        return int(self._share * 100 * GIB) if raced and self._growing(config) else GIB


def _is_fastest(config: TrainingConfig) -> bool:
    """One of those that tie: cudnn.benchmark makes no difference here."""
    is_simplest = not config.cudnn_benchmark and config.accumulation_steps == 1
    return config.precision is Precision.BF16 and bool(config.channels_last) and is_simplest


def test_what_takes_half_of_the_margin_in_the_race_gives_way_to_the_next() -> None:
    found = find(GrowingBench(_is_fastest, 0.97))
    assert found.recommendation.verdict.kind is VerdictKind.FASTER
    assert not _is_fastest(found.recommendation.config)


def test_what_takes_a_little_of_the_margin_in_the_race_may_win_it() -> None:
    assert _is_fastest(find(GrowingBench(_is_fastest, 0.93)).recommendation.config)


def test_the_baseline_races_whatever_it_takes() -> None:
    found = find(GrowingBench(lambda config: not _is_fastest(config) and not config.channels_last, 0.97))
    assert found.recommendation.verdict.kind is VerdictKind.FASTER


@pytest.mark.parametrize("share", [0.97, 0.85])
def test_a_baseline_that_stands_and_leaves_too_little_memory_is_told_of_with_what_leaves_more(share: float) -> None:
    def step_s(config: TrainingConfig) -> float:
        others = config.precision is not Precision.DEFAULT or config.channels_last or config.cudnn_benchmark
        return 0.2 * (1.0 + 0.1 * (config.accumulation_steps - 1)) * (1.3 if others else 1.0)

    limit = int(17 * GIB / share)
    bench = SimulatedBench(
        GPU, step_s, memory_bytes=lambda config: (1 + config.batch_size) * GIB, memory_limit_bytes=limit
    )
    found = find(bench)
    assert found.recommendation.config == found.baseline
    told = [note for note in found.notes if "of the memory" in note]
    if share < 0.9:
        assert not told
    else:
        (note,) = told
        assert note.startswith("your baseline took 97% of the memory")
        assert "default, batch 8 x 2 leaves more free, at 0.91x its speed" in note
