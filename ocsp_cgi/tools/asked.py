"""What an operator asks about, in any of the forms in which it comes to hand: a serial number, the
file of a certificate, an OCSPRequest, or a line of a log."""

from __future__ import annotations

import os
import re
import sys
from typing import NamedTuple, Union

from .. import certificate, file_kinds, index_row, limits, ocsp_http
from ..certificate import Certificate, CertificateError
from ..ocsp_response import MalformedResponse, OCSPResponse
from .entry import CommandError

_MOST_BYTES = 1024 * 1024
_MOST_DECIMAL_DIGITS = 100
_LEAST_BASE64 = 40  # of something that is not in a path; the shortest request has more
_SERIAL = re.compile(r"\s*serial(?:[ _]?number)?\s*[=:]?\s*(.*)", re.IGNORECASE | re.DOTALL)
_LOGGED_SERIAL = re.compile(r"(?:^|\s)serial=(-?[0-9A-Fa-f]+)(?=\s|$)")


class SerialNumber(NamedTuple):
    """`number` is what was written, read as hexadecimal; `decimal` the same read as decimal, None
    if it cannot be; `others` are further ones in a line of the log."""

    number: int
    decimal: int | None
    others: tuple[int, ...] = ()


class CertificateFile(NamedTuple):
    """The first certificate of a file, and how many there are in it."""

    name: str
    certificate: Certificate
    certificates: int


class RequestBytes(NamedTuple):
    """The DER of what should be an OCSPRequest, None if it is longer than a request may be; `hint`
    says what may have happened to it on its way."""

    name: str
    encoded: bytes | None
    hint: str


Asked = Union[SerialNumber, CertificateFile, RequestBytes]


def read(words: list[str]) -> Asked:
    """What these words of a command line name; `-` is standard input.  A file comes before a serial
    number of the same spelling.  CommandError if it is nothing that can be asked about."""
    text = " ".join(words)
    if text == "-":
        return _from_bytes("standard input", _read(sys.stdin.fileno(), "standard input"))
    if _is_there(text) and not os.path.isdir(text):
        return _from_bytes(text, _read(text, text))
    asked = _from_text("the request", text)
    if asked is not None:
        return asked
    if os.path.isdir(text):
        raise CommandError(f"{text}: a directory; name a file in it")
    raise CommandError(
        f"{text}: no such file, and neither a serial number in hexadecimal nor an OCSP request in"
        " base64"
    )


def _is_there(path: str) -> bool:
    """Whether there is a file; CommandError if this user may not look where a path leads."""
    try:
        os.stat(path)
    except PermissionError as error:
        if "/" in path:
            raise CommandError(f"{path}: {error.strerror}") from None
        return False
    except (OSError, ValueError):
        return False
    return True


def _read(file: str | int, name: str) -> bytes:
    try:
        with open(file, "rb", closefd=isinstance(file, str)) as opened:
            content = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from None
    if not content.strip():
        raise CommandError(f"{name}: there is nothing in it")
    if len(content) > _MOST_BYTES:
        raise CommandError(
            f"{name}: longer than {_MOST_BYTES} bytes, so neither a certificate nor a request"
        )
    return content


def _from_bytes(name: str, content: bytes) -> Asked:
    certificates, error = _certificates(content)
    if certificates:
        return CertificateFile(name, certificates[0], len(certificates))
    kind, _ = file_kinds.kind(content)
    if kind:
        raise CommandError(f"{name}: {file_kinds.certificate_hint(name, content) or error}")
    if content[:1] == b"\x30" and not content[:64].isdigit():
        if _is_response(content):
            raise CommandError(
                f"{name}: an OCSP response, not a request: `openssl ocsp -respin FILE -text"
                " -noverify` prints it"
            )
        return RequestBytes(name, content if len(content) <= limits.REQUEST_BYTES else None, "")
    asked = _from_text(name, content.decode("latin-1"))
    if asked is None:
        raise CommandError(
            f"{name}: neither a certificate (PEM or DER), nor an OCSP request (DER or base64), nor"
            " a serial number in hexadecimal"
        )
    return asked


def _certificates(content: bytes) -> tuple[list[Certificate], str]:
    """The certificates that can be read, and what is wrong with the last that cannot."""
    found: list[Certificate] = []
    reason = ""
    for block in certificate.blocks(content):
        try:
            found.append(Certificate(certificate.block_der(block)))
        except ValueError as error:  # DERError or CertificateError
            if isinstance(error, CertificateError) or not reason:
                reason = str(error)
    return found, reason


def _is_response(content: bytes) -> bool:
    try:
        OCSPResponse.from_der(content)
    except MalformedResponse:
        return False
    return True


def _from_text(name: str, text: str) -> Asked | None:
    """A serial number, a line of our log, or a request as it stands in a path, a URL, a line of
    Apache's access log, or alone; otherwise None."""
    logged = list(dict.fromkeys(int(one, 16) for one in _LOGGED_SERIAL.findall(text)))
    if logged:
        return SerialNumber(logged[0], None, tuple(logged[1:]))
    labelled = _SERIAL.fullmatch(text)
    digits = "".join((labelled[1] if labelled else text).split())
    if digits.isascii():
        numbers = index_row.numbers_in([digits.encode()])
        if numbers:
            return SerialNumber(numbers.pop(), _decimal(digits))
    for word in sorted(re.findall(r'[^\s"]+', text), key=len, reverse=True):
        if "/M" in word:
            encoded = _in_path(word)
            if encoded != b"":
                return _request(name, encoded)
    joined = "".join(text.split())
    if joined[:1] == "M" and len(joined) >= _LEAST_BASE64:
        encoded = _in_path("/" + joined)
        if encoded != b"":
            return _request(name, encoded)
    return None


def _decimal(digits: str) -> int | None:
    is_decimal = digits.isdecimal() and digits[0] != "0" and len(digits) <= _MOST_DECIMAL_DIGITS
    number = int(digits) if is_decimal else None
    return number if is_decimal and len(digits) > 1 else None


def _in_path(uri: str) -> bytes | None:
    """What the responder reads from such a request line; b"" if that is no request."""
    try:
        return ocsp_http.ocsp_request(ocsp_http.Request("GET", uri, "", "", "", None))
    except ocsp_http.NotOCSP:
        return b""


def _request(name: str, encoded: bytes | None) -> RequestBytes:
    is_short = encoded is not None and ocsp_http.is_short(encoded)
    return RequestBytes(name, encoded, ocsp_http.MERGED_SLASHES if is_short else "")
