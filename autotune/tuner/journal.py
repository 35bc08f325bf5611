"""The journal, trials.jsonl: a header line, then one line a trial, on disk before the next trial begins.

A killed run resumes from it: a trial that stands in the journal is answered from there. A last line that was being
written when the run was killed is dropped.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autotune.config import TrainingConfig
from autotune.errors import RecordError, RunDirectoryError
from autotune.records import Job, Stage, Trial

__all__ = ["Journal", "Key"]

Key = tuple[Stage, TrainingConfig, int | None]


class Journal:
    """An open journal, locked against a second run."""

    def __init__(self, path: Path, job: Job, *, resume: bool) -> None:
        """Open path for a job: empty, or with resume=True what stands there.

        Raises RunDirectoryError where another run holds it, RecordError where it belongs to another job.
        """
        self.path = path
        self._known: dict[Key, Trial] = {}
        # Unbuffered: a line that the disk did not take must not wait in a buffer for a second try.
        self._file = path.open("r+b" if path.exists() else "x+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise RunDirectoryError(
                f"{path.parent}: another run is writing there; wait for it, or pass another --out"
            ) from None
        header = {"journal": 1, "job": job.model_dump(mode="json")}
        try:
            if resume:
                self._read(header)
            else:
                self._file.truncate(0)
            if self._file.tell() == 0:
                self._append(header)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def find(self, key: Key) -> Trial | None:
        """The trial that an earlier, killed run measured for this order."""
        return self._known.get(key)

    def append(self, trial: Trial) -> None:
        """Write a trial and flush it to the disk. Raises RunDirectoryError where the disk takes no more."""
        self._append(trial.model_dump(mode="json", exclude_computed_fields=True))

    def _append(self, content: dict[str, Any]) -> None:
        try:
            line = memoryview(json.dumps(content).encode() + b"\n")
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunDirectoryError(
                f"{self.path}: cannot be written ({error.strerror}); make room, then run the same command with --resume"
            ) from None

    def _read(self, header: dict[str, Any]) -> None:
        """Take in the whole lines; leave the file ready to append after the last of them."""
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = json.loads(line)
                if number == 1:
                    if entry != header:
                        raise RecordError(
                            f"{self.path}: belongs to another job; resume with the same model, data, device and "
                            "effective batch, or pass --force to begin anew"
                        )
                    continue
                trial = Trial.model_validate(entry)
            except (ValueError, ValidationError) as error:
                raise RecordError(
                    f"{self.path}: line {number} is not a trial ({error}); begin anew with --force"
                ) from None
            self._known[trial.stage, trial.config, trial.block] = trial
        self._file.seek(len(whole))
        self._file.truncate()
