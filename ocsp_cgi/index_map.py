"""Where each serial number stands in an index: a map that saves the search.

The map is 8 bytes for each row, sorted: the upper bits are of a hash of the serial number, the
lower ones the offset of the row.  It only says where to look.  What is found there is read from the
file, with the code that a search uses, so a row means the same however it was found.

What is not in the map is not in the index, so the map must be complete.  It is made only of a whole
file that was not being written, and is used only while the file has the fingerprint it had then.
Every line that does not plainly speak of one serial number is listed, and considered each time.
Whatever cannot be told from the map, such as why a row cannot be trusted, is left to a search of
the file.

The map of a short index is made at once.  That of a long one takes seconds: it is made by another
process, and written to a file: see map_file.py for its format, and sidecar.py for its place.
"""

from __future__ import annotations

import bisect
import os
import re
import time
from array import array

from . import index_file, index_row, index_search, limits, map_file
from .map_file import Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import FileIO
    from typing import BinaryIO

_PARTS = 256  # in which the rows are sorted, so that sorting takes little memory
# A row that says nothing of any serial number but the one in its fourth field: see index_row.read.
_PLAIN = re.compile(
    rb"^[VRES]\t[0-9]{10,14}Z\t(?:[0-9]{10,14}Z(?:,[A-Za-z0-9,.]*[0-9A-QS-Za-qs-z])?)?"
    rb"\t([0-9A-Fa-f]{1,64})\tunknown\t[^\t\n]*\n",
    re.MULTILINE,
)


class IndexMap(Map):
    """A map in memory; `others` has no more than limits.MAPPED_OTHER_LINES."""

    __slots__ = ("_entries",)

    def __init__(
        self, fingerprint: bytes, shift: int, entries: array[int] | None, others: Sequence[int]
    ):
        """With `entries` None, there can be no map of the index."""
        super().__init__(fingerprint, entries is not None, shift, others)
        self._entries = array("Q") if entries is None else entries

    def entries(self, low: int, high: int) -> list[int]:
        entries = self._entries
        return list(entries[bisect.bisect_left(entries, low) : bisect.bisect_left(entries, high)])

    def write(self, file: BinaryIO) -> None:
        """Write the map to a file that is empty."""
        head = map_file.head(self, len(self._entries))
        file.write(head)
        for number, at in enumerate(range(0, len(self._entries), map_file.ENTRIES)):
            entries = self._entries[at : at + map_file.ENTRIES].tobytes()
            file.write(map_file.block(entries, number, head))


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
    others: list[int] = []
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
            hashed = map_file.hash_of(int(match[1], 16))
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
        return IndexMap(fingerprint, shift, None, [])
    entries: array[int] = array("Q")
    for number, part in enumerate(parts):
        entries.extend(array("Q", sorted(part)))
        parts[number] = array("Q")
    return IndexMap(fingerprint, shift, entries, others)


def _add_others(others: list[int], block: bytes, start: int, end: int, offset: int) -> None:
    """Add the lines between two places of a block, but for comments and empty ones."""
    while start < end:
        stop = block.find(b"\n", start, end) + 1 or end
        if not index_row.is_blank(block[start:stop]):
            others.append(offset + start)
        start = stop


def readable_from(of: os.stat_result) -> float:
    """When a file with this stat may be read: a change after that gives it another fingerprint.

    A change within the same tick of the file system's clock would not.  A tick is a hundredth of a
    second, where times have digits for that.
    """
    ticks_often = of.st_ctime_ns % 1_000_000 != 0
    return of.st_ctime + (0.1 if ticks_often else limits.DATABASE_SETTLING_SECONDS)


def read(descriptor: int) -> IndexMap:
    """The map in an open file.  Corrupt if it is not a whole one."""
    file = map_file.MapFile(descriptor)
    entries: array[int] = array("Q")
    for block in file.all_blocks():
        entries.frombytes(block.cast("B"))
    return IndexMap(
        file.fingerprint, file.shift, entries if file.is_complete else None, file.others
    )
