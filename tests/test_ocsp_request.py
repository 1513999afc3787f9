"""OCSPRequest: written as `openssl ocsp` writes it, read whole or not at all."""

from __future__ import annotations

import hashlib

import pytest
from clients import NULL, cert_id, certificate, extension, nonce, octets, oid, openssl_ocsp, request
from cryptography import x509
from cryptography.x509 import ocsp

from ocsp_cgi import der, ocsp_request
from ocsp_cgi.ocsp_request import CertID, Extension, OCSPRequest, encode_request

CERT_ID = CertID.make("sha1", bytes(range(20)), bytes(range(20, 40)), 0x1234)
SERIALS = [0, 1, 127, 128, 0x1234, -1, -128, -129, 2**159, 2**160 - 1, -(2**160)]


@pytest.mark.parametrize("hash_name", ocsp_request.HASH_ALGORITHMS)
@pytest.mark.parametrize("serial_number", SERIALS)
def test_cert_id_round_trip(hash_name, serial_number):
    size = hashlib.new(hash_name).digest_size
    written = CertID.make(hash_name, b"n" * size, b"k" * size, serial_number)
    (read,) = OCSPRequest.from_der(encode_request([written])).request_list
    assert read.req_cert.encoded == written.encoded
    assert (
        read.req_cert.hash_name,
        read.req_cert.issuer_name_hash,
        read.req_cert.issuer_key_hash,
        read.req_cert.serial_number,
    ) == (hash_name, b"n" * size, b"k" * size, serial_number)


def test_request_round_trip():
    cert_ids = [CertID.make("sha256", bytes(32), bytes(32), number) for number in (1, 2, 1)]
    extensions = [
        ocsp_request.nonce_extension(b"0123456789abcdef"),
        Extension(ocsp_request.ID_PKIX_OCSP_RESPONSE, b"\x30\x00", critical=True),
    ]
    read = OCSPRequest.from_der(encode_request(cert_ids, extensions))
    assert [one.req_cert.serial_number for one in read.request_list] == [1, 2, 1]
    assert [one.encode() for one in read.request_extensions.values()] == [
        one.encode() for one in extensions
    ]
    assert [one.critical for one in read.request_extensions.values()] == [False, True]
    assert encode_request([one.req_cert for one in read.request_list], extensions) == (
        encode_request(cert_ids, extensions)
    )


def test_cryptography_reads_what_is_written():
    encoded = encode_request([CERT_ID], [ocsp_request.nonce_extension(b"0123456789abcdef")])
    read = ocsp.load_der_ocsp_request(encoded)
    assert (read.serial_number, read.issuer_name_hash, read.issuer_key_hash) == (
        0x1234,
        bytes(range(20)),
        bytes(range(20, 40)),
    )
    assert read.hash_algorithm.name == "sha1"
    assert read.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == (
        b"0123456789abcdef"
    )


def test_what_is_written_is_what_openssl_writes(pki, tmp_path):
    path = tmp_path / "request.der"
    run = openssl_ocsp(pki.home, "-cert", "good.crt", "-no_nonce", "-reqout", str(path))
    assert run.returncode == 0, run.stderr
    encoded = path.read_bytes()
    (read,) = OCSPRequest.from_der(encoded).request_list
    assert read.req_cert.index_serial == pki.serial("good")
    made = CertID.make(
        "sha1",
        read.req_cert.issuer_name_hash,
        read.req_cert.issuer_key_hash,
        read.req_cert.serial_number,
    )
    assert encode_request([made]) == encoded
    root = certificate(pki.home / "root-ca.crt")
    assert made.encoded == cert_id(root, int(pki.serial("good"), 16))


@pytest.mark.parametrize("parameters", [NULL, b""])
def test_a_cert_id_stays_as_the_client_wrote_it(parameters):
    """Clients differ in whether they write the parameters of a hash, and compare."""
    algorithm = der.sequence(oid("2.16.840.1.101.3.4.2.1"), parameters)
    written = der.sequence(algorithm, octets(bytes(32)), octets(bytes(32)), der.integer(10))
    (read,) = OCSPRequest.from_der(request(written)).request_list
    assert (read.req_cert.encoded, read.req_cert.hash_name) == (written, "sha256")


@pytest.mark.parametrize("parameters", [b"", NULL, der.sequence(), octets(b"x")])
def test_an_unknown_hash_may_have_any_parameters(parameters):
    algorithm = der.sequence(oid("1.2.3.4"), parameters)
    written = der.sequence(algorithm, octets(b"n"), octets(b"k"), der.integer(10))
    (read,) = OCSPRequest.from_der(request(written)).request_list
    assert (read.req_cert.encoded, read.req_cert.hash_name) == (written, None)


@pytest.mark.parametrize(
    "serial_number, text",
    [
        (0, "00"),
        (10, "0A"),
        (0x1234, "1234"),
        (0x12345, "012345"),
        (-10, "-0A"),
        (2**256 - 1, "F" * 64),
        (2**256, "01" + "0" * 62 + "..."),
        (-(2**2000), "-01" + "0" * 61 + "..."),
    ],
)
def test_index_serial(serial_number, text):
    assert CertID.make("sha1", b"", b"", serial_number).index_serial == text


ONE = CERT_ID.encoded
SIGNATURE = der.sequence(
    der.sequence(oid("1.2.840.113549.1.1.11"), NULL), der.tlv(der.BIT_STRING, bytes(65))
)


def signed(signature: bytes) -> bytes:
    return request(ONE, signature=der.tlv(der.context(0), signature))


def requestor(*names: bytes) -> bytes:
    return request(ONE, requestor=der.tlv(der.context(1), *names))


WELL_FORMED = {
    "version v1, in spite of DER": request(ONE, version=bytes.fromhex("a003020100")),
    "a requestorName": requestor(der.tlv(0x82, b"ocsp.example.com")),
    "a requestorName that is a directoryName": requestor(der.tlv(0xA4, der.sequence())),
    "a signature": signed(SIGNATURE),
    "a signature with certs": signed(
        der.sequence(
            der.sequence(oid("1.2.3"), NULL),
            der.tlv(der.BIT_STRING, b"\0"),
            der.tlv(der.context(0), der.sequence()),
        )
    ),
    "an unknown extension": request(ONE, extensions=extension("1.2.3", b"")),
    "critical FALSE, in spite of DER": request(
        ONE, extensions=extension("1.2.3", b"", b"\x01\x01\x00")
    ),
    "no extension in requestExtensions": der.sequence(
        der.sequence(der.sequence(der.sequence(ONE)), der.tlv(der.context(2), der.sequence()))
    ),
}


@pytest.mark.parametrize("encoded", WELL_FORMED.values(), ids=WELL_FORMED.keys())
def test_what_must_be_read(encoded):
    (read,) = OCSPRequest.from_der(encoded).request_list
    assert read.req_cert.encoded == ONE


def with_cert_id(*fields: bytes) -> bytes:
    return request(der.sequence(*fields))


SHA1 = der.sequence(oid("1.3.14.3.2.26"), NULL)
HASH = octets(bytes(20))
SERIAL = der.integer(10)
MUST_FAIL = {
    "nothing": (b"", "no element of tag 30"),
    "text": (b"hello", "no element of tag 30"),
    "an empty SEQUENCE": (der.sequence(), "no element of tag 30"),
    "an empty TBSRequest": (der.sequence(der.sequence()), "no element of tag 30"),
    "an empty requestList": (request(), "requestList is empty"),
    "bytes behind it": (request(ONE) + b"\0", "more than was asked for"),
    "a byte short": (request(ONE)[:-1], "element at byte 0 reaches past its parent's end"),
    "version v2": (request(ONE, version=bytes.fromhex("a003020101")), "version is not v1"),
    "version 99": (request(ONE, version=bytes.fromhex("a003020163")), "version is not v1"),
    "a version that is not an INTEGER": (
        request(ONE, version=bytes.fromhex("a003040100")),
        "no element of tag 02",
    ),
    "a version that is not minimal": (
        request(ONE, version=bytes.fromhex("a00402020000")),
        "INTEGER not minimal",
    ),
    "an empty requestorName": (requestor(), "requestorName is not a GeneralName"),
    "two names in requestorName": (
        requestor(der.tlv(0x82, b"a"), der.tlv(0x82, b"b")),
        "requestorName is not a GeneralName",
    ),
    "a requestorName that is not a name": (
        requestor(octets(b"a")),
        "requestorName is not a GeneralName",
    ),
    "a Request that is not a SEQUENCE": (
        der.sequence(der.sequence(der.sequence(octets(b"x")))),
        "no element of tag 30",
    ),
    "a Request with another field": (
        der.sequence(der.sequence(der.sequence(der.sequence(ONE, NULL)))),
        "more than was asked for",
    ),
    "a TBSRequest with another field": (
        der.sequence(der.sequence(der.sequence(der.sequence(ONE)), NULL)),
        "more than was asked for",
    ),
    "a CertID without serialNumber": (with_cert_id(SHA1, HASH, HASH), "no element of tag 02"),
    "a CertID without issuerKeyHash": (with_cert_id(SHA1, HASH, SERIAL), "no element of tag 04"),
    "a CertID with another field": (
        with_cert_id(SHA1, HASH, HASH, SERIAL, NULL),
        "more than was asked for",
    ),
    "a serialNumber of no bytes": (
        with_cert_id(SHA1, HASH, HASH, der.tlv(der.INTEGER, b"")),
        "INTEGER without contents",
    ),
    "a serialNumber that is not minimal": (
        with_cert_id(SHA1, HASH, HASH, der.tlv(der.INTEGER, b"\0\x0a")),
        "INTEGER not minimal",
    ),
    "parameters of SHA-1": (
        with_cert_id(der.sequence(oid("1.3.14.3.2.26"), der.sequence()), HASH, HASH, SERIAL),
        "parameters of a hash that has none",
    ),
    "two parameters": (
        with_cert_id(der.sequence(oid("1.2.3.4"), NULL, NULL), HASH, HASH, SERIAL),
        "more than was asked for",
    ),
    "a hash without OBJECT IDENTIFIER": (
        with_cert_id(der.sequence(), HASH, HASH, SERIAL),
        "no element of tag 06",
    ),
    "the same extension twice": (
        request(ONE, extensions=nonce(b"a" * 16) + nonce(b"b" * 16)),
        "the same extension twice",
    ),
    "the same singleRequestExtension twice": (
        request(ONE, single_extensions=extension("1.2.3", b"") * 2),
        "the same extension twice",
    ),
    "an extension without extnValue": (
        request(ONE, extensions=der.sequence(oid("1.2.3"))),
        "no element of tag 04",
    ),
    "an extension with a BOOLEAN of another value": (
        request(ONE, extensions=extension("1.2.3", b"", b"\x01\x01\x01")),
        "BOOLEAN neither 00 nor FF",
    ),
    "an extension with another field": (
        request(ONE, extensions=der.sequence(oid("1.2.3"), octets(b""), NULL)),
        "more than was asked for",
    ),
    "requestExtensions without a SEQUENCE": (
        der.sequence(der.sequence(der.sequence(der.sequence(ONE)), der.tlv(der.context(2)))),
        "no element of tag 30",
    ),
    "an empty signature": (signed(der.sequence()), "no element of tag 30"),
    "a signature without its BIT STRING": (
        signed(der.sequence(der.sequence(oid("1.2.3")))),
        "no element of tag 03",
    ),
    "a signature with another field": (
        signed(SIGNATURE[:1] + bytes((SIGNATURE[1] + 2,)) + SIGNATURE[2:] + NULL),
        "more than was asked for",
    ),
}


@pytest.mark.parametrize("encoded, message", MUST_FAIL.values(), ids=MUST_FAIL.keys())
def test_what_must_fail(encoded, message):
    with pytest.raises(ocsp_request.MalformedRequest) as error:
        OCSPRequest.from_der(encoded)
    assert str(error.value).startswith(f"not an OCSPRequest: {message}")


def test_a_request_cut_off_anywhere_is_not_read():
    encoded = request(ONE, ONE, extensions=nonce(bytes(16)), signature=signed(SIGNATURE)[-20:])
    for length in range(len(encoded)):
        with pytest.raises(ocsp_request.MalformedRequest):
            OCSPRequest.from_der(encoded[:length])


RSA_SHA256 = der.sequence(oid("1.2.840.113549.1.1.11"), NULL)
RSA_KEY = der.sequence(oid("1.2.840.113549.1.1.1"), NULL)
ECDSA_SHA256 = der.sequence(oid("1.2.840.10045.4.3.2"))


@pytest.mark.parametrize(
    "value, expected",
    [
        (der.sequence(der.sequence(RSA_SHA256)), [(RSA_SHA256, b"")]),
        (
            der.sequence(der.sequence(ECDSA_SHA256), der.sequence(RSA_SHA256, RSA_KEY)),
            [(ECDSA_SHA256, b""), (RSA_SHA256, RSA_KEY)],
        ),
        (der.sequence(), []),
        (b"", []),
        (b"\x30\x80", []),
        (der.sequence(der.sequence(RSA_SHA256), NULL), []),
        (der.sequence(der.sequence()), []),
    ],
)
def test_preferred_signature_algorithms(value, expected):
    """A preference that cannot be read is ignored."""
    encoded = request(ONE, extensions=extension("1.3.6.1.5.5.7.48.1.8", value))
    assert OCSPRequest.from_der(encoded).preferred_signature_algorithms == expected


def test_without_preferred_signature_algorithms():
    assert OCSPRequest.from_der(request(ONE)).preferred_signature_algorithms == []
