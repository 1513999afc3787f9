"""Which CA of the config a certificate or a CertID names, and how a client names a certificate."""

from __future__ import annotations

from .. import certificate, keys
from ..algorithms import Unsupported
from ..answer import OCSPError
from ..certificate import Certificate
from ..issuer import Issuer
from ..ocsp_request import CertID

_HASH = "sha1"  # what nearly all clients use


def of_certificate(holder: Certificate, issuers: list[Issuer]) -> tuple[list[Issuer], str]:
    """The sections of the CA that issued a certificate; and how that is known, or, if there are
    none, what speaks against it."""
    named = [
        one
        for one in issuers
        if any(certificate.same_name(ca.subject, holder.issuer) for ca in one.certificates)
    ]
    if not named:
        return [], "no `ca` of the config has this name"
    try:
        signing = [one for one in named if _has_signed(one, holder)]
    except (Unsupported, OCSPError) as error:
        return named, f"by the issuer's name in the certificate; its signature: {error}"
    if signing:
        return signing, "by the issuer's name and key in the certificate"
    names = ", ".join(f"[{one.settings.name}]" for one in named)
    return [], f"{names} has this name, but another key: it did not sign the certificate"


def _has_signed(issuer: Issuer, holder: Certificate) -> bool:
    ca = issuer.certificates[0]
    return keys.verifies(ca, holder.signature, holder.tbs, holder.signature_algorithm)


def cert_id_of_serial(issuer: Issuer, number: int) -> CertID:
    """The CertID of a certificate of a CA, whose certificate can be read."""
    ca = issuer.certificates[0]
    return _cert_id(ca.subject, ca.public_key, number)


def cert_id_of_certificate(issuer: Issuer | None, holder: Certificate) -> CertID:
    """The CertID of a certificate, None being a CA whose key is unknown."""
    key = issuer.certificates[0].public_key if issuer else b""
    return _cert_id(holder.issuer, key, holder.serial_number)


def half_matches(cert_id: CertID, issuers: list[Issuer]) -> list[str]:
    """What one of the hashes of a CertID fits, if the other does not."""
    said = []
    for issuer in issuers:
        if cert_id.hash_name is None or not issuer.certificates:
            continue
        ca = issuer.certificates[0]
        if keys.digest(cert_id.hash_name, ca.public_key) == cert_id.issuer_key_hash:
            said.append(f"issuerKeyHash is [{issuer.settings.name}]'s, issuerNameHash is not")
        elif keys.digest(cert_id.hash_name, ca.subject) == cert_id.issuer_name_hash:
            said.append(f"issuerNameHash is [{issuer.settings.name}]'s, issuerKeyHash is not")
    return said


def _cert_id(name: bytes, key: bytes, number: int) -> CertID:
    return CertID.make(_HASH, keys.digest(_HASH, name), keys.digest(_HASH, key), number)
