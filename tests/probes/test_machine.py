from __future__ import annotations

import platform

import psutil
import pytest
import torch
import torchvision

from autotune.errors import DeviceError
from autotune.probes.device_state import StateProbe
from autotune.probes.machine import cpu_name, machine, native_bf16


def test_a_cpu_is_named_with_its_software() -> None:
    here = machine("cpu", threads=2)
    assert here.device_type == "cpu"
    assert here.device_name == here.cpu_name == cpu_name() != ""
    assert here.memory_bytes == psutil.virtual_memory().total
    assert (here.torch, here.torchvision, here.python) == (
        torch.__version__,
        torchvision.__version__,
        platform.python_version(),
    )
    assert here.native_bf16 is native_bf16()
    assert here.cuda is None


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_an_absent_gpu_is_one_sentence(device: str) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    with pytest.raises(DeviceError, match=f"device {device}: torch sees no CUDA GPU"):
        machine(device, threads=1)


def test_the_load_of_others_leaves_out_our_own() -> None:
    here = machine("cpu", threads=1)
    probe = StateProbe(here)
    mine = psutil.Process().cpu_times()
    total = sum(number * number for number in range(3_000_000))
    now = psutil.Process().cpu_times()
    own_cpu_s = now.user + now.system - mine.user - mine.system
    ours_left_out = probe.read(own_cpu_s).cpu_load_by_others
    ours_counted = probe.read(0.0).cpu_load_by_others
    assert total > 0
    assert ours_left_out is not None
    assert ours_counted is not None
    assert ours_left_out < ours_counted


@pytest.mark.gpu
def test_a_gpu_is_named_and_its_state_read() -> None:
    here = machine("cuda", threads=1)
    assert here.device_uuid is not None
    assert here.device_uuid.startswith("GPU-")
    assert here.compute_capability is not None
    state = StateProbe(here).read(None)
    assert state.missing == ()
    assert state.sm_clock_mhz is not None
    assert state.temperature_celsius is not None
    with pytest.raises(DeviceError, match="numbered from 0"):
        machine("cuda:99", threads=1)
