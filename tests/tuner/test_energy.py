"""Energy in trials and in the search: real children beside the played NVML, and decisions on a simulated bench."""

from __future__ import annotations

import math
from collections.abc import Iterator
from ctypes import CDLL

import pytest

import tiny
from autotune.config import Circumstances, Precision, TrainingConfig
from autotune.energy_record import Energy, EnergySource
from autotune.errors import AutotuneError, DeviceError
from autotune.records import DataSpec, Job, ModelSpec, Outcome, Stage, Trial, VerdictKind
from autotune.tuner.bench import LiveBench
from autotune.tuner.cell_search import CellSearch
from autotune.tuner.objective import Objective
from autotune.tuner.order import Order
from autotune.tuner.request import Request
from autotune.tuner.run import run
from autotune.tuner.session import Server
from autotune.tuner.space import Space
from autotune.tuner.verdict import ENERGY, paired_log_energy, verdict
from simulated import SimulatedBench

GPU = Circumstances("cuda", 16, (9, 0), native_bf16=True)
BASELINE = TrainingConfig.baseline(Circumstances("cpu", tiny.EFFECTIVE_BATCH))
COUNTER = "FAKE_nvmlDeviceGetTotalEnergyConsumption"


@pytest.fixture(scope="module")
def gpu_bench(tiny_job: Job) -> Iterator[LiveBench]:
    """Children on the CPU, on a machine that says it is a GPU: its NVML is the played one."""
    server = Server("cpu")
    server.prepare(tiny_job)
    machine = server.machine.model_copy(update={"device_type": "cuda", "device_uuid": "GPU-aaaa"})
    bench = LiveBench(tiny_job, machine, None, 1e6, lambda progress: None)
    bench.use(server)
    yield bench
    bench.close()


def _order(steps: int, *, needs_energy: bool = False) -> Order:
    config = BASELINE.at_batch_size(60, tiny.EFFECTIVE_BATCH)
    return Order(Stage.SETTINGS, config, range(steps), needs_energy=needs_energy)


def test_a_trial_has_the_energy_of_its_timed_steps(gpu_bench: LiveBench, nvml: CDLL) -> None:
    trial = gpu_bench.measure(_order(3, needs_energy=True))
    assert trial.outcome is Outcome.OK, trial
    assert trial.energy is not None
    assert (trial.energy.joules, trial.energy.source) == (70.0, EnergySource.COUNTER)
    assert trial.energy.window_s >= sum(trial.step_ms) / 1000.0
    assert trial.images_per_joule == pytest.approx(180 / 70.0)
    assert trial.timeline is not None
    assert len(trial.timeline.power_watts) == len(trial.timeline.at_s) > 0
    assert Trial.model_validate_json(trial.model_dump_json(exclude_computed_fields=True)) == trial


def test_a_trial_without_energy_is_unsupported_where_energy_is_asked_for(
    gpu_bench: LiveBench, nvml: CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENERGY", "5000")
    trial = gpu_bench.measure(_order(2, needs_energy=True))
    assert trial.outcome is Outcome.UNSUPPORTED
    assert "NVML told no energy over the" in trial.detail
    plain = gpu_bench.measure(_order(2))
    assert plain.outcome is Outcome.OK
    assert plain.energy is None
    assert plain.images_per_joule is None


def test_without_the_counter_a_trial_that_lasts_has_an_energy_by_power(
    gpu_bench: LiveBench, nvml: CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COUNTER, "3")
    # Until the timed steps last long enough, on a machine of any speed.
    steps = 16
    while (trial := gpu_bench.measure(_order(steps, needs_energy=True))).outcome is not Outcome.OK and steps < 4096:
        steps *= 2
    assert trial.outcome is Outcome.OK, trial
    assert trial.energy is not None
    assert trial.energy.source is EnergySource.POWER
    assert trial.energy.joules == pytest.approx(700.5 * trial.energy.window_s)


def _step_s(config: TrainingConfig) -> float:
    fast = {Precision.BF16: 1.5, Precision.FP16: 1.6}.get(config.precision or Precision.DEFAULT, 1.0)
    return 0.2 * config.accumulation_steps**0.3 / fast


def _watts(config: TrainingConfig) -> float:
    return {Precision.BF16: 400.0, Precision.FP16: 500.0}.get(config.precision or Precision.DEFAULT, 600.0)


def test_for_energys_sake_the_config_of_most_images_per_joule_wins_and_for_speeds_the_fastest() -> None:
    def found(objective: Objective) -> tuple[TrainingConfig, SimulatedBench]:
        bench = SimulatedBench(GPU, _step_s, budget_s=1200.0, noise=0.005, watts=_watts)
        findings = CellSearch(objective).run(bench, Space(GPU))
        assert findings.recommendation.verdict.kind is VerdictKind.FASTER
        return findings.recommendation.config, bench

    assert found(Objective.THROUGHPUT)[0].precision is Precision.FP16
    config, bench = found(Objective.ENERGY)
    assert config.precision is Precision.BF16
    timed = [sum(trial.step_ms) for trial in bench.trials if trial.stage is Stage.RACE]
    # A race of processes of the counter's own length would compare its steps.
    assert min(timed) >= 1950.0


def test_the_verdict_of_an_energy_run_is_on_images_per_joule() -> None:
    bench = SimulatedBench(GPU, _step_s, budget_s=1200.0, watts=_watts)
    result = CellSearch(Objective.ENERGY).run(bench, Space(GPU)).recommendation.verdict
    assert result.measure == "energy"
    assert result.ratio == pytest.approx(1.5 * 600 / 400, rel=0.05)
    assert result.low is not None
    assert result.high is not None
    # The counter's steps are in the interval: they differ from block to block.
    assert 1.001 < result.high / result.low < 1.2
    assert result.sentence.endswith("as many images per joule as your baseline.")


def test_a_config_that_is_slower_and_takes_less_energy_is_not_given_up() -> None:
    def step_s(config: TrainingConfig) -> float:
        return 0.2 * (1.6 if config.precision is Precision.FP32 else 1.0)

    def watts(config: TrainingConfig) -> float:
        return 200.0 if config.precision is Precision.FP32 else 600.0

    bench = SimulatedBench(GPU, step_s, budget_s=1200.0, watts=watts)
    found = CellSearch(Objective.ENERGY).run(bench, Space(GPU))
    assert found.recommendation.config.precision is Precision.FP32


def test_a_baseline_without_energy_ends_the_search_with_its_reason() -> None:
    class Mute(SimulatedBench):
        """As the real bench answers where NVML told no energy."""

        def measure(self, order: Order) -> Trial:
            trial = super().measure(order)
            lacking = {"outcome": Outcome.UNSUPPORTED, "detail": "NVML told no energy"}
            return trial.model_copy(update=lacking) if order.needs_energy else trial

    with pytest.raises(AutotuneError, match="does not train: unsupported, NVML told no energy"):
        CellSearch(Objective.ENERGY).run(Mute(GPU, _step_s), Space(GPU))


def test_energies_are_compared_by_the_step() -> None:
    def trial(joules: float | None, steps: int) -> Trial:
        energy = Energy(joules=joules, window_s=2.0, source=EnergySource.COUNTER, readings=2) if joules else None
        return Trial(
            number=1,
            stage=Stage.RACE,
            config=BASELINE,
            outcome=Outcome.OK,
            step_ms=(1.0,) * steps,
            steps=tuple(range(steps)),
            energy=energy,
        )

    assert paired_log_energy(trial(300.0, 3), trial(100.0, 2)) == pytest.approx(math.log(2.0))
    with pytest.raises(ValueError, match="no energy"):
        paired_log_energy(trial(300.0, 3), trial(None, 2))


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ((1.2, 1.21, 1.19), "1.20x [1.18, 1.23] as many images per joule as your baseline."),
        ((1.0, 1.001, 0.999), "No real difference: "),
        ((0.8, 0.81, 0.79), "Nothing raced is better than your baseline in images per joule"),
    ],
)
def test_each_verdict_has_its_words(ratios: tuple[float, ...], words: str) -> None:
    candidate = BASELINE.model_copy(update={"channels_last": True})
    result = verdict(BASELINE, candidate, [math.log(ratio) for ratio in ratios], measure=ENERGY)
    assert words in result.sentence
    assert "joule" in result.sentence


def test_where_nothing_tells_energy_nothing_is_measured(tiny_data: DataSpec) -> None:
    request = Request(
        model=ModelSpec(name="tiny:plain"), data=tiny_data, device="cpu", objective=Objective.ENERGY, profile=True
    )
    said: list[str] = []
    with pytest.raises(DeviceError, match="is no NVIDIA GPU; choose --objective throughput or memory"):
        run(request, say=said.append)
    assert said == []
