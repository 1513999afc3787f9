"""What a line of the index says.

`openssl ca` writes one line for each certificate, six fields separated by TABs:

    type   expiry         revocation                   serial   filename  subject
    R      270220135115Z  261122135115Z,keyCompromise  40C096   unknown   /C=GB/O=Example/CN=www

A line with a serial number in its fourth of six fields is a row, and nothing else in it is a serial
number.  Serial numbers are compared as numbers: `0a`, `0A`, `A` and `00A` are one.

Editors, scripts and interrupted copies leave other lines.  One that says R revokes every serial
number that it spells in front of its subject, in any spelling that people use, since ignoring a
revocation is worse than repeating one.  Of all other lines nothing is used.

A TAB can only come from the program that writes the file: `openssl ca` escapes those in a subject.
So an R between two TABs begins another row, the newline before it having been lost.  An R between
blanks does not: a requester may put that into a subject, and must not be able to revoke a
certificate.
"""

from __future__ import annotations

from . import certificate, der, times
from . import ocsp_response as response
from .ocsp_request import Extension
from .ocsp_response import CertStatus

_HEX_DIGITS = b"0123456789ABCDEFabcdef"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_JUNK = _BYTE_ORDER_MARK + b" \t\"'"  # and blanks and quotes
# What stands between words where TABs have gone wrong: blanks (that of a web page is C2 A0), CSV.
SEPARATORS = b"\t\v\f\r ,;|\"'\xc2\xa0"
_TO_BLANKS = bytes.maketrans(SEPARATORS, b" " * len(SEPARATORS))
# What gets in front of a line: zeros where a write was lost, and what shows or quotes changes.
_MARKS = b"\0+->*"
_FILE_NAME = b"unknown"  # what `openssl ca` writes into the fifth field

# openssl's names of reasons in lower case (crl_reasons of apps/lib/apps.c), and RFC 5280's own
# where they differ.  unspecified should be left out (RFC 5280 section 5.3.1), removeFromCRL belongs
# to delta CRLs alone.
_REASONS = {
    b"": None,
    b"unspecified": None,
    b"removefromcrl": None,
    b"keycompromise": response.KEY_COMPROMISE,
    b"cacompromise": response.CA_COMPROMISE,
    b"affiliationchanged": response.AFFILIATION_CHANGED,
    b"superseded": response.SUPERSEDED,
    b"cessationofoperation": response.CESSATION_OF_OPERATION,
    b"certificatehold": response.CERTIFICATE_HOLD,
    b"privilegewithdrawn": response.PRIVILEGE_WITHDRAWN,
    b"aacompromise": response.AA_COMPROMISE,
    # written by -crl_hold, -crl_compromise and -crl_CA_compromise, each with an argument
    b"holdinstruction": response.CERTIFICATE_HOLD,
    b"keytime": response.KEY_COMPROMISE,
    b"cakeytime": response.CA_COMPROMISE,
}
_HOLD_INSTRUCTIONS = {
    b"holdinstructionnone": "1.2.840.10040.2.1",
    b"holdinstructioncallissuer": "1.2.840.10040.2.2",
    b"holdinstructionreject": "1.2.840.10040.2.3",
}


class Row:
    """What the index says of one serial number.

    `line` as it stands in the file and `offset`, where it begins; `type`, a letter; `expiry`,
    seconds since 1970 or None if it cannot be read; `cert_status`; `single_extensions`
    by their OBJECT IDENTIFIER.  `warning` tells what is odd about the row, `doubt` why it
    must not be trusted; "" if nothing is.

    A certificate past its expiry stays what it was: V and E are good, since `openssl ca -updatedb`
    sets E by a date it may misread, and `good` says nothing of validity (RFC 6960 section 2.2).  A
    row that marks its certificate as revoked does so however little of the rest can be read.
    """

    __slots__ = (
        "cert_status",
        "doubt",
        "expiry",
        "line",
        "offset",
        "single_extensions",
        "type",
        "warning",
    )

    def __init__(self, line: bytes, offset: int, fields: list[bytes]):
        self.line = line
        self.offset = offset
        self.type = _type(fields[0])
        self.expiry = _time(fields[1])
        self.single_extensions: dict[bytes, Extension] = {}
        self.warning = ""
        self.doubt = ""
        revocation = fields[2].strip()
        if self.type in (b"V", b"E"):
            self.cert_status = CertStatus("good")
            if _may_be_of_a_revocation(revocation, self.expiry):
                self.doubt = (
                    f"type {self.type.decode()}, and {readable(revocation)} in the field of the"
                    " revocation date: if the certificate is valid, clear that field; if it is"
                    " revoked, make the type R"
                )
        elif self.type in (b"R", b"S"):
            self.cert_status = self._revoked(revocation)
            if fields[0].strip(_JUNK)[:1].upper() != self.type:
                self.warning = f"type {readable(fields[0])} is not one of V, R, E, S: revoked"
        else:
            self.cert_status = CertStatus("unknown")
            self.warning = f"type {readable(self.type)} is not one of V, R, E, S: unknown"

    def _revoked(self, revocation: bytes) -> CertStatus:
        date, _, reason = revocation.partition(b",")
        word, _, argument = reason.partition(b",")
        word, argument = word.strip().lower(), argument.strip()
        revocation_time = _time(date)
        if revocation_time is None:
            self.warning = (
                f"revocation date {readable(date)} cannot be read: revoked at 1970-01-01, without a"
                " reason"
            )
            revocation_time, word = times.EPOCH, b""
        if self.type == b"S":
            reason_code = response.CERTIFICATE_HOLD
            return CertStatus("revoked", revocation_time, reason_code)
        if word not in _REASONS:
            self.warning = (
                f"revocation reason {readable(word)} is not one that `openssl ca` writes: revoked"
                " without a reason"
            )
        try:
            if word == b"holdinstruction":
                dotted = _HOLD_INSTRUCTIONS.get(argument.lower()) or argument.decode("ascii")
                value = der.tlv(der.OBJECT_IDENTIFIER, der.oid(dotted))
                self._extend(response.HOLD_INSTRUCTION_CODE, value)
            elif word in (b"keytime", b"cakeytime"):
                time = times.generalized_time(times.parse_generalized_time(argument))
                value = der.tlv(der.GENERALIZED_TIME, time)
                self._extend(response.INVALIDITY_DATE, value)
        except ValueError:
            self.warning = (
                f"{readable(argument)} after {readable(word)} cannot be read: answered without it"
            )
        return CertStatus("revoked", revocation_time, _REASONS.get(word))

    def _extend(self, extn_id: bytes, value: bytes) -> None:
        self.single_extensions[extn_id] = Extension(extn_id, value)

    @property
    def is_revoked(self) -> bool:
        return self.cert_status.name == "revoked"

    @property
    def precedence(self) -> int:
        """Of several rows for one serial number the first of the highest precedence is used."""
        return {b"R": 3, b"S": 2, b"V": 1, b"E": 1}.get(self.type, 0)


def read(
    line: bytes, offset: int, serial_numbers: set[int]
) -> tuple[list[tuple[int, Row]], list[str]]:
    """What a line says of these serial numbers: (serial number, Row) pairs, and warnings."""
    if _is_comment(line):
        return [], []
    rows: list[tuple[int, Row]] = []
    warnings = []
    for part in _split_joined(line.lstrip(_JUNK).rstrip(b"\r").split(b"\t")):
        if _is_row(part):
            number = _serial_number(part[3])
            if number is not None and number in serial_numbers:
                rows.append((number, Row(line, offset, part)))
            ignored = numbers_in(split_into_words(b"\t".join(part[6:]))) & serial_numbers
        else:
            words = split_into_words(b"\t".join(part))
            revoked = numbers_in(_before_subject(words)) & serial_numbers
            if words[:1] and words[0].upper().lstrip(_MARKS) not in (b"R", b"REVOKED"):
                revoked = set()
            row = Row(line, offset, [b"R", b"", _revocation(part)])
            row.warning = (
                "not a row of six fields, but it says R: revoked. Write it as `openssl ca` does,"
                " with TABs between the fields"
            )
            rows += [(number, row) for number in sorted(revoked)]
            ignored = (numbers_in(words) & serial_numbers) - revoked
        for number in sorted(ignored):
            warnings.append(
                f"contains {certificate.index_serial(number)}, but not as the serial number of a"
                " row (six fields with TABs between them, the serial number in the fourth):"
                " ignored"
            )
    return rows, warnings


def is_row(line: bytes) -> bool:
    """Whether a line has the form of a row, whatever it says."""
    fields = line.lstrip(_JUNK).split(b"\t", 5)
    is_type = _type(fields[0]) in (b"V", b"R", b"E", b"S") or len(fields[0].strip(_JUNK)) == 1
    return not _is_comment(line) and is_type and _is_row(fields)


def is_blank(line: bytes) -> bool:
    """Whether a line is a comment, or nothing."""
    return _is_comment(line) or not line.strip(_JUNK + b"\r\n")


def _is_comment(line: bytes) -> bool:
    return line.startswith((b"#", _BYTE_ORDER_MARK + b"#"))


def readable(text: bytes) -> str:
    """Bytes of the file, as they can stand in a log line."""
    return "`" + text[:80].decode("ascii", "backslashreplace") + "`"


def _is_row(fields: list[bytes]) -> bool:
    return len(fields) >= 6 and _serial_number(fields[3]) is not None


def _split_joined(fields: list[bytes]) -> list[list[bytes]]:
    """The fields of a line, in as many parts as rows were joined to it by a lost newline."""
    parts = []
    begin = 0
    for position in range(1, len(fields) - 1):
        field = fields[position].strip(_JUNK)
        if field[-1:] not in (b"R", b"r"):
            continue
        if len(field) == 1:
            parts.append(fields[begin:position])
            begin = position
        elif _time(fields[position + 1]) is not None:
            # The newline is gone without a trace, and the R stands at the end of a subject, or of
            # whatever field the row before breaks off in.
            parts.append([*fields[begin:position], field[:-1]])
            fields[position] = b"R"
            begin = position
    return [*parts, fields[begin:]]


def _type(field: bytes) -> bytes:
    """The letter of a type.  openssl looks at the first one alone; `r` and `s` revoke as well."""
    field = field.strip(_JUNK)
    revoking = field.lstrip(_MARKS + _JUNK)[:1].upper()
    if field[-1:] in (b"R", b"r"):  # behind the V of a row that breaks off there
        revoking = b"R"
    return revoking if revoking in (b"R", b"S") else field[:1]


def _serial_number(field: bytes) -> int | None:
    """The number in the serial field of a row, None if there is none."""
    field = field.strip()
    digits = field[1:] if field[:1] == b"-" else field
    if not digits or digits.strip(_HEX_DIGITS):
        return None
    return int(field, 16)


def split_into_words(text: bytes) -> list[bytes]:
    return text.translate(_TO_BLANKS).split()


def numbers_in(words: list[bytes]) -> set[int]:
    """Every number that one of these words may spell: `0x1A2C`, `1a:2c`, `001A2C`, `-1A2C`."""
    numbers = set()
    for word in words:
        sign, digits = (b"-", word[1:]) if word[:1] == b"-" else (b"", word)
        if digits[:2] in (b"0x", b"0X"):
            digits = digits[2:]
        if b":" in digits:
            pairs = digits.strip(b":").split(b":")
            are_pairs = all(len(pair) == 2 for pair in pairs[1:]) or not any(
                pair.startswith(b"0") and pair != b"0" for pair in pairs[1:]
            )
            digits = b"".join(pair.zfill(2) for pair in pairs)
            digits = digits if are_pairs and len(digits) == 2 * len(pairs) else b""
        number = _serial_number(sign + digits)
        if number is not None:
            numbers.add(number)
    return numbers


def _before_subject(words: list[bytes]) -> list[bytes]:
    """The words in which a serial number may stand: a requester chooses those of the subject."""
    for position, word in enumerate(words):
        if word[:1] == b"/" or word == _FILE_NAME:
            return words[1:position]
        if b"=" in word:  # a subject as `openssl x509 -subject` prints it, `CN = www`
            return words[1 : position - word.startswith(b"=")]
    return words[1:]


def _revocation(fields: list[bytes]) -> bytes:
    """The revocation field of a line that is not a row: its second date, with the reason."""
    for words in (b" ".join(fields).split(), split_into_words(b"\t".join(fields))):
        dates = [word for word in words if _time(word.partition(b",")[0]) is not None]
        if len(dates) > 1:
            return dates[1]
    return b""


def _time(field: bytes) -> int | None:
    try:
        return times.parse_time(field.strip(_JUNK))
    except ValueError:
        return None


def _may_be_of_a_revocation(field: bytes, expiry: int | None) -> bool:
    """Whether the third field of a row that says V or E is a revocation, or a piece of one.

    A row that an interrupted copy has put together has such a field.  But some tools write the
    expiry there, or a word for nothing, such as `"empty"`.
    """
    field = field.strip(_JUNK)
    time = _time(field)
    if field.lower() in (b"", b"none") or (time is not None and time == expiry):
        return False
    word = field.lower()
    names = (*_REASONS, *_HOLD_INSTRUCTIONS, b"revoked")
    return (
        field.strip(b",Zz") != field
        or field.translate(None, b"0123456789") != field
        or any(name.endswith(word) for name in names)
    )
