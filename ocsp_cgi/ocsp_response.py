"""OCSPResponse (RFC 6960 section 4.2), written and read, with the names and in the order of its
ASN.1.

The responder writes responses; the client reads them.  `cryptography.x509.ocsp` reads them too, but
not every part of several SingleResponses, and its releases differ.  Nothing here verifies anything:
see client.py.
"""

from __future__ import annotations

from . import certificate, der, times
from .answer import RESPONSE_STATUS_NAMES, SUCCESSFUL
from .ocsp_request import CertID, Extension, encode_extensions, read_extensions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# CRLReason, RFC 5280 section 5.3.1
KEY_COMPROMISE = 1
CA_COMPROMISE = 2
AFFILIATION_CHANGED = 3
SUPERSEDED = 4
CESSATION_OF_OPERATION = 5
CERTIFICATE_HOLD = 6
PRIVILEGE_WITHDRAWN = 9
AA_COMPROMISE = 10

REASON_NAMES = {
    KEY_COMPROMISE: "keyCompromise",
    CA_COMPROMISE: "cACompromise",
    AFFILIATION_CHANGED: "affiliationChanged",
    SUPERSEDED: "superseded",
    CESSATION_OF_OPERATION: "cessationOfOperation",
    CERTIFICATE_HOLD: "certificateHold",
    PRIVILEGE_WITHDRAWN: "privilegeWithdrawn",
    AA_COMPROMISE: "aACompromise",
}
# What other responders may send besides.
_OTHER_REASON_NAMES = {0: "unspecified", 8: "removeFromCRL"}

ID_PKIX_OCSP_BASIC = bytes.fromhex("2b0601050507300101")  # 1.3.6.1.5.5.7.48.1.1
ID_PKIX_OCSP_ARCHIVE_CUTOFF = bytes.fromhex("2b0601050507300106")  # 1.3.6.1.5.5.7.48.1.6
ID_PKIX_OCSP_EXTENDED_REVOKE = bytes.fromhex("2b0601050507300109")  # 1.3.6.1.5.5.7.48.1.9
HOLD_INSTRUCTION_CODE = bytes.fromhex("551d17")  # 2.5.29.23
INVALIDITY_DATE = bytes.fromhex("551d18")  # 2.5.29.24

_GOOD, _REVOKED, _UNKNOWN = 0x80, der.context(1), 0x82


class MalformedResponse(ValueError):
    """These bytes are not an OCSPResponse."""


def reason_name(reason: int) -> str | None:
    """The name of a CRLReason (RFC 5280 section 5.3.1), None if it is not one."""
    return REASON_NAMES.get(reason) or _OTHER_REASON_NAMES.get(reason)


class CertStatus:
    """good, revoked or unknown.

    `revocation_time` is seconds since 1970, `revocation_reason` a CRLReason; None if there is none.
    """

    __slots__ = ("name", "revocation_reason", "revocation_time")

    def __init__(
        self, name: str, revocation_time: int | None = None, revocation_reason: int | None = None
    ):
        self.name = name
        self.revocation_time = revocation_time
        self.revocation_reason = revocation_reason

    @classmethod
    def read(cls, element: der.Element | None) -> CertStatus:
        if element is None or element.tag not in (_GOOD, _REVOKED, _UNKNOWN):
            raise der.DERError("a SingleResponse without its CertStatus")
        if element.tag != _REVOKED:
            if element.contents:
                raise der.DERError(
                    f"contents of a CertStatus that has none at byte {element.start}"
                )
            return cls("good" if element.tag == _GOOD else "unknown")
        fields = element.elements()
        revocation_time = _time(fields.expect(der.GENERALIZED_TIME))
        explicit = fields.optional(der.context(0))
        fields.end()
        if explicit is None:
            return cls("revoked", revocation_time)
        reason = explicit.only(der.ENUMERATED).integer()
        if not 0 <= reason < 256:  # a number of many bytes could not be printed
            raise der.DERError(f"a CRLReason out of range at byte {explicit.start}")
        return cls("revoked", revocation_time, reason)

    def encode(self) -> bytes:
        if self.revocation_time is None:
            return bytes((_GOOD if self.name == "good" else _UNKNOWN, 0))
        reason = b""
        if self.revocation_reason is not None:
            enumerated = der.tlv(der.ENUMERATED, bytes((self.revocation_reason,)))
            reason = der.tlv(der.context(0), enumerated)
        return der.tlv(_REVOKED, _encode_time(self.revocation_time), reason)


class SingleResponse:
    """What a response says of one CertID.

    Times are seconds since 1970, `next_update` None if absent; extensions by OBJECT IDENTIFIER.
    """

    __slots__ = ("cert_id", "cert_status", "next_update", "single_extensions", "this_update")

    def __init__(
        self,
        cert_id: CertID,
        cert_status: CertStatus,
        this_update: int,
        next_update: int | None,
        single_extensions: dict[bytes, Extension],
    ):
        self.cert_id = cert_id
        self.cert_status = cert_status
        self.this_update = this_update
        self.next_update = next_update
        self.single_extensions = single_extensions

    @classmethod
    def read(cls, element: der.Element) -> SingleResponse:
        fields = element.elements()
        cert_id = CertID(fields.expect(der.SEQUENCE))
        cert_status = CertStatus.read(next(fields, None))
        this_update = _time(fields.expect(der.GENERALIZED_TIME))
        explicit = fields.optional(der.context(0))
        next_update = None if explicit is None else _time(explicit.only(der.GENERALIZED_TIME))
        extensions = read_extensions(fields.optional(der.context(1)))
        fields.end()
        return cls(cert_id, cert_status, this_update, next_update, extensions)

    def encode(self) -> bytes:
        next_update = b""
        if self.next_update is not None:
            next_update = der.tlv(der.context(0), _encode_time(self.next_update))
        return der.sequence(
            self.cert_id.encoded,
            self.cert_status.encode(),
            _encode_time(self.this_update),
            next_update,
            encode_extensions(der.context(1), self.single_extensions.values()),
        )


def responder_id_by_name(subject: bytes) -> bytes:
    """ResponderID from the DER of the signer's subject."""
    return der.tlv(der.context(1), subject)


def responder_id_by_key(key_hash: bytes) -> bytes:
    """ResponderID from the SHA-1 of the signer's public key, whatever hash the CertIDs use."""
    return der.tlv(der.context(2), der.tlv(der.OCTET_STRING, key_hash))


def response_data(
    responder_id: bytes,
    produced_at: int,
    responses: Iterable[SingleResponse],
    response_extensions: Iterable[Extension],
) -> bytes:
    """The DER of ResponseData, which is signed."""
    return der.sequence(
        responder_id,
        _encode_time(produced_at),
        der.sequence(*[response.encode() for response in responses]),
        encode_extensions(der.context(1), response_extensions),
    )


def basic_response(
    tbs_response_data: bytes, signature_algorithm: bytes, signature: bytes, certs: Iterable[bytes]
) -> bytes:
    """The DER of a successful OCSPResponse around a BasicOCSPResponse.

    `certs` are DER, and left out if there are none.
    """
    certs = list(certs)
    basic = der.sequence(
        tbs_response_data,
        signature_algorithm,
        der.tlv(der.BIT_STRING, b"\x00", signature),
        der.tlv(der.context(0), der.sequence(*certs)) if certs else b"",
    )
    response_bytes = der.sequence(
        der.tlv(der.OBJECT_IDENTIFIER, ID_PKIX_OCSP_BASIC), der.tlv(der.OCTET_STRING, basic)
    )
    status = der.tlv(der.ENUMERATED, bytes((SUCCESSFUL,)))
    return der.sequence(status, der.tlv(der.context(0), response_bytes))


class OCSPResponse:
    """What a responder has sent.

    `response_status` is the OCSPResponseStatus; everything else is there only if that is
    SUCCESSFUL: `tbs` and `signature` are bytes, `signature_algorithm` is the DER of an
    AlgorithmIdentifier; of the ResponderID either `responder_name`, the DER of a Name, or
    `responder_key_hash` is not None; `produced_at` is seconds since 1970; `response_extensions` are
    by their OBJECT IDENTIFIER; `certs` are the DER of certificates.
    """

    __slots__ = (
        "certs",
        "produced_at",
        "responder_key_hash",
        "responder_name",
        "response_extensions",
        "response_status",
        "responses",
        "signature",
        "signature_algorithm",
        "tbs",
    )

    @classmethod
    def from_der(cls, encoded: bytes) -> OCSPResponse:
        """Read the DER of an OCSPResponse.  MalformedResponse if it is not one."""
        try:
            return cls(encoded)
        except ValueError as error:  # a DERError, or one of times
            raise MalformedResponse(f"not an OCSPResponse: {error}") from None

    def __init__(self, encoded: bytes):
        fields = der.read(encoded, der.SEQUENCE).elements()
        self.response_status = fields.expect(der.ENUMERATED).integer()
        response_bytes = fields.optional(der.context(0))
        fields.end()
        if self.response_status not in RESPONSE_STATUS_NAMES:
            raise der.DERError(f"there is no OCSPResponseStatus {self.response_status}")
        if self.response_status == SUCCESSFUL:
            if response_bytes is None:
                raise der.DERError("successful, but without responseBytes")
            self._read_bytes(response_bytes.only(der.SEQUENCE).elements())

    def _read_bytes(self, fields: der.Elements) -> None:
        if fields.expect(der.OBJECT_IDENTIFIER).contents != ID_PKIX_OCSP_BASIC:
            raise der.DERError("its responseType is not id-pkix-ocsp-basic")
        basic = fields.expect(der.OCTET_STRING).contents
        fields.end()
        fields = der.read(basic, der.SEQUENCE).elements()
        tbs = fields.expect(der.SEQUENCE)
        self.tbs = tbs.encoded
        self.signature_algorithm = fields.expect(der.SEQUENCE).encoded
        self.signature = fields.expect(der.BIT_STRING).bit_string()
        certs = fields.optional(der.context(0))
        elements = certs.only(der.SEQUENCE).elements().all(der.SEQUENCE) if certs else []
        self.certs = [cert.encoded for cert in elements]
        fields.end()
        self._read_data(tbs.elements())

    def _read_data(self, fields: der.Elements) -> None:
        version = fields.optional(der.context(0))
        if version is not None and version.only(der.INTEGER).integer() != 0:
            raise der.DERError("version is not v1")
        by_name = fields.optional(der.context(1))
        self.responder_name = by_name.only(der.SEQUENCE).encoded if by_name else None
        self.responder_key_hash = None
        if by_name is None:
            by_key = fields.expect(der.context(2))
            self.responder_key_hash = by_key.only(der.OCTET_STRING).contents
        self.produced_at = _time(fields.expect(der.GENERALIZED_TIME))
        responses = fields.expect(der.SEQUENCE).elements().all(der.SEQUENCE)
        self.responses = [SingleResponse.read(element) for element in responses]
        self.response_extensions = read_extensions(fields.optional(der.context(1)))
        fields.end()

    def certificates(self) -> list[certificate.Certificate]:
        """The certificates in it, as far as they can be read."""
        readable = []
        for encoded in self.certs:
            try:
                readable.append(certificate.Certificate(encoded))
            except certificate.CertificateError:
                pass
        return readable


def _time(element: der.Element) -> int:
    return times.parse_generalized_time(element.contents)


def _encode_time(seconds: int) -> bytes:
    return der.tlv(der.GENERALIZED_TIME, times.generalized_time(seconds))
