from __future__ import annotations

import os
import time
from ctypes import CDLL

import pytest

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
    while nvml.fake_calls(b"nvmlDeviceGetTemperature") == before:
        assert time.monotonic() < end_s
        time.sleep(0.001)
    monkeypatch.setenv("FAKE_LOST", "1")
    state = probe.read(None)
    probe.close()
    assert state.missing == ("NVML: GPU is lost",)
    assert state.temperature_celsius == 62
