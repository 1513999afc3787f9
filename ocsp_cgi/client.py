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
import os
import time
from collections.abc import Iterable, Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from . import algorithms, authority_info, client_checks, client_http, keys, ocsp_response
from .answer import RESPONSE_STATUS_NAMES, SUCCESSFUL
from .certificate import (
    PEM_LABELS,
    Certificate,
    block_der,
    blocks,
    same_name,
)
from .client_errors import (
    ErrorResponse,
    Malformed,
    Mismatch,
    QueryError,
    Stale,
    Unreachable,
    Untrusted,
    UnusableCertificate,
)
from .ocsp_request import CertID, encode_request, nonce_extension
from .ocsp_response import MalformedResponse, OCSPResponse, SingleResponse

__all__ = [
    "ErrorResponse",
    "Malformed",
    "Mismatch",
    "QueryError",
    "Result",
    "Stale",
    "Unreachable",
    "Untrusted",
    "UnusableCertificate",
    "query",
]

NONCE_BYTES = 32  # RFC 9654 section 2.1
SKEW_SECONDS = 5 * 60
MAX_AGE_SECONDS = 60 * 60
_NONCES = ("required", "optional", "none")
_HASH_NAMES = ("sha1", "sha256", "sha384", "sha512")


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
    subject, issuer_certificate = _read("certificate", certificate), _read("issuer", issuer)
    trusted = None if trusted_responder is None else _read("trusted_responder", trusted_responder)
    if isinstance(certificates, (x509.Certificate, bytes, str)):
        certificates = (certificates,)
    others = [one for given in certificates for one in _read_all("certificates", given)]
    _check_issued(subject, issuer_certificate)
    sent = os.urandom(NONCE_BYTES) if nonce != "none" else None
    response = _exchange(
        url or _ocsp_url(subject), _cert_id(subject, issuer_certificate, hash_name), sent, timeout
    )
    now = time.time()
    signer, warnings = client_checks.find_signer(
        response, issuer_certificate, trusted, others, now, skew
    )
    about = client_checks.find_single_responses(response, subject, issuer_certificate)
    client_checks.check_critical_extensions(response, about)
    client_checks.check_nonce(response, sent, nonce == "required")
    client_checks.check_time(about[0], response.produced_at, now, skew, max_age)
    return _result(response, about[0], signer, warnings)


def _exchange(url: str, cert_id: CertID, nonce: bytes | None, timeout: float) -> OCSPResponse:
    """Send a request and read the response.  QueryError if it is not a signed one."""
    extensions = [] if nonce is None else [nonce_extension(nonce)]
    request = encode_request([cert_id], extensions)
    encoded = client_http.post(url, request, time.monotonic() + timeout, timeout)
    try:
        response = OCSPResponse.from_der(encoded)
    except MalformedResponse as error:
        raise Malformed(str(error)) from None
    if response.response_status != SUCCESSFUL:
        name = RESPONSE_STATUS_NAMES[response.response_status]
        raise ErrorResponse(f"the responder answered {name}", name)
    return response


def _read(name: str, given: x509.Certificate | bytes | str) -> Certificate:
    """The certificate given as the argument `name`, the first one if there are several in PEM."""
    return next(_read_all(name, given))


def _read_all(name: str, given: x509.Certificate | bytes | str) -> Iterator[Certificate]:
    """The certificates given as the argument `name`: one, or several in PEM."""
    try:
        if isinstance(given, x509.Certificate):
            yield Certificate(given.public_bytes(Encoding.DER))
        elif isinstance(given, (bytes, str)):
            content = given.encode("ascii") if isinstance(given, str) else given
            for encoded in _encoded(content):
                yield Certificate(encoded)
        else:
            kind = type(given).__name__
            raise TypeError(f"{name} is {kind}, and should be an x509.Certificate, PEM or DER")
    except ValueError as error:  # UnicodeEncodeError, DERError or CertificateError
        raise UnusableCertificate(f"{name}: {error}") from None


def _encoded(content: bytes) -> Iterator[bytes]:
    """The DER of each certificate in PEM or DER; DERError if there is none.

    PEM blocks with other labels, such as a key's, are skipped.
    """
    found = blocks(content)
    begins = tuple(b"-----BEGIN %s-----" % label for label in PEM_LABELS)
    for block in [one for one in found if one.startswith(begins)] or found[:1]:
        yield block_der(block)


def _check_issued(subject: Certificate, issuer: Certificate) -> None:
    """UnusableCertificate unless this is the certificate's issuer: otherwise a response would be
    about another certificate with the same serial number.

    If the certificate is signed with an algorithm that is not known here, the name alone decides:
    whether a certificate is genuine is for TLS to verify.
    """
    try:
        issued = same_name(subject.issuer, issuer.subject) and keys.verifies(
            issuer, subject.signature, subject.tbs, subject.signature_algorithm
        )
    except algorithms.Unsupported:
        return
    if not issued:
        raise UnusableCertificate("the certificate was not issued by this issuer")


def _ocsp_url(subject: Certificate) -> str:
    """The first address of an OCSP responder in the certificate."""
    for address in authority_info.ocsp_urls(subject):
        return address
    raise UnusableCertificate(
        "the certificate does not say where to ask (authorityInfoAccess): give the responder's"
        " address"
    )


def _cert_id(subject: Certificate, issuer: Certificate, hash_name: str) -> CertID:
    name_hash = client_checks.digest(hash_name, subject.issuer)
    key_hash = client_checks.digest(hash_name, issuer.public_key)
    return CertID.make(hash_name, name_hash, key_hash, subject.serial_number)


def _result(
    response: OCSPResponse, single: SingleResponse, signer: x509.Certificate, warnings: list[str]
) -> Result:
    status, next_update = single.cert_status, single.next_update
    revoked, reason = status.revocation_time, status.revocation_reason
    return Result(
        status.name,
        None if revoked is None else _datetime(revoked),
        None if reason is None else ocsp_response.reason_name(reason) or str(reason),
        _datetime(single.this_update),
        None if next_update is None else _datetime(next_update),
        _datetime(response.produced_at),
        signer,
        tuple(warnings),
    )


def _datetime(seconds: int) -> datetime.datetime:
    """An aware datetime.  fromtimestamp would not do: on some systems it fails before 1970."""
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return epoch + datetime.timedelta(seconds=seconds)
