"""The parts that Markdown reports are made of; text from outside is escaped here."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from autotune.reports.plain import printable

__all__ = ["bullets", "escape", "folded", "preformatted", "table"]

# What is markup wherever it stands; brackets only where they make a link, and signs that begin a list or a heading.
_SPECIAL = re.compile(
    r"[\\`*|]|~(?=~)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[\[(:])|^[\[#+=-]|(?:(?<=^\d)|(?<=^\d\d))[.)](?=\s|$)"
)


def escape(text: str) -> str:
    """text as it reads, on one line, whatever Markdown or HTML it would otherwise be."""
    line = html.escape(printable(text), quote=False)
    # Character references rather than backslashes: a table splits its cells at `\\|` in some renderers.
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", line)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under headers, each cell escaped; nothing where there is no row."""
    lines = [f"| {' | '.join(map(escape, row))} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}", *lines])


def bullets(lines: Sequence[str], heading: str = "") -> str:
    """A list of escaped lines; heading is Markdown already, and left out with them."""
    bullets = [f"- {escape(line)}" for line in lines]
    return "\n".join([heading, *bullets] if heading and bullets else bullets)


def folded(summary: str, content: str) -> str:
    """content, Markdown already, behind its summary; nothing where there is none."""
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>" if content else ""


def preformatted(text: str) -> str:
    """text as it is laid out. HTML rather than a fence, which a line of backticks would end."""
    return f"<pre>\n{html.escape(text, quote=False)}\n</pre>" if text else ""
