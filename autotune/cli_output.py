"""What a command says and how it ends: data on stdout, one sentence on stderr, an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Never

import typer

from autotune.errors import AutotuneError

__all__ = ["close_stdout", "fail", "one_sentence", "print_out"]


@contextmanager
def one_sentence() -> Iterator[None]:
    """A user's mistake gets one sentence and an exit status, no traceback."""
    try:
        yield
    except AutotuneError as error:
        if os.environ.get("AUTOTUNE_DEBUG"):
            raise
        fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of stdout has gone, as with `| head`: nothing is left to say.
        close_stdout()
        raise typer.Exit(1) from None
    except OSError as error:
        if os.environ.get("AUTOTUNE_DEBUG"):
            raise
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}; make room or mend it, AUTOTUNE_DEBUG=1 shows where it happened", 1)


def print_out(text: str, kept: Path | None = None) -> None:
    """To stdout, which may be a file on a full disk. kept: the run directory that holds the same."""
    try:
        typer.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        close_stdout()
        rest = f"the results are in {kept}/" if kept else "make room, or send it elsewhere"
        raise AutotuneError(f"the standard output cannot be written ({error.strerror}); {rest}") from None


def close_stdout() -> None:
    """What its buffer still holds would fail once more when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(sentence: str, status: int) -> Never:
    typer.echo(f"autotune: {sentence}", err=True)
    raise typer.Exit(status)
