"""Writing a file whole or not at all, and over no other."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from autotune.errors import RunDirectoryError

__all__ = ["write_new", "write_whole"]


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
