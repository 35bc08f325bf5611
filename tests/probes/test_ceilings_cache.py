from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from autotune.probes import ceilings_cache
from autotune.probes.ceilings import planned
from autotune.probes.ceilings_cache import ceilings_for
from autotune.probes.clock_events import SLOWDOWNS
from autotune.profile_record import Ceiling, CeilingKind, Ceilings
from autotune.records import DeviceState, Machine

CPU = torch.device("cpu")
MACHINE = Machine(
    device_type="cpu",
    device_name="CPU",
    cpu_name="CPU",
    cpu_cores=8,
    threads=4,
    native_bf16=False,
    memory_bytes=1 << 34,
    os="Linux",
    python="3.11",
    torch="2.11",
    torchvision="0.26",
    autotune="0.1",
)


class Measured:
    """Measures nothing, and counts how often; each time's figures differ, so that they tell which time they are."""

    def __init__(self, *, without: CeilingKind | None = None) -> None:
        self.times = 0
        self.without = without

    def __call__(self, device: torch.device, machine: Machine) -> Ceilings:
        self.times += 1
        kinds = [(kind, precision) for kind, precision in planned(machine) if kind is not self.without]
        return Ceilings(
            ceilings=tuple(
                Ceiling(kind=kind, precision=precision, samples=(1.0, 1.5, float(self.times)))
                for kind, precision in kinds
            ),
            notes=("a note",),
        )


State = Callable[[DeviceState], None]


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> State:
    """Sets the state that the device is found in."""

    def found(state: DeviceState) -> None:
        class Probe:
            def __init__(self, machine: Machine) -> None: ...

            def read(self, own_cpu_s: float | None) -> DeviceState:
                return state

            def close(self) -> None: ...

        monkeypatch.setattr(ceilings_cache, "StateProbe", Probe)

    found(DeviceState(cpu_load_by_others=0.0))
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


def test_the_second_call_answers_from_the_file(state: State, own_cache: Path) -> None:
    measure = Measured()
    first = ceilings_for(CPU, MACHINE, measure=measure)
    assert ceilings_for(CPU, MACHINE, measure=measure) == first
    assert measure.times == 1
    (file,) = _files(own_cache)
    file.write_text(file.read_text().replace("a note", "from the file"))
    assert ceilings_for(CPU, MACHINE, measure=measure).notes == ("from the file",)


def test_a_refresh_measures_and_replaces(state: State) -> None:
    measure = Measured()
    ceilings_for(CPU, MACHINE, measure=measure)
    again = ceilings_for(CPU, MACHINE, refresh=True, measure=measure)
    assert again.ceilings[0].samples[-1] == 2.0
    assert ceilings_for(CPU, MACHINE, measure=measure) == again


@pytest.mark.parametrize(
    "change",
    [
        {"device_uuid": "GPU-1"},
        {"driver": "575.1"},
        {"cuda": "13.0"},
        {"cudnn": 91002},
        {"torch": "2.12"},
        {"autotune": "0.2"},
        {"device_name": "another CPU"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_device_or_software_is_measured_on_its_own(state: State, change: dict[str, object]) -> None:
    measure = Measured()
    ceilings_for(CPU, MACHINE, measure=measure)
    ceilings_for(CPU, MACHINE.model_copy(update=change), measure=measure)
    assert measure.times == 2


def test_each_number_of_threads_that_measure_has_its_own_figures(state: State, own_cache: Path) -> None:
    before = torch.get_num_threads()
    measure = Measured()
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            ceilings_for(CPU, MACHINE, measure=measure)
        # The machine's own default decides nothing: it is not what measures.
        ceilings_for(CPU, MACHINE.model_copy(update={"threads": 8}), measure=measure)
    finally:
        torch.set_num_threads(before)
    assert measure.times == len(_files(own_cache)) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff\xfe", b'{"ceilings": [{"kind": "speed"}]}'])
def test_a_damaged_file_is_measured_again(
    state: State, own_cache: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    measure = Measured()
    ceilings_for(CPU, MACHINE, measure=measure)
    (file,) = _files(own_cache)
    file.write_bytes(content)
    again = ceilings_for(CPU, MACHINE, measure=measure)
    assert again.ceilings[0].samples[-1] == 2.0
    assert "measuring again" in caplog.text
    assert ceilings_for(CPU, MACHINE, measure=measure) == again
    assert _files(own_cache) == [file]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (DeviceState(throttled=("hardware thermal slowdown",)), "slowed down (hardware thermal slowdown)"),
        (DeviceState(other_gpu_processes=2), "2 other processes were on the GPU"),
        (DeviceState(cpu_load_by_others=1.2), "kept 1.2 of 8 cores busy"),
    ],
    ids=["hot", "shared GPU", "busy CPU"],
)
def test_disturbed_figures_are_given_with_a_note_and_not_kept(
    state: State, own_cache: Path, found: DeviceState, reason: str
) -> None:
    state(found)
    measure = Measured()
    ceilings = ceilings_for(CPU, MACHINE, measure=measure)
    assert ceilings.notes[0] == "a note"
    assert ceilings.notes[1].startswith("the ceilings are not kept in the cache")
    assert reason in ceilings.notes[1]
    assert len(ceilings.disturbances) == 1
    assert reason in ceilings.disturbances[0]
    assert _files(own_cache) == []
    ceilings_for(CPU, MACHINE, measure=measure)
    assert measure.times == 2


def test_a_gpu_at_its_power_limit_is_as_it_always_is(state: State) -> None:
    assert "software power cap" in SLOWDOWNS
    state(DeviceState(throttled=("software power cap",), other_gpu_processes=0))
    measure = Measured()
    ceilings = ceilings_for(CPU, MACHINE, measure=measure)
    assert "power limit" in ceilings.notes[1]
    assert ceilings_for(CPU, MACHINE, measure=measure) == ceilings
    assert measure.times == 1


def test_figures_that_lack_one_are_not_kept(state: State, own_cache: Path) -> None:
    ceilings = ceilings_for(CPU, MACHINE, measure=Measured(without=CeilingKind.COPY))
    assert "not all could be measured" in ceilings.notes[-1]
    assert _files(own_cache) == []


def test_a_cache_that_cannot_be_written_costs_a_warning(
    state: State, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_cache.write_text("a file where the folder should be")
    assert ceilings_for(CPU, MACHINE, measure=Measured()).notes == ("a note",)
    assert "cannot be written" in caplog.text


def test_the_state_is_watched_no_longer_where_measuring_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    class Probe:
        def __init__(self, machine: Machine) -> None: ...

        def close(self) -> None:
            closed.append(True)

    def failing(device: torch.device, machine: Machine) -> Ceilings:
        raise KeyboardInterrupt

    monkeypatch.setattr(ceilings_cache, "StateProbe", Probe)
    with pytest.raises(KeyboardInterrupt):
        ceilings_for(CPU, MACHINE, measure=failing)
    assert closed == [True]
