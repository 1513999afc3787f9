"""The messages of OCSP, with the names and in the order of their ASN.1 in RFC 6960 section 4.

A request is read (OCSPRequest.from_der), an answer is written (OCSPResponse pieces, each with an
`encode`). What is read keeps the bytes it came in where the answer must repeat them: a CertID is
echoed octet for octet, since clients differ in whether they write a hash's NULL parameters, and
compare.
"""

from __future__ import annotations

from . import der, errors, times

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

ID_PKIX_OCSP_BASIC = bytes.fromhex("2b0601050507300101")  # 1.3.6.1.5.5.7.48.1.1
ID_PKIX_OCSP_NONCE = bytes.fromhex("2b0601050507300102")  # 1.3.6.1.5.5.7.48.1.2
ID_PKIX_OCSP_RESPONSE = bytes.fromhex(
    "2b0601050507300104"
)  # 1.3.6.1.5.5.7.48.1.4, AcceptableResponses
ID_PKIX_OCSP_ARCHIVE_CUTOFF = bytes.fromhex("2b0601050507300106")  # 1.3.6.1.5.5.7.48.1.6
ID_PKIX_OCSP_SERVICE_LOCATOR = bytes.fromhex("2b0601050507300107")  # 1.3.6.1.5.5.7.48.1.7
ID_PKIX_OCSP_PREF_SIG_ALGS = bytes.fromhex("2b0601050507300108")  # 1.3.6.1.5.5.7.48.1.8
ID_PKIX_OCSP_EXTENDED_REVOKE = bytes.fromhex("2b0601050507300109")  # 1.3.6.1.5.5.7.48.1.9
HOLD_INSTRUCTION_CODE = bytes.fromhex("551d17")  # 2.5.29.23
INVALIDITY_DATE = bytes.fromhex("551d18")  # 2.5.29.24


class MalformedRequest(errors.OCSPError):
    """The request is no OCSPRequest, or asks for what no answer could be right for."""

    response_status = errors.MALFORMED_REQUEST


_HASH_NAMES = {
    bytes.fromhex("2b0e03021a"): "sha1",  # 1.3.14.3.2.26
    bytes.fromhex("608648016503040201"): "sha256",  # 2.16.840.1.101.3.4.2.1
    bytes.fromhex("608648016503040202"): "sha384",  # 2.16.840.1.101.3.4.2.2
    bytes.fromhex("608648016503040203"): "sha512",  # 2.16.840.1.101.3.4.2.3
    bytes.fromhex("608648016503040204"): "sha224",  # 2.16.840.1.101.3.4.2.4
}


class CertID:
    """A certificate as a client names it: the hashes of its issuer, and its serial number.

    `hash_name` is hashlib's name of the hash, None if we do not know it; `encoded` is the CertID as
    the client wrote it.
    """

    __slots__ = ("encoded", "hash_name", "issuer_name_hash", "issuer_key_hash", "serial_number")

    def __init__(self, element: der.Element):
        self.encoded = element.encoded
        fields = element.elements()
        algorithm, parameters = _algorithm(fields.next(der.SEQUENCE))
        self.hash_name = _HASH_NAMES.get(algorithm)
        if self.hash_name and parameters not in (None, der.ENCODED_NULL):
            raise der.DERError("parameters of a hash that has none")
        self.issuer_name_hash = fields.next(der.OCTET_STRING).contents
        self.issuer_key_hash = fields.next(der.OCTET_STRING).contents
        self.serial_number = fields.next(der.INTEGER).integer()
        fields.end()

    @property
    def index_serial(self) -> str:
        """The serial number as the index of `openssl ca` has it, cut off where it is far longer
        than one can be."""
        digits = f"{abs(self.serial_number):X}"
        if len(digits) > 64:
            return f"{digits[:64]}..."
        return ("-" if self.serial_number < 0 else "") + "0" * (len(digits) % 2) + digits


class Extension:
    """One extension of a request; `value` is the contents of its extnValue."""

    __slots__ = ("extn_id", "critical", "value")

    def __init__(self, element: der.Element):
        fields = element.elements()
        self.extn_id = fields.next(der.OBJECT_IDENTIFIER).object_identifier()
        critical = fields.optional(der.BOOLEAN)
        self.critical = critical is not None and critical.boolean()
        self.value = fields.next(der.OCTET_STRING).contents
        fields.end()


class Request:
    """One question of a request: a CertID, and extensions by their OBJECT IDENTIFIER."""

    __slots__ = ("req_cert", "single_request_extensions")

    def __init__(self, element: der.Element):
        fields = element.elements()
        self.req_cert = CertID(fields.next(der.SEQUENCE))
        self.single_request_extensions = read_extensions(fields.optional(der.context(0)))
        fields.end()


class OCSPRequest:
    """What a client asks: a list of Request, and extensions by their OBJECT IDENTIFIER.

    A requestor's name and a signature are looked at only so far as to know that they are one (RFC
    9919 section 3.1.2).
    """

    __slots__ = ("request_list", "request_extensions")

    @classmethod
    def from_der(cls, encoded: bytes) -> OCSPRequest:
        """Read the DER of an OCSPRequest.  MalformedRequest if it is none (RFC 6960 section 4.1.1)."""
        try:
            return cls(encoded)
        except der.DERError as error:
            raise MalformedRequest(f"no OCSPRequest: {error}") from None

    def __init__(self, encoded: bytes):
        fields = der.read(encoded, der.SEQUENCE).elements()
        tbs_request = fields.next(der.SEQUENCE).elements()
        _signature(fields.optional(der.context(0)))
        fields.end()

        version = tbs_request.optional(der.context(0))
        if version is not None and version.only(der.INTEGER).integer() != 0:
            raise der.DERError("version is not v1")
        _general_name(tbs_request.optional(der.context(1)))
        self.request_list = [
            Request(element)
            for element in tbs_request.next(der.SEQUENCE).elements().all(der.SEQUENCE)
        ]
        if not self.request_list:
            raise der.DERError("requestList is empty")
        self.request_extensions = read_extensions(tbs_request.optional(der.context(2)))
        tbs_request.end()

    @property
    def preferred_signature_algorithms(self) -> list[bytes]:
        """The DER of the AlgorithmIdentifiers the client would like, its favourite first (section
        4.4.7).

        Empty when the extension is absent, or nothing can be read in it: it is only a wish.
        """
        extension = self.request_extensions.get(ID_PKIX_OCSP_PREF_SIG_ALGS)
        if extension is None:
            return []
        try:
            preferences = der.read(extension.value, der.SEQUENCE).elements().all(der.SEQUENCE)
            return [preference.elements().next(der.SEQUENCE).encoded for preference in preferences]
        except der.DERError:
            return []


def _algorithm(element: der.Element) -> tuple[bytes, bytes | None]:
    """The OBJECT IDENTIFIER of an AlgorithmIdentifier, and the DER of its parameters."""
    fields = element.elements()
    algorithm = fields.next(der.OBJECT_IDENTIFIER).object_identifier()
    parameters = next(fields, None)
    fields.end()
    return algorithm, parameters and parameters.encoded


def read_extensions(explicit: der.Element | None) -> dict[bytes, Extension]:
    """Extensions by their OBJECT IDENTIFIER, out of the EXPLICIT tag around them.  DERError if one
    is there twice."""
    extensions: dict[bytes, Extension] = {}
    if explicit is not None:
        for element in explicit.only(der.SEQUENCE).elements().all(der.SEQUENCE):
            extension = Extension(element)
            if extension.extn_id in extensions:
                raise der.DERError("the same extension twice")
            extensions[extension.extn_id] = extension
    return extensions


def _general_name(explicit: der.Element | None) -> None:
    if explicit is not None:
        names = list(explicit.elements())
        if len(names) != 1 or names[0].tag & 0xC0 != 0x80:
            raise der.DERError("requestorName is no GeneralName")


def _signature(explicit: der.Element | None) -> None:
    if explicit is not None:
        fields = explicit.only(der.SEQUENCE).elements()
        _algorithm(fields.next(der.SEQUENCE))
        fields.next(der.BIT_STRING)
        fields.optional(der.context(0))  # certs
        fields.end()


class CertStatus:
    """good, revoked or unknown; a revocation's time in seconds since 1970, its reason a CRLReason
    or None."""

    __slots__ = ("name", "revocation_time", "revocation_reason")

    def __init__(
        self, name: str, revocation_time: int | None = None, revocation_reason: int | None = None
    ):
        self.name = name
        self.revocation_time = revocation_time
        self.revocation_reason = revocation_reason

    def encode(self) -> bytes:
        if self.name == "good":
            return b"\x80\x00"
        if self.name == "unknown":
            return b"\x82\x00"
        reason = b""
        if self.revocation_reason is not None:
            reason = der.tlv(
                der.context(0), der.tlv(der.ENUMERATED, bytes((self.revocation_reason,)))
            )
        return der.tlv(der.context(1), _time(self.revocation_time), reason)


class SingleResponse:
    """The answer to one Request.  Times in seconds since 1970; extensions are (OBJECT IDENTIFIER,
    value) pairs."""

    __slots__ = ("cert_id", "cert_status", "this_update", "next_update", "single_extensions")

    def __init__(
        self,
        cert_id: CertID,
        cert_status: CertStatus,
        this_update: int,
        next_update: int,
        single_extensions: list[tuple[bytes, bytes]],
    ):
        self.cert_id = cert_id
        self.cert_status = cert_status
        self.this_update = this_update
        self.next_update = next_update
        self.single_extensions = single_extensions

    def encode(self) -> bytes:
        return der.sequence(
            self.cert_id.encoded,
            self.cert_status.encode(),
            _time(self.this_update),
            der.tlv(der.context(0), _time(self.next_update)),
            _encode_extensions(der.context(1), self.single_extensions),
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
    responses: list[SingleResponse],
    response_extensions: list[tuple[bytes, bytes]],
) -> bytes:
    """The DER of ResponseData: what gets signed."""
    return der.sequence(
        responder_id,
        _time(produced_at),
        der.sequence(*[response.encode() for response in responses]),
        _encode_extensions(der.context(1), response_extensions),
    )


def basic_response(
    tbs_response_data: bytes, signature_algorithm: bytes, signature: bytes, certs: list[bytes]
) -> bytes:
    """The DER of a successful OCSPResponse around a BasicOCSPResponse; `certs` are DER, and left
    out when there are none."""
    basic = der.sequence(
        tbs_response_data,
        signature_algorithm,
        der.tlv(der.BIT_STRING, b"\x00", signature),
        der.tlv(der.context(0), der.sequence(*certs)) if certs else b"",
    )
    response_bytes = der.sequence(
        der.tlv(der.OBJECT_IDENTIFIER, ID_PKIX_OCSP_BASIC), der.tlv(der.OCTET_STRING, basic)
    )
    return der.sequence(
        der.tlv(der.ENUMERATED, bytes((errors.SUCCESSFUL,))),
        der.tlv(der.context(0), response_bytes),
    )


def _time(seconds: int) -> bytes:
    return der.tlv(der.GENERALIZED_TIME, times.generalized_time(seconds))


def _encode_extensions(tag: int, extensions: list[tuple[bytes, bytes]]) -> bytes:
    """Extensions, none critical, inside an EXPLICIT tag; nothing at all when there are none."""
    if not extensions:
        return b""
    encoded = [
        der.sequence(der.tlv(der.OBJECT_IDENTIFIER, extn_id), der.tlv(der.OCTET_STRING, value))
        for extn_id, value in extensions
    ]
    return der.tlv(tag, der.sequence(*encoded))
