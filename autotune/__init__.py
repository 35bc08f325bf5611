"""autotune: how to train a PyTorch object detector on this device, measured.

    import autotune
    recommendation = autotune.recommend("frcnn_mobilenet", effective_batch_size=16, budget="5m")
    print(recommendation.verdict.sentence)

Importing this package imports no torch; the names below load what they need when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from autotune.errors import (
    AutotuneError,
    DataError,
    DeviceError,
    InstallationError,
    RecordError,
    RunDirectoryError,
    TraceError,
    UsageError,
)

if TYPE_CHECKING:
    from autotune.config import Precision, TrainingConfig
    from autotune.profile_record import Profile
    from autotune.profiling import profile
    from autotune.recommendation import Recommendation, recommend
    from autotune.records import RunRecord, load_run

__all__ = [
    "AutotuneError",
    "DataError",
    "DeviceError",
    "InstallationError",
    "Precision",
    "Profile",
    "Recommendation",
    "RecordError",
    "RunDirectoryError",
    "RunRecord",
    "TraceError",
    "TrainingConfig",
    "UsageError",
    "load_run",
    "profile",
    "recommend",
]

_LAZY = {
    "Precision": "autotune.config",
    "TrainingConfig": "autotune.config",
    "Profile": "autotune.profile_record",
    "profile": "autotune.profiling",
    "Recommendation": "autotune.recommendation",
    "recommend": "autotune.recommendation",
    "RunRecord": "autotune.records",
    "load_run": "autotune.records",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'autotune' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
