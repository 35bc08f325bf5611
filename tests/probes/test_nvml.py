from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from ctypes import CDLL
from pathlib import Path

import psutil
import pynvml
import pytest

from autotune.nvml_record import GpuProcess, NvmlMissing, NvmlSample, NvmlSeries, PowerSource
from autotune.probes.nvml import NvmlSampler
from autotune.probes.nvml_device import NvmlDevice
from autotune.probes.own_processes import ORDERER

GPM = {"dram_bandwidth_percent": 71.5, "tensor_percent": 33.25, "sm_percent": 95.0, "occupancy_percent": 40.5}
PCIE = {"pcie_tx_bytes_per_s": 1_000_000, "pcie_rx_bytes_per_s": 2_000_000}
NOT_SUPPORTED = "3"


def samples(uuid: str = "GPU-aaaa", times_s: tuple[float, ...] = (0.0, 1.0)) -> NvmlSeries:
    with closing(NvmlDevice(uuid)) as device:
        taken = [device.sample(at_s) for at_s in times_s]
    found = tuple(sample for sample in taken if sample is not None)
    return NvmlSeries(device_uuid=uuid, samples=found, missing=tuple(device.missing), lost=device.lost)


def calls(library: CDLL, function: str) -> int:
    return int(library.fake_calls(function.encode()))


def test_every_field_is_read(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CLOCK_EVENTS", "0x4")
    series = samples()
    assert series.missing == ()
    first, second = series.samples
    energy = first.energy_millijoules
    assert energy is not None
    assert energy > 1 << 40
    assert first == NvmlSample(
        at_s=0.0,
        gpu_busy_percent=97,
        memory_busy_percent=40,
        memory_used_bytes=1 << 30,
        memory_total_bytes=80 << 30,
        power_watts=700.5,
        power_source=PowerSource.INSTANT,
        energy_millijoules=energy,
        sm_clock_mhz=1980,
        memory_clock_mhz=2619,
        temperature_celsius=61,
        clock_events=("software power cap",),
        nvlink_tx_bytes=3 * 1024,
        nvlink_rx_bytes=5 * 1024,
        other_processes=(),
        **PCIE,
    )
    assert second.model_dump(include=set(GPM)) == GPM
    assert series.energy_joules == 70.0


def test_a_series_survives_its_json(nvml: CDLL) -> None:
    series = samples()
    assert NvmlSeries.model_validate_json(series.model_dump_json()) == series


def test_a_field_that_the_driver_lacks_is_missing_once_and_not_asked_for_again(
    nvml: CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_nvmlDeviceGetTotalEnergyConsumption", NOT_SUPPORTED)
    before = calls(nvml, "nvmlDeviceGetTotalEnergyConsumption")
    series = samples(times_s=(0.0, 1.0, 2.0))
    assert series.missing == (NvmlMissing(field="energy_millijoules", reason="Not Supported"),)
    assert calls(nvml, "nvmlDeviceGetTotalEnergyConsumption") == before + 1
    assert [sample.temperature_celsius for sample in series.samples] == [61, 61, 61]
    assert series.energy_joules is None


def test_an_error_that_may_pass_is_reported_once_and_asked_through(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(NvmlDevice("GPU-aaaa")) as device:
        monkeypatch.setenv("FAKE_nvmlDeviceGetTemperature", "999")
        device.sample(0.0)
        device.sample(0.1)
        monkeypatch.delenv("FAKE_nvmlDeviceGetTemperature")
        later = device.sample(0.2)
    assert device.missing == [NvmlMissing(field="temperature_celsius", reason="Unknown Error")]
    assert later is not None
    assert later.temperature_celsius == 61


def test_nvlink_that_is_not_there_is_missing(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NVLINK", NOT_SUPPORTED)
    assert [gap.field for gap in samples().missing] == ["nvlink_tx_bytes", "nvlink_rx_bytes"]


def test_an_old_driver_is_asked_in_the_old_ways(old_nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CLOCK_EVENTS", "0x40")
    series = samples()
    first = series.samples[0]
    assert (first.power_watts, first.power_source) == (650.0, PowerSource.USAGE)
    assert first.clock_events == ("hardware thermal slowdown",)
    reasons = {gap.field: gap.reason for gap in series.missing}
    assert reasons == dict.fromkeys(GPM, "Function Not Found") | dict.fromkeys(
        ("nvlink_tx_bytes", "nvlink_rx_bytes"), "Not Supported"
    )


def test_power_is_the_mean_where_the_instant_is_not_told(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_INSTANT", NOT_SUPPORTED)
    series = samples()
    assert {(sample.power_watts, sample.power_source) for sample in series.samples} == {(650.0, PowerSource.USAGE)}
    assert series.missing == ()


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        ("0x1", ("idle",)),
        ("0x2", ("application clocks",)),
        ("0x8c", ("software power cap", "hardware slowdown", "power brake")),
        ("0x60", ("software thermal slowdown", "hardware thermal slowdown")),
        ("0x80000000", ("reason 0x80000000",)),
    ],
)
@pytest.mark.parametrize("bindings", ["new", "old"])
def test_clock_events_have_words_in_new_and_old_bindings(
    nvml: CDLL, monkeypatch: pytest.MonkeyPatch, bits: str, words: tuple[str, ...], bindings: str
) -> None:
    if bindings == "old":
        for name in [name for name in vars(pynvml) if "EventReason" in name]:
            monkeypatch.delattr(pynvml, name)
    monkeypatch.setenv("FAKE_CLOCK_EVENTS", bits)
    series = samples()
    assert series.samples[0].clock_events == words
    assert series.missing == ()


def test_without_a_driver_the_reason_is_recorded(no_nvml: None) -> None:
    with NvmlSampler("GPU-aaaa", every_s=0.01) as sampler:
        pass
    series = sampler.stop()
    assert series.samples == ()
    assert series.missing == (NvmlMissing(field="nvml", reason="NVML Shared Library Not Found"),)


def test_a_driver_that_does_not_start_is_recorded(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_nvmlInitWithFlags", "18")
    (gap,) = samples().missing
    assert gap.field == "nvml"
    assert "version mismatch" in gap.reason


def test_the_uuid_picks_the_second_gpu(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert samples("GPU-aaaa").samples[0].sm_clock_mhz == 1980
    assert samples("GPU-bbbb").samples[0].sm_clock_mhz == 1979


@pytest.mark.parametrize("uuid", ["GPU-dddd", ""])
def test_an_unknown_uuid_is_missing(nvml: CDLL, uuid: str) -> None:
    series = samples(uuid)
    assert series.samples == ()
    assert [gap.field for gap in series.missing] == ["device"]


@pytest.mark.parametrize("uuid", ["MIG-cccc", "GPU-cccc"])
def test_a_slice_under_mig_has_no_utilisation(nvml: CDLL, uuid: str) -> None:
    series = samples(uuid)
    assert [gap.field for gap in series.missing] == ["gpu_busy_percent", "memory_busy_percent"]
    assert series.samples[0].memory_used_bytes == 3 << 30


def test_a_lost_gpu_ends_the_sampling(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    with NvmlSampler("GPU-aaaa", every_s=0.01) as sampler:
        wait_for(lambda: bool(sampler.series().samples))
        monkeypatch.setenv("FAKE_LOST", "1")
        wait_for(lambda: sampler.series().lost is not None)
    series = sampler.stop()
    assert series.lost == "GPU is lost"
    assert series.samples
    assert series.missing == ()


def test_gpm_is_not_asked_of_a_gpu_without_it(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NO_GPM", "1")
    before = calls(nvml, "nvmlGpmSampleGet")
    series = samples()
    assert [gap.field for gap in series.missing] == list(GPM)
    assert calls(nvml, "nvmlGpmSampleGet") == before


def test_one_gpm_metric_may_be_missing(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSOR", NOT_SUPPORTED)
    series = samples()
    assert series.missing == (NvmlMissing(field="tensor_percent", reason="Not Supported"),)
    assert series.samples[1].model_dump(include=set(GPM)) == GPM | {"tensor_percent": None}


def test_a_failed_gpm_sample_is_no_reference(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(NvmlDevice("GPU-aaaa")) as device:
        monkeypatch.setenv("FAKE_nvmlGpmSampleGet", "999")
        device.sample(0.0)
        monkeypatch.delenv("FAKE_nvmlGpmSampleGet")
        reference, metrics = device.sample(1.0), device.sample(2.0)
    assert reference is not None
    assert reference.dram_bandwidth_percent is None
    assert metrics is not None
    assert metrics.dram_bandwidth_percent == 71.5


def test_slow_questions_are_asked_less_often(nvml: CDLL) -> None:
    functions = ("nvmlDeviceGetTemperature", "nvmlGpmSampleGet", "nvmlDeviceGetPcieThroughput")
    before = [calls(nvml, function) for function in functions]
    series = samples(times_s=tuple(turn / 10 for turn in range(100)))
    asked = [calls(nvml, function) - earlier for function, earlier in zip(functions, before, strict=True)]
    assert asked == [100, 20, 2 * 2]
    assert sum(sample.pcie_tx_bytes_per_s is not None for sample in series.samples) == 2


def test_other_processes_are_those_that_are_not_ours(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    other = os.getppid()
    absent = 2**22 + 1  # beyond Linux's largest process id
    monkeypatch.setenv("FAKE_PIDS", f"{os.getpid()},{child.pid},{other},{absent}")
    with child:
        found = samples().samples[0].other_processes
        child.communicate(b"\n")
    assert psutil.pid_exists(other)
    assert found == (GpuProcess(pid=other, used_bytes=5 << 20),)


def test_to_a_trial_the_process_that_ordered_it_is_no_other(nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own process, whose model is on the GPU while recommend() or profile() runs."""
    monkeypatch.setenv("FAKE_PIDS", str(os.getppid()))
    assert len(samples().samples[0].other_processes or ()) == 1
    monkeypatch.setenv(ORDERER, str(os.getppid()))
    assert samples().samples[0].other_processes == ()


def test_the_sampler_takes_its_clock_and_a_last_sample(nvml: CDLL) -> None:
    with NvmlSampler("GPU-aaaa", every_s=60.0, clock=iter([10.0, 20.0]).__next__) as sampler:
        wait_for(lambda: bool(sampler.series().samples))
    assert [sample.at_s for sample in sampler.stop().samples] == [10.0, 20.0]


FORK = """
import os
from autotune.probes.nvml import NvmlSampler
from autotune.probes.nvml_device import NvmlDevice
device, sampler = NvmlDevice("GPU-aaaa"), NvmlSampler("GPU-aaaa", every_s=60.0)
before = device.sample(0.0)
child = os.fork()
if child == 0:
    again = device.sample(1.0)
    device.close()
    with NvmlSampler("GPU-bbbb", every_s=60.0) as own:
        pass
    series = own.stop()
    fine = again and again.sm_clock_mhz == 1980 and not device.missing and sampler.stop().samples == ()
    os._exit(0 if fine and series.samples[0].sm_clock_mhz == 1979 and not series.missing else 1)
_, status = os.waitpid(child, 0)
after = device.sample(2.0)
device.close()
print(os.waitstatus_to_exitcode(status), before.sm_clock_mhz, after.sm_clock_mhz, device.missing)
"""


def test_a_forked_child_initialises_again_and_does_the_parent_no_harm(nvml_library: Path) -> None:
    """pynvml finds the library by itself here."""
    environment = os.environ | {"LD_LIBRARY_PATH": str(nvml_library.parent)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("0 1980 1980 []\n", "")


def wait_for(condition: Callable[[], bool], at_most_s: float = 30.0) -> None:
    end_s = time.monotonic() + at_most_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)
