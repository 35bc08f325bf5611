from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from autotune.probes.memory import limit_memory, memory_stalls, peak_memory_bytes

CPU = torch.device("cpu")


def test_the_peak_stays_when_the_memory_is_given_back() -> None:
    before = peak_memory_bytes(CPU)
    held = torch.ones(100_000_000)
    during = peak_memory_bytes(CPU)
    del held
    assert during >= 400e6
    # The kernel counts pages in batches per processor: its peak may lag by some of them.
    assert peak_memory_bytes(CPU) >= during - 4e6
    assert during >= before


def test_a_limited_process_cannot_allocate_past_its_limit_and_says_so() -> None:
    code = (
        "import torch\n"
        "from autotune.probes.memory import limit_memory\n"
        "limit_memory(torch.device('cpu'), 300_000_000)\n"
        "first = torch.ones(50_000_000)\n"
        "try:\n"
        "    second = torch.ones(50_000_000)\n"
        "except RuntimeError as error:\n"
        "    print('refused:', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("refused:")


def test_stalls_never_run_backwards() -> None:
    first = memory_stalls(CPU)
    assert memory_stalls(CPU) >= first >= 0


@pytest.mark.gpu
def test_gpu_memory_is_what_the_allocator_reserved_and_its_limit_holds() -> None:
    device = torch.device("cuda", 0)
    torch.cuda.init()
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.ones(100_000_000, device=device)
    assert peak_memory_bytes(device) >= held.numel() * 4
    limit_memory(device, 600_000_000)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            torch.ones(200_000_000, device=device)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
