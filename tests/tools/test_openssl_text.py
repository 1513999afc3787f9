"""Hostile requests and responses as text.  Valid ones are in test_serve.py."""

from __future__ import annotations

import time

import pytest
from clients import cert_id_of, request

from ocsp_cgi import client, der, ocsp_response
from ocsp_cgi.tools import openssl_text

HOSTILE = "\x1b]0;x\x07\n\x9b31m\u202e" + "y" * 5000


def name(value: str, tag: int = 0x0C) -> bytes:
    """A Name of one commonName."""
    encoded = value.encode("utf-16-be" if tag == 0x1E else "utf-8")
    attribute = der.sequence(
        der.tlv(der.OBJECT_IDENTIFIER, der.oid("2.5.4.3")), der.tlv(tag, encoded)
    )
    return der.sequence(der.tlv(0x31, attribute))


def response(responder_name: bytes, algorithm: bytes, *singles: bytes, certs: list[bytes]) -> bytes:
    now = der.tlv(der.GENERALIZED_TIME, b"20260101000000Z")
    tbs = der.sequence(der.tlv(der.context(1), responder_name), now, der.sequence(*singles))
    return ocsp_response.basic_response(tbs, algorithm, b"", certs)


def single(
    encoded_cert_id: bytes, extension: bytes = b"", time: bytes = b"20260101000000Z"
) -> bytes:
    parts = der.sequence(
        der.tlv(der.OBJECT_IDENTIFIER, der.oid("1.2.3")), der.tlv(der.OCTET_STRING, extension)
    )
    extensions = der.tlv(der.context(1), der.sequence(parts)) if extension else b""
    update = der.tlv(der.GENERALIZED_TIME, time)
    return der.sequence(encoded_cert_id, b"\x80\x00", update, extensions)


def certificate(subject: bytes) -> bytes:
    """The DER of a certificate whose serial number has 5000 bytes."""
    algorithm = der.sequence(der.tlv(der.OBJECT_IDENTIFIER, der.oid("1.2.3")))
    validity = der.sequence(der.tlv(0x17, b"260101000000Z"), der.tlv(0x17, b"270101000000Z"))
    key = der.sequence(algorithm, der.tlv(der.BIT_STRING, b"\0"))
    tbs = der.sequence(
        der.tlv(der.INTEGER, b"\x7f" * 5000), algorithm, subject, validity, subject, key
    )
    return der.sequence(tbs, algorithm, der.tlv(der.BIT_STRING, b"\0"))


CERT_ID = cert_id_of("sha1", b"\1" * 5000, b"\2" * 5000, 1 << 40_000)
ALGORITHM = der.sequence(
    der.tlv(der.OBJECT_IDENTIFIER, der.oid("1.2.3")), der.tlv(der.OCTET_STRING, bytes(5000))
)


@pytest.mark.parametrize("tag", [0x0C, 0x1E])
def test_a_hostile_response(tag):
    subject = name(HOSTILE, tag)
    about = single(CERT_ID, b"z" * 5000)
    text = openssl_text.response(response(subject, ALGORITHM, about, certs=[certificate(subject)]))
    shown = r"CN = \x1b]0;x\x07\n\x9b31m\u202eyyyy"
    assert f"Responder Id: {shown}" in text and f"Certificate: {shown}" in text
    assert all(line.isprintable() and len(line) < 1000 for line in text.splitlines())
    assert len(text.splitlines()) < 30


@pytest.mark.slow
def test_a_name_of_many_attributes():
    attribute = der.sequence(der.tlv(der.OBJECT_IDENTIFIER, b"\x2a" * 60), der.tlv(0x0C, b"v"))
    subject = der.sequence(*[der.tlv(0x31, attribute)] * 500)
    text = openssl_text.response(response(subject, ALGORITHM, certs=[]))
    assert max(len(line) for line in text.splitlines()) < 1100


@pytest.mark.parametrize(
    "encoded",
    [
        b"\x30" + b"\x1b" * 100,
        response(name("x"), ALGORITHM, single(CERT_ID, time=b"\x1b" * 60_000), certs=[]),
        der.sequence(der.tlv(der.ENUMERATED, b"\x7f" * 1000)),
    ],
    ids=["not DER", "not a time", "not a status"],
)
@pytest.mark.slow
def test_malformed_responses(encoded):
    text = openssl_text.response(encoded)
    assert text.startswith("OCSP Response Data: not an OCSPResponse: ") and text.endswith("\n")
    assert text[:-1].isprintable() and len(text) < 300


@pytest.mark.slow
def test_a_hostile_request():
    extension = der.sequence(
        der.tlv(der.OBJECT_IDENTIFIER, der.oid("1.2.3")), der.tlv(der.OCTET_STRING, b"\x1b" * 5000)
    )
    text = openssl_text.request(request(CERT_ID, extensions=extension))
    assert "OCSP Request Data:" in text
    assert all(line.isprintable() and len(line) < 1000 for line in text.splitlines())


@pytest.mark.parametrize(
    "reason", [b"\xff", b"\x01\x00", b"\x7f" * 10_000], ids=["negative", "256", "huge"]
)
@pytest.mark.slow
def test_a_reason_out_of_range(reason):
    now = der.tlv(der.GENERALIZED_TIME, b"20260101000000Z")
    revoked = der.tlv(der.context(1), now, der.tlv(der.context(0), der.tlv(der.ENUMERATED, reason)))
    encoded = response(name("x"), ALGORITHM, der.sequence(CERT_ID, revoked, now), certs=[])
    started = time.monotonic()
    assert "not an OCSPResponse: a CRLReason out of range" in openssl_text.response(encoded)
    with pytest.raises(client.MalformedResponse, match="CRLReason"):
        client.OCSPResponse.from_der(encoded)
    assert time.monotonic() - started < 1
