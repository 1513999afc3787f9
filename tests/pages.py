"""The pages for people, taken apart: the blocks of commands, configs and code in README.md and the
other Markdown files."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parent.parent
README = "README.md"
APACHE = "apache/README.md"

_FENCE = re.compile(r" *```(\w*)$")


class Block(NamedTuple):
    """`language` is that of a fence, "" for commands in an indented block."""

    section: str
    language: str
    text: str


def read(page: str) -> str:
    return (CHECKOUT / page).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next one of the same or a higher level."""
    found = re.search(rf"(?m)^(#+) {re.escape(heading)}\n", read(page))
    assert found, f"{page} has no section {heading!r}"
    rest = read(page)[found.end() :]
    return re.split(rf"(?m)^#{{1,{len(found[1])}}} ", rest)[0]


def blocks(page: str) -> list[Block]:
    """All of a page but transcripts and pictures, in order."""
    return list(_blocks(read(page)))


def commands(page: str, heading: str) -> list[str]:
    """The indented blocks of a section, without those of sections in it."""
    return [one.text for one in blocks(page) if (one.section, one.language) == (heading, "")]


def fenced(page: str, language: str) -> str:
    """The one block of a page in this language."""
    [block] = [one.text for one in blocks(page) if one.language == language]
    return block


def _blocks(text: str) -> Iterator[Block]:
    heading, language, lines, is_fenced = "", "", [], False
    previous = ""
    for line in [*text.splitlines(), ""]:
        if is_fenced:
            if _FENCE.match(line):
                if language:
                    yield Block(heading, language, "\n".join(lines) + "\n")
                is_fenced, lines = False, []
            else:
                lines.append(line)
        elif _FENCE.match(line):
            is_fenced, language = True, _FENCE.match(line)[1]
        elif line.startswith("    ") and (lines or not previous):
            lines.append(line)
        elif lines:
            yield Block(heading, "", textwrap.dedent("\n".join(lines)) + "\n")
            lines = []
        if not is_fenced and line.startswith("#"):
            heading = line.lstrip("#").strip()
        previous = line
