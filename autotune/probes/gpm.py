"""GPM, the counters that Hopper and later GPUs keep in hardware: readable without privileges or a profiler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pynvml

__all__ = ["GPM_FIELDS", "GpmSamples"]

_APART_S = 0.1  # nvml.h: two samples less than 100 ms apart give no sound metrics
# Fields of NvmlSample, and the metrics' names in pynvml (all in percent).
_METRICS = {
    "dram_bandwidth_percent": "NVML_GPM_METRIC_DRAM_BW_UTIL",
    "tensor_percent": "NVML_GPM_METRIC_ANY_TENSOR_UTIL",
    "sm_percent": "NVML_GPM_METRIC_SM_UTIL",
    "occupancy_percent": "NVML_GPM_METRIC_SM_OCCUPANCY",
}
GPM_FIELDS = tuple(_METRICS)


class GpmSamples:
    """The two samples that GPM metrics are the difference of; free() gives the driver its memory back."""

    def __init__(self) -> None:
        self._reference: Any = None
        self._spare: Any = None
        self._reference_s: float | None = None

    def metrics(self, handle: Any, at_s: float) -> Mapping[str, Any]:
        """Means since the previous call, or an NVMLError in a metric's place; nothing at the first call.

        Calls less than 100 ms apart give nothing either. Raises NVMLError_NotSupported before Hopper.
        """
        if self._spare is None:
            if not pynvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            self._reference, self._spare = pynvml.nvmlGpmSampleAlloc(), pynvml.nvmlGpmSampleAlloc()
        if self._reference_s is not None and at_s - self._reference_s < _APART_S:
            return {}
        pynvml.nvmlGpmSampleGet(handle, self._spare)
        found = {} if self._reference_s is None else self._difference()
        self._reference, self._spare = self._spare, self._reference
        self._reference_s = at_s
        return found

    def free(self) -> None:
        for sample in (self._reference, self._spare):
            if sample is not None:
                pynvml.nvmlGpmSampleFree(sample)
        self._reference = self._spare = self._reference_s = None

    def _difference(self) -> Mapping[str, Any]:
        request = pynvml.c_nvmlGpmMetricsGet_t(
            version=pynvml.NVML_GPM_METRICS_GET_VERSION,
            numMetrics=len(_METRICS),
            sample1=self._reference,
            sample2=self._spare,
        )
        for metric, name in zip(request.metrics, _METRICS.values(), strict=False):  # the array has room for all of them
            metric.metricId = getattr(pynvml, name)
        pynvml.nvmlGpmMetricsGet(request)
        return {
            field: metric.value if metric.nvmlReturn == 0 else pynvml.NVMLError(metric.nvmlReturn)
            for field, metric in zip(_METRICS, request.metrics, strict=False)
        }
