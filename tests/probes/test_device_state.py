from __future__ import annotations

import os
import time
from ctypes import CDLL

import pytest

from autotune.nvml_record import DeviceTimeline, NvmlSample
from autotune.probes.device_state import StateProbe
from autotune.records import DeviceState, Machine

GPU = Machine(
    device_type="cuda",
    device_name="GPU",
    device_uuid="GPU-bbbb",
    cpu_name="CPU",
    cpu_cores=2,
    threads=2,
    native_bf16=True,
    memory_bytes=1 << 34,
    os="Linux",
    python="3.11",
    torch="2.11",
    torchvision="0.26",
    autotune="0.1",
)


def test_the_state_of_a_gpu_is_what_its_samples_showed(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CLOCK_EVENTS", "0xc1")
    monkeypatch.setenv("FAKE_PIDS", f"{os.getpid()},{os.getppid()}")
    assert StateProbe(GPU).read(None) == DeviceState(
        sm_clock_mhz=1979,
        memory_clock_mhz=2619,
        temperature_celsius=62,
        power_watts=600.5,
        throttled=("hardware thermal slowdown", "power brake"),
        other_gpu_processes=1,
    )


def test_the_timeline_holds_what_was_sampled(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CLOCK_EVENTS", "0x80")
    probe = StateProbe(GPU)
    assert probe.timeline() is None
    probe.read(None)
    kept = probe.timeline()
    assert kept is not None
    samples = len(kept.at_s)
    assert 0.0 <= kept.at_s[0] < 60.0
    assert kept.power_watts == (600.5,) * samples
    assert kept.clock_events == (("power brake",),) * samples
    assert len(kept.gpu_busy_percent) == samples


def test_a_long_timeline_is_thinned_and_forgets_no_clock_event() -> None:
    samples = [
        NvmlSample(at_s=100.0 + place, power_watts=float(place), clock_events=("power brake",) if place == 4 else ())
        for place in range(10)
    ]
    kept = DeviceTimeline.of(samples, 99.0, at_most=4)
    assert kept.at_s == (1.0, 4.0, 7.0, 10.0)
    assert kept.power_watts == (0.0, 3.0, 6.0, 9.0)
    assert kept.clock_events == ((), (), ("power brake",), ())
    assert kept.sm_clock_mhz == ()


def test_what_the_state_does_not_tell_is_not_missing_from_it(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_nvmlDeviceGetUtilizationRates", "3")
    probe = StateProbe(GPU)
    assert probe.read(None).missing == ()
    timeline = probe.timeline()
    assert timeline is not None
    assert timeline.gpu_busy_percent == ()


def test_a_trial_is_not_disturbed_by_slow_questions(nvml: CDLL) -> None:
    functions = (b"nvmlDeviceGetPcieThroughput", b"nvmlGpmSampleGet")
    before = [nvml.fake_calls(function) for function in functions]
    StateProbe(GPU).read(None)
    assert [nvml.fake_calls(function) for function in functions] == before


def test_what_cannot_be_read_goes_by_the_state_s_own_names(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    for function in ("ClockInfo", "Temperature", "CurrentClocksEventReasons", "CurrentClocksThrottleReasons"):
        monkeypatch.setenv(f"FAKE_nvmlDeviceGet{function}", "3")
    monkeypatch.setenv("FAKE_INSTANT", "3")
    monkeypatch.setenv("FAKE_nvmlDeviceGetPowerUsage", "3")
    monkeypatch.setenv("FAKE_nvmlDeviceGetComputeRunningProcesses_v3", "4")
    names = ("power", "throttled", "other_gpu_processes", "sm_clock", "memory_clock", "temperature")
    assert StateProbe(GPU).read(None) == DeviceState(missing=names)


def test_without_a_driver_the_state_says_so(no_nvml: None) -> None:
    assert StateProbe(GPU).read(None) == DeviceState(missing=("NVML: NVML Shared Library Not Found",))


def test_a_gpu_without_a_uuid_is_a_missing_device(nvml: CDLL) -> None:
    machine = GPU.model_copy(update={"device_uuid": None})
    assert StateProbe(machine).read(None) == DeviceState(missing=("device",))


def test_a_gpu_lost_during_the_trial_is_said(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    before = nvml.fake_calls(b"nvmlDeviceGetTemperature")
    probe = StateProbe(GPU)
    end_s = time.monotonic() + 30.0
    # The second question for the temperature says that the first sample is whole.
    while nvml.fake_calls(b"nvmlDeviceGetTemperature") < before + 2:
        assert time.monotonic() < end_s
        time.sleep(0.001)
    monkeypatch.setenv("FAKE_LOST", "1")
    state = probe.read(None)
    probe.close()
    assert state.missing == ("NVML: GPU is lost",)
    assert state.temperature_celsius == 62
