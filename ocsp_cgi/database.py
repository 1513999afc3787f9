"""The database of `openssl ca`: which row a serial number has, and what the row says.

`openssl ca` keeps one line for each certificate, six fields with a TAB between:

    type   expiry         revocation                   serial   filename  subject
    R      270220135115Z  261122135115Z,keyCompromise  40C096   unknown   /C=GB/O=Example/CN=www

It rewrites the file for each change and renames it into place; between its two renames there is no file, so a missing
one is waited for.  `index.old` is never read: it is the state before the revocation that is being written.  The file is
opened once for each call, and everything is read through that one descriptor, which sees one state of it.

What a reader can know of a copy in progress, by scp, by cp or by rsync --inplace, which all write into the file that is read:
that it ends before the size it had when it was opened; that its last line breaks off; that it was written to while it was
read, or a moment ago.  In each case a row that was found is believed, since whoever copies does not invent rows, but that a
row was not found means nothing: there is no answer then.  What it cannot know is that a copy was given up, long ago, just
at the end of a line.  A copy under another name that is renamed (rsync's way) is never seen half.

The search does not parse the file.  It looks for the serial's digits block by block and takes apart only the lines
that hold them, so an odd line hurts nobody but its own serial.  Serials are compared as numbers: `0a`, `0A`, `A` and
`00A` are one.  Of several rows for one serial a revoked one wins.
"""

from __future__ import annotations

import posix
import time

from . import der, limits, messages, times

_BLOCK_BYTES = 128 * 1024
_LINE_BYTES = 1024 * 1024
_HEX_DIGITS = b"0123456789ABCDEFabcdef"
_BEFORE_SERIAL = b"\t -0"
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


class DatabaseUnavailable(messages.OCSPError):
    """The database cannot be read, or not to its end, at this moment."""

    response_status = messages.TRY_LATER


class Row:
    """One row: `type` is its letter, `revocation` its third field as it stands, `offset` where its line begins.

    What it says is in `cert_status` and in `single_extensions`, (OBJECT IDENTIFIER, value) pairs; `remark` tells what
    was odd about it, "" if nothing was.

    A certificate past its expiry stays what it was: V and E are good, since `openssl ca -updatedb` sets E by a date it
    may misread, and `good` says nothing of validity (RFC 6960 section 2.2).  A row that marks its certificate as
    revoked does so however little of the rest can be read.
    """

    __slots__ = ("type", "revocation", "offset", "cert_status", "single_extensions", "remark")

    def __init__(self, row_type: bytes, revocation: bytes, offset: int):
        self.type = row_type
        self.revocation = revocation
        self.offset = offset
        self.single_extensions: list[tuple[bytes, bytes]] = []
        self.remark = ""
        if row_type in (b"V", b"E"):
            self.cert_status = messages.CertStatus("good")
            if revocation:
                self.remark = "it is marked as valid and has a revocation date: good"
        elif row_type in (b"R", b"S"):
            self.cert_status = self._revoked()
        else:
            self.cert_status = messages.CertStatus("unknown")
            self.remark = f"type {_readable(row_type)} is none of V, R, E, S: unknown"

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
    """What a search has found: `rows` by serial number, and `remarks` on odd lines, in words for the operator."""

    __slots__ = ("rows", "remarks", "_odd")

    def __init__(self) -> None:
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
    found = Found()
    path = directory + "/index"
    try:
        with _open_index(directory) as file:
            path = file.name
            torn = _search(file, serial_numbers | also, found)
            if torn and not serial_numbers <= found.rows.keys():
                raise DatabaseUnavailable(f"{path} {torn}: is it being copied? Copy it to another name and rename it, as rsync does")
            for row in found.rows.values():
                if row.remark:
                    found.remark(row.offset, row.remark)
            found.number_lines(file)
    except PermissionError:
        raise DatabaseUnavailable(
            f"{path}: permission denied. `openssl ca` gives it the mode of its umask; the web server's user"
            " must be able to read it, and to enter every directory above it"
        ) from None
    except OSError as error:
        raise DatabaseUnavailable(f"{path}: {error.strerror}. `db` names the directory that holds `index`") from None
    return found


def check_heartbeat(directory: str, minutes: int, now: int) -> None:
    """DatabaseUnavailable if the file `heartbeat` of a db directory was not touched in the last minutes, by the job that copies
    the directory from the CA's host: what is there then may have been overtaken by revocations."""
    path = directory + "/heartbeat"
    try:
        age = now - posix.stat(path).st_mtime
    except OSError as error:
        raise DatabaseUnavailable(f"{path}: {error.strerror}. With `stale_after` the job that copies db touches this file") from None
    if age > minutes * 60:
        raise DatabaseUnavailable(
            f"{path}: touched {age / 60:.0f} minutes ago, more than stale_after = {minutes}: does the job still run that copies db?"
        )


def _open_index(directory: str):
    """The open index, `index` or `index.txt`, whichever the directory has."""
    index, index_txt = directory + "/index", directory + "/index.txt"
    deadline = time.monotonic() + limits.DATABASE_RETRY_SECONDS
    while True:
        in_use = [path for path in (index, index_txt) if _exists(path) or _exists(path + ".old")]
        if len(in_use) == 2:
            raise DatabaseUnavailable(
                f"{directory}: both index and index.txt, or their .old: remove what belongs to the one `openssl ca` does not write"
            )
        try:
            return open(in_use[0] if in_use else index, "rb", buffering=0)
        except FileNotFoundError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except FileNotFoundError:
        return False
    return True


def _search(file, serial_numbers: set[int], found: Found) -> str:
    """Add to `found` what the file says of these serial numbers.  Returns what shows that it is not whole, or ""."""
    before = posix.fstat(file.fileno())
    needles = {b"%X" % abs(number) + behind for number in serial_numbers for behind in (b"\t", b" ")}
    if len(serial_numbers) > _MOST_NEEDLES:
        needles = {b"\n"}
    offset = 0
    lines = b""
    for offset, lines in _whole_lines(file):
        for start, end in _lines_with(needles, lines):
            _consider(lines[start:end], offset + start, serial_numbers, found)
    if before.st_size == 0:
        time.sleep(_TRUNCATION_SECONDS)
    after = posix.fstat(file.fileno())
    last = lines[lines.rfind(b"\n") + 1 :]
    if offset + len(lines) < before.st_size:
        return f"ends after {offset + len(lines)} of {before.st_size} bytes"
    if last.strip() and not last.startswith(b"#") and last.count(b"\t") < 5:
        return "breaks off in the middle of its last line"
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return "was written to while it was read"
    # Renaming a file, as `openssl ca` does when it is whole, changes its ctime after its mtime; writing changes both at once.
    if after.st_mtime_ns == after.st_ctime_ns and 0 <= time.time() - after.st_mtime < limits.DATABASE_SETTLING_SECONDS:
        return "was written to a moment ago"
    return ""


def _lines_with(needles: set[bytes], lines: bytes):
    """Yield (start, end) of every line in which one of the needles may be the end of a serial number.

    The octet before a needle sorts out nearly all that are not: a serial begins behind a TAB, a blank, a sign or a zero.
    """
    upper = lines.upper()
    for needle in needles:
        at = upper.find(needle)
        while at >= 0:
            if needle == b"\n" or upper[at - 1] in _BEFORE_SERIAL:
                start = lines.rfind(b"\n", 0, at) + 1
                end = lines.find(b"\n", at)
                end = len(lines) if end < 0 else end
                yield start, end
                at = upper.find(needle, end + 1)
            else:
                at = upper.find(needle, at + 1)
    if needles == {b"\n"} and lines[-1:] != b"\n":
        yield lines.rfind(b"\n") + 1, len(lines)


def _whole_lines(file):
    """Yield (offset, bytes) of one part of the file after the other, each cut behind a newline, and then its rest."""
    offset, rest = 0, b""
    while block := file.read(_BLOCK_BYTES):
        block = rest + block
        cut = block.rfind(b"\n") + 1
        if not cut and len(block) > _LINE_BYTES:
            cut = len(block)
        if cut:
            yield offset, block[:cut]
        offset += cut
        rest = block[cut:]
    if rest:
        yield offset, rest


def _consider(line: bytes, offset: int, serial_numbers: set[int], found: Found) -> None:
    """Add the row in `line` to `found` if it is that of one of these serial numbers."""
    fields = line.lstrip(b"\xef\xbb\xbf \t").split(b"\t", 5)
    if len(fields) < 6 or fields[0][:1] == b"#":
        if line[:1] != b"#" and not serial_numbers.isdisjoint(map(_serial_number, fields)):
            found.remark(offset, "skipped, since it is no row of six fields")
        return
    number = _serial_number(fields[3])
    if number is None:
        found.remark(offset, f"skipped, since {_readable(fields[3])} is no serial number")
    if number not in serial_numbers:
        return
    row = Row(fields[0][:1], fields[2].strip(), offset)
    known = found.rows.setdefault(number, row)
    if known.offset != offset:
        found.remark(offset, "a revoked one counts, of several rows for one serial; another is in", known.offset)
        if row.precedence > known.precedence:
            found.rows[number] = row


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
