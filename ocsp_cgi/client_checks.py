"""Whether to trust a response (RFC 6960 section 3.2): who signed it, which certificate it is about,
whether it was made for this request, and whether it is current.

Each check raises the QueryError that says what is wrong.  Time is an argument, and nothing here
reads files or the network.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography import x509

from . import algorithms, certificate, der, keys, limits, times
from .certificate import Certificate
from .client_errors import Malformed, Mismatch, Stale, Untrusted
from .ocsp_request import ID_PKIX_OCSP_NONCE, CertID, Extension
from .ocsp_response import (
    ID_PKIX_OCSP_ARCHIVE_CUTOFF,
    ID_PKIX_OCSP_EXTENDED_REVOKE,
    OCSPResponse,
    SingleResponse,
)

# Extensions that may be critical: of a response, of a SingleResponse (RFC 6960 section 4.4), and of
# a signer's certificate.
_UNDERSTOOD = (ID_PKIX_OCSP_NONCE, ID_PKIX_OCSP_EXTENDED_REVOKE)
_UNDERSTOOD_IN_SINGLE = (ID_PKIX_OCSP_ARCHIVE_CUTOFF,)
_UNDERSTOOD_IN_SIGNER = {
    certificate.AUTHORITY_INFO_ACCESS,
    certificate.AUTHORITY_KEY_IDENTIFIER,
    certificate.BASIC_CONSTRAINTS,
    certificate.CRL_DISTRIBUTION_POINTS,
    certificate.EXTENDED_KEY_USAGE,
    certificate.KEY_USAGE,
    certificate.OCSP_NOCHECK,
    certificate.SUBJECT_KEY_IDENTIFIER,
    bytes.fromhex("551d11"),  # 2.5.29.17, subjectAltName
    bytes.fromhex("551d20"),  # 2.5.29.32, certificatePolicies
}
_MAY_SIGN_OCSP = 0x80 | 0x40  # digitalSignature or nonRepudiation, RFC 5280 section 4.2.1.12
_SEVERITY = {"good": 0, "unknown": 1, "revoked": 2}


def find_signer(
    response: OCSPResponse,
    issuer: Certificate,
    trusted: Certificate | None,
    others: list[Certificate],
    now: float,
    skew: float,
) -> tuple[x509.Certificate, list[str]]:
    """The certificate of the key that signed, and warnings.

    It is the issuer's, the trusted responder's, or one that the issuer authorized (RFC 6960 section
    4.2.2.2), in the response or among `others`.  Untrusted if it is any other.
    """
    local = [issuer] if trusted is None else [issuer, trusted]
    candidates = {one.der: one for one in (*local, *response.certificates(), *others)}
    refused: Untrusted | None = None
    for candidate in candidates.values():
        if not _is_responder_id_of(response, candidate):
            continue
        try:
            if candidate.der == issuer.der:
                warnings = _check_key_size(issuer, "the issuer's")
            elif trusted is not None and candidate.der == trusted.der:
                _check_validity(candidate, now, skew)
                warnings = _check_key_size(candidate, "the response signer's")
            else:
                warnings = _check_delegated(candidate, issuer, now, skew)
            _check_signature(response, candidate)
            return x509.load_der_x509_certificate(candidate.der), warnings
        except (ValueError, x509.InvalidVersion) as error:  # stricter than our reader
            refused = refused or Untrusted(
                f"the response signer's certificate cannot be read: {error}"
            )
        except Untrusted as error:
            refused = refused or error
    raise refused or Untrusted(
        "the responderID is not that of the issuer, of a certificate in the response, or of one of"
        " those given"
    )


def _is_responder_id_of(response: OCSPResponse, candidate: Certificate) -> bool:
    if response.responder_name is not None:
        return certificate.same_name(response.responder_name, candidate.subject)
    return response.responder_key_hash == digest("sha1", candidate.public_key)


def _check_delegated(
    signer: Certificate, issuer: Certificate, now: float, skew: float
) -> list[str]:
    """Untrusted unless the issuer authorized this signer (RFC 6960 section 4.2.2.2, RFC 5280
    section 4.2).  Returns warnings."""
    if not certificate.same_name(signer.issuer, issuer.subject):
        raise Untrusted("the response signer was issued by another CA")
    warnings = _check_key_size(issuer, "the issuer's")
    if not _is_signed(
        "the response signer's certificate",
        "the issuer's",
        issuer,
        signer.signature,
        signer.tbs,
        signer.signature_algorithm,
    ):
        raise Untrusted("the response signer's certificate is not signed by the issuer")
    if certificate.OCSP_SIGNING not in signer.extended_key_usages:
        raise Untrusted("the response signer lacks the extended key usage OCSPSigning")
    key_usage = signer.extensions.get(certificate.KEY_USAGE)
    if key_usage is not None and not (len(key_usage) > 3 and key_usage[3] & _MAY_SIGN_OCSP):
        raise Untrusted("the response signer's keyUsage lacks digitalSignature")
    unknown = [one for one in signer.critical if one not in _UNDERSTOOD_IN_SIGNER]
    if unknown:
        raise Untrusted(
            "the response signer's certificate has an unknown critical extension,"
            f" OID {unknown[0].hex()}"
        )
    _check_validity(signer, now, skew)
    if signer.is_ca:
        warnings.append("the response signer is itself a CA, which some clients refuse")
    return warnings + _check_key_size(signer, "the response signer's")


def _check_validity(signer: Certificate, now: float, skew: float) -> None:
    if now + skew < signer.not_before:
        raise Untrusted(
            "the response signer's certificate is not valid before"
            f" {times.http_date(signer.not_before)}"
        )
    if now - skew > signer.not_after:
        raise Untrusted(
            f"the response signer's certificate expired on {times.http_date(signer.not_after)}"
        )


def _check_key_size(holder: Certificate, whose: str) -> list[str]:
    """Untrusted if the key is so short that it can be broken; a warning if it is shorter than it
    should be."""
    try:
        kind, bits = algorithms.key_size(holder)
    except algorithms.UnsupportedKey as error:
        raise Untrusted(f"{whose} key is {error}") from None
    minimum, usual = limits.REFUSED_KEY_BITS.get(kind, 0), limits.WEAK_KEY_BITS.get(kind, 0)
    if bits < minimum:
        raise Untrusted(f"{whose} {kind} key has {bits} bits: at least {minimum} are required")
    if bits < usual:
        return [f"{whose} {kind} key has {bits} bits: replace it with one of {usual} or more"]
    return []


def _check_signature(response: OCSPResponse, signer: Certificate) -> None:
    if not _is_signed(
        "the response",
        "the response signer's",
        signer,
        response.signature,
        response.tbs,
        response.signature_algorithm,
    ):
        raise Untrusted("the signature of the response is wrong")


def _is_signed(
    what: str,
    whose: str,
    holder: Certificate,
    signature: bytes,
    data: bytes,
    identifier: bytes,
) -> bool:
    """Whether `data`, which is `what`, is signed with `whose` key, which is in a certificate.

    Untrusted with the reason if that cannot be verified.
    """
    try:
        return keys.verifies(holder, signature, data, identifier)
    except algorithms.UnsupportedKey as error:
        raise Untrusted(f"{whose} key is {error}: {what} cannot be verified") from None
    except algorithms.Unsupported as error:
        raise Untrusted(f"{what} is signed {error}") from None


def find_single_responses(
    response: OCSPResponse, subject: Certificate, issuer: Certificate
) -> list[SingleResponse]:
    """The SingleResponses about this certificate, the decisive one first.  Mismatch if there are
    none.

    Revoked wins over unknown, and unknown over good; of two with one status, the later wins.
    """

    def rank(single: SingleResponse) -> tuple[int, int]:
        return _SEVERITY[single.cert_status.name], single.this_update

    about = [one for one in response.responses if _identifies(one.cert_id, subject, issuer)]
    if not about:
        raise Mismatch("the response is about another certificate")
    return sorted(about, key=rank, reverse=True)


def _identifies(cert_id: CertID, subject: Certificate, issuer: Certificate) -> bool:
    """Whether a CertID is of this certificate, with whichever hash the responder chose.

    The certificate and its issuer may spell the issuer's name differently (RFC 5280 section 7.1).
    """
    hash_name = cert_id.hash_name
    if hash_name is None or cert_id.serial_number != subject.serial_number:
        return False
    name_hashes = [digest(hash_name, name) for name in (subject.issuer, issuer.subject)]
    key_hash = digest(hash_name, issuer.public_key)
    return cert_id.issuer_name_hash in name_hashes and cert_id.issuer_key_hash == key_hash


def check_critical_extensions(response: OCSPResponse, about: list[SingleResponse]) -> None:
    """Malformed if the response, or a SingleResponse about the certificate, has an unknown critical
    extension."""
    _check_critical(response.response_extensions, _UNDERSTOOD)
    for single in about:
        _check_critical(single.single_extensions, _UNDERSTOOD_IN_SINGLE)


def _check_critical(extensions: dict[bytes, Extension], understood: tuple[bytes, ...]) -> None:
    for extension in extensions.values():
        if extension.critical and extension.extn_id not in understood:
            name = f"OID {extension.extn_id.hex()}"
            if extension.extn_id == ID_PKIX_OCSP_NONCE:
                name = "nonce in singleExtensions"
            raise Malformed(f"the response has an unknown critical extension, {name}")


def check_nonce(response: OCSPResponse, sent: bytes | None, required: bool) -> None:
    """Mismatch unless the response repeats the nonce, or has none and need not have one."""
    if sent is None:
        return
    extension = response.response_extensions.get(ID_PKIX_OCSP_NONCE)
    if extension is None:
        if required:
            raise Mismatch(
                "the response has no nonce, so it may be an old one: if this responder never sends"
                " one, ask without a nonce"
            )
    elif not hmac.compare_digest(extension.value, der.tlv(der.OCTET_STRING, sent)):
        raise Mismatch("the response has another nonce: it was not made for this request")


def check_time(
    single: SingleResponse, produced_at: int, now: float, skew: float, max_age: float
) -> None:
    """Stale unless the response is current."""
    if produced_at > now + skew:
        date = times.http_date(produced_at)
        raise Stale(f"the response was produced in the future, {date}: are the clocks right?")
    this_update, next_update = single.this_update, single.next_update
    if this_update > now + skew:
        date = times.http_date(this_update)
        raise Stale(f"the response is from the future, {date}: are the clocks right?")
    if next_update is None:
        if this_update + max_age < now - skew:
            date = times.http_date(this_update)
            raise Stale(f"the response is from {date}, and does not say how long it is valid")
    elif next_update < this_update:
        raise Stale("the response expired before it became valid")
    elif next_update < now - skew:
        raise Stale(f"the response expired on {times.http_date(next_update)}")


def digest(hash_name: str, data: bytes) -> bytes:
    return hashlib.new(hash_name, data, usedforsecurity=False).digest()
