from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from ctypes import CDLL

import pytest

from autotune.energy_record import Energy, EnergySource
from autotune.errors import DeviceError
from autotune.nvml_record import NvmlSample, NvmlSeries, PowerSource
from autotune.probes.device_state import StateProbe
from autotune.probes.energy import EnergyMeter, energy_source
from records import CPU, H200

GPU = H200.model_copy(update={"device_uuid": "GPU-aaaa"})
NOT_SUPPORTED = "3"


def series(*points: tuple[float, float], source: PowerSource = PowerSource.INSTANT) -> NvmlSeries:
    samples = tuple(NvmlSample(at_s=at_s, power_watts=watts, power_source=source) for at_s, watts in points)
    return NvmlSeries(device_uuid="GPU-aaaa", samples=samples)


def measured(meanwhile: NvmlSeries, *times_s: float) -> Energy | None:
    """Between the last two of times_s, read with a meter whose clock gives them in turn."""
    clock: Iterator[float] = iter(times_s)
    with closing(EnergyMeter("GPU-aaaa", lambda: next(clock))) as meter:
        for _ in times_s[:-1]:
            meter.begin()
        meter.end()
        return meter.energy(meanwhile)


def test_the_counter_is_read_before_and_after(nvml: CDLL) -> None:
    # The played counter moves by 70 J each time that it is read.
    energy = measured(series(), 10.0, 12.5)
    assert energy == Energy(joules=70.0, window_s=2.5, source=EnergySource.COUNTER, readings=2)
    assert energy.resolution_s == 0.1


def test_work_that_turned_out_to_be_warm_up_is_left_out(nvml: CDLL) -> None:
    assert measured(series(), 0.0, 10.0, 12.0) == Energy(
        joules=70.0, window_s=2.0, source=EnergySource.COUNTER, readings=2
    )


def test_a_counter_that_has_not_moved_is_no_energy(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_ENERGY", "5000")
    assert measured(series(), 0.0, 0.01) is None


def test_without_the_counter_samples_of_instant_power_are_integrated(
    nvml: CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_nvmlDeviceGetTotalEnergyConsumption", NOT_SUPPORTED)
    # 100 W at 1 s to 300 W at 3 s, before and after as the nearest sample; what lies outside does not count.
    ramp = [(1.0 + 0.2 * step, 100.0 + 20.0 * step) for step in range(11)]
    energy = measured(series((0.0, 9000.0), *ramp, (5.0, 9000.0)), 0.5, 3.5)
    assert energy is not None
    assert energy.source is EnergySource.POWER
    assert energy.readings == 11
    assert energy.joules == pytest.approx(0.5 * 100 + 2.0 * 200 + 0.5 * 300)
    assert energy.resolution_s == pytest.approx(3.0 / 11)


@pytest.mark.parametrize(("count", "source"), [(7, PowerSource.INSTANT), (20, PowerSource.USAGE)])
def test_few_samples_or_means_over_a_second_are_no_energy(
    nvml: CDLL, monkeypatch: pytest.MonkeyPatch, count: int, source: PowerSource
) -> None:
    monkeypatch.setenv("FAKE_nvmlDeviceGetTotalEnergyConsumption", NOT_SUPPORTED)
    points = [(0.1 * step, 100.0) for step in range(count)]
    assert measured(series(*points, source=source), 0.0, 5.0) is None


def test_where_energy_comes_from_is_known_beforehand(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    assert energy_source(GPU) is EnergySource.COUNTER
    monkeypatch.setenv("FAKE_nvmlDeviceGetTotalEnergyConsumption", NOT_SUPPORTED)
    assert energy_source(GPU) is EnergySource.POWER
    monkeypatch.setenv("FAKE_INSTANT", NOT_SUPPORTED)
    with pytest.raises(DeviceError, match=r"neither energy nor instant power here \(energy_millijoules: Not Supported"):
        energy_source(GPU)


def test_where_there_is_no_gpu_or_no_driver_it_is_one_sentence(no_nvml: None) -> None:
    with pytest.raises(DeviceError, match="AMD EPYC is no NVIDIA GPU; choose --objective throughput or memory"):
        energy_source(CPU)
    with pytest.raises(DeviceError, match="NVML Shared Library Not Found"):
        energy_source(GPU)


def test_a_trials_probe_measures_the_timed_steps(nvml: CDLL) -> None:
    probe = StateProbe(GPU)
    probe.begin_timed()
    probe.end_timed()
    probe.read(None)
    assert probe.energy is not None
    assert probe.energy.joules == 70.0


@pytest.mark.parametrize("ended", [False, True])
def test_a_trial_that_failed_in_its_timed_steps_has_no_energy(nvml: CDLL, ended: bool) -> None:
    probe = StateProbe(GPU)
    probe.begin_timed()
    if ended:
        probe.close()
    else:
        probe.read(None)
    assert probe.energy is None


def test_on_a_cpu_there_is_none() -> None:
    probe = StateProbe(CPU)
    probe.begin_timed()
    probe.end_timed()
    probe.read(0.0)
    assert probe.energy is None
