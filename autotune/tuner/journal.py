"""The journal, trials.jsonl: a header line, then one line a trial, on disk before the next trial begins. A run that is
resumed with a larger budget begins with a header line again.

A killed run resumes from it: a trial that stands in the journal is answered from there. A last line that was being
written when the run was killed is dropped.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autotune.config import TrainingConfig
from autotune.errors import RecordError, RunDirectoryError
from autotune.records import SIDES_AT_MOST, Job, Machine, Outcome, Stage, Trial

__all__ = ["Journal", "Key"]

Key = tuple[Stage, TrainingConfig, int | None]


class Journal:
    """An open journal, locked against a second run. started: when it was begun, by the first of its runs."""

    def __init__(self, path: Path, job: Job, machine: Machine, search: Mapping[str, object], *, resume: bool) -> None:
        """Open path for a job on a machine: empty, or with resume=True what stands there.

        search: what else decides which trials are ordered (plain JSON values): the search, its budget_s, which may have
        grown since.

        Raises RunDirectoryError where another run holds it, RecordError where it belongs to another job or machine.
        """
        self.path = path
        self._known: dict[tuple[Key, bool], Trial] = {}
        self._old: set[tuple[Key, bool]] = set()  # of those, what was measured within a smaller budget
        # Unbuffered: a line that the disk did not take must not wait in a buffer for a second try.
        self._file = path.open("r+b" if path.exists() else "x+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise RunDirectoryError(
                f"{path.parent}: another run is writing there; wait for it, or pass another --out"
            ) from None
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        header = {
            "journal": 1,
            "started": self.started,
            "job": job.model_dump(mode="json"),
            "machine": machine.model_dump(mode="json"),
            "search": dict(search),
        }
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

    def find(self, key: Key, *, repeated: bool = False, beside: Iterable[Key] = ()) -> Trial | None:
        """The trial that an earlier, killed run measured for this order, or its repeat.

        A baseline or a side of the race that failed is measured anew, since what made it fail may be mended. So is one
        whose block, the keys beside it, does not stand there whole: a block's sides belong together in time.
        """
        if any(self._usable(other, repeated=False) is None for other in beside):
            return None
        return self._usable(key, repeated=repeated)

    def _usable(self, key: Key, *, repeated: bool) -> Trial | None:
        trial = self._known.get((key, repeated))
        must_be_ok = key[0] is Stage.BASELINE or key[0].is_race
        return None if trial is not None and must_be_ok and trial.outcome is not Outcome.OK else trial

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
        budget_s = _budget_s(header)
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = json.loads(line)
                if number == 1 or (isinstance(entry, dict) and "journal" in entry):
                    if number == 1 and isinstance(entry, dict):
                        self.started = str(entry.setdefault("started", self.started))
                    elif number > 1:
                        self._grow()
                    budget_s = _budget_s(entry)
                    if _with_budget(entry, header) != {**header, "started": self.started}:
                        differs = _difference(entry, header)
                        raise RecordError(
                            f"{self.path}: belongs to another run ({differs}); resume with the same command, "
                            "machine and software, or begin anew with --force"
                        )
                    continue
                trial = Trial.model_validate(entry)
            except (ValueError, ValidationError) as error:
                raise RecordError(
                    f"{self.path}: line {number} is not a trial ({error}); begin anew with --force"
                ) from None
            self._take(trial)
        self._file.seek(len(whole))
        self._file.truncate()
        if whole and budget_s != _budget_s(header):
            self._grow()
            self._append({**header, "started": self.started})

    def _grow(self) -> None:
        """What comes now is measured within a larger budget, which waits longer for what did not end."""
        self._known = {key: trial for key, trial in self._known.items() if trial.outcome is not Outcome.TIMEOUT}
        self._old = set(self._known)

    def _take(self, trial: Trial) -> None:
        """A trial of the file. A side of a race that stands there again began its block anew: what was measured of the
        block before is another time's. Within a larger budget the block may have begun with another side."""
        key = (trial.stage, trial.config, trial.block)
        if trial.stage.is_race and not trial.repeated and (key, False) in self._known and trial.block is not None:
            block, only_old = trial.block // SIDES_AT_MOST, (key, False) in self._old
            for known in list(self._known):
                (stage, _, number), _ = known
                is_of_block = stage is trial.stage and number is not None and number // SIDES_AT_MOST == block
                if is_of_block and (known in self._old or not only_old):
                    del self._known[known]
        self._known[key, trial.repeated] = trial
        self._old.discard((key, trial.repeated))


def _budget_s(header: Any) -> float | None:
    search = header.get("search") if isinstance(header, dict) else None
    found = search.get("budget_s") if isinstance(search, dict) else None
    return found if isinstance(found, int | float) else None


def _with_budget(entry: Any, header: dict[str, Any]) -> Any:
    """A journal's header with the budget of another, where that is no smaller: what was measured in it stands."""
    before_s, now_s = _budget_s(entry), _budget_s(header)
    if before_s is None or now_s is None or now_s < before_s:
        return entry
    return {**entry, "search": {**entry["search"], "budget_s": now_s}}


def _difference(entry: Any, header: dict[str, Any]) -> str:
    """The fields in which two headers differ: `model.image_size is unset now and was 96`."""
    if not isinstance(entry, dict):
        return "its first line is no header"
    told = []
    for part in ("job", "machine", "search"):
        ours, theirs = _fields(header[part]), _fields(entry.get(part))
        told += [
            f"{name} is {_text(ours.get(name))} now and was {_text(theirs.get(name))}"
            for name in dict.fromkeys((*ours, *theirs))
            if ours.get(name) != theirs.get(name)
        ]
    return "; ".join(told) or "its header differs"


def _fields(content: Any, prefix: str = "") -> dict[str, Any]:
    """The values of nested mappings, by their paths: `model.name`."""
    if not isinstance(content, dict):
        return {prefix.rstrip("."): content} if prefix else {}
    return {path: value for name in content for path, value in _fields(content[name], f"{prefix}{name}.").items()}


def _text(value: Any) -> str:
    if value is None:
        return "unset"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
