"""Apache's error log: the lines of ocsp.cgi in it, and what was added while something was tried.

mod_cgid's scripts write their lines as they are; mod_cgi puts Apache's own prefix before them:

    2026-11-29T03:20:00Z ocsp.cgi: error: ...
    [Sun Nov 29 03:20:00.123456 2026] [cgi:error] [pid 7] [client ::1:5] AH01215: 2026-11-...
"""

from __future__ import annotations

import calendar
import os
import re
from pathlib import Path
from typing import NamedTuple

from .. import limits

_DAY_SECONDS = 24 * 60 * 60
_OURS = re.compile(
    r"(?:\[.*?\] AH01215: (?:stderr from [^:]*: )?)?"
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) ocsp\.cgi: (.*)"
)
_KIND = re.compile(r"(error|warning|never-issued): ")


class Line(NamedTuple):
    """A line of ocsp.cgi's: its `time` in seconds since 1970; its `kind`, which is "error",
    "warning", "never-issued", or "" for the line of a request; and the `text` after that."""

    time: int
    kind: str
    text: str


class Extract(NamedTuple):
    """The lines of ocsp.cgi's in the end of a log, from the time `since` on, which is later than
    asked for if the log was too long."""

    lines: list[Line]
    since: int


def read(path: str, since: int, most: int = limits.ERROR_LOG_BYTES) -> Extract:
    """The lines since a time in a log, and in the one before it, if the log was rotated since then.

    At most `most` bytes are read.  OSError if the log cannot be read.
    """
    content, is_whole = _end_of(path, most)
    before = _rotated(path, since)
    if is_whole and before and len(content) < most:
        try:
            earlier, is_whole = _end_of(before, most - len(content))
        except OSError:
            earlier = b""
        content = earlier + content
    lines = [line for text in content.decode(errors="replace").split("\n") if (line := parse(text))]
    if not is_whole:
        since = max(since, lines[0].time) if lines else since
    return Extract([line for line in lines if line.time >= since], since)


def parse(text: str) -> Line | None:
    """A line of the log, None if it is not one of ocsp.cgi's."""
    found = _OURS.match(text)
    if not found:
        return None
    try:  # strptime would take a second for a long log
        seconds = calendar.timegm(tuple(map(int, re.findall(r"\d+", found[1]))))
    except ValueError:
        return None
    kind = _KIND.match(found[2])
    return Line(seconds, kind[1] if kind else "", found[2][kind.end() if kind else 0 :])


class Watch:
    """What is added to some logs from now on.  Logs that cannot be read are left out."""

    def __init__(self, paths: list[str]):
        self._sizes = {}
        for path in paths:
            try:
                with open(path, "rb") as file:
                    self._sizes[path] = os.fstat(file.fileno()).st_size
            except OSError:
                pass

    def added(self) -> list[str]:
        """The lines that were added, each log's in order."""
        lines: list[str] = []
        for path, size in self._sizes.items():
            try:
                with open(path, "rb") as file:
                    end = os.fstat(file.fileno()).st_size
                    file.seek(max(size if end >= size else 0, end - limits.ERROR_LOG_BYTES))
                    lines += file.read().decode(errors="replace").splitlines()
            except OSError:
                pass
        return lines


def _end_of(path: str, most: int) -> tuple[bytes, bool]:
    """The end of a file, from the beginning of a line, and whether that is all of it."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - most))
        content = file.read(most)
    return (content, True) if size <= most else (content.partition(b"\n")[2], False)


def _rotated(path: str, since: int) -> str:
    """The log before this one, as logrotate names it, "" if nothing was written to it since."""
    name = Path(path).name
    newest, written = "", float(since)
    try:
        for other in Path(path).parent.iterdir():
            if re.fullmatch(re.escape(name) + r"(\.1|-\d{8}(-\d+)?)", other.name):
                modified = other.stat().st_mtime
                if modified >= written:
                    newest, written = str(other), modified
    except OSError:
        pass
    return newest
