from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from autotune import installation
from autotune.installation import State, check_installation, doctor

ROOT = Path(__file__).parents[1]
FITTING_TORCH = "__version__ = '2.14.1+cpu'\nclass version: cuda = None\nclass cuda:\n  is_available = lambda: False\n"
NMS_ERROR = "operator torchvision::nms does not exist"


@pytest.fixture
def checked(tmp_path):
    """Runs check_installation in an interpreter where stand-ins come before the installed packages."""

    def run(code: str = "from autotune.installation import check_installation as c; c()", **packages: str) -> str:
        for name, source in packages.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text(source, encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
        result = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        return result.stdout + (result.stderr.strip().splitlines() or [""])[-1]

    return run


def test_what_is_installed_here_fits():
    check_installation()


def test_a_torchvision_built_for_another_torch_is_named_with_the_remedy(checked):
    said = checked(torch=FITTING_TORCH, torchvision=f"raise RuntimeError('{NMS_ERROR}')")
    assert said.startswith("autotune.errors.InstallationError: torch 2.14.1+cpu and torchvision ")
    assert f"do not fit each other ({NMS_ERROR})" in said
    assert said.endswith("pip install --force-reinstall torch torchvision")


def test_the_real_torchvision_beside_a_torch_that_lacks_its_operators(checked):
    # A torchvision that registers operators for a library that was never loaded: the error is torch's own.
    source = "import torch\n@torch.library.register_fake('torchvision::nms')\ndef nms(*a): pass\n"
    said = checked(torchvision=source)
    assert f"do not fit each other ({NMS_ERROR})" in said


@pytest.mark.parametrize(("package", "other"), [("torch", {}), ("torchvision", {"torch": FITTING_TORCH})])
def test_a_missing_package_is_named_with_the_remedy(checked, package, other):
    absent = f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')"
    said = checked(**other, **{package: absent})
    assert said == (
        f"autotune.errors.InstallationError: {package} is not installed; "
        "install it with its partner: pip install --force-reinstall torch torchvision"
    )


def test_an_interpreter_that_has_no_torch_at_all(checked):
    code = (
        "import sys; blocked = ('torch', 'torchvision')\n"
        "class Finder:\n"
        "  def find_spec(self, name, path=None, target=None):\n"
        "    if name in blocked: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from autotune.installation import doctor\n"
        "print([f.sentence for f in doctor() if f.state == 'problem'])"
    )
    assert checked(code).startswith("['torch is not installed; ")


def test_a_torch_whose_libraries_do_not_load(checked):
    said = checked(torch="raise ImportError('libcudart.so.13: cannot open shared object file')")
    assert "torch cannot be imported (libcudart.so.13: cannot open shared object file); install it anew" in said


def test_a_torch_that_lacks_a_package_of_its_own(checked):
    said = checked(torch="import sympy_that_is_absent")
    assert "torch cannot be imported, since it lacks sympy_that_is_absent" in said


def test_releases_of_any_numbering_pass_where_they_import(checked):
    assert checked(torch="__version__ = '2.15.0+cu130'", torchvision="__version__ = '0.29.2'") == ""


def test_doctor_covers_the_machine_and_finds_no_problem_here():
    findings = {finding.name: finding for finding in doctor()}
    assert {"autotune", "python", "torch", "torchvision", "cpu", "cpu bf16", "memory", "cache"} <= set(findings)
    assert all(finding.state is not State.PROBLEM for finding in findings.values())
    assert all(finding.sentence and "\n" not in finding.sentence for finding in findings.values())


def test_a_cpu_build_of_torchvision_beside_a_cuda_torch_is_a_warning(checked):
    torch = FITTING_TORCH.replace("cuda = None", "cuda = '13.0'")
    torchvision = "__version__ = '0.29.1+cpu'\nclass version: pass\n"
    code = (
        "from autotune.installation import doctor; print([f.state.value for f in doctor() if f.name == 'torchvision'])"
    )
    assert checked(code, torch=torch, torchvision=torchvision) == "['warning']\n"


def test_the_deprecated_alias_of_nvidia_ml_py_is_a_warning(checked, tmp_path):
    metadata = tmp_path / "pynvml-13.0.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pynvml\nVersion: 13.0.0\n", encoding="utf-8")
    code = "from autotune.installation import doctor; print([f for f in doctor() if f.name == 'pynvml'])"
    said = checked(code, torch=FITTING_TORCH, torchvision="__version__ = '0.29.0'\nclass version: pass")
    assert "the deprecated package pynvml 13.0.0 is installed" in said
    assert "pip uninstall -y pynvml" in said


NVML = """
from types import SimpleNamespace as S
class NVMLError(Exception): pass
def nvmlInit(): {init}
def nvmlShutdown(): pass
def nvmlSystemGetDriverVersion(): return '570.1'
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): {handle}
def nvmlDeviceGetName(handle): return 'NVIDIA H200'
def nvmlDeviceGetMemoryInfo(handle): return S(free=100 * 2**30, total=140 * 2**30)
"""


@pytest.mark.parametrize(
    ("init", "handle", "usable", "line"),
    [
        ("pass", "return 0", "True", "ok gpu 0: NVIDIA H200, 100.0 of 140.0 GiB free"),
        ("pass", "return 0", "False", "warning gpu 0: NVIDIA H200, 100.0 of 140.0 GiB free, but torch cannot use it: "),
        ("pass", "raise NVMLError('GPU is lost')", "True", "warning gpu: the driver's NVML fails (GPU is lost); "),
        ("raise NVMLError('no driver')", "return 0", "True", "ok gpu: no NVIDIA GPU can be reached (no driver); "),
    ],
)
def test_gpus_are_listed_and_their_absence_is_no_fault(checked, init, handle, usable, line):
    code = (
        "from autotune.installation import doctor\n"
        "print([f'{f.state} {f.name}: {f.sentence}' for f in doctor() if f.name.startswith('gpu')])"
    )
    said = checked(
        code,
        pynvml=NVML.format(init=init, handle=handle),
        torch=FITTING_TORCH.replace("False", usable),
        torchvision="__version__ = '0.29.0'\nclass version: pass",
    )
    assert said[2:].startswith(line)


def test_a_cache_folder_below_a_file_is_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "file" / "cache"))
    finding = next(installation._cache())
    assert finding.state is State.WARNING
    assert "AUTOTUNE_CACHE" in finding.sentence


@pytest.mark.parametrize(("free_gib", "state"), [(1, State.WARNING), (8, State.OK)])
def test_little_memory_is_a_warning(monkeypatch, free_gib, state):
    memory = psutil.virtual_memory()._replace(available=free_gib * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert next(installation._memory()).state is state
