"""The transcripts in the README: what really came, when it was typed.

A transcript is a fenced block below a line `<!-- transcript: NAME -->`.  The test with the fixture
`transcript` does what it shows, and compares; `python3 tests --update-transcripts` runs these tests
alone and writes what came into the README.
"""

from __future__ import annotations

import re
import textwrap

import pages

_README = pages.CHECKOUT / pages.README
_BLOCK = r"(?ms)^(?P<indent> *)<!-- transcript: {name} -->\n *```\n(?P<shown>.*?)^ *```\n"
# What differs from run to run.
_DIFFERENT = (
    (r"\b[0-9A-F]{30,40}\b", "SERIAL"),
    (r"\b\d{12}Z\b", "TIME"),
    (r"\w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} GMT", "TIME"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r"\d{4}-\d\d-\d\d", "DATE"),
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"\b\d+ (second|minute)s?\b", "AGE"),
    (r"\d+ problems?", "PROBLEMS"),
    (r"\d+ (valid|revoked|expired)\b", r"ROWS \1"),
)


def normalized(text: str) -> str:
    for pattern, name in _DIFFERENT:
        text = re.sub(pattern, name, text)
    return text


def names() -> list[str]:
    return re.findall(r"<!-- transcript: (\w+) -->", _README.read_text(encoding="utf-8"))


def compare(name: str, came: str, update: bool) -> None:
    """AssertionError if the README shows something else; with `update`, write it there instead."""
    readme = _README.read_text(encoding="utf-8")
    [found] = re.finditer(_BLOCK.format(name=name), readme)
    shown = textwrap.dedent(found["shown"])
    came = came.rstrip("\n") + "\n"
    if normalized(shown) == normalized(came):
        return
    assert update, f"run `python3 tests --update-transcripts`: {name} is now\n{came}"
    start, end = found.span("shown")
    block = textwrap.indent(came, found["indent"])
    _README.write_text(readme[:start] + block + readme[end:], encoding="utf-8")
