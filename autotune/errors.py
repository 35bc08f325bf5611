"""What can go wrong, as one tree: the command line catches AutotuneError and prints its sentence.

AutotuneError               exit 1
|-- UsageError              exit 2: a name, value or path that does not exist
|-- DataError               images or annotations that do not do
|-- DeviceError             a device that is absent or too small
|-- InstallationError       torch and torchvision that do not fit each other
|-- RecordError             a run record or journal that cannot be read
|-- RunDirectoryError       a run directory, or another output, that is taken, full or not writable
`-- TraceError              a profiler's trace that cannot be written, read or analysed

Each message says what is wrong, the value, and what to do next.
"""

from __future__ import annotations

__all__ = [
    "AutotuneError",
    "DataError",
    "DeviceError",
    "InstallationError",
    "RecordError",
    "RunDirectoryError",
    "TraceError",
    "UsageError",
]


class AutotuneError(Exception):
    """The base of all errors that this package raises on purpose."""

    exit_code = 1


class UsageError(AutotuneError):
    """A name, value or path that does not exist."""

    exit_code = 2


class DataError(AutotuneError):
    """Images or annotations that do not do."""


class DeviceError(AutotuneError):
    """A device that is absent, too small, or cannot do what was asked."""


class InstallationError(AutotuneError):
    """Installed packages that do not fit each other."""


class RecordError(AutotuneError):
    """A run record or a journal that cannot be read."""


class RunDirectoryError(AutotuneError):
    """A run directory, or another output, that is taken, full or not writable."""


class TraceError(AutotuneError):
    """A profiler's trace that cannot be written, read or analysed."""
