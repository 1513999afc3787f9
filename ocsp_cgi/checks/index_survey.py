"""What is in an index: its rows by type, and what is odd about it, found in one pass.

What a line means is decided in index_row.py.  Rows as `openssl ca` writes them are recognized by
one regular expression, so that a million of them take seconds.
"""

from __future__ import annotations

import functools
import io
import os
import re
from array import array
from typing import TYPE_CHECKING, Any, Callable

from .. import index_file, index_row, times

if TYPE_CHECKING:
    from io import FileIO

SHOWN = 5  # lines of each kind
_LINE_BYTES = 1024 * 1024
_DATE = rb"([0-9]{6}(?:[0-9]{2})?)[0-9]{6}Z"
_REASONS = (
    rb"unspecified|keyCompromise|CACompromise|affiliationChanged|superseded|cessationOfOperation"
)
_PLAIN = re.compile(
    rb"(?:([VE])\t[0-9]{12}(?:[0-9]{2})?Z\t|R\t[0-9]{12}(?:[0-9]{2})?Z\t%s(?:,(?:%s))?)"
    rb"\t([0-9A-F]+)\t[^\t\r\n]*\t[^\t\r\n]*\n" % (_DATE, _REASONS)
)
_PARTS = 64  # so that sorting out the serial numbers takes little memory


class _Survey:
    def __init__(self) -> None:
        self.types: dict[str, int] = {}
        self.odd: list[tuple[int, str]] = []
        self.odd_count = 0
        self._hashes = [array("q") for _ in range(_PARTS)]

    def line(self, line: bytes, number: int) -> None:
        plain = _PLAIN.fullmatch(line)
        if plain and (plain[2] is None or _is_day(plain[2])):
            kind = (plain[1] or b"R").decode()
            self.types[kind] = self.types.get(kind, 0) + 1
            self._remember(_digits(plain[3]))
        elif not index_row.is_blank(line):
            self._unusual(line.rstrip(b"\n"), number)

    def _unusual(self, line: bytes, number: int) -> None:
        words = index_row.split_into_words(line)
        if index_row.is_row(line):
            words = line.split(b"\t", 4)[3:4]
        rows, _ = index_row.read(line, 0, index_row.numbers_in([word.strip() for word in words]))
        for serial, row in rows:
            kind = row.type.decode("ascii", "backslashreplace")
            self.types[kind] = self.types.get(kind, 0) + 1
            self._remember(b"%X" % serial)
        texts = [row.doubt or row.warning for _, row in rows]
        if not index_row.is_row(line) and not rows:
            texts = ["not a row (six fields with TABs between them)"]
        elif line.count(b"\t") > 5 and not any(texts):
            texts = ["more than six fields: perhaps two rows whose newline has been lost"]
        for text in dict.fromkeys(filter(None, texts)):
            self.odd_count += 1
            if len(self.odd) < SHOWN:
                self.odd.append((number, text))

    def _remember(self, serial: bytes) -> None:
        value = hash(serial)
        self._hashes[value % _PARTS].append(value)

    def repeated(self) -> set[int]:
        """The hashes of serial numbers that have more than one row."""
        found: set[int] = set()
        for part in self._hashes:
            ordered = sorted(part)
            found.update(one for one, other in zip(ordered, ordered[1:]) if one == other)
        return found


def survey(db: str) -> dict[str, Any]:
    """What the index of a `db` setting has: `types`, the number of rows of each; `odd`, the first
    (line number, what is odd) pairs, and their number `odd_count`; `repeated`, the first (serial
    number, line numbers) pairs of those with several rows, and `repeated_count`; `path`, `mtime`
    and `size` of the file.  Can be written as JSON.

    DatabaseUnavailable if it cannot be read.
    """
    return index_file.read(db, _survey)


def _survey(file: FileIO) -> dict[str, Any]:
    found = _Survey()
    of = os.fstat(file.fileno())
    _each_line(file, found.line)
    hashes = found.repeated()
    lines: dict[str, list[int]] = {}

    def look_again(line: bytes, number: int) -> None:
        fields = line.split(b"\t", 4)
        if len(fields) > 3 and hash(_digits(fields[3].strip())) in hashes:
            lines.setdefault(_digits(fields[3].strip()).decode(errors="replace"), []).append(number)

    if hashes:
        file.seek(0)
        _each_line(file, look_again)
    repeated = [(serial, at) for serial, at in lines.items() if len(at) > 1]
    return {
        "types": found.types,
        "odd": found.odd,
        "odd_count": found.odd_count,
        "repeated": repeated[:SHOWN],
        "repeated_count": len(repeated),
        "path": str(file.name),
        "mtime": int(of.st_mtime),
        "size": of.st_size,
    }


def _each_line(file: FileIO, use: Callable[[bytes, int], None]) -> None:
    buffered = io.BufferedReader(file, 1024 * 1024)
    try:
        for number, line in enumerate(iter(lambda: buffered.readline(_LINE_BYTES), b""), 1):
            use(line, number)
    finally:
        buffered.detach()  # which its owner closes


def _digits(serial: bytes) -> bytes:
    """A serial number as it is compared: `0a` and `A` are one."""
    return serial.upper().lstrip(b"0") or b"0"


@functools.lru_cache(maxsize=4096)
def _is_day(day: bytes) -> bool:
    try:
        times.parse_time(day + b"000000Z")
    except ValueError:
        return False
    return True
