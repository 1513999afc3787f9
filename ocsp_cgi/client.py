"""A client: has this certificate been revoked?  For applications that check the certificates of their clients.

    result = client.query(certificate, issuer)
    if result.status != "good": ...

An answer is believed only if all of it is as RFC 6960 section 3.2 demands: it is about the certificate that was asked about, signed by its
issuer or by whom the issuer has made its responder, for now, and (unless told otherwise) for this very question.  Whatever is not so
is a QueryError: who refuses on every QueryError, and on every status but "good", lets nobody in by mistake.

Names are looked up by the system, which has its own time-outs; all else takes no longer than `timeout`.  No redirect is followed, no
proxy used.  Whether a delegated signer has been revoked itself is not asked: it is believed until its certificate ends.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import hmac
import http.client
import io
import os
import socket
import ssl
import time
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from . import certificate as x509_reader
from . import der, errors, keys, messages, times
from .ocsp_response import REASON_NAMES, MalformedResponse, OCSPResponse, SingleResponse

NONCE_OCTETS = 32  # RFC 9654 section 2.1
ANSWER_BYTES = 64 * 1024
SKEW_SECONDS = 5 * 60
MAX_AGE_SECONDS = 60 * 60
_NONCES = ("required", "optional", "none")
_HASHES = {
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
_ID_AD_OCSP = bytes.fromhex("2b06010505073001")  # 1.3.6.1.5.5.7.48.1
_URI = 0x86  # uniformResourceIdentifier of a GeneralName
# What a critical extension of an answer may be without changing what the answer means to us.
_UNDERSTOOD = (messages.ID_PKIX_OCSP_NONCE, messages.ID_PKIX_OCSP_ARCHIVE_CUTOFF, messages.ID_PKIX_OCSP_EXTENDED_REVOKE)


class QueryError(Exception):
    """There is no answer to be believed; the text says why."""


class CannotAsk(QueryError):
    """A certificate cannot be read, was not issued by this issuer, or tells no address to ask at."""


class Unreachable(QueryError):
    """Nothing came back that is an answer of OCSP over HTTP: no connection, too slow, another HTTP status or content type."""


class Refused(QueryError):
    """The responder gave no answer but an error; `response_status` is its name, such as "tryLater" (RFC 6960 section 4.2.1)."""

    def __init__(self, text: str, response_status: str):
        super().__init__(text)
        self.response_status = response_status


class Malformed(QueryError):
    """What came is no OCSPResponse, or one with a critical extension that is not understood."""


class Untrusted(QueryError):
    """The answer is not signed by whom it has to be signed by, or not with an algorithm that is safe."""


class Mismatch(QueryError):
    """The answer is to another question: about another certificate, or with another nonce."""


class Stale(QueryError):
    """The answer is not for now: expired, too old, or of the future."""


@dataclasses.dataclass(frozen=True)
class Result:
    """An answer that is believed.  All times are aware datetimes in UTC.

    `status` is "good", "revoked" or "unknown"; `revocation_time` and `revocation_reason`, a name of RFC 5280 section 5.3.1 such as
    "keyCompromise", are None unless it is revoked, and the reason also if the responder gave none.  `next_update` is None if the
    responder did not say until when the answer holds.  `responder` is the certificate of who signed it.
    """

    status: str
    revocation_time: datetime.datetime | None
    revocation_reason: str | None
    this_update: datetime.datetime
    next_update: datetime.datetime | None
    produced_at: datetime.datetime
    responder: x509.Certificate


def query(
    certificate: x509.Certificate | bytes | str,
    issuer: x509.Certificate | bytes | str,
    url: str | None = None,
    *,
    nonce: str = "required",
    timeout: float = 10,
    hash_name: str = "sha1",
    skew: float = SKEW_SECONDS,
    max_age: float = MAX_AGE_SECONDS,
) -> Result:
    """Ask whether a certificate has been revoked.  QueryError, or one of its subclasses, if there is no answer to be believed.

    Certificates are `cryptography`'s objects, PEM or DER.  `url` is by default the one in the certificate (authorityInfoAccess).
    `nonce`: "required" sends one, and believes only answers that repeat it; "optional" also believes answers without one, as responders
    give that answer from a store; "none" sends none.  `timeout` is seconds for everything; `hash_name` the CertID's hash, sha1 (which
    every responder knows, and which protects nothing here), sha256, sha384 or sha512.  `skew` is the seconds that clocks may differ by;
    `max_age` the seconds after thisUpdate that an answer without nextUpdate is believed.  ValueError for any other value of these.
    """
    if nonce not in _NONCES:
        raise ValueError(f"nonce is {nonce!r}, and should be one of {', '.join(_NONCES)}")
    if hash_name not in _HASHES:
        raise ValueError(f"hash_name is {hash_name!r}, and should be one of {', '.join(_HASHES)}")
    if not timeout > 0 or not skew >= 0 or not max_age >= 0:
        raise ValueError("timeout should be more than 0 seconds, skew and max_age not less than 0")
    subject, authority = _read("certificate", certificate), _read("issuer", issuer)
    _check_issued(subject, authority)
    cert_id = _cert_id(subject, authority, hash_name)
    octets = os.urandom(NONCE_OCTETS) if nonce != "none" else None
    encoded = _exchange(url or _ocsp_url(subject), _request(cert_id, octets), time.monotonic() + timeout, timeout)
    try:
        answer = OCSPResponse.from_der(encoded)
    except MalformedResponse as error:
        raise Malformed(str(error)) from None
    if answer.response_status != errors.SUCCESSFUL:
        name = errors.RESPONSE_STATUS_NAMES[answer.response_status]
        raise Refused(f"the responder answered {name}", name)
    now = time.time()
    signer = _signer(answer, authority, now, skew)
    single = _about(answer, cert_id)
    _check_extensions(answer.response_extensions, single.single_extensions)
    _check_nonce(answer, octets, nonce == "required")
    _check_time(single, now, skew, max_age)
    return _result(answer, single, signer)


def _read(name: str, given: x509.Certificate | bytes | str) -> x509_reader.Certificate:
    try:
        if isinstance(given, x509.Certificate):
            encoded = given.public_bytes(Encoding.DER)
        elif isinstance(given, (bytes, str)):
            encoded = given.encode("ascii") if isinstance(given, str) else given
            if encoded[:1] != b"\x30":
                encoded = der.from_pem(encoded, b"CERTIFICATE")[1]
        else:
            raise TypeError(f"{name} is {type(given).__name__}, and should be an x509.Certificate, PEM or DER")
        return x509_reader.Certificate(encoded)
    except ValueError as error:  # of UnicodeEncodeError, DERError and CertificateError alike
        raise CannotAsk(f"{name}: {error}") from None


def _check_issued(subject: x509_reader.Certificate, authority: x509_reader.Certificate) -> None:
    """CannotAsk if this is not the certificate's issuer: its answer would be about another certificate of the same serial number.

    Where the signature on the certificate is with an algorithm that is not known here, the name alone decides: whether a certificate
    is genuine is for TLS to find out.
    """
    if subject.issuer != authority.subject or _signed_by(authority, subject.signature_algorithm, subject.signature, subject.tbs) is False:
        raise CannotAsk("the certificate was not issued by this issuer")


def _signed_by(holder: x509_reader.Certificate, identifier: bytes, signature: bytes, data: bytes) -> bool | None:
    """Whether this is the signature of a certificate's key over `data`; None if the algorithm is unknown or weak."""
    if not _is_known_key(holder):
        return None
    for algorithm in keys.ALGORITHMS:
        if keys.same_algorithm(algorithm, identifier):
            return keys.verifies(holder, signature, data, algorithm)
    return None


def _is_known_key(holder: x509_reader.Certificate) -> bool:
    try:
        keys.key_type(holder)
    except (KeyError, der.DERError):
        return False
    return True


def _ocsp_url(subject: x509_reader.Certificate) -> str:
    """The first address of an OCSP responder in the certificate (RFC 5280 section 4.2.2.1)."""
    try:
        for description in der.read(subject.extensions[x509_reader.AUTHORITY_INFO_ACCESS], der.SEQUENCE).elements().all(der.SEQUENCE):
            fields = description.elements()
            method, location = fields.next(der.OBJECT_IDENTIFIER).contents, next(fields, None)
            if method == _ID_AD_OCSP and location is not None and location.tag == _URI:
                address = location.contents.decode("ascii", "replace")
                if address.lower().startswith(("http://", "https://")):
                    return address
    except (KeyError, der.DERError):
        pass
    raise CannotAsk("the certificate does not tell where to ask (authorityInfoAccess): give the responder's address")


def _cert_id(subject: x509_reader.Certificate, authority: x509_reader.Certificate, hash_name: str) -> messages.CertID:
    algorithm = der.sequence(der.tlv(der.OBJECT_IDENTIFIER, der.oid(_HASHES[hash_name])), der.ENCODED_NULL)
    hashes = [hashlib.new(hash_name, octets, usedforsecurity=False).digest() for octets in (authority.subject, authority.public_key)]
    number = subject.serial_number
    serial = number.to_bytes((number if number >= 0 else ~number).bit_length() // 8 + 1, "big", signed=True)
    encoded = der.sequence(algorithm, *[der.tlv(der.OCTET_STRING, octets) for octets in hashes], der.tlv(der.INTEGER, serial))
    return messages.CertID(der.read(encoded, der.SEQUENCE))


def _request(cert_id: messages.CertID, nonce: bytes | None) -> bytes:
    """The DER of an OCSPRequest (RFC 6960 section 4.1.1)."""
    extensions = b""
    if nonce is not None:
        value = der.tlv(der.OCTET_STRING, der.tlv(der.OCTET_STRING, nonce))
        extension = der.sequence(der.tlv(der.OBJECT_IDENTIFIER, messages.ID_PKIX_OCSP_NONCE), value)
        extensions = der.tlv(der.context(2), der.sequence(extension))
    return der.sequence(der.sequence(der.sequence(der.sequence(cert_id.encoded)), extensions))


# HTTP


def _exchange(url: str, encoded: bytes, deadline: float, timeout: float) -> bytes:
    """The body of the answer to a POST (RFC 6960 appendix A).  Unreachable, with the address, if there is none."""
    try:
        address = urllib.parse.urlsplit(url)
        port = address.port
        (address.hostname or "").encode("idna")
    except ValueError as error:  # UnicodeError is one
        raise CannotAsk(f"{url!r} is no address: {error}") from None
    if address.scheme not in ("http", "https") or not address.hostname:
        raise CannotAsk(f"{url!r} is no address of http:// or https://")
    connection = _Connection(address.scheme == "https", address.hostname, port, deadline)
    target = urllib.parse.quote((address.path or "/") + (f"?{address.query}" if address.query else ""), "/?:@!$&'()*+,;=%-._~")
    try:
        connection.request("POST", target, encoded, {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"})
        response = connection.getresponse()
        if 300 <= response.status < 400:
            where = response.getheader("Location", "")
            raise Unreachable(f"{url} sends elsewhere, which is not followed (HTTP status {response.status}): {where[:200]!r}")
        if response.status != 200:
            raise Unreachable(f"{url} answered with HTTP status {response.status}")
        content_type = response.getheader("Content-Type", "")
        if content_type.partition(";")[0].strip().lower() != "application/ocsp-response":
            raise Unreachable(f"{url} answered with {content_type[:100]!r}, not application/ocsp-response: is a responder there?")
        body = response.read(ANSWER_BYTES + 1)
    except (socket.timeout, TimeoutError):
        raise Unreachable(f"{url} gave no whole answer within {timeout:g} seconds") from None
    except OSError as error:
        raise Unreachable(f"{url}: {error.strerror or error}") from None
    except (http.client.HTTPException, ValueError) as error:
        raise Unreachable(f"{url} answered with what is no HTTP: {type(error).__name__} {str(error)[:200]}") from None
    finally:
        connection.end()
    if len(body) > ANSWER_BYTES:
        raise Unreachable(f"{url} answered with more than {ANSWER_BYTES} bytes")
    return body


class _Connection(http.client.HTTPConnection):
    """A connection that ends at a deadline, a time.monotonic(), however often something comes."""

    def __init__(self, tls: bool, host: str, port: int | None, deadline: float):
        super().__init__(host, port or (443 if tls else 80))
        self._tls = tls
        self._deadline = deadline
        self._opened: socket.socket | None = None

    def end(self) -> None:
        self.close()
        if self._opened is not None:
            self._opened.close()

    def connect(self) -> None:
        failed: OSError = OSError("no address")
        for family, kind, protocol, _, where in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            opened = socket.socket(family, kind, protocol)
            try:
                opened.settimeout(_left(self._deadline))
                opened.connect(where)
                if self._tls:
                    opened.settimeout(_left(self._deadline))
                    opened = ssl.create_default_context().wrap_socket(opened, server_hostname=self.host)
                self._opened = opened
                self.sock = _Socket(opened, self._deadline)
                return
            except OSError as error:
                opened.close()
                failed = error
        raise failed


class _Socket(io.RawIOBase):
    """A socket as http.client uses one: each of its operations ends at the deadline.

    http.client closes it while the answer is still being read, so closing it does nothing.
    """

    def __init__(self, opened: socket.socket, deadline: float):
        self._opened = opened
        self._deadline = deadline

    def sendall(self, octets: bytes) -> None:
        self._opened.settimeout(_left(self._deadline))
        self._opened.sendall(octets)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self._opened.settimeout(_left(self._deadline))
        return self._opened.recv_into(buffer)

    def close(self) -> None:
        pass


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout
    return left


# Whether to believe it


def _signer(answer: OCSPResponse, authority: x509_reader.Certificate, now: float, skew: float) -> x509.Certificate:
    """Who signed: the issuer, or whom it has made its responder (RFC 6960 section 4.2.2.2).  Untrusted if it is anybody else."""
    named = [holder for holder in (authority, *answer.certificates()) if _is_named(answer, holder)]
    if not named:
        raise Untrusted("the answer's responderID is neither the issuer nor a certificate in the answer")
    refused = None
    for holder in named:
        try:
            if holder.der != authority.der:
                _check_delegated(holder, authority, now, skew)
            _check_signature(answer, holder)
            return x509.load_der_x509_certificate(holder.der)
        except ValueError as error:  # it is stricter than our reader
            refused = refused or Untrusted(f"the certificate of the signer of the answer cannot be read: {error}")
        except Untrusted as error:
            refused = refused or error
    raise refused


def _is_named(answer: OCSPResponse, holder: x509_reader.Certificate) -> bool:
    if answer.responder_name is not None:
        return answer.responder_name == holder.subject
    return answer.responder_key_hash == hashlib.new("sha1", holder.public_key, usedforsecurity=False).digest()


def _check_delegated(holder: x509_reader.Certificate, authority: x509_reader.Certificate, now: float, skew: float) -> None:
    if holder.issuer != authority.subject:
        raise Untrusted("the signer of the answer was issued by another CA")
    signed = _signed_by(authority, holder.signature_algorithm, holder.signature, holder.tbs)
    if signed is None:
        raise Untrusted("the certificate of the signer of the answer is signed with a weak or unknown algorithm")
    if not signed:
        raise Untrusted("the certificate of the signer of the answer is not signed by the issuer")
    if x509_reader.OCSP_SIGNING not in holder.extended_key_usages:
        raise Untrusted("the signer of the answer lacks the extended key usage OCSPSigning")
    if now + skew < holder.not_before:
        raise Untrusted(f"the certificate of the signer of the answer is not valid before {times.http_date(holder.not_before)}")
    if now - skew > holder.not_after:
        raise Untrusted(f"the certificate of the signer of the answer expired on {times.http_date(holder.not_after)}")


def _check_signature(answer: OCSPResponse, holder: x509_reader.Certificate) -> None:
    if not _is_known_key(holder):
        raise Untrusted("the key of the answer's signer is none of RSA, EC (P-256, P-384, P-521), Ed25519 and Ed448")
    signed = _signed_by(holder, answer.signature_algorithm, answer.signature, answer.tbs)
    if signed is None:
        raise Untrusted("the answer is signed with a weak or unknown algorithm, such as SHA-1")
    if not signed:
        raise Untrusted("the signature of the answer is wrong")


def _about(answer: OCSPResponse, cert_id: messages.CertID) -> SingleResponse:
    """The one answer about what was asked: the same by value, since responders differ in whether they write a hash's NULL parameters."""
    asked = _value(cert_id)
    about = [single for single in answer.responses if _value(single.cert_id) == asked]
    if not about:
        raise Mismatch("the answer is about another certificate")
    if len(about) > 1:
        raise Mismatch("the answer tells about the certificate more than once")
    return about[0]


def _value(cert_id: messages.CertID) -> tuple:
    return cert_id.hash_name, cert_id.issuer_name_hash, cert_id.issuer_key_hash, cert_id.serial_number


def _check_extensions(*groups: dict[bytes, messages.Extension]) -> None:
    for extensions in groups:
        for extension in extensions.values():
            if extension.critical and extension.extn_id not in _UNDERSTOOD:
                raise Malformed(f"the answer has an unknown critical extension, OID {extension.extn_id.hex()}")


def _check_nonce(answer: OCSPResponse, sent: bytes | None, required: bool) -> None:
    if sent is None:
        return
    extension = answer.response_extensions.get(messages.ID_PKIX_OCSP_NONCE)
    if extension is None:
        if required:
            raise Mismatch("the answer has no nonce, so it may be an old one: if this responder gives none, ask without")
    elif not hmac.compare_digest(extension.value, der.tlv(der.OCTET_STRING, sent)):
        raise Mismatch("the answer has another nonce: it is not to this question")


def _check_time(single: SingleResponse, now: float, skew: float, max_age: float) -> None:
    this_update, next_update = single.this_update, single.next_update
    if this_update > now + skew:
        raise Stale(f"the answer is of the future, {times.http_date(this_update)}: are the clocks right?")
    if next_update is None:
        if this_update + max_age < now - skew:
            raise Stale(f"the answer is of {times.http_date(this_update)}, and does not say until when it holds")
    elif next_update < this_update:
        raise Stale("the answer ends before it begins")
    elif next_update < now - skew:
        raise Stale(f"the answer expired on {times.http_date(next_update)}")


def _result(answer: OCSPResponse, single: SingleResponse, signer: x509.Certificate) -> Result:
    status = single.cert_status
    reason = status.revocation_reason
    return Result(
        status.name,
        _datetime(status.revocation_time),
        None if reason is None else REASON_NAMES.get(reason, str(reason)),
        _datetime(single.this_update),
        _datetime(single.next_update),
        _datetime(answer.produced_at),
        signer,
    )


def _datetime(seconds: int | None) -> datetime.datetime | None:
    return None if seconds is None else datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
