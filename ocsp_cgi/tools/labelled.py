"""Text for a terminal: short lines, each with a label in front, and numbers with their nouns."""

from __future__ import annotations

import shutil
import sys
import textwrap

from .. import limits
from ..answer import printable

_LABEL = 12
_WIDEST = 100


def width() -> int:
    """Columns to fill: those of the terminal, as far as they are easy to read, or 80."""
    columns = shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80
    return max(40, min(columns, _WIDEST))


def line(label: str, text: str, may_break: bool = False) -> str:
    """`text` beside its label, in as many lines as it takes.  Words are kept whole, unless
    `may_break`, so that a path or a command can be copied."""
    shown = printable(text, limits.LOG_LINE_CHARACTERS)
    return textwrap.fill(
        shown,
        width(),
        initial_indent=f"{label:{_LABEL}} ",
        subsequent_indent=" " * (_LABEL + 1),
        break_long_words=may_break,
        break_on_hyphens=False,
    ).rstrip()


def plural(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def write(lines: list[str]) -> None:
    """Print lines, in whatever encoding the terminal has."""
    encoding = sys.stdout.encoding or "ascii"
    print("\n".join(lines).encode(encoding, "backslashreplace").decode(encoding))
