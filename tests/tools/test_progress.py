"""How far a long piece of work is, for people."""

from __future__ import annotations

import io
import re

import pytest

from ocsp_cgi.tools import progress
from ocsp_cgi.tools.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Each call shows something."""
    monkeypatch.setattr(progress, "_TERMINAL_SECONDS", 0)
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0)


def shown(stream: io.StringIO, *numbers: int) -> str:
    its = Progress("[x]", 100, stream)
    for number in numbers:
        its.show(number)
    its.end()
    return stream.getvalue()


def test_lines_for_a_file():
    lines = shown(io.StringIO(), 0, 50, 120).splitlines()
    assert lines[0] == "[x] 0 of 100, 0 per second"
    assert re.fullmatch(r"\[x\] 50 of 100, \d+ per second, 0 s left", lines[1])
    assert lines[2].startswith("[x] 120 of 120, ")  # the total is an estimate


def test_a_bar_for_a_terminal_that_is_removed_at_the_end():
    text = shown(Terminal(), 50)
    assert text.startswith("\r[x] [############............] 50 of 100, ")
    assert text.endswith("\r\33[K") and "\n" not in text


def test_when_all_begins_again_it_has_no_negative_rate():
    """As `presign` does when the index has changed."""
    stream = io.StringIO()
    its = Progress("[x]", 100, stream)
    its._seen = [(its._shown, 90)]  # half a minute after it had shown so many
    its.show(95)
    its.show(5)
    its.show(10)
    assert "-" not in stream.getvalue()
    assert stream.getvalue().splitlines()[1].startswith("[x] 5 of 100, ")


def test_silence():
    its = Progress("[x]", 100, None)
    its.show(50)
    its.end()


def test_a_line_only_so_often(monkeypatch):
    monkeypatch.setattr(progress, "_LINE_SECONDS", 3600)
    assert shown(io.StringIO(), 1, 2, 3) == ""


@pytest.mark.parametrize(
    "seconds, words",
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5340, "89 min"), (5400, "1 h 30 min")],
)
def test_durations(seconds, words):
    assert progress.duration(seconds) == words
