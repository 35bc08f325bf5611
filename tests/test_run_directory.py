from __future__ import annotations

from pathlib import Path

import pytest

import records
from autotune.errors import RunDirectoryError, UsageError
from autotune.records import load_run
from autotune.run_directory import RunDirectory, default_directory


def test_a_directory_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    record = records.faster()
    RunDirectory(tmp_path / "run").save(record)
    assert load_run(tmp_path / "run") == record
    with pytest.raises(RunDirectoryError, match="holds a run already"):
        RunDirectory(tmp_path / "run")
    RunDirectory(tmp_path / "run", force=True).save(record)
    assert not list((tmp_path / "run").glob("*.partial"))


def test_other_files_of_the_users_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    RunDirectory(tmp_path).save(records.faster())
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_found_before_measuring() -> None:
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        RunDirectory(Path("/proc/run"))


@pytest.mark.parametrize("place", ["notes", "notes/run", "notes/deep/run"])
@pytest.mark.parametrize("force", [False, True])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, place: str, force: bool) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(RunDirectoryError, match=r"/notes: is a file, and a run needs a folder; pass another --out"):
        RunDirectory(tmp_path / place, force=force)
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_full_disk_is_found_before_measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10_000})()
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(RunDirectoryError, match=r"0\.0 MB left"):
        RunDirectory(tmp_path / "run")


def test_default_directories_are_numbered_and_resume_takes_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_directory("my.module:build", "cuda:1", resume=False) == Path("autotune-runs/my.module-build-cuda1")
    with pytest.raises(UsageError, match="no run to resume"):
        default_directory("m", None, resume=True)
    for name in ("m", "m-2"):
        path = default_directory("m", None, resume=False)
        assert path == Path("autotune-runs") / name
        RunDirectory(path).save(records.faster())
    assert default_directory("m", None, resume=True) == Path("autotune-runs/m-2")


def test_what_a_failed_start_left_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = default_directory("m", None, resume=False)
    RunDirectory(path).journal_path.write_text('{"journal": 1}\n')
    assert default_directory("m", None, resume=False) == path
    RunDirectory(path)
    RunDirectory(path).journal_path.write_text('{"journal": 1}\n{"number": 1}\n')
    with pytest.raises(RunDirectoryError, match="holds a run already"):
        RunDirectory(path)
    assert default_directory("m", None, resume=False) == Path("autotune-runs/m-2")


def test_there_must_be_a_journal_to_resume_from(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to resume"):
        RunDirectory(tmp_path, resume=True)
