"""Where each serial number stands in an index: a map that saves a process that stays the search.

The map is 8 bytes for each row, sorted: the upper bits are of a hash of the serial number, the
lower ones the offset of the row.  It only says where to look.  What is found there is read from the
file, with the code that a search uses, so a row means the same however it was found.

What is not in the map is not in the index, so the map must be complete.  It is made only of a whole
file that was not being written, and is used only while the file has the fingerprint it had then.
Every line that does not plainly speak of one serial number is listed, and considered each time.
Whatever cannot be told from the map, such as why a row cannot be trusted, is left to a search of
the file.

The map of a short index is made at once.  That of a long one takes seconds, in which the threads of
this process could do nothing else: another process makes it, and leaves it in a file in `cache`:

    ocsp-cgi index map 1 VERSION little
    crc32 of all that follows
    the fingerprint of the index
    whether there is a map; the number of bits of an offset, of rows, and of other lines
    the path of the index
    the rows, and the offsets of the other lines, 8 bytes each
"""

from __future__ import annotations

import binascii
import bisect
import os
import re
import sys
import time
from array import array

from . import __version__, index_file, index_row, index_search, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import FileIO
    from typing import BinaryIO

_FORMAT = f"ocsp-cgi index map 1 {__version__} {sys.byteorder}".encode()
_HEAD_BYTES = 8192
_CHUNK_BYTES = 1024 * 1024
_LINE_BYTES = 4096
_WORD = 2**64 - 1
_PRIME = 2**61 - 1
_SPREAD = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio
_PARTS = 256  # in which the rows are sorted, so that sorting takes little memory
# A row that says nothing of any serial number but the one in its fourth field: see index_row.read.
_PLAIN = re.compile(
    rb"^[VRES]\t[0-9]{10,14}Z\t(?:[0-9]{10,14}Z(?:,[A-Za-z0-9,.]*[0-9A-QS-Za-qs-z])?)?"
    rb"\t([0-9A-Fa-f]{1,64})\tunknown\t[^\t\n]*\n",
    re.MULTILINE,
)


class IndexMap:
    """A map of the index that has this `fingerprint`; with `entries` None, one that says that there
    can be no map of it."""

    __slots__ = ("_entries", "_others", "_shift", "fingerprint")

    def __init__(
        self, fingerprint: bytes, shift: int, entries: array[int] | None, others: array[int]
    ):
        """`shift` is the number of bits of an offset, `others` are the offsets of the lines that
        are not plain rows."""
        self.fingerprint = fingerprint
        self._shift = shift
        self._entries = entries
        self._others = others

    def find(self, file: FileIO, serial_numbers: set[int]) -> index_search.Found | None:
        """What a search of the open index would find of these serial numbers; None if only that can
        tell."""
        if self._entries is None:
            return None
        found = index_search.Found(str(file.name))
        descriptor = file.fileno()
        places = [(offset, -1) for offset in self._others]
        for number in serial_numbers:
            places += self._places(number)
        for offset, hashed in sorted(places):
            line = _line_at(descriptor, offset)
            if line is None:
                return None
            if hashed >= 0:
                row = _PLAIN.match(line + b"\n")
                if row is None or _hash(int(row[1], 16)) >> self._shift != hashed:
                    return None
            found.consider(line, offset, serial_numbers)
        after = os.fstat(descriptor)
        if index_file.fingerprint(after) != self.fingerprint or not found.is_plain:
            return None
        if index_file.may_be_a_mixture(str(file.name), after):  # since the file was opened
            return None
        found.fingerprint = index_file.lasting_fingerprint(after, limits.DATABASE_SETTLING_SECONDS)
        return found

    def _places(self, number: int) -> list[tuple[int, int]]:
        """(offset, hash) of each row that may have this serial number."""
        entries, shift = self._entries, self._shift
        assert entries is not None
        hashed = _hash(number) >> shift
        at = bisect.bisect_left(entries, hashed << shift)
        places = []
        while at < len(entries) and entries[at] >> shift == hashed:
            places.append((entries[at] & ((1 << shift) - 1), hashed))
            at += 1
        return places

    def write(self, file: BinaryIO, path: str) -> None:
        """Write the map of the index in `path`."""
        entries = array("Q") if self._entries is None else self._entries
        numbers = [self._entries is not None, self._shift, len(entries), len(self._others)]
        head = b"%s\n%s\n%s\n" % (
            self.fingerprint,
            " ".join([str(int(one)) for one in numbers]).encode(),
            os.fsencode(path),
        )
        crc = binascii.crc32(head)
        for words in (entries, self._others):
            crc = binascii.crc32(memoryview(words).cast("B") if words else b"", crc)
        file.write(b"%s\n%08x\n" % (_FORMAT, crc) + head)
        entries.tofile(file)
        self._others.tofile(file)


def _hash(number: int) -> int:
    """64 bits, of which the upper ones differ for most numbers."""
    return number % _PRIME * _SPREAD & _WORD


def _line_at(descriptor: int, offset: int) -> bytes | None:
    """The line that begins at this offset, without its newline; None if none begins there, or it is
    long."""
    content = os.pread(descriptor, 1 + _LINE_BYTES, offset - 1 if offset else 0)
    if offset:
        if content[:1] != b"\n":
            return None
        content = content[1:]
    line, newline, _ = content.partition(b"\n")
    return line if newline else None


def make(file: FileIO) -> IndexMap | None:
    """A map of the open index; None if the file is empty, or was written to meanwhile, or so lately
    that this could not be seen.

    Takes a microsecond for each row.
    """
    before = os.fstat(file.fileno())
    fingerprint = index_file.fingerprint(before)
    if time.time() < readable_from(before) or not before.st_size:  # perhaps being truncated
        return None
    shift = max(1, before.st_size.bit_length())
    parts: list[array[int]] = [array("Q") for _ in range(_PARTS)]
    others: array[int] = array("Q")
    found = index_search.Found(str(file.name))
    size, is_whole = 0, True
    file.seek(0)
    for offset, lines, end in index_search.whole_lines(file):
        found.recognize(lines, end)
        block = bytes(memoryview(lines)[:end])
        position = 0
        for match in _PLAIN.finditer(block):
            start = match.start()
            if start != position:
                _add_others(others, block, position, start, offset)
            hashed = _hash(int(match[1], 16))
            parts[hashed >> 56].append(hashed >> shift << shift | offset + start)
            position = match.end()
        _add_others(others, block, position, end, offset)
        size = offset + end
        is_whole = is_whole and block.endswith(b"\n")
        if not is_whole or len(others) > limits.MAPPED_OTHER_LINES:
            break
    after = os.fstat(file.fileno())
    if index_file.fingerprint(after) != fingerprint:
        return None
    has_few_others = len(others) <= limits.MAPPED_OTHER_LINES
    if size != before.st_size or not is_whole or not found.is_index or not has_few_others:
        return IndexMap(fingerprint, shift, None, array("Q"))
    entries: array[int] = array("Q")
    for number, part in enumerate(parts):
        entries.extend(array("Q", sorted(part)))
        parts[number] = array("Q")
    return IndexMap(fingerprint, shift, entries, others)


def _add_others(others: array[int], block: bytes, start: int, end: int, offset: int) -> None:
    """Add the lines between two places of a block, but for comments and empty ones."""
    while start < end:
        stop = block.find(b"\n", start, end) + 1 or end
        if not index_row.is_blank(block[start:stop]):
            others.append(offset + start)
        start = stop


def readable_from(of: os.stat_result) -> float:
    """The time from which on whoever reads a file with this stat reads what any later change of it
    would give another fingerprint.

    A change within the same tick of the file system's clock would not.  A tick is a hundredth of a
    second, where times have digits for that.
    """
    ticks_often = of.st_ctime_ns % 1_000_000 != 0
    return of.st_ctime + (0.1 if ticks_often else limits.DATABASE_SETTLING_SECONDS)


def read(file: BinaryIO, path: str) -> IndexMap | None:
    """The map in a file, None if it is not a whole one of the index in `path`."""
    head = file.read(_HEAD_BYTES).split(b"\n", 5)
    if len(head) != 6 or head[0] != _FORMAT or head[4] != os.fsencode(path):
        return None
    _, checksum, fingerprint, numbers, _, rest = head
    words: array[int] = array("Q")
    crc = binascii.crc32(b"\n".join([fingerprint, numbers, head[4], b""]))
    while rest:
        whole = len(rest) - len(rest) % words.itemsize
        crc = binascii.crc32(rest[:whole], crc)
        words.frombytes(rest[:whole])
        more = file.read(_CHUNK_BYTES)
        if not more and whole != len(rest):
            return None
        rest = rest[whole:] + more
    if checksum != b"%08x" % crc:
        return None
    is_complete, shift, rows, others = map(int, numbers.split(b" "))
    if len(words) != rows + others:
        return None
    other_lines = words[rows:]
    del words[rows:]
    return IndexMap(fingerprint, shift, words if is_complete else None, other_lines)
