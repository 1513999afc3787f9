"""A client: has this certificate been revoked?  For applications that check the certificates of
their clients.

    result = client.query(certificate, issuer)
    if result.status != "good": ...

A response is accepted only if it satisfies RFC 6960 section 3.2: it is about this certificate,
signed by its issuer or a responder the issuer authorized, current, and (unless told otherwise) made
for this request.  Anything else is a QueryError.  Treat every QueryError, and every status but
"good", as a refusal.

The text of a QueryError repeats parts of the certificate and of what came over the network,
shortened and without control characters: log it, but do not put it into a page unescaped.

No redirect is followed and no proxy used.  Whether a delegated signer has itself been revoked is
not checked: it is trusted until its certificate expires.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import hmac
import http.client
import io
import os
import queue
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterable, Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from . import certificate as x509_reader
from . import der, keys, limits, ocsp_response, times
from .answer import RESPONSE_STATUS_NAMES, SUCCESSFUL, printable
from .ocsp_request import (
    ID_PKIX_OCSP_NONCE,
    CertID,
    Extension,
    encode_request,
    nonce_extension,
)
from .ocsp_response import MalformedResponse, OCSPResponse, SingleResponse

NONCE_OCTETS = 32  # RFC 9654 section 2.1
ANSWER_BYTES = 64 * 1024
SKEW_SECONDS = 5 * 60
MAX_AGE_SECONDS = 60 * 60
MESSAGE_CHARACTERS = 500  # of a QueryError
_NONCES = ("required", "optional", "none")
_HASH_NAMES = ("sha1", "sha256", "sha384", "sha512")
_ID_AD_OCSP = bytes.fromhex("2b06010505073001")  # 1.3.6.1.5.5.7.48.1
_URI = 0x86  # uniformResourceIdentifier of a GeneralName
# Extensions that may be critical: of a response, of a SingleResponse (RFC 6960 section 4.4), and of
# a signer's certificate.
_UNDERSTOOD = (ID_PKIX_OCSP_NONCE, ocsp_response.ID_PKIX_OCSP_EXTENDED_REVOKE)
_UNDERSTOOD_IN_SINGLE = (ocsp_response.ID_PKIX_OCSP_ARCHIVE_CUTOFF,)
_UNDERSTOOD_IN_SIGNER = {
    x509_reader.AUTHORITY_INFO_ACCESS,
    x509_reader.AUTHORITY_KEY_IDENTIFIER,
    x509_reader.BASIC_CONSTRAINTS,
    x509_reader.CRL_DISTRIBUTION_POINTS,
    x509_reader.EXTENDED_KEY_USAGE,
    x509_reader.KEY_USAGE,
    x509_reader.OCSP_NOCHECK,
    x509_reader.SUBJECT_KEY_IDENTIFIER,
    bytes.fromhex("551d11"),  # 2.5.29.17, subjectAltName
    bytes.fromhex("551d20"),  # 2.5.29.32, certificatePolicies
}
_MAY_SIGN_OCSP = 0x80 | 0x40  # digitalSignature or nonRepudiation, RFC 5280 section 4.2.1.12
_SEVERITY = {"good": 0, "unknown": 1, "revoked": 2}


class QueryError(Exception):
    """The certificate's status could not be determined; the text says why."""

    def __init__(self, text: str):
        super().__init__(printable(text, MESSAGE_CHARACTERS))


class UnusableCertificate(QueryError):
    """A certificate cannot be read, was not issued by this issuer, or has no usable address."""


class Unreachable(QueryError):
    """No OCSP response over HTTP: no connection, too slow, unexpected status or content type."""


class ErrorResponse(QueryError):
    """The responder sent an error instead; `response_status` is its name, such as "tryLater"
    (RFC 6960 section 4.2.1)."""

    def __init__(self, text: str, response_status: str):
        super().__init__(text)
        self.response_status = response_status


class Malformed(QueryError):
    """Not an OCSPResponse, or one with a critical extension that is not understood."""


class Untrusted(QueryError):
    """The response is not signed by the issuer or a responder it authorized, or the algorithm or
    key is weak."""


class Mismatch(QueryError):
    """The response belongs to another request: about another certificate, or with another nonce."""


class Stale(QueryError):
    """The response is not current: expired, too old, or from the future."""


@dataclasses.dataclass(frozen=True)
class Result:
    """A response that passed every check.  All times are aware datetimes in UTC.

    `status` is "good", "revoked" or "unknown"; `revocation_time` and `revocation_reason`, a name of
    RFC 5280 section 5.3.1 such as "keyCompromise", are None unless it is revoked, and the reason
    also if the responder gave none.  `next_update` is None if the responder did not say how long
    the response is valid.  `responder` is the certificate of the key that signed.  `warnings` say
    what was accepted but should be changed, such as a short RSA key.
    """

    status: str
    revocation_time: datetime.datetime | None
    revocation_reason: str | None
    this_update: datetime.datetime
    next_update: datetime.datetime | None
    produced_at: datetime.datetime
    responder: x509.Certificate
    warnings: tuple[str, ...] = ()


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
    trusted_responder: x509.Certificate | bytes | str | None = None,
    certificates: Iterable[x509.Certificate | bytes | str] = (),
) -> Result:
    """Ask whether a certificate has been revoked.  QueryError, or one of its subclasses, if there
    is no trustworthy response.

    Certificates are `cryptography`'s objects, PEM or DER.  `url` is by default the one in the
    certificate (authorityInfoAccess). `nonce`: "required" sends one, and accepts only responses
    that repeat it; "optional" also accepts responses without one, as responders send them from a
    cache; "none" sends none. `timeout` is seconds for everything, name resolution included;
    `hash_name` the CertID's hash, sha1 (which every responder knows, and which protects nothing
    here), sha256, sha384 or sha512. `skew` is the seconds that clocks may differ by; `max_age` the
    seconds after thisUpdate that a response without nextUpdate is accepted.

    `trusted_responder` is the certificate of a responder that may sign although the issuer did not
    authorize it (RFC 6960 sections 2.2 and 4.2.2.2).  `certificates` are further ones among which
    to look for the signer's, if the response does not include it; one in PEM may hold several.
    They add no trust: the issuer must have authorized the signer.

    ValueError for any other value of an option, TypeError for another type of certificate.
    """
    if nonce not in _NONCES:
        raise ValueError(f"nonce is {nonce!r}, and should be one of {', '.join(_NONCES)}")
    if hash_name not in _HASH_NAMES:
        raise ValueError(
            f"hash_name is {hash_name!r}, and should be one of {', '.join(_HASH_NAMES)}"
        )
    if not timeout > 0 or not skew >= 0 or not max_age >= 0:
        raise ValueError("timeout should be more than 0 seconds, skew and max_age not less than 0")
    subject, authority = _read("certificate", certificate), _read("issuer", issuer)
    trusted = None if trusted_responder is None else _read("trusted_responder", trusted_responder)
    if isinstance(certificates, (x509.Certificate, bytes, str)):
        certificates = (certificates,)
    others = [holder for given in certificates for holder in _read_all("certificates", given)]
    _check_issued(subject, authority)
    cert_id = _cert_id(subject, authority, hash_name)
    octets = os.urandom(NONCE_OCTETS) if nonce != "none" else None
    extensions = [] if octets is None else [nonce_extension(octets)]
    request = encode_request([cert_id], extensions)
    encoded = _exchange(url or _ocsp_url(subject), request, time.monotonic() + timeout, timeout)
    try:
        answer = OCSPResponse.from_der(encoded)
    except MalformedResponse as error:
        raise Malformed(str(error)) from None
    if answer.response_status != SUCCESSFUL:
        name = RESPONSE_STATUS_NAMES[answer.response_status]
        raise ErrorResponse(f"the responder answered {name}", name)
    now = time.time()
    signer, warnings = _signer(answer, authority, trusted, others, now, skew)
    about = _about(answer, subject, authority)
    _check_extensions(answer.response_extensions, _UNDERSTOOD)
    for single in about:
        _check_extensions(single.single_extensions, _UNDERSTOOD_IN_SINGLE)
    _check_nonce(answer, octets, nonce == "required")
    _check_time(about[0], answer.produced_at, now, skew, max_age)
    return _result(answer, about[0], signer, warnings)


def _read(name: str, given: x509.Certificate | bytes | str) -> x509_reader.Certificate:
    """The certificate given as the argument `name`, the first one if there are several in PEM."""
    return next(_read_all(name, given))


def _read_all(
    name: str, given: x509.Certificate | bytes | str
) -> Iterator[x509_reader.Certificate]:
    """The certificates given as the argument `name`: one, or several in PEM."""
    try:
        if isinstance(given, x509.Certificate):
            yield x509_reader.Certificate(given.public_bytes(Encoding.DER))
        elif isinstance(given, (bytes, str)):
            content = given.encode("ascii") if isinstance(given, str) else given
            for encoded in _encoded(content):
                yield x509_reader.Certificate(encoded)
        else:
            kind = type(given).__name__
            raise TypeError(f"{name} is {kind}, and should be an x509.Certificate, PEM or DER")
    except ValueError as error:  # of UnicodeEncodeError, DERError and CertificateError alike
        raise UnusableCertificate(f"{name}: {error}") from None


def _encoded(content: bytes) -> Iterator[bytes]:
    """The DER of each certificate in PEM or DER; DERError if there is none.  PEM blocks of other
    labels, such as a key's, are passed over."""
    blocks = x509_reader.blocks(content)
    labelled = tuple(b"-----BEGIN %s-----" % label for label in x509_reader.PEM_LABELS)
    for block in [one for one in blocks if one.startswith(labelled)] or blocks[:1]:
        yield x509_reader.block_der(block)


def _check_issued(subject: x509_reader.Certificate, authority: x509_reader.Certificate) -> None:
    """UnusableCertificate unless this is the certificate's issuer: a response would be about
    another certificate with the same serial number.

    Where the signature on the certificate is with an algorithm that is not known here, the name
    alone decides: whether a certificate is genuine is for TLS to find out.
    """
    try:
        issued = x509_reader.same_name(subject.issuer, authority.subject) and keys.verifies(
            authority, subject.signature, subject.tbs, subject.signature_algorithm
        )
    except keys.Unsupported:
        return
    if not issued:
        raise UnusableCertificate("the certificate was not issued by this issuer")


def _is_signed(
    what: str,
    whose: str,
    holder: x509_reader.Certificate,
    signature: bytes,
    data: bytes,
    identifier: bytes,
) -> bool:
    """Whether `data`, which is `what`, is signed with the key of `whose` certificate.

    Untrusted with the reason if that cannot be verified.
    """
    try:
        return keys.verifies(holder, signature, data, identifier)
    except keys.UnsupportedKey as error:
        raise Untrusted(f"the key of {whose} is {error}: {what} cannot be verified") from None
    except keys.Unsupported as error:
        raise Untrusted(f"{what} is signed {error}") from None


def _ocsp_url(subject: x509_reader.Certificate) -> str:
    """The first address of an OCSP responder in the certificate (RFC 5280 section 4.2.2.1)."""
    try:
        for description in (
            der.read(subject.extensions[x509_reader.AUTHORITY_INFO_ACCESS], der.SEQUENCE)
            .elements()
            .all(der.SEQUENCE)
        ):
            fields = description.elements()
            method, location = fields.expect(der.OBJECT_IDENTIFIER).contents, next(fields, None)
            if method == _ID_AD_OCSP and location is not None and location.tag == _URI:
                address = location.contents.decode("latin-1")
                if address.lower().startswith(("http://", "https://")):
                    return address
    except (KeyError, der.DERError):
        pass
    raise UnusableCertificate(
        "the certificate does not tell where to ask (authorityInfoAccess):"
        " give the responder's address"
    )


def _cert_id(
    subject: x509_reader.Certificate, authority: x509_reader.Certificate, hash_name: str
) -> CertID:
    name_hash = _digest(hash_name, subject.issuer)
    key_hash = _digest(hash_name, authority.public_key)
    return CertID.make(hash_name, name_hash, key_hash, subject.serial_number)


def _digest(hash_name: str, octets: bytes) -> bytes:
    return hashlib.new(hash_name, octets, usedforsecurity=False).digest()


# HTTP


def _exchange(url: str, encoded: bytes, deadline: float, timeout: float) -> bytes:
    """The body of the answer to a POST (RFC 6960 appendix A).  Unreachable, with the address, if
    there is none."""
    shown = printable(url)
    try:
        address = urllib.parse.urlsplit(url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise UnusableCertificate(f"`{shown}` is no address of http:// or https://")
        address.hostname.encode("idna")
        tls = address.scheme == "https"
        connection = _Connection(tls, address.hostname, address.port, deadline)
    except (http.client.InvalidURL, ValueError) as error:  # UnicodeError is a ValueError
        reason = printable(str(error))
        raise UnusableCertificate(f"`{shown}` is no address: {reason}") from None
    target = urllib.parse.quote(
        (address.path or "/") + (f"?{address.query}" if address.query else ""),
        "/?:@!$&'()*+,;=%-._~",
    )
    try:
        connection.request(
            "POST",
            target,
            encoded,
            {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"},
        )
        response = connection.getresponse()
        if 300 <= response.status < 400:
            where = printable(response.getheader("Location", ""))
            raise Unreachable(
                f"{shown} sends elsewhere, which is not followed (HTTP status {response.status}):"
                f" '{where}'"
            )
        if response.status != 200:
            raise Unreachable(f"{shown} answered with HTTP status {response.status}")
        content_type = response.getheader("Content-Type", "")
        if content_type.partition(";")[0].strip().lower() != "application/ocsp-response":
            content_type = printable(content_type, 100)
            raise Unreachable(
                f"{shown} answered with '{content_type}', not application/ocsp-response:"
                " is a responder there?"
            )
        body = response.read(ANSWER_BYTES + 1)
    except (socket.timeout, TimeoutError):
        reason = f"{shown} gave no whole answer within {timeout:g} seconds"
        if not connection.is_resolved:
            reason += f", still resolving the name {printable(address.hostname)}"
        raise Unreachable(reason) from None
    except OSError as error:
        raise Unreachable(f"{shown}: {printable(error.strerror or str(error))}") from None
    except (http.client.HTTPException, ValueError) as error:
        reason = printable(str(error))
        raise Unreachable(
            f"{shown} answered with what is no HTTP: {type(error).__name__} {reason}"
        ) from None
    finally:
        connection.end()
    if len(body) > ANSWER_BYTES:
        raise Unreachable(f"{shown} answered with more than {ANSWER_BYTES} bytes")
    return body


class _Connection(http.client.HTTPConnection):
    """A connection that ends at a deadline, a time.monotonic(), however often something comes."""

    def __init__(self, tls: bool, host: str, port: int | None, deadline: float):
        super().__init__(host, (443 if tls else 80) if port is None else port)
        self.is_resolved = False
        self._tls = tls
        self._deadline = deadline
        self._opened: socket.socket | None = None

    def end(self) -> None:
        self.close()
        if self._opened is not None:
            self._opened.close()

    def connect(self) -> None:
        failed: OSError = OSError("no address")
        addresses = _resolve(self.host, self.port, self._deadline)
        self.is_resolved = True
        for family, kind, protocol, _, where in addresses:
            opened = socket.socket(family, kind, protocol)
            try:
                opened.settimeout(_left(self._deadline))
                opened.connect(where)
                if self._tls:
                    opened.settimeout(_left(self._deadline))
                    opened = ssl.create_default_context().wrap_socket(
                        opened, server_hostname=self.host
                    )
                self._opened = opened
                self.sock = _Socket(opened, self._deadline)
                return
            except OSError as error:
                opened.close()
                failed = error
        raise failed


def _resolve(host: str, port: int, deadline: float) -> list[tuple]:
    """getaddrinfo, ended at the deadline by socket.timeout.

    It cannot be interrupted, so it runs in a thread that neither the caller nor the end of the
    process waits for.
    """
    outcomes: queue.SimpleQueue = queue.SimpleQueue()

    def resolve() -> None:
        try:
            outcomes.put((socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), None))
        except Exception as error:
            outcomes.put((None, error))

    try:
        threading.Thread(target=resolve, name="ocsp_cgi-resolve", daemon=True).start()
    except RuntimeError:  # the process may have no more threads, or is ending
        resolve()
    try:
        addresses, error = outcomes.get(timeout=_left(deadline))
    except queue.Empty:
        raise socket.timeout from None
    if error is not None:
        raise error
    return addresses


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


def _signer(
    answer: OCSPResponse,
    authority: x509_reader.Certificate,
    trusted: x509_reader.Certificate | None,
    others: list[x509_reader.Certificate],
    now: float,
    skew: float,
) -> tuple[x509.Certificate, list[str]]:
    """The certificate of the key that signed, and warnings: the issuer's, the trusted responder's,
    or one that the issuer authorized (RFC 6960 section 4.2.2.2), in the response or among `others`.
    Untrusted if it is any other.
    """
    local = [authority] if trusted is None else [authority, trusted]
    holders = {holder.der: holder for holder in (*local, *answer.certificates(), *others)}
    named = [holder for holder in holders.values() if _is_named(answer, holder)]
    if not named:
        where = "the issuer, a certificate in the answer, or one of those given"
        raise Untrusted(f"the answer's responderID is not that of {where}")
    refused = None
    for holder in named:
        try:
            if holder.der == authority.der:
                warnings = _check_key_size(authority, "the issuer")
            elif trusted is not None and holder.der == trusted.der:
                _check_validity(holder, now, skew)
                warnings = _check_key_size(holder, "the signer of the answer")
            else:
                warnings = _check_delegated(holder, authority, now, skew)
            _check_signature(answer, holder)
            return x509.load_der_x509_certificate(holder.der), warnings
        except (ValueError, x509.InvalidVersion) as error:  # it is stricter than our reader
            refused = refused or Untrusted(
                f"the certificate of the signer of the answer cannot be read: {error}"
            )
        except Untrusted as error:
            refused = refused or error
    raise refused


def _is_named(answer: OCSPResponse, holder: x509_reader.Certificate) -> bool:
    if answer.responder_name is not None:
        return x509_reader.same_name(answer.responder_name, holder.subject)
    return answer.responder_key_hash == _digest("sha1", holder.public_key)


def _check_delegated(
    holder: x509_reader.Certificate, authority: x509_reader.Certificate, now: float, skew: float
) -> list[str]:
    """Untrusted unless the issuer authorized this signer (RFC 6960 section 4.2.2.2, RFC 5280
    section 4.2).  Returns warnings."""
    if not x509_reader.same_name(holder.issuer, authority.subject):
        raise Untrusted("the signer of the answer was issued by another CA")
    warnings = _check_key_size(authority, "the issuer")
    if not _is_signed(
        "the certificate of the signer of the answer",
        "the issuer",
        authority,
        holder.signature,
        holder.tbs,
        holder.signature_algorithm,
    ):
        raise Untrusted("the certificate of the signer of the answer is not signed by the issuer")
    if x509_reader.OCSP_SIGNING not in holder.extended_key_usages:
        raise Untrusted("the signer of the answer lacks the extended key usage OCSPSigning")
    key_usage = holder.extensions.get(x509_reader.KEY_USAGE)
    if key_usage is not None and not (len(key_usage) > 3 and key_usage[3] & _MAY_SIGN_OCSP):
        raise Untrusted("the keyUsage of the signer of the answer lacks digitalSignature")
    unknown = [one for one in holder.critical if one not in _UNDERSTOOD_IN_SIGNER]
    if unknown:
        raise Untrusted(
            "the certificate of the signer of the answer has an unknown critical extension,"
            f" OID {unknown[0].hex()}"
        )
    _check_validity(holder, now, skew)
    if holder.is_ca:
        warnings.append("the signer of the answer is itself a CA, which some clients refuse")
    return warnings + _check_key_size(holder, "the signer of the answer")


def _check_validity(holder: x509_reader.Certificate, now: float, skew: float) -> None:
    if now + skew < holder.not_before:
        raise Untrusted(
            "the certificate of the signer of the answer is not valid before"
            f" {times.http_date(holder.not_before)}"
        )
    if now - skew > holder.not_after:
        raise Untrusted(
            "the certificate of the signer of the answer expired on"
            f" {times.http_date(holder.not_after)}"
        )


def _check_key_size(holder: x509_reader.Certificate, whose: str) -> list[str]:
    """Untrusted if the key is so short that it can be broken; a warning if it is shorter than is
    now usual."""
    try:
        kind, bits = keys.key_size(holder)
    except keys.UnsupportedKey as error:
        raise Untrusted(f"the key of {whose} is {error}") from None
    minimum, usual = limits.REFUSED_KEY_BITS.get(kind, 0), limits.WEAK_KEY_BITS.get(kind, 0)
    if bits < minimum:
        raise Untrusted(
            f"the {kind} key of {whose} has {bits} bits: fewer than {minimum} are not accepted"
        )
    if bits < usual:
        return [f"the {kind} key of {whose} has {bits} bits: replace it with {usual} or more"]
    return []


def _check_signature(answer: OCSPResponse, holder: x509_reader.Certificate) -> None:
    if not _is_signed(
        "the answer",
        "the signer of the answer",
        holder,
        answer.signature,
        answer.tbs,
        answer.signature_algorithm,
    ):
        raise Untrusted("the signature of the answer is wrong")


def _about(
    answer: OCSPResponse, subject: x509_reader.Certificate, authority: x509_reader.Certificate
) -> list[SingleResponse]:
    """The SingleResponses about this certificate, the one to go by first: of several, revoked wins
    over unknown, and unknown over good; of two with the same status, the later one.  Mismatch if
    there is none."""

    def rank(single: SingleResponse) -> tuple[int, int]:
        return _SEVERITY[single.cert_status.name], single.this_update

    about = [one for one in answer.responses if _identifies(one.cert_id, subject, authority)]
    if not about:
        raise Mismatch("the answer is about another certificate")
    return sorted(about, key=rank, reverse=True)


def _identifies(
    cert_id: CertID, subject: x509_reader.Certificate, authority: x509_reader.Certificate
) -> bool:
    """Whether a CertID is of this certificate, with whichever hash the responder chose.

    The certificate and its issuer may spell the issuer's name differently (RFC 5280 section 7.1).
    """
    hash_name = cert_id.hash_name
    if hash_name is None or cert_id.serial_number != subject.serial_number:
        return False
    names = [_digest(hash_name, name) for name in (subject.issuer, authority.subject)]
    key_hash = _digest(hash_name, authority.public_key)
    return cert_id.issuer_name_hash in names and cert_id.issuer_key_hash == key_hash


def _check_extensions(extensions: dict[bytes, Extension], understood: tuple[bytes, ...]) -> None:
    for extension in extensions.values():
        if extension.critical and extension.extn_id not in understood:
            name = "nonce in singleExtensions"
            if extension.extn_id != ID_PKIX_OCSP_NONCE:
                name = f"OID {extension.extn_id.hex()}"
            raise Malformed(f"the answer has an unknown critical extension, {name}")


def _check_nonce(answer: OCSPResponse, sent: bytes | None, required: bool) -> None:
    if sent is None:
        return
    extension = answer.response_extensions.get(ID_PKIX_OCSP_NONCE)
    if extension is None:
        if required:
            raise Mismatch(
                "the answer has no nonce, so it may be an old one: if this responder gives none,"
                " ask without"
            )
    elif not hmac.compare_digest(extension.value, der.tlv(der.OCTET_STRING, sent)):
        raise Mismatch("the answer has another nonce: it is not to this question")


def _check_time(
    single: SingleResponse, produced_at: int, now: float, skew: float, max_age: float
) -> None:
    if produced_at > now + skew:
        date = times.http_date(produced_at)
        raise Stale(f"the answer was produced in the future, {date}: are the clocks right?")
    this_update, next_update = single.this_update, single.next_update
    if this_update > now + skew:
        raise Stale(
            f"the answer is of the future, {times.http_date(this_update)}: are the clocks right?"
        )
    if next_update is None:
        if this_update + max_age < now - skew:
            raise Stale(
                f"the answer is of {times.http_date(this_update)}, and does not say until when it"
                " holds"
            )
    elif next_update < this_update:
        raise Stale("the answer ends before it begins")
    elif next_update < now - skew:
        raise Stale(f"the answer expired on {times.http_date(next_update)}")


def _result(
    answer: OCSPResponse, single: SingleResponse, signer: x509.Certificate, warnings: list[str]
) -> Result:
    status = single.cert_status
    reason = status.revocation_reason
    return Result(
        status.name,
        _datetime(status.revocation_time),
        None if reason is None else ocsp_response.reason_name(reason) or str(reason),
        _datetime(single.this_update),
        _datetime(single.next_update),
        _datetime(answer.produced_at),
        signer,
        tuple(warnings),
    )


def _datetime(seconds: int | None) -> datetime.datetime | None:
    return (
        None
        if seconds is None
        else datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        + datetime.timedelta(seconds=seconds)
    )
