"""OCSPResponse: what is written is read back, by `cryptography` too; the rest is refused."""

from __future__ import annotations

import datetime

import pytest
from clients import NULL, extension, octets, oid
from cryptography.x509 import ocsp

from ocsp_cgi import answer, der, ocsp_response
from ocsp_cgi.ocsp_request import CertID, Extension
from ocsp_cgi.ocsp_response import CertStatus, OCSPResponse, SingleResponse

NOW = 1_795_960_800  # 2026-11-29 14:00:00 UTC
CERT_ID = CertID.make("sha256", bytes(range(32)), bytes(range(32, 64)), 0x1234)
ECDSA_SHA256 = der.sequence(oid("1.2.840.10045.4.3.2"))
BY_KEY = ocsp_response.responder_id_by_key(b"k" * 20)
NAME = der.sequence(der.tlv(0x31, der.sequence(oid("2.5.4.3"), der.tlv(0x0C, b"Responder"))))
HOLD_INSTRUCTION = Extension(
    ocsp_response.HOLD_INSTRUCTION_CODE, der.tlv(der.OBJECT_IDENTIFIER, der.oid("1.2.3"))
)
STATUSES = {
    "good": CertStatus("good"),
    "unknown": CertStatus("unknown"),
    "revoked": CertStatus("revoked", NOW - 1000),
    "revoked in 1970": CertStatus("revoked", 0),
    **{
        f"revoked, {name}": CertStatus("revoked", NOW - 1000, reason)
        for reason, name in ocsp_response.REASON_NAMES.items()
    },
}


def single(status: CertStatus = STATUSES["good"], *extensions: Extension) -> SingleResponse:
    by_id = {one.extn_id: one for one in extensions}
    return SingleResponse(CERT_ID, status, NOW, NOW + 3600, by_id)


def encode(
    *responses: SingleResponse,
    responder_id: bytes = BY_KEY,
    extensions: tuple[Extension, ...] = (),
    certs: tuple[bytes, ...] = (),
) -> bytes:
    data = ocsp_response.response_data(responder_id, NOW, responses, extensions)
    return ocsp_response.basic_response(data, ECDSA_SHA256, b"signature", certs)


@pytest.mark.parametrize("status", STATUSES.values(), ids=STATUSES.keys())
def test_status_round_trip(status):
    (read,) = OCSPResponse.from_der(encode(single(status))).responses
    assert (
        read.cert_status.name,
        read.cert_status.revocation_time,
        read.cert_status.revocation_reason,
    ) == (status.name, status.revocation_time, status.revocation_reason)
    assert (read.cert_id.encoded, read.this_update, read.next_update, read.single_extensions) == (
        CERT_ID.encoded,
        NOW,
        NOW + 3600,
        {},
    )
    assert read.encode() == single(status).encode()


@pytest.mark.parametrize("status", STATUSES.values(), ids=STATUSES.keys())
def test_cryptography_reads_what_is_written(status):
    read = ocsp.load_der_ocsp_response(encode(single(status)))
    assert read.certificate_status.name.lower() == status.name
    assert (read.serial_number, read.issuer_key_hash) == (0x1234, bytes(range(32, 64)))
    assert (read.responder_key_hash, read.signature) == (b"k" * 20, b"signature")

    def seconds(name: str) -> int | None:
        """An attribute of `cryptography` 43 and later, or of earlier ones."""
        time = getattr(read, f"{name}_utc", None) or getattr(read, name)
        return time and int(time.replace(tzinfo=datetime.timezone.utc).timestamp())

    assert [seconds(name) for name in ("produced_at", "this_update", "next_update")] == [
        NOW,
        NOW,
        NOW + 3600,
    ]
    assert seconds("revocation_time") == status.revocation_time
    reason = read.revocation_reason and read.revocation_reason.value
    assert (reason or "").lower() == (
        ocsp_response.REASON_NAMES.get(status.revocation_reason, "").lower()
    )


def test_response_round_trip():
    nonce = Extension(der.oid("1.3.6.1.5.5.7.48.1.2"), octets(b"n" * 32))
    certs = (der.sequence(NULL), der.sequence())
    encoded = encode(
        single(),
        single(STATUSES["revoked"], HOLD_INSTRUCTION),
        SingleResponse(CERT_ID, STATUSES["unknown"], NOW, None, {}),
        extensions=(nonce,),
        certs=certs,
    )
    read = OCSPResponse.from_der(encoded)
    assert (read.response_status, read.produced_at) == (answer.SUCCESSFUL, NOW)
    assert [one.cert_status.name for one in read.responses] == ["good", "revoked", "unknown"]
    assert [one.next_update for one in read.responses] == [NOW + 3600, NOW + 3600, None]
    (hold,) = read.responses[1].single_extensions.values()
    assert hold.encode() == HOLD_INSTRUCTION.encode()
    assert [one.encode() for one in read.response_extensions.values()] == [nonce.encode()]
    assert (read.signature_algorithm, read.signature) == (ECDSA_SHA256, b"signature")
    assert read.certs == list(certs)
    again = ocsp_response.response_data(BY_KEY, NOW, read.responses, [nonce])
    assert again == read.tbs
    assert (
        ocsp_response.basic_response(read.tbs, read.signature_algorithm, read.signature, read.certs)
        == encoded
    )


def test_responder_id():
    read = OCSPResponse.from_der(encode(single()))
    assert (read.responder_name, read.responder_key_hash) == (None, b"k" * 20)
    by_name = ocsp_response.responder_id_by_name(NAME)
    read = OCSPResponse.from_der(encode(single(), responder_id=by_name))
    assert (read.responder_name, read.responder_key_hash) == (NAME, None)


def test_what_is_not_there_is_not_written():
    """DER leaves out what is empty or the default (X.690 section 11.5)."""
    bare = SingleResponse(CERT_ID, STATUSES["good"], NOW, None, {}).encode()
    assert bare == der.sequence(
        CERT_ID.encoded, b"\x80\x00", der.tlv(der.GENERALIZED_TIME, b"20261129140000Z")
    )
    data = ocsp_response.response_data(BY_KEY, NOW, [single()], [])
    assert data == der.sequence(
        BY_KEY,
        der.tlv(der.GENERALIZED_TIME, b"20261129140000Z"),
        der.sequence(single().encode()),
    )


@pytest.mark.parametrize("status", [1, 2, 3, 5, 6])
def test_an_error_response(status):
    encoded = answer.error_response(status)
    assert encoded == bytes((0x30, 3, 0x0A, 1, status))
    assert OCSPResponse.from_der(encoded).response_status == status


def test_certificates_that_cannot_be_read_are_left_out(pki):
    encoded = der.from_pem((pki.home / "root-ocsp.crt").read_bytes(), b"CERTIFICATE")[1]
    read = OCSPResponse.from_der(encode(single(), certs=(der.sequence(), encoded)))
    assert read.certs == [der.sequence(), encoded]
    (found,) = read.certificates()
    assert found.der == encoded


@pytest.mark.parametrize(
    "reason, name",
    [
        (0, "unspecified"),
        (1, "keyCompromise"),
        (2, "cACompromise"),
        (6, "certificateHold"),
        (7, None),
        (8, "removeFromCRL"),
        (10, "aACompromise"),
        (11, None),
    ],
)
def test_reason_name(reason, name):
    assert ocsp_response.reason_name(reason) == name


TIME = der.tlv(der.GENERALIZED_TIME, b"20261129140000Z")
GOOD = b"\x80\x00"
ENUMERATED_0 = b"\x0a\x01\x00"
DATA = ocsp_response.response_data(BY_KEY, NOW, [single()], [])
SIGNATURE = der.tlv(der.BIT_STRING, b"\0signature")


def with_single(*fields: bytes) -> bytes:
    """A response with a SingleResponse of these fields."""
    return with_data(BY_KEY, TIME, der.sequence(der.sequence(*fields)))


def with_status(encoded: bytes) -> bytes:
    return with_single(CERT_ID.encoded, encoded, TIME)


def with_data(*fields: bytes) -> bytes:
    """A response with ResponseData of these fields."""
    return ocsp_response.basic_response(der.sequence(*fields), ECDSA_SHA256, b"signature", ())


def with_basic(*fields: bytes, response_type: str = "1.3.6.1.5.5.7.48.1.1") -> bytes:
    """A response with a BasicOCSPResponse of these fields."""
    basic = der.sequence(oid(response_type), octets(der.sequence(*fields)))
    return der.sequence(ENUMERATED_0, der.tlv(der.context(0), basic))


def test_the_helpers_of_this_table_make_responses():
    for encoded in (
        with_status(GOOD),
        with_data(BY_KEY, TIME, der.sequence()),
        with_basic(DATA, ECDSA_SHA256, SIGNATURE),
        with_data(bytes.fromhex("a003020100"), BY_KEY, TIME, der.sequence()),
    ):
        assert OCSPResponse.from_der(encoded).response_status == answer.SUCCESSFUL


MUST_FAIL = {
    "nothing": (b"", "no element of tag 30"),
    "text": (b"<html>", "no element of tag 30"),
    "an empty SEQUENCE": (der.sequence(), "no element of tag 0a"),
    "a status that is an INTEGER": (der.sequence(b"\x02\x01\x01"), "no element of tag 0a"),
    "status 4": (der.sequence(b"\x0a\x01\x04"), "there is no OCSPResponseStatus 4"),
    "status 7": (der.sequence(b"\x0a\x01\x07"), "there is no OCSPResponseStatus 7"),
    "status -1": (der.sequence(b"\x0a\x01\xff"), "there is no OCSPResponseStatus -1"),
    "successful, and nothing else": (
        der.sequence(ENUMERATED_0),
        "successful, but without responseBytes",
    ),
    "bytes behind it": (encode(single()) + b"\0", "more than was asked for"),
    "another field behind responseBytes": (
        der.sequence(ENUMERATED_0, der.tlv(der.context(0), der.sequence()), NULL),
        "more than was asked for",
    ),
    "another responseType": (
        with_basic(DATA, ECDSA_SHA256, SIGNATURE, response_type="1.3.6.1.5.5.7.48.1.2"),
        "its responseType is not id-pkix-ocsp-basic",
    ),
    "no signatureAlgorithm": (with_basic(DATA, SIGNATURE), "no element of tag 30"),
    "no signature": (with_basic(DATA, ECDSA_SHA256), "no element of tag 03"),
    "a signature not of whole bytes": (
        with_basic(DATA, ECDSA_SHA256, der.tlv(der.BIT_STRING, b"\x04x")),
        "BIT STRING not of whole bytes",
    ),
    "certs that are not certificates": (
        with_basic(
            DATA, ECDSA_SHA256, SIGNATURE, der.tlv(der.context(0), der.sequence(octets(b"")))
        ),
        "no element of tag 30",
    ),
    "version v2": (
        with_data(bytes.fromhex("a003020101"), BY_KEY, TIME, der.sequence()),
        "version is not v1",
    ),
    "no ResponderID": (with_data(TIME, der.sequence()), "no element of tag a2"),
    "a ResponderID that is a GeneralName": (
        with_data(der.tlv(0x82, b"ocsp.example.com"), TIME, der.sequence()),
        "no element of tag a2",
    ),
    "no producedAt": (with_data(BY_KEY, der.sequence()), "no element of tag 18"),
    "no responses": (with_data(BY_KEY, TIME), "no element of tag 30"),
    "the same responseExtension twice": (
        with_data(
            BY_KEY,
            TIME,
            der.sequence(),
            der.tlv(der.context(1), der.sequence(extension("1.2.3", b"") * 2)),
        ),
        "the same extension twice",
    ),
    "another field in ResponseData": (
        with_data(BY_KEY, TIME, der.sequence(), NULL),
        "more than was asked for",
    ),
    "a SingleResponse without CertStatus": (
        with_single(CERT_ID.encoded),
        "a SingleResponse without its CertStatus",
    ),
    "a SingleResponse with thisUpdate for its CertStatus": (
        with_single(CERT_ID.encoded, TIME),
        "a SingleResponse without its CertStatus",
    ),
    "a SingleResponse without thisUpdate": (
        with_single(CERT_ID.encoded, GOOD),
        "no element of tag 18",
    ),
    "a SingleResponse with another field": (
        with_single(CERT_ID.encoded, GOOD, TIME, NULL),
        "more than was asked for",
    ),
    "good with contents": (with_status(b"\x80\x01\x00"), "contents of a CertStatus that has none"),
    "unknown with contents": (
        with_status(b"\x82\x02\x05\x00"),
        "contents of a CertStatus that has none",
    ),
    "revoked without a time": (with_status(b"\xa1\x00"), "no element of tag 18"),
    "revoked with a reason that is an INTEGER": (
        with_status(der.tlv(0xA1, TIME, bytes.fromhex("a003020101"))),
        "no element of tag 0a",
    ),
    "a negative reason": (
        with_status(der.tlv(0xA1, TIME, bytes.fromhex("a0030a01ff"))),
        "a CRLReason out of range",
    ),
    "a reason of two bytes": (
        with_status(der.tlv(0xA1, TIME, bytes.fromhex("a0040a020100"))),
        "a CRLReason out of range",
    ),
    "a UTCTime": (
        with_single(CERT_ID.encoded, GOOD, der.tlv(0x17, b"261129140000Z")),
        "no element of tag 18",
    ),
    "a time that is not one": (
        with_single(CERT_ID.encoded, GOOD, der.tlv(0x18, b"20261332140000Z")),
        "",
    ),
}


@pytest.mark.parametrize("encoded, message", MUST_FAIL.values(), ids=MUST_FAIL.keys())
def test_what_must_fail(encoded, message):
    with pytest.raises(ocsp_response.MalformedResponse) as error:
        OCSPResponse.from_der(encoded)
    assert str(error.value).startswith(f"not an OCSPResponse: {message}")


def test_a_response_cut_off_anywhere_is_not_read():
    encoded = encode(single(STATUSES["revoked"], HOLD_INSTRUCTION), certs=(der.sequence(),))
    for length in range(len(encoded)):
        with pytest.raises(ocsp_response.MalformedResponse):
            OCSPResponse.from_der(encoded[:length])
