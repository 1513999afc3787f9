"""X.509 certificates (RFC 5280 section 4.1), as far as a responder has to read its own CA's and signer's.

Read with our own DER reader because the hashes in a CertID are over bytes of the certificate as they stand, and
because `cryptography.x509` costs 40 ms of imports at every answer.
"""

from __future__ import annotations

import binascii

from . import der, times

OCSP_SIGNING = der.oid("1.3.6.1.5.5.7.3.9")
_BASIC_CONSTRAINTS = der.oid("2.5.29.19")
_KEY_USAGE = der.oid("2.5.29.15")
_EXTENDED_KEY_USAGE = der.oid("2.5.29.37")
_OCSP_NOCHECK = der.oid("1.3.6.1.5.5.7.48.1.5")


class CertificateError(ValueError):
    """No certificate could be read out of this."""


class Certificate:
    """One certificate.  `issuer` and `subject` are the DER of the Names, `public_key` is the contents of the
    BIT STRING without its first octet, `key_algorithm` the DER of its AlgorithmIdentifier; times are seconds since 1970."""

    __slots__ = ("der", "tbs", "serial_number", "issuer", "subject", "not_before", "not_after",
                 "key_algorithm", "public_key", "signature_algorithm", "signature", "_extensions")  # fmt: skip

    def __init__(self, encoded: bytes):
        """Read the DER of a Certificate.  CertificateError if it is none."""
        try:
            self._read(encoded)
        except ValueError as error:
            raise CertificateError(f"no X.509 certificate: {error}") from None

    def _read(self, encoded: bytes) -> None:
        self.der = encoded
        fields = der.read(encoded, der.SEQUENCE).elements()
        tbs = fields.next(der.SEQUENCE)
        self.tbs = tbs.encoded
        self.signature_algorithm = fields.next(der.SEQUENCE).encoded
        self.signature = fields.next(der.BIT_STRING).bit_string()
        fields.end()

        fields = tbs.elements()
        fields.optional(der.context(0))  # version
        self.serial_number = fields.next(der.INTEGER).integer()
        fields.next(der.SEQUENCE)  # signature
        self.issuer = fields.next(der.SEQUENCE).encoded
        validity = fields.next(der.SEQUENCE).elements()
        self.not_before, self.not_after = (times.parse_time(time.contents) for time in validity)
        self.subject = fields.next(der.SEQUENCE).encoded
        key_info = fields.next(der.SEQUENCE).elements()
        self.key_algorithm = key_info.next(der.SEQUENCE).encoded
        self.public_key = key_info.next(der.BIT_STRING).bit_string()
        key_info.end()
        self._extensions = {}
        for field in fields:
            if field.tag == der.context(3):
                for extension in field.only(der.SEQUENCE).elements():
                    parts = extension.elements()
                    extension_id = parts.next(der.OBJECT_IDENTIFIER).object_identifier()
                    parts.optional(der.BOOLEAN)
                    self._extensions[extension_id] = parts.next(der.OCTET_STRING).contents

    @property
    def may_sign_ocsp(self) -> bool:
        """Whether id-kp-OCSPSigning is among the extended key usages (RFC 6960 section 4.2.2.2)."""
        value = self._extensions.get(_EXTENDED_KEY_USAGE)
        if value is None:
            return False
        try:
            return OCSP_SIGNING in [usage.contents for usage in der.read(value, der.SEQUENCE).elements()]
        except der.DERError:
            return False


def load(path: str) -> Certificate:
    """The first certificate of a file, PEM (text around it does no harm) or DER.

    OSError if the file cannot be read, CertificateError if there is no certificate in it.
    """
    with open(path, "rb") as file:
        content = file.read()
    if content[:1] != b"\x30":
        content = pem(content, b"CERTIFICATE")
    return Certificate(content)


def pem(text: bytes, label: bytes) -> bytes:
    """The DER of the first PEM block with this label.  CertificateError if there is none."""
    _, begin, rest = text.partition(b"-----BEGIN %s-----" % label)
    body, end, _ = rest.partition(b"-----END %s-----" % label)
    if not begin or not end:
        raise CertificateError(f"no -----BEGIN {label.decode()}----- block")
    try:
        return binascii.a2b_base64(body)
    except binascii.Error as error:
        raise CertificateError(f"broken base64 in the {label.decode()} block: {error}") from None
