"""Sampling a GPU through NVML beside the work that it does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from autotune.nvml_record import NvmlSample, NvmlSeries
from autotune.probes.nvml_device import NvmlDevice
from autotune.probes.nvml_queries import ALL, STATE, Query

__all__ = ["ALL", "STATE", "NvmlSampler"]


class NvmlSampler:
    """Samples one GPU from start() to stop(), in a thread that sleeps between samples; or as a context manager.

    uuid: as NVML gives it, `GPU-...` or `MIG-...`. every_s: pause between samples; the time of each is in at_s.
    queries: what to ask; slow questions keep intervals of their own.
    Neither a missing driver nor a lost GPU raises: the series says so.
    """

    def __init__(
        self,
        uuid: str,
        every_s: float = 0.1,
        *,
        queries: Sequence[Query] = ALL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = NvmlDevice(uuid, queries)
        self._every_s = every_s
        self._clock = clock
        self._pid = os.getpid()
        self._samples: list[NvmlSample] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nvml-sampler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> NvmlSeries:
        """End the sampling, with one last sample, and give the series. It may be called again."""
        # A forked child has neither the thread nor, perhaps, the event's lock.
        if self._pid == os.getpid():
            self._stopped.set()
            if self._thread.ident is not None:
                self._thread.join()
        return self.series()

    def series(self) -> NvmlSeries:
        """What was sampled so far."""
        return NvmlSeries(
            device_uuid=self._device.uuid,
            samples=tuple(self._samples),
            missing=tuple(self._device.missing),
            lost=self._device.lost,
        )

    def __enter__(self) -> NvmlSampler:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        last = False
        try:
            while not last:
                last = self._stopped.is_set()
                sample = self._device.sample(self._clock())
                if sample is None:
                    return
                self._samples.append(sample)
                if not last:
                    self._stopped.wait(self._every_s)
        finally:
            self._device.close()
