"""Which row a serial number has in the index.

The file is opened once, and everything is read through that one descriptor, which sees one state of
the index unless somebody writes into it.  Then nothing but a revocation can be trusted: see
`index_file.may_be_a_mixture`.  Everything else is read again when the file has settled.  A mixture
that was left behind by a copy that was killed, and has settled, is recognized if its last line
breaks off, or by a row that no longer makes sense; not if it broke off just between two rows.

The search does not parse the file.  It goes through it in blocks, turns their letters into
capitals, and looks for the digits of each serial number.  index_row.py then says what the lines
that hold them mean, so a malformed line affects only its own serial number, and memory does not
grow with the index.  Where there is much to look for, or the digits stand in many lines, a block is
split into fields instead, which takes the same time for any number of serial numbers.
"""

from __future__ import annotations

import itertools
import posix
import time

from . import admission, index_file, index_row, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Set
    from io import FileIO

_BLOCK_BYTES = 128 * 1024  # what stays in a processor's cache between reading and searching
_LINE_BYTES = 1024 * 1024
_CAPITALS = bytes(range(256)).upper()
_HEX_DIGITS = b"0123456789ABCDEF"
_IN_PAIRS = _HEX_DIGITS + b":-X"
_BEFORE_SERIAL = index_row.SEPARATORS + b"-0X:"
_BEHIND_SERIAL = index_row.SEPARATORS + b"\n:"
_TRUNCATION_SECONDS = 0.1  # a file that is being truncated is empty before its times tell
# The time it takes to find something grows with the number of needles and, up to a length of
# _LONG_DIGITS, falls with theirs: a short one weighs as much as three long ones.
_LONG_DIGITS = 16
_MOST_WEIGHT = 9
_MOST_HITS = 50  # of one needle in a block
_MOST_ZEROS = 64  # in front of a serial number, where a block is split
_MOST_WARNINGS = 10  # of one search


class Found:
    """What a search has found: `rows` by serial number, and `warnings` about lines, for the log.

    `path` is the index, `fingerprint` its fingerprint, b"" if it was written to so lately that it
    may still change under the same one.  `is_settled` is False if only revocations can be trusted,
    so that a row may be missing; `has_known` is True if `also` was known, and not looked for.
    """

    __slots__ = (
        "_has_row",
        "_has_text",
        "_odd",
        "fingerprint",
        "has_known",
        "is_settled",
        "path",
        "rows",
        "warnings",
    )

    def __init__(self, path: str) -> None:
        self.path = path
        self.rows: dict[int, index_row.Row] = {}
        self.warnings: list[str] = []
        self.fingerprint = b""
        self.is_settled = True
        self.has_known = False
        self._odd: list[tuple[int, str, int | None]] = []
        self._has_row = False
        self._has_text = False

    def consider(self, line: bytes, offset: int, serial_numbers: set[int]) -> None:
        """Add what a line says of these serial numbers."""
        rows, warnings = index_row.read(line, offset, serial_numbers)
        for warning in warnings:
            self._warn(offset, warning)
        for number, row in rows:
            known = self.rows.setdefault(number, row)
            if known is row:
                continue
            text = "several rows for one serial, of which a revoked one is used; another is in"
            self._warn(offset, text, known.offset)
            if row.precedence > known.precedence:
                self.rows[number] = row

    def recognize(self, lines: bytearray, end: int) -> None:
        """Look for a row, of whatever serial number, in lines[:end], until one has been seen."""
        start = 0
        while start < end and not self._has_row:
            stop = lines.find(b"\n", start, end)
            stop = end if stop < 0 else stop
            line = bytes(lines[start:stop])
            self._has_row = index_row.is_row(line)
            self._has_text = self._has_text or not index_row.is_blank(line)
            start = stop + 1

    @property
    def is_index(self) -> bool:
        """Whether the file has a row, or is empty but for comments."""
        return self._has_row or not self._has_text

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing odd about any line so far, nor a reason to mistrust one."""
        return not self._odd and not any(row.warning or row.doubt for row in self.rows.values())

    def number_lines(self, file: FileIO) -> None:
        """Turn what was odd into warnings that name file and line; reads the file once more."""
        for row in self.rows.values():
            if row.warning:
                self._warn(row.offset, row.warning)
        offsets = {offset for odd in self._odd for offset in (odd[0], odd[2]) if offset is not None}
        lines = line_numbers(file, sorted(offsets))
        for offset, text, other in self._odd:
            end = "" if other is None else f" line {lines[other]}"
            self.warnings.append(f"{file.name} line {lines[offset]}: {text}{end}")

    def _warn(self, offset: int, text: str, other: int | None = None) -> None:
        """Remember what is odd about the line at this offset, and the line the text ends with."""
        if len(self._odd) < _MOST_WARNINGS:
            self._odd.append((offset, text, other))


class _Doubt(Exception):
    """Only revocations can be trusted in this file; the text says why.

    `found` is what was found all the same; `may_settle` whether reading it again may help.
    """

    def __init__(self, reason: str, found: Found, may_settle: bool):
        super().__init__(reason)
        self.found = found
        self.may_settle = may_settle


def find(
    db: str, serial_numbers: set[int], also: Set[int] = frozenset(), known_in: bytes = b""
) -> Found:
    """The rows of these serial numbers in the index of a `db` setting; some may have none.

    DatabaseUnavailable if the index cannot be read, or cannot be trusted in what it says, or does
    not say, of `serial_numbers`; those in `also` are looked for as far as it goes, unless the index
    has the fingerprint `known_in`.  Waits while it is written, limits.DATABASE_WAIT_SECONDS long.
    """
    deadline = time.monotonic() + limits.DATABASE_WAIT_SECONDS
    while True:
        try:
            return index_file.read(db, lambda file: _find(file, serial_numbers, also, known_in))
        except _Doubt as doubt:
            found, reason, may_settle = doubt.found, str(doubt), doubt.may_settle
        if all(number in found.rows and found.rows[number].is_revoked for number in serial_numbers):
            found.is_settled = False
            if not may_settle:
                found.warnings.append(reason)
            return found
        if not may_settle or time.monotonic() > deadline:
            raise index_file.DatabaseUnavailable(reason)
        admission.leave()
        index_file.wait_until_settled(db, deadline)


def _find(file: FileIO, serial_numbers: set[int], also: Set[int], known_in: bytes) -> Found:
    found = Found(str(file.name))
    before = posix.fstat(file.fileno())
    found.has_known = index_file.fingerprint(before) == known_in
    size, is_cut = _search(file, serial_numbers | (set() if found.has_known else also), found)
    if before.st_size == 0:
        time.sleep(_TRUNCATION_SECONDS)
    after = posix.fstat(file.fileno())
    found.number_lines(file)

    is_fresh = index_file.may_be_a_mixture(str(file.name), after)
    copy = "A copy must be written to another name and then renamed, as rsync and `mv` do"
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise _Doubt(f"{file.name} was written to while it was read. {copy}", found, True)
    if size < before.st_size:
        raise _Doubt(f"{file.name} ends after {size} of {before.st_size} bytes", found, is_fresh)
    if is_cut:
        reason = f"{file.name} breaks off in the middle of its last line. {copy}"
        raise _Doubt(reason, found, is_fresh)
    if is_fresh:
        raise _Doubt(f"{file.name} was written to a moment ago. {copy}", found, True)
    if not found.is_index:
        reason = (
            f"{file.name} has no row in it (six fields with TABs between them): is this the file"
            " that `openssl ca` writes?"
        )
        raise _Doubt(reason, found, False)
    for row in found.rows.values():
        if row.doubt:
            (line,) = line_numbers(file, [row.offset]).values()
            raise _Doubt(f"{file.name} line {line}: {row.doubt}", found, False)
    found.fingerprint = index_file.lasting_fingerprint(after, limits.DATABASE_SETTLING_SECONDS)
    return found


def _search(file: FileIO, serial_numbers: set[int], found: Found) -> tuple[int, bool]:
    """Add to `found` what the file says of these serial numbers.

    Returns how long the file was, and whether it breaks off in the middle of its last line.
    """
    needles = _Needles(serial_numbers)
    size = 0
    is_cut = False
    for offset, lines, end in whole_lines(file):
        found.recognize(lines, end)
        is_cut = _is_cut(bytes(lines[lines.rfind(b"\n", 0, end) + 1 : end]))
        for start, stop in needles.lines_in(lines, end):
            line = bytes(lines[start:stop])
            if is_cut and stop == end:
                line = line[: max(map(line.rfind, (b"\t", b" "))) + 1]  # its last word may go on
            found.consider(line, offset + start, serial_numbers)
        size = offset + end
    return size, is_cut


def _is_cut(last_line: bytes) -> bool:
    """Whether what stands behind the last newline is the beginning of a row.

    A file that was given its length before its contents has zeros where these are missing.
    """
    if index_row.is_blank(last_line):
        return False
    return last_line.count(b"\t") < 5 or b"\0" in last_line


class _Needles:
    """What to look for in the file: the digits of serial numbers, and how."""

    __slots__ = ("_digits", "_in_pairs", "_serial_numbers", "_spellings")

    def __init__(self, serial_numbers: set[int]):
        self._serial_numbers = serial_numbers
        self._digits = [b"%X" % abs(number) for number in serial_numbers]
        self._in_pairs = [pairs for digits in self._digits for pairs in _pairs(digits)]
        self._spellings: set[bytes] = set()

    def lines_in(self, lines: bytearray, end: int) -> list[tuple[int, int]]:
        """(start, end) of every line of lines[:end] that may say something of the serial numbers.

        lines[:end] is whole lines.
        """
        block = bytes(memoryview(lines)[:end]).translate(_CAPITALS)
        needles = self._digits + self._in_pairs if b":" in block else self._digits
        places = _lines_with(needles, block) if _weight(needles) <= _MOST_WEIGHT else None
        if places is None:
            places = self._split(block)
        return sorted(places)

    def _split(self, block: bytes) -> set[tuple[int, int]]:
        """The same, by splitting the block: into rows if it has nothing else, or into words."""
        if b"0" * _MOST_ZEROS in block:
            return set(_lines_of(block))
        fields = block.split(b"\t")
        serials, ends = fields[3::5], fields[5::5]
        spellings = self._every_spelling()
        if (
            len(fields) != 5 * len(serials) + 1
            or block.count(b"\n") != len(serials) - (not block.endswith(b"\n"))
            or 0 in map(bytes.count, ends[:-1], itertools.repeat(b"\n"))
            or b"\n" in ends[-1][:-1]
            or b"" in serials
            or b"".join(serials).translate(None, _HEX_DIGITS)
        ):
            return self._split_words(block)
        if spellings.isdisjoint(serials):
            return set()
        places = list(itertools.accumulate(map(len, fields)))
        hits = [5 * row + 3 for row, one in enumerate(serials) if one in spellings]
        return {_line_around(places[hit - 1] + hit, block) for hit in hits}

    def _split_words(self, block: bytes) -> set[tuple[int, int]]:
        """The same for lines of which some are not rows."""
        if not self._has_spelling(block):
            return set()
        return {(at, end) for at, end in _lines_of(block) if self._may_be_about(block[at:end])}

    def _may_be_about(self, line: bytes) -> bool:
        """Of a row only the serial number counts: subjects may have the same digits."""
        fields = line.split(b"\t", 6)
        if len(fields) == 6 and fields[3] and not fields[3].translate(None, _HEX_DIGITS):
            return fields[3] in self._every_spelling()
        return self._has_spelling(line)

    def _has_spelling(self, text: bytes) -> bool:
        """Whether a word of this text, which is in capitals, spells one of the serial numbers."""
        words = index_row.split_into_words(text)
        if not self._every_spelling().isdisjoint(words):
            return True
        if b":" not in text:
            return False
        in_pairs = [word for word in words if b":" in word and not word.translate(None, _IN_PAIRS)]
        return not self._serial_numbers.isdisjoint(index_row.numbers_in(in_pairs))

    def _every_spelling(self) -> set[bytes]:
        """The serial numbers as one word, with or without zeros in front."""
        if not self._spellings:
            padded = {b"0" * zeros + one for one in self._digits for zeros in range(_MOST_ZEROS)}
            signs = (b"", b"-", b"0X", b"-0X")
            self._spellings = {sign + digits for sign in signs for digits in padded}
        return self._spellings


def _weight(needles: list[bytes]) -> int:
    return sum(1 if len(needle) >= _LONG_DIGITS else 3 for needle in needles)


def _lines_of(block: bytes) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of every line."""
    start = 0
    for line in block.split(b"\n"):
        if line:
            yield start, start + len(line)
        start += len(line) + 1


def _every(needle: bytes, block: bytes) -> Iterator[int]:
    """Yield every place where the needle stands."""
    at = block.find(needle)
    while at >= 0:
        yield at
        at = block.find(needle, at + 1)


def _line_around(at: int, block: bytes) -> tuple[int, int]:
    """Where the line begins and ends in which this place is."""
    end = block.find(b"\n", at)
    return block.rfind(b"\n", 0, at) + 1, end if end >= 0 else len(block)


def _pairs(digits: bytes) -> list[bytes]:
    """Digits as `openssl x509 -text` prints them, `1A:02`, without a zero in front.

    Others leave out the zero of each pair.
    """
    if len(digits) < 3:
        return []
    even = digits.decode().zfill(len(digits) + len(digits) % 2)
    pairs = bytes.fromhex(even).hex(":").upper().encode()[even[0] == "0" :]
    return list({pairs: None, pairs.replace(b":0", b":"): None})


def _lines_with(needles: list[bytes], block: bytes) -> set[tuple[int, int]] | None:
    """(start, end) of every line with one of the needles as a word of its own.

    None if a needle stands in so many places that it is faster to split the block.
    """
    places = set()
    for needle in needles:
        for hits, at in enumerate(_every(needle, block)):
            if hits == _MOST_HITS:
                return None
            behind = at + len(needle)
            if (at == 0 or block[at - 1] in _BEFORE_SERIAL) and (
                behind == len(block) or block[behind] in _BEHIND_SERIAL
            ):
                places.add(_line_around(at, block))
    return places


def whole_lines(file: FileIO) -> Iterator[tuple[int, bytearray, int]]:
    """Yield (offset, lines, end): what is at this offset of the file is lines[:end].

    It ends behind a newline unless the file does not.  `lines` is one buffer, and only so long as
    the longest line needs.
    """
    buffer = bytearray(_BLOCK_BYTES)
    offset = rest = 0
    while count := file.readinto(memoryview(buffer)[rest:]):
        filled = rest + count
        end = buffer.rfind(b"\n", rest, filled) + 1
        if not end and filled >= _LINE_BYTES:
            end = filled
        if end:
            yield offset, buffer, end
            buffer[: filled - end] = buffer[end:filled]
        offset += end
        rest = filled - end
        if rest == len(buffer):
            buffer += bytes(len(buffer))
    if rest:
        yield offset, buffer, rest


def line_numbers(file: FileIO, offsets: list[int]) -> dict[int, int]:
    """The numbers of the lines that begin at these offsets, which are in ascending order."""
    numbers: dict[int, int] = {}
    position, newlines = 0, 0
    file.seek(0)
    for offset in offsets:
        while position < offset and (block := file.read(min(offset - position, _BLOCK_BYTES))):
            newlines += block.count(b"\n")
            position += len(block)
        numbers[offset] = newlines + 1
    return numbers
