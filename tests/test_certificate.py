"""Certificates, read by us and by `cryptography`, which made them; and files of several."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ocsp_cgi import certificate, der
from ocsp_cgi.certificate import Certificate, CertificateError

KEY, OTHER_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
EPOCH = datetime.datetime(1970, 1, 1)  # naive, as all releases of `cryptography` take it
YEAR = 365 * 24 * 3600
BEGIN, END = 50 * YEAR, 60 * YEAR
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def make(
    *extensions: x509.ExtensionType,
    critical: bool = False,
    subject: str = "signer",
    issuer: str = "CA",
    key=KEY,
    serial: int = 0x1234,
    begin: int = BEGIN,
    end: int = END,
) -> x509.Certificate:
    moments = [EPOCH + datetime.timedelta(seconds=seconds) for seconds in (begin, end)]
    builder = x509.CertificateBuilder(
        name(issuer), name(subject), key.public_key(), serial, *moments
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(KEY, hashes.SHA256())


def read(*arguments, **options) -> Certificate:
    return Certificate(make(*arguments, **options).public_bytes(Encoding.DER))


def pem(made: x509.Certificate) -> bytes:
    return made.public_bytes(Encoding.PEM)


def usage(*bits: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{one: one in bits for one in USAGES})


def unrecognized(dotted: str, value: bytes = b"\5\0") -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(dotted), value)


@pytest.mark.parametrize("serial", [1, 0x7F, 0x80, (1 << 159) - 1])
@pytest.mark.parametrize("end", [END, 100 * YEAR])  # UTCTime, GeneralizedTime
def test_fields(serial, end):
    made = make(unrecognized("1.2.3.4", b"value"), serial=serial, end=end)
    one = Certificate(made.public_bytes(Encoding.DER))
    assert one.der == made.public_bytes(Encoding.DER)
    assert one.tbs == made.tbs_certificate_bytes
    assert one.serial_number == serial
    assert (one.issuer, one.subject) == (made.issuer.public_bytes(), made.subject.public_bytes())
    assert (one.not_before, one.not_after) == (BEGIN, end)
    assert one.public_key == KEY.public_key().public_bytes(
        Encoding.X962, PublicFormat.UncompressedPoint
    )
    assert one.signature == made.signature
    assert one.signature_algorithm == bytes.fromhex("300a06082a8648ce3d040302")
    assert one.extensions == {der.oid("1.2.3.4"): b"value"}
    assert one.critical == []


def test_without_extensions():
    one = read()
    assert (one.extensions, one.critical, one.extended_key_usages) == ({}, [], [])
    assert not one.is_ca and one.may_sign_data


def test_every_truncation_is_a_certificate_error():
    encoded = make(usage("digital_signature")).public_bytes(Encoding.DER)
    for size in range(len(encoded)):
        with pytest.raises(CertificateError, match=r"^not an X\.509 certificate: "):
            Certificate(encoded[:size])
    with pytest.raises(CertificateError):
        Certificate(encoded + b"\0")


def test_a_changed_byte_is_never_another_error():
    encoded = make(usage("digital_signature")).public_bytes(Encoding.DER)
    for position in range(len(encoded)):
        for change in (0x01, 0x80, 0xFF):
            changed = bytearray(encoded)
            changed[position] ^= change
            try:
                Certificate(bytes(changed))
            except CertificateError:
                pass


def test_extended_key_usages():
    one = read(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]))
    assert one.extended_key_usages == [certificate.OCSP_SIGNING]
    one = read(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.OCSP_SIGNING])
    )
    assert one.extended_key_usages == [der.oid("1.3.6.1.5.5.7.3.1"), certificate.OCSP_SIGNING]


@pytest.mark.parametrize(
    "extension, expected",
    [
        (usage("digital_signature"), True),
        (usage("digital_signature", "key_cert_sign"), True),
        (usage("key_cert_sign"), False),
        (usage("key_encipherment"), False),
        (unrecognized("2.5.29.15", b"\3\1\0"), False),  # no bit at all
        (unrecognized("2.5.29.15", b""), False),
    ],
)
def test_may_sign_data(extension, expected):
    assert read(extension).may_sign_data is expected


@pytest.mark.parametrize(
    "extension, expected",
    [
        (x509.BasicConstraints(True, None), True),
        (x509.BasicConstraints(True, 0), True),
        (x509.BasicConstraints(False, None), False),
        (unrecognized("2.5.29.19", b"\x30\x03\x01\x01\0"), False),
        (unrecognized("2.5.29.19", b"malformed"), False),
    ],
)
def test_is_ca(extension, expected):
    assert read(extension).is_ca is expected


def test_critical_extensions():
    assert read(usage("crl_sign"), critical=True).unusual_critical_extensions == []
    assert read(unrecognized("1.2.3.4")).unusual_critical_extensions == []
    one = read(unrecognized("1.2.3.4"), usage("crl_sign"), critical=True)
    assert one.critical == [der.oid("1.2.3.4"), certificate.KEY_USAGE]
    assert one.unusual_critical_extensions == [der.oid("1.2.3.4")]


def test_is_same_holder():
    one = read(subject="signer")
    assert one.is_same_holder(read(subject="SIGNER", serial=7, issuer="another CA"))
    assert not one.is_same_holder(read(subject="another"))
    assert not one.is_same_holder(read(subject="signer", key=OTHER_KEY))


KEY_ID = x509.SubjectKeyIdentifier.from_public_key(KEY.public_key())
OTHER_KEY_ID = x509.SubjectKeyIdentifier.from_public_key(OTHER_KEY.public_key())


def authority(key_id=None, issuer: str = "", serial: int | None = None):
    """An authorityKeyIdentifier."""
    names = [x509.DirectoryName(name(issuer))] if issuer else None
    return x509.AuthorityKeyIdentifier(key_id.digest if key_id else None, names, serial)


@pytest.mark.parametrize(
    "extension, expected",
    [
        (authority(KEY_ID), True),
        (authority(OTHER_KEY_ID), False),
        (authority(None, "root", 7), True),
        (authority(None, "ROOT", 7), True),
        (authority(None, "root", 8), False),
        (authority(None, "another root", 7), False),
        (authority(KEY_ID, "root", 8), False),
        (authority(OTHER_KEY_ID, "root", 7), False),
        (unrecognized("2.5.29.35", b"\x30\0"), True),
        (unrecognized("2.5.29.35", b"malformed"), None),
        (unrecognized("1.2.3.4"), None),
    ],
)
def test_may_be_issued_by(extension, expected):
    ca = read(KEY_ID, subject="CA", issuer="root", serial=7)
    assert read(extension).may_be_issued_by(ca) is expected


def test_an_issuer_without_a_key_identifier_is_not_compared_by_it():
    assert read(authority(OTHER_KEY_ID)).may_be_issued_by(read(subject="CA")) is True


@pytest.mark.parametrize("days, warned", [(3650, 30), (91, 30), (90, 30), (89, 89 / 3), (3, 1)])
def test_warned_from(days, warned):
    end = BEGIN + days * 86400
    assert read(end=end).warned_from == end - warned * 86400


@pytest.mark.parametrize(
    "validities, now, expected",
    [
        ([(0, 10), (5, 15)], 7, 1),
        ([(5, 15), (0, 10)], 7, 0),
        ([(0, 10), (8, 15)], 7, 0),  # the other is not yet valid
        ([(0, 20), (5, 7)], 7, 0),  # the other has expired
        ([(0, 10), (0, 20)], 7, 1),
        ([(0, 10), (5, 15)], 100, 1),  # none is valid
        ([(0, 10), (50, 60)], 20, 1),
    ],
)
def test_newest(validities, now, expected):
    found = [read(begin=BEGIN + begin, end=BEGIN + end) for begin, end in validities]
    assert certificate.newest(found, BEGIN + now) is found[expected]


FIRST, SECOND = make(serial=1), make(serial=2)
UNREADABLE = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "content, serials",
    [
        (pem(FIRST) + pem(SECOND), [1, 2]),
        (pem(SECOND) + b"\n" + pem(FIRST), [2, 1]),
        (pem(FIRST) + pem(FIRST), [1]),
        (b"0" + pem(FIRST), [1]),
        (b"text\n" + pem(FIRST) + b"text\n" + pem(SECOND) + b"text", [1, 2]),
        (pem(FIRST).replace(b"\n", b"\r\n"), [1]),
        (pem(FIRST).replace(b" CERT", b" X509 CERT") + pem(SECOND), [1, 2]),
        (UNREADABLE + pem(FIRST), [1]),
        (b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n" + pem(FIRST), [1]),
        (FIRST.public_bytes(Encoding.DER), [1]),
        (FIRST.public_bytes(Encoding.DER) + b"\r\n", [1]),
        (pem(FIRST).partition(b"-----END")[0] + pem(SECOND), [2]),
    ],
)
def test_a_file_of_certificates(tmp_path, content, serials):
    path = tmp_path / "bundle"
    path.write_bytes(content)
    assert [one.serial_number for one in certificate.load_all(str(path))] == serials
    assert certificate.load(str(path)).serial_number == serials[0]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no -----BEGIN CERTIFICATE----- block"),
        (b"text", "no -----BEGIN CERTIFICATE----- block"),
        (pem(FIRST).replace(b"CERTIFICATE", b"SOMETHING"), "no -----BEGIN CERTIFICATE----- block"),
        (pem(FIRST).partition(b"-----END")[0], "no -----END CERTIFICATE-----"),
        (UNREADABLE, "not an X.509 certificate: "),
        (FIRST.public_bytes(Encoding.DER) + b"more", "trailing data after the certificate in DER"),
        (
            b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
            "a private key, not a certificate",
        ),
    ],
)
def test_a_file_without_a_certificate(tmp_path, content, message):
    path = tmp_path / "bundle"
    path.write_bytes(content)
    with pytest.raises(CertificateError, match=message):
        certificate.load_all(str(path))


def test_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError):
        certificate.load(str(tmp_path / "nothing"))
