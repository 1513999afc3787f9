"""OCSPRequest (RFC 6960 section 4.1), read and written, with the names and in the order of its
ASN.1.

What the response must repeat is kept as the client wrote it: a CertID is echoed byte for byte,
since clients differ in whether they write a hash's NULL parameters, and compare.
"""

from __future__ import annotations

from . import certificate, der
from .answer import MALFORMED_REQUEST, OCSPError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ID_PKIX_OCSP_NONCE = bytes.fromhex("2b0601050507300102")  # 1.3.6.1.5.5.7.48.1.2
# 1.3.6.1.5.5.7.48.1.4, AcceptableResponses
ID_PKIX_OCSP_RESPONSE = bytes.fromhex("2b0601050507300104")
ID_PKIX_OCSP_SERVICE_LOCATOR = bytes.fromhex("2b0601050507300107")  # 1.3.6.1.5.5.7.48.1.7
ID_PKIX_OCSP_PREF_SIG_ALGS = bytes.fromhex("2b0601050507300108")  # 1.3.6.1.5.5.7.48.1.8

HASH_ALGORITHMS = {  # hashlib's names, and the contents of their OBJECT IDENTIFIERs
    "sha1": bytes.fromhex("2b0e03021a"),  # 1.3.14.3.2.26
    "sha256": bytes.fromhex("608648016503040201"),  # 2.16.840.1.101.3.4.2.1
    "sha384": bytes.fromhex("608648016503040202"),  # 2.16.840.1.101.3.4.2.2
    "sha512": bytes.fromhex("608648016503040203"),  # 2.16.840.1.101.3.4.2.3
    "sha224": bytes.fromhex("608648016503040204"),  # 2.16.840.1.101.3.4.2.4
}
_HASH_NAMES = {oid: name for name, oid in HASH_ALGORITHMS.items()}


class MalformedRequest(OCSPError):
    """Not an OCSPRequest, or one for which no response could be right."""

    response_status = MALFORMED_REQUEST


class CertID:
    """A certificate as a client names it: the hashes of its issuer, and its serial number.

    `hash_name` is hashlib's name of the hash, None if it is not one of HASH_ALGORITHMS; `encoded`
    is the DER of the CertID as the client wrote it.
    """

    __slots__ = ("encoded", "hash_name", "issuer_key_hash", "issuer_name_hash", "serial_number")

    def __init__(self, element: der.Element):
        self.encoded = element.encoded
        fields = element.elements()
        algorithm, parameters = _algorithm(fields.expect(der.SEQUENCE))
        self.hash_name = _HASH_NAMES.get(algorithm)
        if self.hash_name and parameters not in (None, der.ENCODED_NULL):
            raise der.DERError("parameters of a hash that has none")
        self.issuer_name_hash = fields.expect(der.OCTET_STRING).contents
        self.issuer_key_hash = fields.expect(der.OCTET_STRING).contents
        self.serial_number = fields.expect(der.INTEGER).integer()
        fields.end()

    @classmethod
    def make(
        cls, hash_name: str, issuer_name_hash: bytes, issuer_key_hash: bytes, serial_number: int
    ) -> CertID:
        """A CertID with this hash of HASH_ALGORITHMS."""
        algorithm = der.tlv(der.OBJECT_IDENTIFIER, HASH_ALGORITHMS[hash_name])
        encoded = der.sequence(
            der.sequence(algorithm, der.ENCODED_NULL),
            der.tlv(der.OCTET_STRING, issuer_name_hash),
            der.tlv(der.OCTET_STRING, issuer_key_hash),
            der.integer(serial_number),
        )
        return cls(der.read(encoded, der.SEQUENCE))

    @property
    def index_serial(self) -> str:
        """The serial number as the index of `openssl ca` has it, shortened where it is far longer
        than one can be."""
        serial = certificate.index_serial(self.serial_number)
        return f"{serial[:64]}..." if len(serial) > 64 else serial


class Extension:
    """One extension (RFC 5280 section 4.1); `value` is the contents of its extnValue."""

    __slots__ = ("critical", "extn_id", "value")

    def __init__(self, extn_id: bytes, value: bytes, critical: bool = False):
        self.extn_id = extn_id
        self.critical = critical
        self.value = value

    @classmethod
    def read(cls, element: der.Element) -> Extension:
        fields = element.elements()
        extn_id = fields.expect(der.OBJECT_IDENTIFIER).object_identifier()
        critical = fields.optional(der.BOOLEAN)
        value = fields.expect(der.OCTET_STRING).contents
        fields.end()
        return cls(extn_id, value, critical is not None and critical.boolean())

    def encode(self) -> bytes:
        return der.sequence(
            der.tlv(der.OBJECT_IDENTIFIER, self.extn_id),
            der.tlv(der.BOOLEAN, b"\xff") if self.critical else b"",
            der.tlv(der.OCTET_STRING, self.value),
        )


class Request:
    """One Request of a requestList: a CertID, and extensions by their OBJECT IDENTIFIER."""

    __slots__ = ("req_cert", "single_request_extensions")

    def __init__(self, element: der.Element):
        fields = element.elements()
        self.req_cert = CertID(fields.expect(der.SEQUENCE))
        self.single_request_extensions = read_extensions(fields.optional(der.context(0)))
        fields.end()


class OCSPRequest:
    """What a client asks: a list of Request, and extensions by their OBJECT IDENTIFIER.

    A requestor's name and a signature are only checked for their form (RFC 9919 section 3.1.2).
    """

    __slots__ = ("request_extensions", "request_list")

    @classmethod
    def from_der(cls, encoded: bytes) -> OCSPRequest:
        """Read the DER of an OCSPRequest.  MalformedRequest if it is not one."""
        try:
            return cls(encoded)
        except der.DERError as error:
            raise MalformedRequest(f"not an OCSPRequest: {error}") from None

    def __init__(self, encoded: bytes):
        fields = der.read(encoded, der.SEQUENCE).elements()
        tbs_request = fields.expect(der.SEQUENCE).elements()
        _check_signature(fields.optional(der.context(0)))
        fields.end()

        version = tbs_request.optional(der.context(0))
        if version is not None and version.only(der.INTEGER).integer() != 0:
            raise der.DERError("version is not v1")
        _check_general_name(tbs_request.optional(der.context(1)))
        request_list = tbs_request.expect(der.SEQUENCE).elements().all(der.SEQUENCE)
        self.request_list = [Request(element) for element in request_list]
        if not self.request_list:
            raise der.DERError("requestList is empty")
        self.request_extensions = read_extensions(tbs_request.optional(der.context(2)))
        tbs_request.end()

    @property
    def preferred_signature_algorithms(self) -> list[tuple[bytes, bytes]]:
        """What the client prefers, best first (section 4.4.7): the DER of the AlgorithmIdentifier
        of a signature, and of the one of the key for it, b"" if there is none.

        Empty if the extension is absent or cannot be read: it is only a wish.
        """
        extension = self.request_extensions.get(ID_PKIX_OCSP_PREF_SIG_ALGS)
        if extension is None:
            return []
        try:
            preferences = der.read(extension.value, der.SEQUENCE).elements().all(der.SEQUENCE)
            return [_preference(one.elements()) for one in preferences]
        except der.DERError:
            return []


def _preference(fields: der.Elements) -> tuple[bytes, bytes]:
    """PreferredSignatureAlgorithm.  Its SMIMECapability is encoded as an AlgorithmIdentifier."""
    identifier, key = fields.expect(der.SEQUENCE), fields.optional(der.SEQUENCE)
    return identifier.encoded, key.encoded if key else b""


def encode_request(cert_ids: Iterable[CertID], extensions: Iterable[Extension] = ()) -> bytes:
    """The DER of an OCSPRequest for these certificates."""
    requests = [der.sequence(cert_id.encoded) for cert_id in cert_ids]
    return der.sequence(
        der.sequence(der.sequence(*requests), encode_extensions(der.context(2), extensions))
    )


def nonce_extension(nonce: bytes) -> Extension:
    """The nonce of a client (RFC 9654 section 2.1)."""
    return Extension(ID_PKIX_OCSP_NONCE, der.tlv(der.OCTET_STRING, nonce))


def read_extensions(explicit: der.Element | None) -> dict[bytes, Extension]:
    """Extensions by their OBJECT IDENTIFIER, out of the EXPLICIT tag around them.

    DERError if one is there twice.
    """
    extensions: dict[bytes, Extension] = {}
    if explicit is not None:
        for element in explicit.only(der.SEQUENCE).elements().all(der.SEQUENCE):
            extension = Extension.read(element)
            if extension.extn_id in extensions:
                raise der.DERError("the same extension twice")
            extensions[extension.extn_id] = extension
    return extensions


def encode_extensions(tag: int, extensions: Iterable[Extension]) -> bytes:
    """Extensions inside an EXPLICIT tag; nothing if there are none."""
    encoded = [extension.encode() for extension in extensions]
    return der.tlv(tag, der.sequence(*encoded)) if encoded else b""


def _algorithm(element: der.Element) -> tuple[bytes, bytes | None]:
    """The OBJECT IDENTIFIER of an AlgorithmIdentifier, and the DER of its parameters."""
    fields = element.elements()
    algorithm = fields.expect(der.OBJECT_IDENTIFIER).object_identifier()
    parameters = next(fields, None)
    fields.end()
    return algorithm, parameters.encoded if parameters else None


def _check_general_name(explicit: der.Element | None) -> None:
    if explicit is not None:
        names = list(explicit.elements())
        if len(names) != 1 or names[0].tag & 0xC0 != 0x80:
            raise der.DERError("requestorName is not a GeneralName")


def _check_signature(explicit: der.Element | None) -> None:
    if explicit is not None:
        fields = explicit.only(der.SEQUENCE).elements()
        _algorithm(fields.expect(der.SEQUENCE))
        fields.expect(der.BIT_STRING)
        fields.optional(der.context(0))  # certs
        fields.end()
