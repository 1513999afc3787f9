"""What two responders are both asked, to compare them: certificates of an index, and requests of
odd forms."""

from __future__ import annotations

import base64
import hashlib
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from .. import der, index_row, ocsp_http
from ..certificate import Certificate, index_serial
from ..ocsp_request import (
    ID_PKIX_OCSP_NONCE,
    CertID,
    Extension,
    encode_extensions,
    encode_request,
    nonce_extension,
)

SCRIPT_NAME = "/cgi-bin/ocsp.cgi"
_TYPES = (b"R", b"V", b"E")
_ODD = b"odd"
_NONCE = bytes(range(16))


class Sample(NamedTuple):
    """A request: `title` for people, `http` as a CGI gets it, `encoded` the OCSPRequest that it
    carries, None if it carries none."""

    title: str
    http: ocsp_http.Request
    encoded: bytes | None
    serial_number: int | None = None


class Rows(NamedTuple):
    """Serial numbers of an index: `chosen` as title -> serial number, and how many rows `counts`
    has by type."""

    chosen: dict[str, int]
    counts: dict[str, int]


def choose_rows(file: BinaryIO, most: int) -> Rows:
    """Up to `most` rows of each type, and as many that are odd: revoked ones from the first on if
    they are few enough, else spread over the file."""
    counts = dict.fromkeys((*_TYPES, _ODD), 0)
    for _, kind, _ in _rows(file):
        counts[kind] += 1
    file.seek(0)
    seen = dict.fromkeys(counts, 0)
    chosen: dict[str, int] = {}
    for line, kind, serial in _rows(file):
        # Of n rows that with index i is chosen where i * most / n passes a whole number.
        before, seen[kind] = seen[kind], seen[kind] + 1
        total = max(counts[kind], 1)
        if total <= most or before * most // total != (before - 1) * most // total:
            chosen[f"{index_serial(serial)}, line {line}"] = serial
    return Rows(chosen, {kind.decode(): count for kind, count in counts.items() if count})


def _rows(file: BinaryIO) -> Iterator[tuple[int, bytes, int]]:
    """Yield number of the line, type and serial number of every row; the type is _ODD if openssl
    would have written the row in another way."""
    for number, line in enumerate(file, 1):
        if not index_row.is_row(line.rstrip(b"\n")):
            continue
        fields = line.split(b"\t")
        digits = fields[3].strip()
        serial = int(digits, 16)
        is_plain = fields[0] in _TYPES and digits == index_serial(serial).encode()
        yield number, fields[0] if is_plain and line.endswith(b"\n") else _ODD, serial


def about_rows(ca: Certificate, rows: dict[str, int]) -> list[Sample]:
    """A request about each of these certificates of a CA."""
    return [
        _post(f"{title}", encode_request([cert_id(ca, serial)]), serial)
        for title, serial in rows.items()
    ]


def odd_requests(ca: Certificate, serial: int, other: int, unissued: int) -> list[Sample]:
    """Requests of every form, about two certificates of a CA and one that it has not issued."""
    one, two = cert_id(ca, serial), cert_id(ca, other)
    plain = encode_request([one])
    nonce = nonce_extension(_NONCE)
    critical = Extension(der.oid("1.2.3.4"), b"\5\0", critical=True)
    foreign = CertID.make("sha1", bytes(20), bytes(20), serial)
    bare = Extension(ID_PKIX_OCSP_NONCE, b"\xff" * 16)
    samples = [
        _post("a serial number that was never issued", encode_request([cert_id(ca, unissued)])),
        _post("a nonce", encode_request([one], [nonce])),
        _post("a nonce of 1 byte", encode_request([one], [nonce_extension(b"1")])),
        _post("a nonce of 32 bytes", encode_request([one], [nonce_extension(b"1" * 32)])),
        _post("a nonce that is no OCTET STRING", encode_request([one], [bare])),
        _post("a nonce of 5000 bytes", encode_request([one], [nonce_extension(bytes(5000))])),
        _post("two nonces", encode_request([one], [nonce, nonce_extension(b"2")])),
        _post("SHA-256 in the CertID", encode_request([cert_id(ca, serial, "sha256")])),
        _post("SHA-512 in the CertID", encode_request([cert_id(ca, serial, "sha512")])),
        _post("two certificates", encode_request([one, two])),
        _post("two certificates, one of another CA", encode_request([one, foreign])),
        _post("1000 certificates", encode_request([one] * 1000)),
        _post("a certificate of another CA", encode_request([foreign])),
        _post("an unknown extension that is critical", encode_request([one], [critical])),
        _post("version 2", _version_2(one)),
        _post("bytes behind the request", plain + b"\0"),
        _post("a request that breaks off", plain[:-1]),
        _post("no request at all", b"hello"),
        _post("an empty body", b""),
    ]
    text = base64.b64encode(plain).decode()
    escaped = urllib.parse.quote(text, safe="")
    post = ocsp_http.OCSP_REQUEST
    return [
        *samples,
        Sample("GET", _http("GET", f"/{escaped}", f"/{text}"), plain),
        Sample("GET with two slashes, as Windows", _http("GET", f"//{text}", f"/{text}"), plain),
        Sample(
            "POST, Content-Type with a parameter", _body(f"{post}; charset=utf-8", plain), plain
        ),
        Sample("POST, Content-Type in capitals", _body(post.upper(), plain), plain),
        Sample("POST, another Content-Type", _body("text/plain", plain), None),
        Sample("PUT", _body(post, plain, "PUT"), None),
        Sample("a browser", _http("GET", "", ""), None),
    ]


def cert_id(ca: Certificate, serial: int, hash_name: str = "sha1") -> CertID:
    """The CertID of a certificate of this CA."""
    name, key = (
        hashlib.new(hash_name, part, usedforsecurity=False).digest()
        for part in (ca.subject, ca.public_key)
    )
    return CertID.make(hash_name, name, key, serial)


def _post(title: str, encoded: bytes, serial: int | None = None) -> Sample:
    return Sample(title, _body(ocsp_http.OCSP_REQUEST, encoded), encoded, serial)


def _body(content_type: str, body: bytes, method: str = "POST") -> ocsp_http.Request:
    return ocsp_http.Request(method, SCRIPT_NAME, SCRIPT_NAME, "", content_type, body)


def _http(method: str, path: str, path_info: str) -> ocsp_http.Request:
    return ocsp_http.Request(method, SCRIPT_NAME + path, SCRIPT_NAME, path_info, "", b"")


def _version_2(*cert_ids: CertID) -> bytes:
    requests: Iterable[bytes] = (der.sequence(one.encoded) for one in cert_ids)
    version = der.tlv(der.context(0), der.integer(1))
    return der.sequence(
        der.sequence(version, der.sequence(*requests), encode_extensions(der.context(2), ()))
    )
