"""Where a certificate says that its status can be asked (RFC 5280 section 4.2.2.1)."""

from __future__ import annotations

from . import certificate, der
from .certificate import Certificate

_ID_AD_OCSP = bytes.fromhex("2b06010505073001")  # 1.3.6.1.5.5.7.48.1
_URI = 0x86  # uniformResourceIdentifier of a GeneralName


def ocsp_urls(subject: Certificate) -> list[str]:
    """The addresses of OCSP responders in the certificate."""
    found = []
    try:
        value = der.read(subject.extensions[certificate.AUTHORITY_INFO_ACCESS], der.SEQUENCE)
        for description in value.elements().all(der.SEQUENCE):
            fields = description.elements()
            method, location = fields.expect(der.OBJECT_IDENTIFIER).contents, next(fields, None)
            if method == _ID_AD_OCSP and location is not None and location.tag == _URI:
                address = location.contents.decode("latin-1")
                if address.lower().startswith(("http://", "https://")):
                    found.append(address)
    except (KeyError, der.DERError):
        pass
    return found
