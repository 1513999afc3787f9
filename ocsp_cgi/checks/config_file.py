"""The config: whether it can be loaded, and whether its sections go together."""

from __future__ import annotations

from .. import config, keys
from ..answer import OCSPError
from ..issuer import Issuer, refuse_shared
from ..lookup import Lookup
from ..ocsp_request import CertID
from .finding import Finding, Level
from .subject import Subject


def examine(subject: Subject) -> list[Finding]:
    """All sections are compared, also if only some CAs are checked."""
    try:
        settings = config.load(subject.config)
    except config.ConfigError as error:
        return [Finding(Level.FAIL, str(error))]
    issuers = [Issuer(ca) for ca in settings.cas]
    refuse_shared(issuers)
    found = [(str(one.refused), one.settings.name) for one in issuers if one.refused]
    for issuer in issuers:
        if issuer.certificates:
            try:
                Lookup(cert_id(issuer, 0), issuers)
            except OCSPError as error:
                found.append((str(error), issuer.settings.name))
    if found:
        return [Finding(Level.FAIL, text, subject.config) for text in dict(found)]
    names = " and ".join(f"[{ca.name}]" for ca in settings.cas)
    return [Finding(Level.OK, f"the config can be loaded: {names}", subject.config)]


def cert_id(issuer: Issuer, serial_number: int) -> CertID:
    """The CertID by which clients name a certificate of this CA."""
    ca = issuer.certificates[0]
    name_hash, key_hash = (keys.digest("sha1", one) for one in (ca.subject, ca.public_key))
    return CertID.make("sha1", name_hash, key_hash, serial_number)
