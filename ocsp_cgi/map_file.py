"""The map of an index in a file: where each serial number stands, without reading the index, nor
all of the map.

index_map.py says what a map is, and makes it.  In its file it is a sequence of blocks of 4096
bytes.  The first one is the head:

    ocsp-cgi index map 2 VERSION little
    crc32 of all that follows in this block
    the fingerprint of the index
    whether there is a map; the number of bits of an offset, and of rows
    the offsets of the lines that are not plain rows, with blanks between them

Each of the others has 511 entries, which are sorted, and a checksum.  This includes the number of
the block and the whole head, so that a block of another place, or of another map, does not fit.

What is not in the map is not in the index, so nothing in the file is used before it was verified.
Hashes are spread evenly: where one has to be can be computed, but for a few blocks.  These are
read, up to one entry that is less and one that is more.  That a serial number has no row is known
only then.  If anything does not fit, the map is Corrupt, and the index is searched.

Who can write this file can hide a revocation.  So it is used only if it belongs to root, to the
owner of the index, or to the user of this process, and nobody else may write to it.
"""

from __future__ import annotations

import binascii
import posix
import sys

from . import __version__, index_file, index_search, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import FileIO

_FORMAT = f"ocsp-cgi index map 2 {__version__} {sys.byteorder}".encode()
BLOCK_BYTES = 4096
ENTRIES = BLOCK_BYTES // 8 - 1  # in a block
_MOST_BLOCKS = 64  # for one serial number
_LINE_BYTES = 4096
_WORD = 2**64 - 1
_PRIME = 2**61 - 1
_SPREAD = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio
_HEX_DIGITS = b"0123456789ABCDEFabcdef"
_REGULAR, _FILE_TYPE, _WRITABLE_FOR_OTHERS = 0o100000, 0o170000, 0o022
# Something that is not a file must neither be waited for nor lead elsewhere.
_FLAGS = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOFOLLOW | posix.O_CLOEXEC


class Corrupt(Exception):
    """What should be a map is damaged, or a piece of one."""


class Map:
    """A map of the index that has this `fingerprint`.

    If not `is_complete`, it says that there can be no map of it.  `shift` is the number of bits of
    an offset, `others` are the offsets of the lines that are not plain rows.
    """

    __slots__ = ("fingerprint", "is_complete", "others", "shift")

    def __init__(self, fingerprint: bytes, is_complete: bool, shift: int, others: Sequence[int]):
        self.fingerprint = fingerprint
        self.is_complete = is_complete
        self.shift = shift
        self.others = others

    def entries(self, low: int, high: int) -> list[int]:
        """All entries that are not less than `low`, and less than `high`.  Corrupt if that cannot
        be told."""
        raise NotImplementedError

    def find(self, file: FileIO, serial_numbers: set[int]) -> index_search.Found | None:
        """What a search of the open index would find of these serial numbers; None if only that can
        tell.  Corrupt if the map is."""
        if not self.is_complete:
            return None
        found = index_search.Found(str(file.name))
        descriptor, shift = file.fileno(), self.shift
        places = [(offset, -1) for offset in self.others]
        for number in serial_numbers:
            hashed = hash_of(number) >> shift
            offsets = self.entries(hashed << shift, (hashed + 1) << shift)
            places += [(entry & ((1 << shift) - 1), hashed) for entry in offsets]
        for offset, hashed in sorted(places):
            line = _line_at(descriptor, offset)
            if line is None or (hashed >= 0 and _hash_in(line) >> shift != hashed):
                return None
            found.consider(line, offset, serial_numbers)
        after = posix.fstat(descriptor)
        if index_file.fingerprint(after) != self.fingerprint or not found.is_plain:
            return None
        if index_file.may_be_a_mixture(str(file.name), after):  # since the file was opened
            return None
        found.fingerprint = index_file.lasting_fingerprint(after, limits.DATABASE_SETTLING_SECONDS)
        return found


class MapFile(Map):
    """A map that is read from its open file where it is needed."""

    __slots__ = ("_blocks", "_descriptor", "_rows", "_seed")

    def __init__(self, descriptor: int):
        """Corrupt if the file has no head, or is not as long as that says."""
        head = posix.pread(descriptor, BLOCK_BYTES, 0)
        name, _, rest = head.partition(b"\n")
        checksum, _, text = rest.partition(b"\n")
        if name != _FORMAT or len(head) != BLOCK_BYTES or checksum != b"%08x" % _crc32(text):
            raise Corrupt
        fingerprint, numbers, others, _ = text.split(b"\n", 3)
        is_complete, shift, self._rows = map(int, numbers.split())
        super().__init__(fingerprint, bool(is_complete), shift, [*map(int, others.split())])
        self._descriptor = descriptor
        self._seed = _crc32(head)
        self._blocks: dict[int, memoryview] = {}  # those of one serial number
        if posix.fstat(descriptor).st_size != BLOCK_BYTES * (1 + self._count):
            raise Corrupt

    def entries(self, low: int, high: int) -> list[int]:
        found: list[int] = []
        if not self._rows:
            return found
        last = self._count - 1
        number = low * self._count >> 64
        self._blocks = {}
        while number > 0 and self._block(number)[0] >= low:
            number -= 1
        while number < last and self._block(number + 1)[0] < low:
            number += 1
        while True:
            block = self._block(number)
            found += [entry for entry in block if low <= entry < high]
            if number == last or block[-1] >= high:
                return found
            number += 1

    def all_blocks(self) -> Iterator[memoryview]:
        """Yield the entries of every block.  Corrupt at the first that does not fit."""
        return (self._read(number) for number in range(self._count))

    @property
    def _count(self) -> int:
        return -(-self._rows // ENTRIES)

    def _block(self, number: int) -> memoryview:
        if number not in self._blocks:
            if len(self._blocks) == _MOST_BLOCKS:
                raise Corrupt
            self._blocks[number] = self._read(number)
        return self._blocks[number]

    def _read(self, number: int) -> memoryview:
        """The entries of a block."""
        content = posix.pread(self._descriptor, BLOCK_BYTES, BLOCK_BYTES * (1 + number))
        if len(content) != BLOCK_BYTES:
            raise Corrupt
        words = memoryview(content).cast("Q")
        if words[ENTRIES] != _checksum(content[:-8], number, self._seed):
            raise Corrupt
        return words[: min(ENTRIES, self._rows - number * ENTRIES)]


def open_map(path: str, index: posix.stat_result) -> int:
    """The descriptor of a file with a map of the index that has this stat.

    OSError if there is none, PermissionError if somebody else may have written it.
    """
    descriptor = posix.open(path, _FLAGS)
    of = posix.fstat(descriptor)
    is_regular = of.st_mode & _FILE_TYPE == _REGULAR
    is_theirs = of.st_uid in (0, index.st_uid, posix.geteuid())
    if not is_regular or not is_theirs or of.st_mode & _WRITABLE_FOR_OTHERS:
        posix.close(descriptor)
        raise PermissionError(f"{path}: not used, since others may have written it")
    return descriptor


def head(map_: Map, rows: int) -> bytes:
    """The first block of a file."""
    text = b"%s\n%d %d %d\n%s\n" % (
        map_.fingerprint,
        map_.is_complete,
        map_.shift,
        rows,
        " ".join(map(str, map_.others)).encode(),
    )
    text = text.ljust(BLOCK_BYTES - len(_FORMAT) - len("\n01234567\n"), b"\0")
    return b"%s\n%08x\n%s" % (_FORMAT, _crc32(text), text)


def block(entries: bytes, number: int, its_head: bytes) -> bytes:
    """One of the blocks behind the head; the last one may have fewer entries."""
    entries = entries.ljust(8 * ENTRIES, b"\0")
    checksum = _checksum(entries, number, _crc32(its_head))
    return entries + checksum.to_bytes(8, sys.byteorder)


def hash_of(number: int) -> int:
    """64 bits, of which the upper ones differ for most numbers."""
    return number % _PRIME * _SPREAD & _WORD


def _hash_in(line: bytes) -> int:
    """The hash of the serial number of a row; -1 if this is none."""
    fields = line.split(b"\t")
    if len(fields) != 6 or not fields[3] or fields[3].strip(_HEX_DIGITS):
        return -1
    return hash_of(int(fields[3], 16))


def _line_at(descriptor: int, offset: int) -> bytes | None:
    """The line that begins at this offset, without its newline; None if none begins there, or it is
    long."""
    content = posix.pread(descriptor, 1 + _LINE_BYTES, offset - 1 if offset else 0)
    if offset:
        if content[:1] != b"\n":
            return None
        content = content[1:]
    line, newline, _ = content.partition(b"\n")
    return line if newline else None


def _checksum(entries: bytes, number: int, seed: int) -> int:
    return _crc32(entries, _crc32(b"%d" % number, seed))


def _crc32(content: bytes, seed: int = 0) -> int:
    return binascii.crc32(content, seed)
