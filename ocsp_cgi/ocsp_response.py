"""The answer as a client reads it: OCSPResponse (RFC 6960 section 4.2), the mirror image of what
messages.py writes.

`cryptography.x509.ocsp` reads answers too, but not everything of several SingleResponses, and its
releases differ in how.  The responder itself never reads an answer, so this is not on its road.
Nothing here believes anything: see client.py.
"""

from __future__ import annotations

from . import certificate, der, errors, messages, times

REASON_NAMES = {0: "unspecified", 8: "removeFromCRL", **messages.REASON_NAMES}
_GOOD, _REVOKED, _UNKNOWN = 0x80, der.context(1), 0x82


class MalformedResponse(ValueError):
    """These bytes are no OCSPResponse."""


class SingleResponse:
    """The answer about one CertID.  Times in seconds since 1970, `next_update` None if absent;
    extensions by OBJECT IDENTIFIER."""

    __slots__ = ("cert_id", "cert_status", "this_update", "next_update", "single_extensions")

    def __init__(self, element: der.Element):
        fields = element.elements()
        self.cert_id = messages.CertID(fields.next(der.SEQUENCE))
        self.cert_status = _cert_status(next(fields, None))
        self.this_update = _time(fields.next(der.GENERALIZED_TIME))
        next_update = fields.optional(der.context(0))
        self.next_update = (
            None if next_update is None else _time(next_update.only(der.GENERALIZED_TIME))
        )
        self.single_extensions = messages.read_extensions(fields.optional(der.context(1)))
        fields.end()


class OCSPResponse:
    """What a responder has sent.

    `response_status` is the OCSPResponseStatus; all that follows is there only if that is
    errors.SUCCESSFUL: `tbs` and `signature` are octets, `signature_algorithm` the DER of an
    AlgorithmIdentifier; of the ResponderID either `responder_name`, the DER of a Name, or
    `responder_key_hash` is not None; `produced_at` is seconds since 1970; `responses` a list of
    SingleResponse; `response_extensions` by their OBJECT IDENTIFIER; `certs` a list of the DER of
    certificates.
    """

    __slots__ = (
        "response_status",
        "tbs",
        "signature_algorithm",
        "signature",
        "certs",
        "responder_name",
        "responder_key_hash",
        "produced_at",
        "responses",
        "response_extensions",
    )

    @classmethod
    def from_der(cls, encoded: bytes) -> OCSPResponse:
        """Read the DER of an OCSPResponse.  MalformedResponse if it is none."""
        try:
            return cls(encoded)
        except ValueError as error:  # of der as of times
            raise MalformedResponse(f"no OCSPResponse: {error}") from None

    def __init__(self, encoded: bytes):
        fields = der.read(encoded, der.SEQUENCE).elements()
        self.response_status = fields.next(der.ENUMERATED).integer()
        response_bytes = fields.optional(der.context(0))
        fields.end()
        if self.response_status not in errors.RESPONSE_STATUS_NAMES:
            raise der.DERError(f"there is no OCSPResponseStatus {self.response_status}")
        if self.response_status == errors.SUCCESSFUL:
            if response_bytes is None:
                raise der.DERError("successful, and no answer in it")
            self._read_bytes(response_bytes.only(der.SEQUENCE).elements())

    def _read_bytes(self, fields: der.Elements) -> None:
        if fields.next(der.OBJECT_IDENTIFIER).contents != messages.ID_PKIX_OCSP_BASIC:
            raise der.DERError("the answer is of another type than id-pkix-ocsp-basic")
        basic = fields.next(der.OCTET_STRING).contents
        fields.end()
        fields = der.read(basic, der.SEQUENCE).elements()
        tbs = fields.next(der.SEQUENCE)
        self.tbs = tbs.encoded
        self.signature_algorithm = fields.next(der.SEQUENCE).encoded
        self.signature = fields.next(der.BIT_STRING).bit_string()
        certs = fields.optional(der.context(0))
        self.certs = (
            []
            if certs is None
            else [cert.encoded for cert in certs.only(der.SEQUENCE).elements().all(der.SEQUENCE)]
        )
        fields.end()
        self._read_data(tbs.elements())

    def _read_data(self, fields: der.Elements) -> None:
        version = fields.optional(der.context(0))
        if version is not None and version.only(der.INTEGER).integer() != 0:
            raise der.DERError("version is not v1")
        by_name = fields.optional(der.context(1))
        self.responder_name = by_name and by_name.only(der.SEQUENCE).encoded
        self.responder_key_hash = (
            None if by_name else fields.next(der.context(2)).only(der.OCTET_STRING).contents
        )
        self.produced_at = _time(fields.next(der.GENERALIZED_TIME))
        self.responses = [
            SingleResponse(element)
            for element in fields.next(der.SEQUENCE).elements().all(der.SEQUENCE)
        ]
        self.response_extensions = messages.read_extensions(fields.optional(der.context(1)))
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


def _cert_status(element: der.Element | None) -> messages.CertStatus:
    if element is None or element.tag not in (_GOOD, _REVOKED, _UNKNOWN):
        raise der.DERError("a SingleResponse without its CertStatus")
    if element.tag != _REVOKED:
        if element.contents:
            raise der.DERError(
                f"a CertStatus with more than was asked for at octet {element.start}"
            )
        return messages.CertStatus("good" if element.tag == _GOOD else "unknown")
    fields = element.elements()
    revocation_time = _time(fields.next(der.GENERALIZED_TIME))
    explicit = fields.optional(der.context(0))
    fields.end()
    reason = None if explicit is None else explicit.only(der.ENUMERATED).integer()
    if reason is not None and not 0 <= reason < 256:  # a number of many bytes could not be printed
        raise der.DERError(f"a CRLReason out of range at octet {explicit.start}")
    return messages.CertStatus("revoked", revocation_time, reason)


def _time(element: der.Element) -> int:
    return times.parse_generalized_time(element.contents)
