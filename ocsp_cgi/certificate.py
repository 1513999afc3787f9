"""X.509 certificates (RFC 5280 section 4.1), as far as a responder has to read its own CA's and signer's.

Read with our own DER reader because the hashes in a CertID are over bytes of the certificate as they stand, and
because `cryptography.x509` costs 40 ms of imports at every answer.
"""

from __future__ import annotations

from . import der, errors, times

OCSP_SIGNING = bytes.fromhex("2b06010505070309")  # 1.3.6.1.5.5.7.3.9
OCSP_NOCHECK = bytes.fromhex("2b0601050507300105")  # 1.3.6.1.5.5.7.48.1.5
KEY_USAGE = bytes.fromhex("551d0f")  # 2.5.29.15
BASIC_CONSTRAINTS = bytes.fromhex("551d13")  # 2.5.29.19
CRL_DISTRIBUTION_POINTS = bytes.fromhex("551d1f")  # 2.5.29.31
AUTHORITY_KEY_IDENTIFIER = bytes.fromhex("551d23")  # 2.5.29.35
EXTENDED_KEY_USAGE = bytes.fromhex("551d25")  # 2.5.29.37
AUTHORITY_INFO_ACCESS = bytes.fromhex("2b06010505070101")  # 1.3.6.1.5.5.7.1.1


class CertificateError(ValueError):
    """No certificate could be read out of this."""


class Certificate:
    """One certificate.  `issuer` and `subject` are the DER of the Names, `public_key` is the contents of the
    BIT STRING without its first octet, `key_algorithm` the DER of its AlgorithmIdentifier; times are seconds since 1970.
    `extensions` are their values by the contents of their OBJECT IDENTIFIERs."""

    __slots__ = ("der", "tbs", "serial_number", "issuer", "subject", "not_before", "not_after",
                 "key_algorithm", "public_key", "signature_algorithm", "signature", "extensions")  # fmt: skip

    extensions: dict[bytes, bytes]

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
        self.extensions = {}
        for field in fields:
            if field.tag == der.context(3):
                for extension in field.only(der.SEQUENCE).elements().all(der.SEQUENCE):
                    parts = extension.elements()
                    extension_id = parts.next(der.OBJECT_IDENTIFIER).object_identifier()
                    parts.optional(der.BOOLEAN)
                    self.extensions[extension_id] = parts.next(der.OCTET_STRING).contents

    @property
    def extended_key_usages(self) -> list[bytes]:
        """The contents of the OBJECT IDENTIFIERs of the extension; none if it is absent."""
        return self._children(EXTENDED_KEY_USAGE)

    @property
    def is_ca(self) -> bool:
        """Whether basicConstraints make it one (RFC 5280 section 4.2.1.9)."""
        return b"\xff" in self._children(BASIC_CONSTRAINTS)[:1]

    @property
    def may_sign_data(self) -> bool:
        """Whether its keyUsage, if it has one, includes digitalSignature (RFC 5280 section 4.2.1.3)."""
        value = self.extensions.get(KEY_USAGE)
        return value is None or len(value) > 3 and value[3] & 0x80 != 0

    def _children(self, extension_id: bytes) -> list[bytes]:
        """The contents of the elements in an extension that is a SEQUENCE; none where it is absent or broken."""
        try:
            return [child.contents for child in der.read(self.extensions.get(extension_id, b""), der.SEQUENCE).elements()]
        except der.DERError:
            return []


def load(path: str) -> Certificate:
    """The first certificate of a file, PEM (text around it does no harm) or DER.

    OSError if the file cannot be read, CertificateError if there is no certificate in it.
    """
    errors.reading(path)
    with open(path, "rb") as file:
        content = file.read()
    try:
        return Certificate(content if content[:1] == b"\x30" else der.from_pem(content, b"CERTIFICATE")[1])
    except der.DERError as error:
        raise CertificateError(str(error)) from None
