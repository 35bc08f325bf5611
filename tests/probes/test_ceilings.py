from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from autotune.datasheet import datasheet_of
from autotune.errors import DeviceError
from autotune.probes.ceilings import measure_ceilings, planned, works
from autotune.probes.ceilings.last_level_cache import last_level_cache_bytes
from autotune.probes.ceilings.sampling import Rung, Work, rates
from autotune.probes.clock import timed
from autotune.probes.machine import machine
from autotune.profile_record import Ceiling, CeilingKind, Ceilings
from autotune.records import Machine

CPU = torch.device("cpu")
GIB = 1 << 30


def cpu_machine() -> Machine:
    return machine("cpu", torch.get_num_threads()).model_copy(update={"native_bf16": False})


def gpu_machine(capability: tuple[int, int], name: str = "GPU", multiprocessors: int | None = None) -> Machine:
    update = {"device_type": "cuda", "device_name": name, "compute_capability": capability}
    return cpu_machine().model_copy(update=update | {"multiprocessors": multiprocessors})


def brief(here: Machine | None = None) -> Ceilings:
    """A real measurement, as short as it gets."""
    return measure_ceilings(CPU, here or cpu_machine(), budget_s=0.02)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Works that take a moment."""
    monkeypatch.setattr(works, "_MATRIX_SIDES", (32, 64, 128))
    monkeypatch.setattr(works, "_MAPS", ((1, 4),))
    monkeypatch.setattr(works, "free_bytes", lambda device: 128 << 20)
    monkeypatch.setattr("autotune.probes.ceilings.sampling._SAMPLE_AT_LEAST_MS", 1.0)


class Simulated:
    """A device that does so much per ms; time passes as work is done."""

    def __init__(self, per_ms: float, *, first_ms: float = 0.0) -> None:
        self.per_ms, self.first_ms = per_ms, first_ms
        self.done = 0.0
        self.built: list[float] = []
        self.samples_ms: list[float] = []

    def rung(self, amount: float, memory_bytes: float = 0.0) -> Rung:
        def build() -> Work:
            self.built.append(amount)
            return partial(self.do, amount)

        return Rung(amount, memory_bytes, build)

    def do(self, amount: float) -> None:
        self.done += amount

    def clock(self, work: Work, device: torch.device) -> tuple[object, float]:
        before = self.done
        result = work()
        late_ms = self.first_ms if not self.samples_ms else 0.0
        self.samples_ms.append((self.done - before) / self.per_ms + late_ms)
        return result, self.samples_ms[-1]


@pytest.mark.parametrize(
    ("per_ms", "chosen"),
    [(0.001, 1.0), (0.08, 1.0), (0.5, 10.0), (0.9, 10.0), (1.5, 100.0), (1e6, 1000.0)],
)
def test_a_device_gets_the_largest_work_that_takes_under_a_tenth_of_a_second(per_ms: float, chosen: float) -> None:
    device = Simulated(per_ms)
    found = rates([device.rung(amount) for amount in (1.0, 10.0, 100.0, 1000.0)], CPU, device.clock, 0.5)
    assert device.built[-1] == chosen
    assert found == pytest.approx([1000.0 * per_ms] * len(found))


def test_one_disturbed_timing_does_not_keep_a_device_from_larger_works() -> None:
    device = Simulated(1e3, first_ms=5000.0)
    rates([device.rung(1.0), device.rung(100.0)], CPU, device.clock, 0.1)
    assert device.built == [1.0, 100.0]


def test_short_works_are_repeated_within_a_sample_and_long_ones_sampled_three_times() -> None:
    quick = Simulated(1e3)
    found = rates([quick.rung(1.0)], CPU, quick.clock, 0.2)
    assert quick.samples_ms[-1] == pytest.approx(10.0)
    assert len(found) == 20
    slow = Simulated(1e-3)
    assert len(rates([slow.rung(1.0)], CPU, slow.clock, 0.2)) == 3


def test_time_without_end_gives_a_hundred_samples() -> None:
    device = Simulated(1.0)
    assert len(rates([device.rung(1.0)], CPU, device.clock, 1e9)) == 100


def test_the_warm_up_is_no_sample() -> None:
    device = Simulated(1.0)
    found = rates([device.rung(20.0)], CPU, device.clock, 1.0)
    assert sum(device.samples_ms[:-50]) >= 200.0
    assert len(found) == 50


def test_a_work_that_would_fill_the_memory_is_never_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune.probes.ceilings.sampling.free_bytes", lambda device: 4 * GIB)
    device = Simulated(1e6)
    rates([device.rung(1.0), device.rung(2.0, GIB), device.rung(3.0, GIB + 1)], CPU, device.clock, 0.1)
    assert device.built == [1.0, 2.0]


def test_cudnn_tries_algorithms_for_the_samples_and_not_while_a_size_is_sought() -> None:
    seen: list[bool] = []
    device = Simulated(1e3)

    def clock(work: Work, where: torch.device) -> tuple[object, float]:
        seen.append(torch.backends.cudnn.benchmark)
        return device.clock(work, where)

    rates([device.rung(1.0)], CPU, clock, 0.1)
    assert seen[:3] == [False] * 3
    assert all(seen[3:])
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize(
    ("here", "precisions"),
    [
        (cpu_machine(), ["fp32"]),
        (cpu_machine().model_copy(update={"native_bf16": True}), ["fp32", "bf16"]),
        (gpu_machine((6, 1)), ["fp32"]),
        (gpu_machine((7, 5)), ["fp32", "fp16"]),
        (gpu_machine((8, 0)), ["fp32", "tf32", "fp16", "bf16"]),
        (gpu_machine((12, 0)), ["fp32", "tf32", "fp16", "bf16"]),
    ],
    ids=["cpu", "cpu with bf16", "Pascal", "Turing", "Ampere", "Blackwell"],
)
def test_precisions_are_those_that_the_device_has_units_for(here: Machine, precisions: list[str]) -> None:
    kinds = planned(here)
    for kind in (CeilingKind.MATRIX, CeilingKind.CONVOLUTION):
        assert [precision for each, precision in kinds if each is kind] == precisions
    assert ((CeilingKind.HOST_TO_DEVICE, None) in kinds) is (here.device_type == "cuda")
    assert len(set(kinds)) == len(kinds)


def test_a_cpu_s_ceilings_are_measured(small: None) -> None:
    ceilings = brief()
    assert ceilings.measured
    assert {(each.kind, each.precision) for each in ceilings.ceilings} == set(planned(cpu_machine()))
    for each in ceilings.ceilings:
        assert len(each.samples) >= 3
        assert all(sample > 0.0 for sample in each.samples)
        assert min(each.samples) <= each.value <= max(each.samples)
        assert each.datasheet is None
    assert (ceilings.get(CeilingKind.LAUNCH) or 1.0) < 0.1 < (ceilings.get(CeilingKind.COPY) or 0.0)
    assert ceilings.get(CeilingKind.VECTOR) == ceilings.get(CeilingKind.MATRIX, "fp32")
    assert ceilings.notes == ("vector: the matrix product's figure in fp32 (a CPU has no other units for it)",)


def test_bf16_is_measured_in_bf16(small: None) -> None:
    ceilings = brief(cpu_machine().model_copy(update={"native_bf16": True}))
    assert ceilings.get(CeilingKind.MATRIX, "bf16")
    assert ceilings.get(CeilingKind.CONVOLUTION, "bf16")


@pytest.fixture
def flags_kept() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = True


def _state() -> tuple[object, ...]:
    backends = torch.backends
    return (
        torch.get_float32_matmul_precision(),
        backends.cuda.matmul.allow_tf32,
        backends.cudnn.allow_tf32,
        backends.cudnn.benchmark,
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_autocast_enabled("cpu"),
        tuple(torch.get_rng_state().tolist()),
    )


@pytest.mark.parametrize("whole", ["highest", "high", "medium"])
@pytest.mark.parametrize("benchmark", [False, True])
def test_the_caller_s_flags_and_random_state_stay(small: None, flags_kept: None, whole: str, benchmark: bool) -> None:
    torch.set_float32_matmul_precision(whole)
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.allow_tf32 = not benchmark
    before = _state()
    brief()
    assert _state() == before


def test_fp32_is_fp32_whatever_the_caller_allows(small: None, flags_kept: None) -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.benchmark = True
    seen: set[tuple[object, ...]] = set()

    def clock(work: Work, device: torch.device) -> tuple[object, float]:
        backends = torch.backends
        tf32 = (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32)
        seen.add((*tf32, torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()))
        return timed(work, device)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        measure_ceilings(CPU, cpu_machine(), clock=clock, budget_s=0.02)
    assert seen == {(False, False, False, False)}


def test_tf32_is_allowed_for_its_own_ceilings_alone(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's plan, carried out on the CPU as far as it goes."""
    seen: list[tuple[str, bool]] = []

    def noted(ladder: Callable[[torch.device, str], list[Rung]], device: torch.device, precision: str) -> list[Rung]:
        matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        assert matmul is cudnn
        seen.append((precision, matmul))
        return ladder(device, "fp32")

    per_precision = {
        CeilingKind.MATRIX: partial(noted, works.matrix),
        CeilingKind.CONVOLUTION: partial(noted, works.convolution),
    }
    monkeypatch.setattr("autotune.probes.ceilings.measure._PER_PRECISION", per_precision)
    brief(gpu_machine((8, 0)))
    assert dict(seen) == {"fp32": False, "tf32": True, "fp16": False, "bf16": False}


def test_flags_that_could_not_be_restored_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def mixed() -> str:
        raise RuntimeError("mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", mixed)
    with pytest.raises(DeviceError, match="in a process of its own"):
        brief()


def test_a_ceiling_that_fails_is_noted_and_the_others_go_on(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise RuntimeError("out of memory.\nTried to allocate 1 GiB")

    monkeypatch.setattr(torch.nn.functional, "conv2d", full)
    ceilings = brief()
    assert ceilings.get(CeilingKind.CONVOLUTION, "fp32") is None
    assert "convolution fp32: not measured (out of memory. Tried to allocate 1 GiB)" in ceilings.notes
    left = set(planned(cpu_machine())) - {(CeilingKind.CONVOLUTION, "fp32")}
    assert {(each.kind, each.precision) for each in ceilings.ceilings} == left


def test_without_a_matrix_product_there_is_no_vector_figure_either(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*arguments: object, **options: object) -> None:
        raise RuntimeError("not implemented")

    monkeypatch.setattr(torch, "mm", unsupported)
    ceilings = brief()
    assert ceilings.get(CeilingKind.VECTOR) is None
    assert "vector: not measured (a CPU has no other units for it)" in ceilings.notes


def test_the_datasheet_stands_beside_what_was_measured(small: None) -> None:
    sheet = datasheet_of("Tesla T4")
    assert sheet is not None
    ceilings = brief(cpu_machine().model_copy(update={"device_name": "Tesla T4"}))
    figures = {each.kind: each.datasheet for each in ceilings.ceilings}
    assert figures[CeilingKind.MATRIX] == figures[CeilingKind.VECTOR] == sheet.fp32_flops
    assert figures[CeilingKind.COPY] == sheet.memory_bytes_per_second
    assert figures[CeilingKind.LAUNCH] is None


def test_a_part_of_a_gpu_is_not_compared_with_the_whole(small: None) -> None:
    ceilings = brief(cpu_machine().model_copy(update={"device_name": "Tesla T4", "multiprocessors": 20}))
    assert all(each.datasheet is None for each in ceilings.ceilings)
    assert "no datasheet: Tesla T4 has 40 SMs, this device 20" in ceilings.notes


def test_the_caches_of_a_cpu_are_summed(tmp_path: Path) -> None:
    for cpu, shared in ((0, "0-1"), (1, "0-1"), (2, "2-3"), (3, "2-3")):
        for index, (level, users, size) in enumerate([(1, str(cpu), "32K"), (3, shared, "16384K")]):
            folder = tmp_path / f"cpu{cpu}" / "cache" / f"index{index}"
            folder.mkdir(parents=True)
            for name, value in (("level", level), ("shared_cpu_list", users), ("size", size)):
                (folder / name).write_text(f"{value}\n")
    assert last_level_cache_bytes(CPU, tmp_path) == 32 << 20
    (tmp_path / "cpu3" / "cache" / "index1" / "size").write_text("unknown\n")
    assert last_level_cache_bytes(CPU, tmp_path) == 32 << 20
    assert last_level_cache_bytes(CPU, tmp_path / "nowhere") == 32 << 20


def test_copies_leave_the_cache_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(works, "free_bytes", lambda device: 64 * GIB)
    monkeypatch.setattr(works, "last_level_cache_bytes", lambda device: 100 << 20)
    (rung,) = works.copy(CPU)
    assert rung.amount == rung.memory_bytes == 2 * 400 * (1 << 20)


def test_operations_are_counted_as_two_per_multiply_add() -> None:
    assert works.matrix(CPU, "fp32")[0].amount == 2 * 512**3
    images, side = works._MAPS[-1]
    maps, weight = torch.empty(images, 256, side, side, device="meta"), torch.empty(256, 256, 3, 3, device="meta")
    outputs = torch.nn.functional.conv2d(maps, weight, stride=2, padding=1).numel()
    assert works.convolution(CPU, "fp32")[-1].amount == 2 * outputs * 256 * 9


def test_the_vector_kernel_is_what_jiterator_takes_and_does_not_settle() -> None:
    from torch.cuda.jiterator import _create_jit_fn

    assert _create_jit_fn(works._CHAIN_KERNEL).kernel_name == "multiply_add_chain"
    loop = works._CHAIN_KERNEL.partition("#pragma unroll")[2].partition("return")[0]
    assert loop.count(" * ") == loop.count(" + ") == works._CHAINS
    x = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    p = -1.5 - 0.25 * x * x
    before = a = x
    for _ in range(works._CHAIN_LENGTH):
        before, a = a, a * a + p
    assert a.abs().max() <= 2.0
    assert (a - before).abs().median() > 0.1


@pytest.mark.gpu
def test_a_gpu_s_ceilings_are_measured() -> None:
    here = machine("cuda", torch.get_num_threads())
    ceilings = measure_ceilings(torch.device("cuda"), here, budget_s=2.0)
    assert {(each.kind, each.precision) for each in ceilings.ceilings} == set(planned(here)), ceilings.notes
    assert not [note for note in ceilings.notes if not note.startswith("no datasheet")]
    assert not [each for each in ceilings.ceilings if each.share is not None and not 0.2 < each.share < 1.1]
    launch_s = ceilings.get(CeilingKind.LAUNCH)
    assert launch_s is not None
    assert 1e-7 < launch_s < 1e-3


@pytest.mark.gpu
def test_tensor_cores_are_used() -> None:
    here = machine("cuda", torch.get_num_threads())
    if (here.compute_capability or (0, 0)) not in {(8, 0), (9, 0), (10, 0)}:
        pytest.skip("no GPU whose tensor cores are many times as fast as the rest of it")
    ceilings = measure_ceilings(torch.device("cuda"), here, budget_s=2.0)
    plain = ceilings.get(CeilingKind.MATRIX, "fp32") or 0.0
    for kind in (CeilingKind.MATRIX, CeilingKind.CONVOLUTION):
        for precision in ("tf32", "fp16", "bf16"):
            assert (ceilings.get(kind, precision) or 0.0) > 1.5 * plain > 0.0, (kind, precision)


def test_a_spread_is_kept() -> None:
    ceiling = Ceiling(kind=CeilingKind.COPY, samples=(9.0, 10.0, 12.0))
    assert (ceiling.value, ceiling.spread, ceiling.share) == (10.0, pytest.approx(0.3), None)
