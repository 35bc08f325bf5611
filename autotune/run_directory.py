"""The run directory: where it lies, that it can be written, and what stands in it.

run.json      the run record, from which all other files but the journal are drawn
trials.jsonl  the journal
config.yaml   the recommended training config
report.md     the report
report.html   the report with its charts, as one page
trials.csv    the trials, one a row
layers.csv    the profile's layers, one a row in each phase
trace.json.gz the recording that the profile comes from
"""

from __future__ import annotations

import contextlib
import fcntl
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from autotune.errors import AutotuneError, RunDirectoryError, UsageError
from autotune.files import try_writing, write_whole
from autotune.records import RunRecord
from autotune.reports import layers_csv, markdown, trials_csv
from autotune.reports.page import render as page

__all__ = ["RunDirectory", "default_directory", "holds_a_run"]

_OURS = (
    "report.md",
    "report.html",
    "config.yaml",
    "layers.csv",
    "run.json",
    "trace.json.gz",
    "trials.csv",
    "trials.jsonl",
)
# Drawn from the record.
_DRAWN = {"report.md", "report.html", "config.yaml", "layers.csv", "trials.csv"}


class RunDirectory:
    """A directory made ready for one run."""

    def __init__(self, path: Path, *, force: bool = False, resume: bool = False, resumable: bool = True) -> None:
        """Make the directory and find out whether it can be written, before anything is measured.

        resumable: whether the command has --resume, and its errors may advise it.
        Raises RunDirectoryError where it holds another run, is full, read-only or a file; UsageError where resume finds
        none.
        """
        self.path = path
        self._resumable = resumable
        self.journal_path = path / "trials.jsonl"
        if resume and not self.journal_path.exists():
            raise UsageError(f"{path}: there is no run to resume (no trials.jsonl); leave out --resume")
        _refuse_a_second_run(self.journal_path)
        if holds_a_run(path) and not force and not resume:
            raise RunDirectoryError(
                f"{path}: holds a run already; pass {'--resume to go on with it, ' if resumable else ''}"
                "--force to overwrite it, or another --out"
            )
        self._is_new = not path.exists()
        for place in (path, *path.parents):
            if place.exists() and not place.is_dir():
                raise RunDirectoryError(f"{place}: is a file, and a run needs a folder; pass another --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
            try_writing(path)
        except OSError as error:
            raise RunDirectoryError(f"{path}: cannot be written ({error.strerror}); pass another --out") from None

    def save(self, record: RunRecord) -> None:
        """Write the record and what is drawn from it, each file whole or not at all."""
        files = {
            "run.json": record.to_json() + "\n",
            "report.md": markdown.render(record),
            "report.html": page.render(record),
        }
        if record.is_search:
            files["trials.csv"] = trials_csv.render(record)
        if record.recommendation is not None:
            files["config.yaml"] = record.recommendation.config.to_yaml()
        if record.profile is not None:
            files["layers.csv"] = layers_csv.render(record.profile)
        try:
            for name, text in files.items():
                write_whole(self.path / name, text)
            for name in set(_DRAWN) - files.keys():  # of the run that stood here
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise RunDirectoryError(
                f"{self.path}: the run's files cannot be written ({error.strerror}); make room, then run the same "
                f"command with {'--resume' if self._resumable else '--force'}"
            ) from None

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Where nothing was measured, which is an AutotuneError, a journal without a trial says nothing, nor does an
        empty directory of our making: they are removed."""
        try:
            yield
        except AutotuneError:
            with contextlib.suppress(OSError):
                if not holds_a_run(self.path):
                    self.journal_path.unlink(missing_ok=True)
                if self._is_new:
                    self.path.rmdir()
            raise

    def files(self) -> list[str]:
        """The names of what the run has left."""
        return [name for name in _OURS if (self.path / name).exists()]


def holds_a_run(path: Path) -> bool:
    """Whether a run has left anything, or is being written. A journal without a trial is what a failed start leaves."""
    if any((path / name).exists() for name in _OURS if name != "trials.jsonl"):
        return True
    journal = path / "trials.jsonl"
    try:
        _refuse_a_second_run(journal)
        return journal.read_bytes().count(b"\n") > 1
    except RunDirectoryError:
        return True
    except OSError:
        return False


def _refuse_a_second_run(journal: Path) -> None:
    """Raise RunDirectoryError where a run holds the journal's lock; the journal takes it again when it opens."""
    with contextlib.suppress(OSError), journal.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunDirectoryError(
                f"{journal.parent}: another run is writing there; wait for it, or pass another --out"
            ) from None


def default_directory(model: str, device: str | None, *, resume: bool) -> Path:
    """autotune-runs/MODEL[-N]: the first number that is free, or with resume the last that is taken.

    Raises UsageError where there is nothing to resume.
    """
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", model).strip("-.") or "model"
    if device:
        stem += "-" + device.replace(":", "")
    parent = Path("autotune-runs")
    names = (parent / (stem if number == 1 else f"{stem}-{number}") for number in count(1))
    last = None
    for path in names:
        if not holds_a_run(path):
            if not resume:
                return path
            break
        last = path
    if last is None:
        raise UsageError(f"{parent / stem}: there is no run to resume; leave out --resume, or name its --out")
    return last
