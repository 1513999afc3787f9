"""The database of `openssl ca`: which row a serial number has, and what the row says.

`openssl ca` keeps one line for each certificate, six fields with a TAB between:

    type   expiry         revocation                   serial   filename  subject
    R      270220135115Z  261122135115Z,keyCompromise  40C096   unknown   /C=GB/O=Example/CN=www

The file is opened once for each call, and everything is read through that one descriptor, which sees one state of it.

What a reader can know of a copy in progress, by scp, by cp or by rsync --inplace, which all write into the file that is read:
that it ends before the size it had when it was opened; that its last line breaks off; that it was written to while it was
read, or a moment ago.  In each case a row that was found is believed, since whoever copies does not invent rows, but that a
row was not found means nothing: there is no answer then.  What it cannot know is that a copy was given up, long ago, just
at the end of a line.  A copy under another name that is renamed (rsync's way) is never seen half.

The search does not parse the file.  It looks for the serial's digits block by block, in one buffer, and takes apart only the
lines that hold them, so an odd line hurts nobody but its own serial, and memory does not grow with the index.  Serials are
compared as numbers: `0a`, `0A`, `A` and `00A` are one.  Of several rows for one serial a revoked one wins.  In an index of
more than _FOLDED_BYTES a serial is looked for in capitals, as openssl writes it, and only if it is not there in small letters.
"""

from __future__ import annotations

import posix
import time

from . import der, index, limits, messages, times

_BLOCK_BYTES = 128 * 1024  # what stays in a processor's cache between reading and searching
_LINE_BYTES = 1024 * 1024
_FOLDED_BYTES = 4 * 1024 * 1024
_HEX_DIGITS = b"0123456789ABCDEFabcdef"
_BEFORE_SERIAL = b"\t -0"
_BEHIND_SERIAL = b"\t "
_SHORT_DIGITS = 8  # so few stand in many places
_TRUNCATION_SECONDS = 0.1  # a file that is being truncated is empty before its times tell
_MOST_NEEDLES = 8  # serial numbers to look for one by one; for more it is faster to take every line apart
_MOST_REMARKS = 10  # in one search

# openssl's names of reasons in lower case (crl_reasons of apps/lib/apps.c), and RFC 5280's own where they differ.
# unspecified should be left out (RFC 5280 section 5.3.1), removeFromCRL belongs to delta CRLs alone.
_REASONS = {
    b"": None,
    b"unspecified": None,
    b"removefromcrl": None,
    b"keycompromise": messages.KEY_COMPROMISE,
    b"cacompromise": messages.CA_COMPROMISE,
    b"affiliationchanged": messages.AFFILIATION_CHANGED,
    b"superseded": messages.SUPERSEDED,
    b"cessationofoperation": messages.CESSATION_OF_OPERATION,
    b"certificatehold": messages.CERTIFICATE_HOLD,
    b"privilegewithdrawn": messages.PRIVILEGE_WITHDRAWN,
    b"aacompromise": messages.AA_COMPROMISE,
    # written by -crl_hold, -crl_compromise and -crl_CA_compromise, each with an argument after a comma
    b"holdinstruction": messages.CERTIFICATE_HOLD,
    b"keytime": messages.KEY_COMPROMISE,
    b"cakeytime": messages.CA_COMPROMISE,
}
_HOLD_INSTRUCTIONS = {
    b"holdinstructionnone": "1.2.840.10040.2.1",
    b"holdinstructioncallissuer": "1.2.840.10040.2.2",
    b"holdinstructionreject": "1.2.840.10040.2.3",
}


class Row:
    """One row: `line` as it stands in the file, `offset` where it begins, `type` its letter, `revocation` its third field.

    What it says is in `cert_status` and in `single_extensions`, (OBJECT IDENTIFIER, value) pairs; `remark` tells what
    was odd about it, "" if nothing was.

    A certificate past its expiry stays what it was: V and E are good, since `openssl ca -updatedb` sets E by a date it
    may misread, and `good` says nothing of validity (RFC 6960 section 2.2).  A row that marks its certificate as
    revoked does so however little of the rest can be read.
    """

    __slots__ = ("line", "offset", "type", "revocation", "cert_status", "single_extensions", "remark")

    def __init__(self, line: bytes, offset: int):
        """Read a line that has six fields."""
        self.line = line
        self.offset = offset
        fields = _fields(line)
        self.type = fields[0][:1]
        self.revocation = fields[2].strip()
        self.single_extensions: list[tuple[bytes, bytes]] = []
        self.remark = ""
        if self.type in (b"V", b"E"):
            self.cert_status = messages.CertStatus("good")
            if self.revocation:
                self.remark = "it is marked as valid and has a revocation date: good"
        elif self.type in (b"R", b"S"):
            self.cert_status = self._revoked()
        else:
            self.cert_status = messages.CertStatus("unknown")
            self.remark = f"type {_readable(self.type)} is none of V, R, E, S: unknown"

    def _revoked(self) -> messages.CertStatus:
        date, _, reason = self.revocation.partition(b",")
        word, _, argument = reason.partition(b",")
        word, argument = word.strip().lower(), argument.strip()
        try:
            revocation_time = times.parse_time(date.strip())
        except ValueError:
            self.remark = f"revocation date {_readable(date)} cannot be read: revoked at 1970-01-01, without a reason"
            revocation_time, word = times.EPOCH, b""
        if self.type == b"S":
            return messages.CertStatus("revoked", revocation_time, messages.CERTIFICATE_HOLD)
        if word not in _REASONS:
            self.remark = f"revocation reason {_readable(word)} is none that `openssl ca` writes: revoked without a reason"
        try:
            if word == b"holdinstruction":
                hold_instruction = der.oid(_HOLD_INSTRUCTIONS.get(argument.lower()) or argument.decode("ascii"))
                value = der.tlv(der.OBJECT_IDENTIFIER, hold_instruction)
                self.single_extensions.append((messages.HOLD_INSTRUCTION_CODE, value))
            elif word in (b"keytime", b"cakeytime"):
                invalidity_date = times.generalized_time(times.parse_generalized_time(argument))
                self.single_extensions.append((messages.INVALIDITY_DATE, der.tlv(der.GENERALIZED_TIME, invalidity_date)))
        except ValueError:
            self.remark = f"{_readable(argument)} after {_readable(word)} cannot be read: answered without it"
        return messages.CertStatus("revoked", revocation_time, _REASONS.get(word))

    @property
    def precedence(self) -> int:
        """Which of several rows for one serial number counts: the first of the highest precedence."""
        return {b"R": 3, b"S": 2, b"V": 1, b"E": 1}.get(self.type, 0)


class Found:
    """What a search has found: `rows` by serial number, and `remarks` on odd lines, in words for the operator.

    `stamp` is that of the index, b"" if it was written to so lately that it may still change under the same one.
    """

    __slots__ = ("rows", "remarks", "stamp", "_odd")

    def __init__(self) -> None:
        self.stamp = b""
        self.rows: dict[int, Row] = {}
        self.remarks: list[str] = []
        self._odd: list[tuple[int, str, int | None]] = []

    def remark(self, offset: int, text: str, other: int | None = None) -> None:
        """Remember something odd about the line at this offset, and the other line that it ends with, if any."""
        if len(self._odd) < _MOST_REMARKS:
            self._odd.append((offset, text, other))

    def number_lines(self, file) -> None:
        """Turn what was odd into remarks that name file and line.  Reads the file once more, so there is no cost without need."""
        offsets = {offset for odd in self._odd for offset in (odd[0], odd[2]) if offset is not None}
        lines = _line_numbers(file, sorted(offsets))
        for offset, text, other in self._odd:
            end = "" if other is None else f" line {lines[other]}"
            self.remarks.append(f"{file.name} line {lines[offset]}: {text}{end}")


def find(directory: str, serial_numbers: set[int], also: set[int] = frozenset()) -> Found:
    """The rows of these serial numbers in the index of a db directory; one that is not there has no row.

    DatabaseUnavailable if the index cannot be read, or breaks off (as a copy in progress does) and so might have held
    one of `serial_numbers` that was not found above its end; those in `also` are looked for as far as it goes.
    """
    return index.read(directory, lambda file: _find(file, serial_numbers, also))


def _find(file, serial_numbers: set[int], also: set[int]) -> Found:
    found = Found()
    torn = _search(file, serial_numbers | also, found)
    if torn and not serial_numbers <= found.rows.keys():
        raise index.DatabaseUnavailable(f"{file.name} {torn}: is it being copied? Copy it to another name and rename it, as rsync does")
    for row in found.rows.values():
        if row.remark:
            found.remark(row.offset, row.remark)
    found.number_lines(file)
    return found


def _search(file, serial_numbers: set[int], found: Found) -> str:
    """Add to `found` what the file says of these serial numbers.  Returns what shows that it is not whole, or ""."""
    before = posix.fstat(file.fileno())
    folded = before.st_size <= _FOLDED_BYTES or len(serial_numbers) > _MOST_NEEDLES  # taking a line apart is for every spelling
    size, last = _scan(file, serial_numbers, found, bytes.upper, folded)
    missing = serial_numbers - found.rows.keys()
    if missing and not folded:
        file.seek(0)
        size, last = _scan(file, missing, found, bytes.lower, False)
    if before.st_size == 0:
        time.sleep(_TRUNCATION_SECONDS)
    after = posix.fstat(file.fileno())
    if size < before.st_size:
        return f"ends after {size} of {before.st_size} bytes"
    if last.strip() and not last.startswith(b"#") and last.count(b"\t") < 5:
        return "breaks off in the middle of its last line"
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return "was written to while it was read"
    now = time.time()
    if not 0 <= now - after.st_ctime < limits.DATABASE_SETTLING_SECONDS:
        found.stamp = index.stamp(after)
    # Renaming a file, as `openssl ca` does when it is whole, changes its ctime after its mtime; writing changes both at once.
    if after.st_mtime_ns == after.st_ctime_ns and 0 <= now - after.st_mtime < limits.DATABASE_SETTLING_SECONDS:
        return "was written to a moment ago"
    return ""


def _scan(file, serial_numbers: set[int], found: Found, spelling, folded: bool) -> tuple[int, bytes]:
    """Add to `found` what the file says of these serial numbers where they are written in one `spelling`, bytes.upper or bytes.lower,
    or in any if `folded`.  Returns how long the file was, and its last line if that has no newline."""
    digits = [spelling(b"%X" % abs(number)) for number in serial_numbers]
    needles = {some + behind for some in digits for behind in ((b"",) if len(some) >= _SHORT_DIGITS else (b"\t", b" "))}
    every_line = len(serial_numbers) > _MOST_NEEDLES
    offset = end = 0
    lines = bytearray()
    for offset, lines, end in _whole_lines(file):
        if every_line:
            places = _every_line(lines, end)
        else:
            places = _lines_with(needles, lines[:end].upper() if folded else lines, end)
        for start, behind in places:
            _consider(bytes(lines[start:behind]), offset + start, serial_numbers, found)
    return offset + end, bytes(lines[lines.rfind(b"\n", 0, end) + 1 : end])


def _lines_with(needles: set[bytes], lines: bytearray, end: int):
    """Yield (start, end) of every line of lines[:end] in which one of the needles may be the end of a serial number.

    The octets around a needle sort out nearly all that are not: a serial begins behind a TAB, a blank, a sign or a zero, and
    a TAB or a blank follows.
    """
    for needle in needles:
        at = lines.find(needle, 0, end)
        while at >= 0:
            behind = at + len(needle)
            if lines[at - 1] in _BEFORE_SERIAL and (needle[-1:].isspace() or behind < end and lines[behind] in _BEHIND_SERIAL):
                line_end = lines.find(b"\n", at, end)
                line_end = end if line_end < 0 else line_end
                yield lines.rfind(b"\n", 0, at) + 1, line_end
                at = lines.find(needle, line_end, end)
            else:
                at = lines.find(needle, at + 1, end)


def _every_line(lines: bytearray, end: int):
    start = 0
    while start < end:
        line_end = lines.find(b"\n", start, end)
        line_end = end if line_end < 0 else line_end
        yield start, line_end
        start = line_end + 1


def _whole_lines(file):
    """Yield (offset, lines, end): what is at this offset of the file is lines[:end], and ends behind a newline unless the file does
    not.  `lines` is one buffer, and only so long as the longest line needs."""
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


def _consider(line: bytes, offset: int, serial_numbers: set[int], found: Found) -> None:
    """Add the row in `line` to `found` if it is that of one of these serial numbers."""
    fields = _fields(line)
    if len(fields) < 6 or fields[0][:1] == b"#":
        if line[:1] != b"#" and not serial_numbers.isdisjoint(map(_serial_number, fields)):
            found.remark(offset, "skipped, since it is no row of six fields")
        return
    number = _serial_number(fields[3])
    if number is None:
        found.remark(offset, f"skipped, since {_readable(fields[3])} is no serial number")
    if number not in serial_numbers:
        return
    row = Row(line, offset)
    known = found.rows.setdefault(number, row)
    if known.offset != offset:
        found.remark(offset, "a revoked one counts, of several rows for one serial; another is in", known.offset)
        if row.precedence > known.precedence:
            found.rows[number] = row


def _fields(line: bytes) -> list[bytes]:
    """The fields of a line, with what editors leave before the first taken off."""
    return line.lstrip(b"\xef\xbb\xbf \t").split(b"\t", 5)


def _serial_number(field: bytes) -> int | None:
    """The number a serial field spells, None if it spells none."""
    field = field.strip()
    digits = field[1:] if field[:1] == b"-" else field
    if not digits or digits.strip(_HEX_DIGITS):
        return None
    return int(field, 16)


def _line_numbers(file, offsets: list[int]) -> dict[int, int]:
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


def _readable(text: bytes) -> str:
    return "`" + text[:80].decode("ascii", "backslashreplace") + "`"
