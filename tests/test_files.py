from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import RunDirectoryError
from autotune.files import write_new


def test_another_content_is_overwritten_with_force_only(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    write_new(file, "one", force=False)
    with pytest.raises(RunDirectoryError, match=r"report\.html: exists already; pass --force"):
        write_new(file, "two", force=False)
    assert file.read_text() == "one"
    write_new(file, "two", force=True)
    assert file.read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_same_content_is_no_overwriting(tmp_path: Path) -> None:
    for _ in range(2):
        write_new(tmp_path / "report.html", "one", force=False)


@pytest.mark.parametrize("place", ["absent/report.html", "."])
def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, place: str) -> None:
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        write_new(tmp_path / place, "one", force=True)
