"""The commands that read run records: report and compare. Neither loads torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli_output import one_sentence, print_out
from autotune.errors import AutotuneError, UsageError

if TYPE_CHECKING:
    from autotune.records import RunRecord

__all__ = ["compare", "report"]


class Format(StrEnum):
    TERMINAL = "terminal"
    MARKDOWN = "md"
    HTML = "html"
    CSV = "csv"
    JSON = "json"


class ComparisonFormat(StrEnum):
    TERMINAL = "terminal"
    MARKDOWN = "md"
    JSON = "json"


def report(
    run: Annotated[Path, typer.Argument(help="A run directory, or its run.json.")],
    format: Annotated[Format, typer.Option(help="What to draw.")] = Format.TERMINAL,
    out: Annotated[
        Path | None, typer.Option(help="A file for it. [default: the terminal; for html report.html of the run]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser; for html.")] = False,
) -> None:
    """Draw the report of a run from its record."""
    with one_sentence():
        from autotune.files import write_new
        from autotune.records import load_run

        if open_page and format is not Format.HTML:
            raise UsageError("--open shows a page; pass --format html with it")
        text = _rendered(load_run(run), format)
        if out is None and format is Format.HTML:
            out = (run if run.is_dir() else run.parent) / "report.html"
        if out is None:
            print_out(text.rstrip("\n"))
            return
        write_new(out, text, force=force)
        print_out(str(out))
        if open_page:
            import webbrowser

            if not webbrowser.open(out.resolve().as_uri()):
                raise AutotuneError(f"{out}: no browser can be started here; open the file in yours")


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run directories, or their run.json.")],
    format: Annotated[ComparisonFormat, typer.Option(help="What to print.")] = ComparisonFormat.TERMINAL,
) -> None:
    """Say what changed between runs, and whether the difference in speed is real."""
    with one_sentence():
        from autotune.records import load_run
        from autotune.reports import comparison_text
        from autotune.reports.comparison import comparison

        if len(runs) < 2:
            raise UsageError("compare takes two runs at least; give another run directory")
        records = [(str(path), load_run(path)) for path in runs]
        places = [path.resolve() / "run.json" if path.is_dir() else path.resolve() for path in runs]
        if twice := next((path for path, place in zip(runs, places, strict=True) if places.count(place) > 1), None):
            raise UsageError(f"{twice}: is given twice; a run is no comparison for itself")
        found = comparison(records)
        match format:
            case ComparisonFormat.TERMINAL:
                print_out(comparison_text.terminal(found))
            case ComparisonFormat.MARKDOWN:
                print_out(comparison_text.markdown(found))
            case ComparisonFormat.JSON:
                print_out(found.to_json())


def _rendered(record: RunRecord, format: Format) -> str:
    """The report in a format; each loads only what it draws with."""
    match format:
        case Format.TERMINAL:
            from autotune.reports import terminal

            return terminal.render(record)
        case Format.MARKDOWN:
            from autotune.reports import markdown

            return markdown.render(record)
        case Format.HTML:
            from autotune.reports.page import render as page

            return page.render(record)
        case Format.CSV if record.profile and not record.is_search:
            from autotune.reports import layers_csv

            return layers_csv.render(record.profile)
        case Format.CSV:
            from autotune.reports import trials_csv

            return trials_csv.render(record)
        case Format.JSON:
            return record.to_json(computed=True)
