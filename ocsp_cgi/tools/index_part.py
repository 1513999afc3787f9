"""The certificates in a part of an index that clients may ask about.

An index is divided into parts, at whatever bytes; a line belongs to the part in which it begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import FileIO
from typing import NamedTuple

from .. import index_row, index_search, times
from ..config import CASettings
from ..index_row import Row

_PART_BYTES = 8 * 1024  # some 80 rows: a quarter of a second of signing with RSA
_MOST_PARTS = 4096
_DAY = 24 * 60 * 60


class Part(NamedTuple):
    """From one offset of an index to another, as far as its rows are revoked, or are not."""

    start: int
    end: int
    is_revoked: bool


class Counts(NamedTuple):
    """How many rows of an index are revoked, and how many others clients may ask about."""

    revoked: int
    others: int


def parts(size: int, is_revoked: bool) -> list[Part]:
    """All of an index of this size."""
    length = max(_PART_BYTES, -(-size // _MOST_PARTS))
    return [Part(start, start + length, is_revoked) for start in range(0, size, length)]


def asked_since(ca: CASettings, now: int) -> int:
    """Clients have no reason to ask about a certificate that expired before this time, unless
    `archive_cutoff` says that the CA answers for longer."""
    if ca.archive_cutoff == "ca":
        return times.EPOCH
    return now - ca.archive_cutoff * _DAY if isinstance(ca.archive_cutoff, int) else now


def rows(file: FileIO, part: Part, since: int) -> Iterator[tuple[int, Row]]:
    """Yield serial number and row of each certificate that had not expired at the time `since`.

    A malformed line yields what it revokes.
    """
    for offset, line in _lines(file, part):
        for number, row in _read(line, offset):
            if row.is_revoked != part.is_revoked or row.cert_status.name == "unknown":
                continue
            if row.expiry is None or row.expiry >= since:
                yield number, row


def count(file: FileIO, since: int) -> Counts:
    """An estimate, in a microsecond for each row: only rows as `openssl ca` writes them are read
    closely enough to know whether they have expired."""
    limit = times.generalized_time(since)
    revoked = others = 0
    file.seek(0)
    for _, lines, end in index_search.whole_lines(file):
        for line in bytes(memoryview(lines)[:end]).split(b"\n"):
            kind, tab, rest = line.partition(b"\t")
            if not tab or (len(rest) > 13 and rest[13:14] == b"\t" and _century(rest) < limit):
                continue
            if kind == b"R":
                revoked += 1
            else:
                others += 1
    return Counts(revoked, others)


def _century(utc_time: bytes) -> bytes:
    """A UTCTime, and what may follow, with its century in front (RFC 5280 section 4.1.2.5.1)."""
    return (b"20" if utc_time < b"50" else b"19") + utc_time[:13]


def _read(line: bytes, offset: int) -> list[tuple[int, Row]]:
    if line.count(b"\t") == 5 and index_row.is_row(line):
        words = [line.split(b"\t")[3].strip()]
    else:  # it may spell several serial numbers
        words = index_row.split_into_words(line)
    return index_row.read(line, offset, index_row.numbers_in(words))[0]


def _lines(file: FileIO, part: Part) -> Iterator[tuple[int, bytes]]:
    """Yield offset and text of each line that begins in a part."""
    start = part.start
    file.seek(max(0, start - 1))
    if start:
        start += len(file.readline()) - 1
    for offset, lines, end in index_search.whole_lines(file):
        at = start + offset
        for line in bytes(memoryview(lines)[:end]).split(b"\n"):
            if at >= part.end:
                return
            yield at, line
            at += len(line) + 1
