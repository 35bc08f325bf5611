"""What several folders of tests share; and the skipping, counted, of GPU tests where there is no GPU."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import tiny
from autotune.probes import ceilings_cache
from autotune.profile_record import Ceiling, CeilingKind, Ceilings
from autotune.records import DataSpec, Machine
from autotune.tuner.session import Server
from played_nvml import *  # noqa: F403, the fixtures of the played NVML

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RACCOON = DATA / "raccoon"
TRACES = DATA / "traces"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU here"))


@pytest.fixture(scope="session")
def raccoon() -> Path:
    """The folder of the real photographs, which lie beside the repository."""
    if not RACCOON.is_dir():
        pytest.skip(f"no photographs at {RACCOON}")
    return RACCOON


@pytest.fixture(scope="session")
def traces() -> Path:
    """The folder of traces recorded on real GPUs, which lie beside the repository."""
    if not TRACES.is_dir():
        pytest.skip(f"no traces at {TRACES}")
    return TRACES


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    path = tmp_path_factory.mktemp("tiny") / "items.pt"
    torch.save(tiny.items(), path)
    return DataSpec(kind="pickle", pickle_path=str(path), label="tiny")


@pytest.fixture(scope="session")
def this_machine() -> Machine:
    """This machine as the trial server sees it."""
    with Server("cpu") as server:
        return server.machine


@pytest.fixture
def kept_ceilings(own_cache: Path, this_machine: Machine) -> Ceilings:
    """Ceilings in the cache, as an earlier run leaves them: measuring them takes seconds."""
    values = {
        (CeilingKind.MATRIX, "fp32"): 1.4e11,
        (CeilingKind.CONVOLUTION, "fp32"): 1.4e11,
        (CeilingKind.VECTOR, None): 1.4e11,
        (CeilingKind.COPY, None): 2.7e10,
        (CeilingKind.LAUNCH, None): 1.4e-6,
    }
    kept = Ceilings(
        ceilings=tuple(
            Ceiling(kind=kind, precision=precision, samples=(value,)) for (kind, precision), value in values.items()
        )
    )
    # Some tests choose a single thread.
    for threads in {1, this_machine.threads}:
        ceilings_cache._save(own_cache / f"ceilings-{ceilings_cache._digest(this_machine, threads)}.json", kept)
    return kept


@pytest.fixture
def short_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps and short blocks, so that a run ends long before a budget that leaves a slow machine time enough; and
    no config is given up for steps that a busy machine slowed down."""
    monkeypatch.setattr("autotune.tuner.cell_search._GIVE_UP", math.inf)
    monkeypatch.setattr("autotune.tuner.budget._STEPS_AT_MOST", 2)
    monkeypatch.setattr("autotune.tuner.race._BLOCK_SIDE_S", 0.01)
    monkeypatch.setattr("autotune.tuner.race._BLOCKS_AT_MOST", 5)
    monkeypatch.setattr("autotune.tuner.race._FRESH_STEPS", 1)
