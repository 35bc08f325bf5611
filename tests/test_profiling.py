"""autotune.profile() as a script calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

import autotune
import tiny
from autotune.errors import RunDirectoryError
from autotune.profile_record import Ceilings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "tpu"}, "device 'tpu': not one of cpu, cuda, cuda:N"),
        ({"effective_batch_size": "4"}, "effective_batch_size '4': must be a whole number"),
    ],
)
def test_a_mistake_is_an_error_with_a_sentence(options: dict[str, str], words: str) -> None:
    with pytest.raises(autotune.UsageError, match=words):
        autotune.profile(tiny.plain, **options)  # type: ignore[arg-type]


def test_a_folder_that_holds_a_run_is_refused_and_one_with_other_files_is_not(
    tmp_path: Path, kept_ceilings: Ceilings
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "notes.txt").write_text("mine")

    def profiled() -> autotune.Profile:
        return autotune.profile(tiny.plain, tiny.items(8), effective_batch_size=2, device="cpu", trace=here)

    assert profiled().coverage > 0.9
    assert {path.name for path in here.iterdir()} == {"notes.txt", "trace.json.gz"}
    first = (here / "trace.json.gz").read_bytes()
    with pytest.raises(RunDirectoryError, match=r"here: holds a run already; empty it, or give another folder"):
        profiled()
    assert (here / "trace.json.gz").read_bytes() == first
    (here / "trace.json.gz").rename(here / "run.json")
    with pytest.raises(RunDirectoryError, match="holds a run already"):
        profiled()
