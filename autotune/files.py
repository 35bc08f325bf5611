"""Writing a file whole or not at all, and over no other."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from autotune.errors import RunDirectoryError

__all__ = ["check_place", "try_writing", "write_new", "write_whole"]

# Enough for the journal and the reports of a long run, and for file systems to be slow in saying that they are full.
_NEEDED_BYTES = 16 * 2**20


def check_place(path: Path, *, force: bool) -> None:
    """Find out whether a file can be written at path, before hours are spent on what it shall hold.

    Raises RunDirectoryError where it may not or cannot be.
    """
    if path.is_dir():
        raise RunDirectoryError(f"{path}: is a folder; name a file in it, or pass another --out")
    if path.exists() and not force:
        raise RunDirectoryError(f"{path}: exists; pass --force to overwrite it, or another --out")
    try:
        try_writing(path.parent)
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be written ({error.strerror}); pass another --out") from None


def try_writing(folder: Path) -> None:
    """Write a file in folder and remove it. Raises OSError where it cannot be, RunDirectoryError on a full disk."""
    probe = folder / f".autotune-probe-{os.getpid()}"
    try:
        with probe.open("wb") as file:
            file.write(bytes(2**16))
            file.flush()
            os.fsync(file.fileno())
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    if free < _NEEDED_BYTES:
        raise RunDirectoryError(
            f"{folder}: the disk has {free / 1e6:.1f} MB left and a run needs {_NEEDED_BYTES / 1e6:.0f} MB; "
            "make room, or pass another --out"
        )


def write_new(path: Path, text: str, *, force: bool) -> None:
    """Write text to path; a file that stands there with another content is overwritten with force only.

    Raises RunDirectoryError where it may not or cannot be written.
    """
    try:
        if not force and path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
            raise RunDirectoryError(f"{path}: exists already; pass --force to overwrite it, or another --out")
        write_whole(path, text)
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be written ({error.strerror}); pass another --out") from None


def write_whole(path: Path, content: str | bytes) -> None:
    """Write text or bytes to path so that whoever reads it finds the old content or the new one. Raises OSError."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
