"""One GPU, asked through NVML: what it can tell, what it cannot and why, and what happens when it is lost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pynvml

from autotune.nvml_record import NvmlMissing, NvmlSample
from autotune.probes.nvml_queries import ALL, Gpu, Query

__all__ = ["NvmlDevice"]

# Errors that will not pass: the question is not asked again.
_NEVER = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_INVALID_ARGUMENT,
    }
)
_LOST = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED})


class NvmlDevice:
    """A GPU by its UUID, which does not change with CUDA_VISIBLE_DEVICES as its number does.

    NVML is initialised at the first sample in each process, since its state does not survive a fork; close() releases
    it in the process that calls. missing: what could not be read, each once. lost: NVML's words, once the GPU is lost.
    """

    def __init__(self, uuid: str, queries: Sequence[Query] = ALL) -> None:
        self.uuid = uuid
        self.missing: list[NvmlMissing] = []
        self.lost: str | None = None
        self._queries = queries
        self._pid: int | None = None
        self._gpu: Gpu | None = None
        self._questions: list[_Question] = []

    def sample(self, at_s: float) -> NvmlSample | None:
        """What the GPU tells now; None where it cannot be reached, or no longer."""
        if self._pid != os.getpid():
            self._open()
        if self._gpu is None or self.lost:
            return None
        self._gpu.at_s = at_s
        values: dict[str, Any] = {}
        try:
            for question in self._questions:
                values |= question.ask(self._gpu)
        except _GpuLost as lost:
            self.lost = str(lost)
            return None
        for field, error in [item for item in values.items() if isinstance(item[1], pynvml.NVMLError)]:
            self._miss(field, str(error))
            del values[field]
        return NvmlSample(at_s=at_s, **values)

    def close(self) -> None:
        """Release what this process holds of NVML; what a parent holds is the parent's."""
        gpu, self._gpu = self._gpu, None
        if gpu is None or self._pid != os.getpid():
            return
        try:
            try:
                gpu.gpm.free()
            finally:
                pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:  # a driver that went away has nothing left to release
            self._miss("nvml", str(error))

    def _open(self) -> None:
        self._pid, self._gpu = os.getpid(), None
        self._questions = [_Question(query) for query in self._queries]
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self._miss("nvml", str(error))
            return
        try:
            self._gpu = Gpu(_handle(self.uuid))
        except pynvml.NVMLError as error:
            pynvml.nvmlShutdown()
            self._miss("device", f"{error}: {self.uuid or 'no UUID'}")

    def _miss(self, field: str, reason: str) -> None:
        if all(known.field != field for known in self.missing):
            self.missing.append(NvmlMissing(field=field, reason=reason))


class _GpuLost(Exception):
    pass


class _Question:
    """A query put to one GPU: when it is due, and which way of asking does."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._ways = list(query.ways)
        self._due_s = float("-inf")

    def ask(self, gpu: Gpu) -> dict[str, Any]:
        """Values by field, or an NVMLError for each; nothing when not due, or when no way of asking is left."""
        if not self._ways or gpu.at_s < self._due_s:
            return {}
        self._due_s = gpu.at_s + self._query.every_s
        while True:
            try:
                return dict(self._ways[0](gpu))
            except pynvml.NVMLError as caught:
                error = caught
            except AttributeError as caught:
                of_bindings = caught.obj is pynvml
                if not of_bindings:
                    raise
                # Older bindings lack newer functions, as older drivers do.
                error = pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
            if error.value in _LOST:
                raise _GpuLost(str(error))
            if error.value in _NEVER:
                self._ways.pop(0)
                if self._ways:
                    continue
            return dict.fromkeys(self._query.fields, error)


def _handle(uuid: str) -> Any:
    """The device of a UUID. Machine writes `GPU-` before what torch tells; a slice under MIG has `MIG-` there."""
    try:
        return pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError as error:
        if error.value != pynvml.NVML_ERROR_NOT_FOUND or not uuid.startswith("GPU-"):
            raise
        return pynvml.nvmlDeviceGetHandleByUUID(uuid.replace("GPU-", "MIG-", 1))
