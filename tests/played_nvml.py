"""NVML played by a small library in C, which the real pynvml loads and asks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from ctypes import CDLL
from pathlib import Path

import pynvml
import pytest

__all__ = ["no_nvml", "nvml", "nvml_library", "old_nvml", "old_nvml_library"]

SOURCE = Path(__file__).with_name("probes") / "fake_nvml.c"


def built(folder: Path, *options: str) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here: NVML cannot be played")
    library = folder / "libnvidia-ml.so.1"
    command = [compiler, "-Wall", "-Wextra", "-shared", "-fPIC", *options, "-o", str(library), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session")
def old_nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A driver before 535."""
    return built(tmp_path_factory.mktemp("old-nvml"), "-DOLD_DRIVER")


def forget_library(monkeypatch: pytest.MonkeyPatch, load: Callable[[str], CDLL]) -> None:
    """Let pynvml load NVML anew, in its own way, by `load`."""
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setattr(pynvml, "CDLL", load)


def played(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CDLL]:
    """The library, and after the test whether all that was taken from it was given back."""
    library = CDLL(str(path))
    forget_library(monkeypatch, lambda name: library)
    yield library
    assert (library.fake_initialised(), library.fake_gpm_samples()) == (0, 0)


@pytest.fixture
def nvml(nvml_library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CDLL]:
    yield from played(nvml_library, monkeypatch)


@pytest.fixture
def old_nvml(old_nvml_library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CDLL]:
    yield from played(old_nvml_library, monkeypatch)


@pytest.fixture
def no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> CDLL:
        raise OSError(f"{name}: cannot open shared object file")

    forget_library(monkeypatch, absent)
