"""The parser of the command line: as argparse's, with help that fits on 80 columns and ends with an
example, and with our own exit code for wrong arguments.

Help and man page are written from the same parsers, see manual.py.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, NoReturn

from . import entry

_COLUMNS = 80


class _Formatter(argparse.HelpFormatter):
    """Does not break words at hyphens, so names of files and options can be copied."""

    def __init__(self, prog: str):
        columns = min(_COLUMNS, shutil.get_terminal_size().columns)
        super().__init__(prog, width=columns - 2)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrapped(" ".join(text.split()), width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(
            one if is_verbatim(one) else "\n".join(_wrapped(one, width)) for one in paragraphs(text)
        )


class Parser(argparse.ArgumentParser):
    """`notes` are paragraphs that follow the options.  `examples` are what to type behind
    `program`, the name of the whole program."""

    notes = ""
    examples: tuple[str, ...] = ()

    def __init__(self, **arguments: Any):
        super().__init__(formatter_class=_Formatter, **arguments)

    def describe(self, program: str, notes: str, examples: tuple[str, ...]) -> None:
        self.notes, self.examples = notes, examples
        title = "example" if len(examples) == 1 else "examples"
        lines = "".join(f"\n  {program} {example}" for example in examples)
        self.epilog = f"{notes.strip()}\n\n{title}:{lines}".strip()

    def error(self, message: str) -> NoReturn:
        """As argparse does, with another exit code: its own 2 means critical here."""
        self.print_usage(sys.stderr)
        self.exit(entry.UNKNOWN, f"{self.prog}: error: {message}\n")

    def commands(self) -> dict[str, Parser]:
        """The parser of each command, in their order."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return dict(action.choices)
        return {}

    def arguments(self) -> Iterator[argparse.Action]:
        """Positional arguments and then options, without the one that chooses a command."""
        actions = [one for one in self._actions if not isinstance(one, argparse._SubParsersAction)]
        yield from (one for one in actions if not one.option_strings)
        yield from (one for one in actions if one.option_strings)


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, between which are empty lines."""
    return [one.strip("\n") for one in re.split(r"\n\s*\n", text.strip("\n")) if one.strip()]


def is_verbatim(paragraph: str) -> bool:
    """Whether its lines stay as they are: one of them is indented."""
    return re.search(r"^ ", paragraph, re.MULTILINE) is not None


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
