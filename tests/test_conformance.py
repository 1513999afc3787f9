"""Every row of the table of what a correct OCSP responder does, by its number.

The numbers are those of the project's conformance table; `conformance.md` beside this file lists
them with the tests, and `python3 tests/conformance.py` writes it from here.  What is read
back is read by `cryptography` or openssl, or compared with literal bytes, never only with our own
reader.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import time

import pytest
from clients import (
    NULL,
    OCSP_NONCE,
    Answered,
    cert_id,
    cert_id_of,
    certificate,
    extension,
    nonce,
    octets,
    oid,
    openssl_ocsp,
    request,
    respond,
    respond_wsgi,
    run_cgi,
    settle,
    verified,
)
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp

from ocsp_cgi import certificate as own_certificate
from ocsp_cgi import config, der, limits, ocsp_http, ocsp_request, resident, times
from ocsp_cgi.answer import RESPONSE_STATUS_NAMES, error_response

GOOD, REVOKED, UNKNOWN = (
    ocsp.OCSPCertStatus.GOOD,
    ocsp.OCSPCertStatus.REVOKED,
    ocsp.OCSPCertStatus.UNKNOWN,
)
MALFORMED, INTERNAL_ERROR, TRY_LATER, UNAUTHORIZED = (
    bytes((0x30, 3, 0x0A, 1, status)) for status in (1, 2, 3, 6)
)
DAY = 24 * 3600

V = b"V\t270220135115Z\t\t%s\tunknown\t/CN=x\n"
R = b"R\t270220135115Z\t%s\t%s\tunknown\t/CN=x\n"
INDEX = V % b"0A" + R % (b"261122135115Z,keyCompromise", b"0B") + V % b"0C"


class Core:
    """The responder over the CA's signer and a database that the test writes: in the CGI's way, or
    as the WSGI application if there are `files`.

    It responds at the time `at`, or the present; `now` is the time of its last response.
    """

    def __init__(self, pki, directory, files=None):
        self.files = files
        self.home = pki.home
        self.directory = directory
        self.root = certificate(pki.home / "root-ca.crt")
        self.signer = certificate(pki.home / "root-ocsp.crt")
        self.at: int | None = None
        self.now = 0
        self.index(INDEX)

    def index(self, content: bytes) -> None:
        (self.directory / "index").write_bytes(content)
        settle(self.directory / "index")

    def id(self, serial: int = 10, hash_name: str = "sha1", parameters: bytes = NULL) -> bytes:
        return cert_id(self.root, serial, hash_name, parameters)

    def respond(self, encoded: bytes, **settings: object) -> Answered:
        keys = {
            "db": self.directory,
            "ca": self.home / "root-ca.crt",
            "rsigner": self.home / "root-ocsp.crt",
            "rkey": self.home / "private" / "root-ocsp.key",
            **settings,
        }
        path = self.directory / "ocsp-cgi.conf"
        path.write_text(
            "[root-ca]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        )
        settle(path)
        self.now = int(time.time()) if self.at is None else self.at
        if self.files is not None:
            return respond_wsgi(encoded, path, self.now, self.files)
        return respond(encoded, lambda: config.load(str(path)), self.now)

    def ask(self, encoded: bytes, **settings: object) -> bytes:
        """The DER of the response."""
        return self.respond(encoded, **settings).der

    def single(self, encoded: bytes | int, **settings: object) -> ocsp.OCSPResponse:
        """The verified response to a request, or to one about a serial number, that has one
        SingleResponse."""
        encoded = request(self.id(encoded)) if isinstance(encoded, int) else encoded
        return verified(self.ask(encoded, **settings), self.root)

    def statuses(self, encoded: bytes, **settings: object) -> list[tuple[int, ocsp.OCSPCertStatus]]:
        """(serial, status) of each SingleResponse, as `cryptography` reads them."""
        response = verified(self.ask(encoded, **settings), self.root)
        return [(single.serial_number, single.certificate_status) for single in response.responses]

    def text(self, encoded: bytes) -> str:
        """A response as openssl prints it."""
        (self.directory / "response.der").write_bytes(encoded)
        return openssl_ocsp(
            self.home, "-respin", str(self.directory / "response.der"), "-noverify", "-resp_text"
        ).stdout

    def headers(
        self, encoded: bytes, method: str = "POST", **settings: object
    ) -> tuple[dict[str, str], Answered]:
        response = self.respond(encoded, **settings)
        if self.files is not None:
            return response.headers, response
        headers = ocsp_http.response(response, method).headers
        return {name.lower(): value for name, value in headers}, response


@pytest.fixture(scope="session")
def resident_files():
    """Of one process that answers the requests of all tests."""
    return resident.ResidentFiles(settling=0)


@pytest.fixture(params=["CGI", pytest.param("WSGI", marks=pytest.mark.slow)])
def core(request, pki, tmp_path, resident_files):
    return Core(pki, tmp_path, resident_files if request.param == "WSGI" else None)


def table(**cases):
    """A table of named cases for pytest."""
    return [pytest.param(value, id=name.replace("_", " ")) for name, value in cases.items()]


def seconds(moment: datetime.datetime) -> int:
    return int(moment.replace(tzinfo=datetime.timezone.utc).timestamp())


def when(response, name: str) -> int:
    """A time of a response in seconds since 1970, with any version of `cryptography`."""
    return seconds(getattr(response, name + "_utc", None) or getattr(response, name))


# 1a. Request handling

WHOLE = (
    b"0B0@0>0<0:0\x09\x06\x05+\x0e\x03\x02\x1a\x05\x00\x04\x14"
    + bytes(20)
    + b"\x04\x14"
    + bytes(20)
    + b"\x02\x01\x0a"
)


def with_serial(encoded: bytes) -> bytes:
    """A CertID with this in place of its serialNumber."""
    return der.sequence(
        der.sequence(oid("1.3.14.3.2.26"), NULL), octets(bytes(20)), octets(bytes(20)), encoded
    )


@pytest.mark.parametrize(
    "encoded",
    table(
        empty=b"",
        text=b"hello",
        pem=b"-----BEGIN OCSP REQUEST-----\n",
        one_octet=b"0",
        zeros=bytes(100),
        cut_off_by_one=WHOLE[:-1],
        cut_off_in_half=WHOLE[: len(WHOLE) // 2],
        octet_behind_it=WHOLE + b"\0",
        twice=WHOLE * 2,
        garbage_in_a_sequence=b"\x30\x05hello",
        null=NULL,
        empty_sequence=b"\x30\0",
        nested=b"\x30\x04\x30\x02\x30\0",
        indefinite_length=b"\x30\x80" + WHOLE[2:] + b"\0\0",
        long_length=b"\x30\x81" + WHOLE[1:],
        serial_without_contents=request(with_serial(b"\x02\x00")),
        serial_with_a_redundant_zero=request(with_serial(b"\x02\x02\x00\x0a")),
        serial_with_a_redundant_ff=request(with_serial(b"\x02\x02\xff\x80")),
        serial_not_an_integer=request(with_serial(b"\x04\x01\x0a")),
        hash_with_other_parameters=request(
            cert_id_of("sha1", bytes(20), bytes(20), 10, octets(b"x"))
        ),
        cert_id_with_more=request(
            der.sequence(
                der.sequence(oid("1.3.14.3.2.26")), octets(b""), octets(b""), der.integer(1), NULL
            )
        ),
        request_extensions_twice=der.sequence(
            der.sequence(
                der.sequence(der.sequence(cert_id_of("sha1", b"", b"", 1))),
                der.tlv(der.context(2), der.sequence(nonce(bytes(16)))),
                der.tlv(der.context(2), der.sequence(nonce(bytes(16)))),
            )
        ),
        the_same_extension_twice=request(
            cert_id_of("sha1", b"", b"", 1), extensions=nonce(bytes(16)) + nonce(bytes(16))
        ),
    ),
)
def test_row_1_what_is_not_a_request_is_malformed(core, encoded):
    assert core.ask(encoded) == MALFORMED


def test_row_1_any_cut_or_changed_length_is_malformed(core):
    """Unless it only changes a value inside it."""
    encoded = request(core.id(), extensions=nonce(bytes(range(16))))
    for length in range(len(encoded)):
        assert core.ask(encoded[:length]) == MALFORMED, length
    positions = [0, 2, 4, 6, 8]  # the nested SEQUENCEs down to CertID
    for position in positions:
        assert encoded[position] == 0x30
        for change in (-1, 1, 64):
            changed = bytearray(encoded)
            changed[position + 1] = (changed[position + 1] + change) % 256
            assert core.ask(bytes(changed)) == MALFORMED, (position, change)


def test_row_2_errors_are_five_bytes_and_4_is_never_used(core, tmp_path):
    assert [error_response(status).hex() for status in RESPONSE_STATUS_NAMES if status] == [
        "30030a0101",
        "30030a0102",
        "30030a0103",
        "30030a0105",
        "30030a0106",
    ]
    for encoded in (MALFORMED, INTERNAL_ERROR, TRY_LATER, UNAUTHORIZED):
        assert ocsp.load_der_ocsp_response(encoded).response_status.value == encoded[4]


def test_row_3_empty_request_list_is_malformed(core):
    assert core.ask(request()) == MALFORMED
    assert core.ask(request(extensions=nonce(bytes(16)))) == MALFORMED


@pytest.mark.parametrize(
    "number, answered",
    [(0, True), (1, False), (2, False), (99, False), (-1, False), (2**70, False)],
)
def test_row_4_version_must_be_v1(core, number, answered):
    encoded = request(core.id(), version=der.tlv(der.context(0), der.integer(number)))
    assert (core.ask(encoded) != MALFORMED) == answered


def test_row_5_unknown_extensions_that_are_not_critical_are_ignored(core):
    unknown = extension("1.2.3.4", b"anything") + extension("1.2.3.5", b"", b"\x01\x01\x00")
    assert core.single(request(core.id(), extensions=unknown)).certificate_status == GOOD
    assert core.single(request(core.id(), single_extensions=unknown)).certificate_status == GOOD


def test_row_6_unknown_critical_extensions_are_malformed(core):
    unknown = extension("1.2.3.4", b"anything", b"\x01\x01\xff")
    assert core.ask(request(core.id(), extensions=unknown)) == MALFORMED
    assert core.ask(request(core.id(), single_extensions=unknown)) == MALFORMED
    assert (
        core.ask(request(core.id(), core.id(11), extensions=nonce(bytes(16)) + unknown))
        == MALFORMED
    )


@pytest.mark.parametrize(
    "dotted, value",
    [
        (OCSP_NONCE, octets(bytes(16))),
        ("1.3.6.1.5.5.7.48.1.4", der.sequence(oid("1.3.6.1.5.5.7.48.1.1"))),
        (
            "1.3.6.1.5.5.7.48.1.8",
            der.sequence(der.sequence(der.sequence(oid("1.2.840.10045.4.3.2")))),
        ),
        ("1.3.6.1.5.5.7.48.1.7", der.sequence(b"")),
    ],
)
def test_row_7_known_extensions_may_be_critical(core, dotted, value):
    critical = extension(dotted, value, b"\x01\x01\xff")
    assert core.single(request(core.id(), extensions=critical)).certificate_status == GOOD
    assert core.single(request(core.id(), single_extensions=critical)).certificate_status == GOOD


def test_row_8_requestor_name_is_as_if_it_were_absent(core):
    for name in (b"\x82\x0bexample.com", b"\xa4\x02\x30\x00", b"\x81\x03a@b"):
        named = core.single(request(core.id(), requestor=der.tlv(der.context(1), name)))
        assert named.certificate_status == GOOD and not list(named.extensions)
    for wrong in (b"", NULL, b"\x82\x01x" * 2):
        assert core.ask(request(core.id(), requestor=der.tlv(der.context(1), wrong))) == MALFORMED


def test_row_9_signature_of_a_request_is_not_verified(core, pki, tmp_path):
    bad = der.tlv(
        der.context(0),
        der.sequence(
            der.sequence(oid("1.2.840.113549.1.1.11"), NULL), der.tlv(der.BIT_STRING, b"\0wrong")
        ),
    )
    assert core.single(request(core.id(), signature=bad)).certificate_status == GOOD
    assert core.ask(request(core.id(), signature=der.tlv(der.context(0), NULL))) == MALFORMED
    signed = tmp_path / "signed.der"
    openssl_ocsp(
        pki.home,
        "-serial",
        "10",
        "-signer",
        "good.crt",
        "-signkey",
        "private/good.key",
        "-reqout",
        str(signed),
    )
    assert core.single(signed.read_bytes()).certificate_status == GOOD


def test_row_10_no_request_needs_a_signature(core):
    """No setting requires one: sigRequired is never sent."""
    assert core.single(request(core.id())).certificate_status == GOOD


@pytest.mark.parametrize(
    "serials",
    [[10], [10, 11], [11, 10], [10, 10, 10], [11, 99, 10, 11], list(range(50)), list(range(100))],
)
def test_row_11_and_12_one_single_response_for_each_cert_id_in_order(core, serials):
    encoded = core.ask(request(*[core.id(serial) for serial in serials]))
    known = {10: GOOD, 11: REVOKED, 12: GOOD}
    assert core.statuses(request(*[core.id(serial) for serial in serials])) == [
        (serial, known.get(serial, UNKNOWN)) for serial in serials
    ]
    assert re.findall(
        "Serial Number: ([0-9A-F]+)", core.text(encoded).partition("Certificate:")[0]
    ) == [f"{serial:02X}" for serial in serials]


@pytest.mark.parametrize("parameters", [NULL, b""], ids=["NULL", "absent"])
@pytest.mark.parametrize("hash_name", ["sha1", "sha224", "sha256", "sha384", "sha512"])
def test_rows_13_to_15_cert_id_of_every_hash_is_echoed_byte_for_byte(core, hash_name, parameters):
    for serial, status in ((10, GOOD), (11, REVOKED)):
        asked = core.id(serial, hash_name, parameters)
        response = core.single(request(asked))
        assert response.certificate_status == status
        assert (
            asked in response.tbs_response_bytes
            and response.tbs_response_bytes.count(asked[20:]) == 1
        )


def test_row_13_mixed_hashes_in_one_request(core):
    asked = [core.id(10, "sha1"), core.id(10, "sha256", b""), core.id(11, "sha512")]
    response = core.ask(request(*asked))
    assert all(one in response for one in asked)


@pytest.mark.parametrize("hash_name", ["sha1", "sha256"])
def test_row_16_both_hashes_must_be_the_issuers(core, hash_name):
    name = core.root.subject.public_bytes()
    right = (
        ocsp_request.OCSPRequest.from_der(request(core.id(11, hash_name))).request_list[0].req_cert
    )
    assert right.issuer_name_hash == hashlib.new(hash_name, name).digest()
    wrong = bytes(len(right.issuer_name_hash))
    for pair in (
        (wrong, right.issuer_key_hash),
        (right.issuer_name_hash, wrong),
        (right.issuer_key_hash, right.issuer_name_hash),
        (b"", b""),
    ):
        assert core.ask(request(cert_id_of(hash_name, *pair, 11))) == UNAUTHORIZED
    longer = (right.issuer_name_hash + b"\0", right.issuer_key_hash)
    assert core.ask(request(cert_id_of(hash_name, *longer, 11))) == UNAUTHORIZED


@pytest.mark.parametrize(
    "dotted",
    ["1.2.840.113549.2.5", "2.16.840.1.101.3.4.2.8", "1.2.3.4"],
    ids=["md5", "sha3-256", "unknown"],
)
def test_row_16_an_unknown_hash_is_a_foreign_issuer(core, dotted):
    foreign = cert_id_of(dotted, bytes(32), bytes(32), 11)
    assert core.ask(request(foreign)) == UNAUTHORIZED
    response = core.ask(request(core.id(11), foreign))
    assert foreign in response
    text = core.text(response)
    assert re.findall("Cert Status: (.*)", text) == ["revoked", "unknown"]


def test_row_17_the_response_is_basic_whatever_is_acceptable(core):
    other = extension("1.3.6.1.5.5.7.48.1.4", der.sequence(oid("1.2.3.4")))
    assert core.single(request(core.id(), extensions=other)).certificate_status == GOOD


RSA_SHA256, RSA_SHA384, RSA_SHA512 = (f"300d06092a864886f70d01010{digit}0500" for digit in "bcd")
PSS_SHA256 = (
    "304106092a864886f70d01010a3034a00f300d06096086480165030402010500"
    "a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120"
)
ECDSA_SHA256, ECDSA_SHA384, ECDSA_SHA512 = (f"300a06082a8648ce3d04030{digit}" for digit in "234")
RSA_SHA1, RSA_MD5, ED25519 = (
    "300d06092a864886f70d0101050500",
    "300d06092a864886f70d0101040500",
    "300506032b6570",
)


def preferring(*identifiers: str) -> bytes:
    preferences = [der.sequence(bytes.fromhex(identifier)) for identifier in identifiers]
    return extension("1.3.6.1.5.5.7.48.1.8", der.sequence(*preferences))


@pytest.fixture(scope="module")
def rsa_signer(pki, workspace):
    """A signer with an RSA key, of a copy of the same CA."""
    ca = pki.copy(workspace / "rsa-signer")
    ca.issue("rsa-ocsp", "ocsp_ext", ("rsa:2048",))
    return {"rsigner": ca.home / "rsa-ocsp.crt", "rkey": ca.home / "private" / "rsa-ocsp.key"}


@pytest.mark.parametrize(
    "preferences, expected",
    [
        ([RSA_SHA512], RSA_SHA512),
        ([RSA_SHA384, RSA_SHA512], RSA_SHA384),
        ([ED25519, ECDSA_SHA256, RSA_SHA512, RSA_SHA256], RSA_SHA512),
        (["300b06092a864886f70d01010d"], RSA_SHA512),
        ([PSS_SHA256], PSS_SHA256),
        ([ECDSA_SHA256], RSA_SHA256),
        ([], RSA_SHA256),
    ],
)
def test_row_18_the_clients_first_preference_that_the_key_can_make(
    core, rsa_signer, preferences, expected
):
    response = core.ask(request(core.id(), extensions=preferring(*preferences)), **rsa_signer)
    assert response.count(bytes.fromhex(expected)) == 1 + 2 * (
        expected == RSA_SHA256
    )  # the signer's certificate has two
    (core.directory / "response.der").write_bytes(response)
    said = openssl_ocsp(
        core.home, "-no_nonce", "-respin", str(core.directory / "response.der"), "-serial", "10"
    )
    assert said.stderr == "Response verify OK\n"


def test_row_18_a_preference_that_cannot_be_read_is_ignored(core):
    for value in (
        b"",
        b"garbage",
        NULL,
        der.sequence(NULL),
        der.sequence(der.sequence(b"")),
        der.sequence(der.sequence(der.sequence(NULL))),
    ):
        assert (
            core.single(
                request(core.id(), extensions=extension("1.3.6.1.5.5.7.48.1.8", value))
            ).certificate_status
            == GOOD
        )


def test_row_19_no_weak_algorithm_is_used_even_if_preferred(core, rsa_signer):
    response = core.ask(request(core.id(), extensions=preferring(RSA_SHA1, RSA_MD5)), **rsa_signer)
    assert bytes.fromhex(RSA_SHA256) in response
    assert bytes.fromhex(RSA_SHA1) not in response and bytes.fromhex(RSA_MD5) not in response
    response = core.ask(
        request(core.id(), extensions=preferring(RSA_SHA1, RSA_SHA384)), **rsa_signer
    )
    assert bytes.fromhex(RSA_SHA384) in response


def test_row_20_work_is_bounded(core, pki, cgi):
    assert len(core.statuses(request(*[core.id()] * 100))) == 100
    assert core.ask(request(*[core.id()] * 101)) == MALFORMED
    assert core.ask(None) == MALFORMED
    config_path = pki.home / "ocsp-cgi.conf"
    body = request(core.id(), extensions=extension("1.2.3.4", bytes(65000)))
    body = request(core.id(), extensions=extension("1.2.3.4", bytes(65000 + 65536 - len(body))))
    assert len(body) == 65536 and run_cgi(cgi, config_path, "POST", body).body != MALFORMED
    assert run_cgi(cgi, config_path, "POST", body + b"\0").body == MALFORMED


# 1b. Nonce


def nonce_of(response: bytes) -> bytes | None:
    """The contents of the nonce's extnValue, as openssl and `cryptography` read them."""
    extensions = ocsp.load_der_ocsp_response(response).extensions
    for one in extensions:
        if one.oid.dotted_string == OCSP_NONCE:
            assert not one.critical
            return one.value.nonce
    return None


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 20, 31, 32, 33, 64, 127, 128])
def test_rows_21_23_24_25_nonce_is_echoed(core, length):
    value = bytes(range(1, length + 1))
    response = core.ask(request(core.id(), extensions=nonce(value)))
    wrapped = der.tlv(der.OCTET_STRING, value)
    assert (
        b"\x06\x09+\x06\x01\x05\x05\x07\x30\x01\x02" + der.tlv(der.OCTET_STRING, wrapped)
        in response
    )
    assert nonce_of(response) in (
        value,
        wrapped,
    )  # `cryptography` removes the wrapping since version 42
    assert "OCSP Nonce:" in core.text(response)


@pytest.mark.parametrize("length", [0, 129, 256, 1000, 5000])
def test_row_22_an_empty_nonce_or_one_of_more_than_128_bytes_is_malformed(core, length):
    assert core.ask(request(core.id(), extensions=nonce(bytes(length)))) == MALFORMED


@pytest.mark.parametrize(
    "value, answered",
    [
        (b"\xaa" * 16, True),
        (b"\xaa", True),
        (b"\xaa" * 128, True),
        (b"", False),
        (b"\xaa" * 129, False),
        (b"\x04\x10" + b"\xaa" * 15, True),
    ],
)
def test_row_25_nonce_that_is_not_wrapped_is_echoed_as_it_is(core, value, answered):
    response = core.ask(request(core.id(), extensions=extension(OCSP_NONCE, value)))
    assert (response != MALFORMED) == answered
    if answered:
        assert b"\x06\x09+\x06\x01\x05\x05\x07\x30\x01\x02" + octets(value) in response


@pytest.mark.parametrize(
    "critical", [b"\x01\x01\xff", b"\x01\x01\x00"], ids=["TRUE", "explicit FALSE"]
)
def test_row_26_nonce_is_never_critical_in_the_response(core, critical):
    response = core.ask(
        request(core.id(), extensions=extension(OCSP_NONCE, octets(bytes(16)), critical))
    )
    assert nonce_of(response) is not None
    assert extension(OCSP_NONCE, octets(bytes(16))) in response


def test_row_27_no_nonce_is_sent_unless_asked_for(core):
    assert nonce_of(core.ask(request(core.id()))) is None
    response = core.ask(request(core.id(), single_extensions=nonce(bytes(16))))
    assert nonce_of(response) is None and der.oid(OCSP_NONCE) not in response


def test_row_28_with_nonces_ignored_the_response_has_none(core):
    encoded = request(core.id(), extensions=nonce(bytes(16)))
    response = core.respond(encoded, nonce="ignore")
    assert nonce_of(response.der) is None and response.entity_tag
    assert ("nonce", "16-ignored") in response.fields
    assert core.ask(request(core.id(), extensions=nonce(bytes(129))), nonce="ignore") == MALFORMED


# 1c. Response body


def test_row_29_response_type_is_basic(core):
    encoded = core.ask(request(core.id()))
    assert encoded.count(bytes.fromhex("06092b0601050507300101")) == 1
    assert "Response Type: Basic OCSP Response" in core.text(encoded)


def test_row_30_der_and_defaults_left_out(core):
    for settings, tag in (({}, 0xA2), ({"responder_id": "name"}, 0xA1)):
        tbs = core.single(
            request(core.id(), extensions=nonce(bytes(16))), **settings
        ).tbs_response_bytes
        first = 2 if tbs[1] < 0x80 else 2 + (tbs[1] & 0x7F)
        assert tbs[first] == tag  # no version before the ResponderID
        assert b"\x01\x01\x00" not in tbs.replace(bytes(16), b"")


def test_row_31_responder_id_is_the_signers(core):
    assert core.single(10, responder_id="name").responder_name == core.signer.subject
    key_hash = core.single(10).responder_key_hash
    from cryptography.x509 import SubjectKeyIdentifier

    assert key_hash == SubjectKeyIdentifier.from_public_key(core.signer.public_key()).digest


def test_rows_32_and_33_responder_id_is_the_sha1_of_the_key_whatever_the_hash(core):
    for hash_name in ("sha1", "sha256", "sha512"):
        response = core.ask(request(core.id(10, hash_name)))
        key_hash = core.single(10).responder_key_hash
        assert len(key_hash) == 20 and b"\xa2\x16\x04\x14" + key_hash in response


def test_rows_34_and_36_this_update_is_produced_at_is_now(core):
    response = core.single(10)
    assert when(response, "produced_at") == when(response, "this_update") == core.now


def test_row_35_every_time_has_15_bytes(core):
    core.index(R % (b"261122135115Z,keyTime,20260101000000.5Z", b"0A"))
    encoded = core.single(request(core.id()), archive_cutoff="ca").tbs_response_bytes
    times = re.findall(rb"\x18(.)(\d{14}Z)", encoded, re.DOTALL)
    assert len(times) == 6 and {length for length, _ in times} == {
        b"\x0f"
    }  # produced, this, next, revoked, invalid, cut off


def test_row_37_next_update_is_present(core):
    for serial in (10, 11, 99):
        response = core.single(serial)
        assert when(response, "next_update") > when(response, "this_update")


@pytest.mark.parametrize("minutes", [1, 60, 480, 2880, 14400])
def test_row_38_next_update_is_nmin_later(core, minutes):
    response = core.single(10, nmin=minutes)
    assert when(response, "next_update") - when(response, "this_update") == minutes * 60


def test_row_39_next_update_ends_with_signer_and_ca(core, pki):
    end = own_certificate.load(str(pki.home / "root-ocsp.crt")).not_after
    for before in (3600, 2, 1):
        core.at = end - before
        assert when(core.single(10, nmin=100000), "next_update") == end
    ca_end = own_certificate.load(str(pki.home / "root-ca.crt")).not_after
    direct = {"rsigner": pki.home / "root-ca.crt", "rkey": pki.home / "private" / "root-ca.key"}
    core.at = ca_end - 3600
    assert when(core.single(10, nmin=100000, **direct), "next_update") == ca_end


def test_row_40_nothing_is_signed_outside_the_signers_validity(core, pki):
    signer = own_certificate.load(str(pki.home / "root-ocsp.crt"))
    for moment, answered in (
        (signer.not_before, True),
        (signer.not_before - 1, False),
        (signer.not_after - 1, True),
        (signer.not_after, False),
    ):
        core.at = moment
        assert (core.ask(request(core.id())) != INTERNAL_ERROR) == answered


@pytest.mark.parametrize(
    "serial, status",
    [(10, "8000"), (99, "8200"), (11, "a116180f32303236313132323133353131355aa0030a0101")],
)
def test_rows_41_and_42_cert_status(core, serial, status):
    assert core.id(serial) + bytes.fromhex(status) + b"\x18\x0f" in core.ask(
        request(core.id(serial))
    )


@pytest.mark.parametrize("reason", [b"", b",unspecified", b",removeFromCRL", b",7", b",nonsense"])
def test_rows_43_and_44_no_reason_0_7_or_8(core, reason):
    core.index(R % (b"261122135115Z" + reason, b"0A"))
    assert core.id() + b"\xa1\x11\x18\x0f20261122135115Z\x18\x0f" in core.ask(request(core.id()))


def test_row_45_no_reason_code_extension(core):
    for serial in (10, 11, 99):
        assert der.tlv(der.OBJECT_IDENTIFIER, der.oid("2.5.29.21")) not in core.ask(
            request(core.id(serial))
        )


@pytest.mark.parametrize(
    "field, reason",
    [
        (b"keyTime,20260101000000Z", 1),
        (b"CAkeyTime,20260101000000Z", 2),
        (b"holdInstruction,holdInstructionReject", 6),
    ],
)
def test_row_46_crl_entry_extensions_are_single_extensions_and_not_critical(core, field, reason):
    core.index(R % (b"261122135115Z," + field, b"0A"))
    encoded = core.ask(request(core.id()))
    if reason == 6:
        expected = der.sequence(oid("2.5.29.23"), octets(oid("1.2.840.10040.2.3")))
        text = "Hold Instruction Code: \n                    Hold Instruction Reject"
    else:
        expected = der.sequence(oid("2.5.29.24"), octets(b"\x18\x0f20260101000000Z"))
        text = "Invalidity Date: \n                    Jan  1 00:00:00 2026 GMT"
    assert bytes.fromhex(f"a0030a010{reason}") in encoded
    assert der.tlv(der.context(1), der.sequence(expected)) in encoded
    assert " ".join(text.split()) in " ".join(core.text(encoded).split())


def test_row_48_certificate_hold_is_sent_for_a_private_ca(core):
    core.index(R % (b"261122135115Z,certificateHold", b"0A"))
    assert core.single(10).revocation_reason.value == "certificateHold"


def test_rows_49_and_51_good_is_never_sent_for_what_was_not_issued(core):
    assert core.single(99).certificate_status == UNKNOWN
    core.index(b"")
    assert core.single(10).certificate_status == UNKNOWN


def test_row_50_unissued_revoked(core):
    encoded = core.ask(request(core.id(99)), unissued="revoked")
    assert (
        core.id(99) + bytes.fromhex("a116180f") + b"19700101000000Z" + bytes.fromhex("a0030a0106")
        in encoded
    )
    assert encoded.count(bytes.fromhex("300f06092b060105050730010904020500")) == 1
    text = core.text(encoded)
    assert "Cert Status: revoked" in text and re.search(
        r"Response Extensions:\s+valid: \n", text
    )  # openssl's name of it
    for serial in (10, 11):
        assert der.oid("1.3.6.1.5.5.7.48.1.9") not in core.ask(
            request(core.id(serial)), unissued="revoked"
        )
    assert [
        status
        for _, status in core.statuses(
            request(core.id(10), core.id(98), core.id(99)), unissued="revoked"
        )
    ] == [GOOD, REVOKED, REVOKED]


def test_row_50_unissued_revoked_says_nothing_of_other_issuers(core):
    foreign = cert_id_of("sha1", bytes(20), bytes(20), 99)
    encoded = core.ask(request(core.id(10), foreign), unissued="revoked")
    assert foreign + b"\x82\x00" in encoded and der.oid("1.3.6.1.5.5.7.48.1.9") not in encoded


def test_row_52_foreign_issuers(core):
    foreign = cert_id_of("sha1", bytes(20), bytes(20), 10)
    assert core.ask(request(foreign)) == core.ask(request(foreign, foreign)) == UNAUTHORIZED
    assert [status for _, status in core.statuses(request(foreign, core.id(11)))] == [
        UNKNOWN,
        REVOKED,
    ]


def test_row_53_unknown_does_not_outlive_the_issuance(core):
    headers, response = core.headers(request(core.id(99)), nmin=14400)
    assert response.next_update - core.now == 900 and response.max_age == 300
    assert headers["cache-control"].startswith("max-age=300,")
    assert core.single(99).certificate_status == UNKNOWN
    core.index(INDEX + V % b"63")
    assert core.single(99).certificate_status == GOOD


def test_row_54_a_revoked_certificate_past_its_expiry_is_revoked(core):
    core.index(b"R\t200101000000Z\t190101000000Z\t0A\tunknown\t/CN=x\n")
    assert core.single(10).certificate_status == REVOKED


def test_row_55_archive_cutoff(core, pki):
    expected = der.oid("1.3.6.1.5.5.7.48.1.6")
    assert expected not in core.ask(request(core.id()))
    core.at = core.now
    for value, cutoff in (
        (30, core.now - 30 * DAY),
        ("ca", own_certificate.load(str(pki.home / "root-ca.crt")).not_before),
    ):
        text = (
            datetime.datetime.fromtimestamp(cutoff, datetime.timezone.utc)
            .strftime("%Y%m%d%H%M%SZ")
            .encode()
        )
        encoded = core.ask(request(core.id()), archive_cutoff=value)
        single = der.sequence(der.tlv(der.OBJECT_IDENTIFIER, expected), octets(b"\x18\x0f" + text))
        assert der.tlv(der.context(1), der.sequence(single)) in encoded
        assert expected not in core.ask(request(core.id(99)), archive_cutoff=value)
    core.index(R % (b"261122135115Z,keyTime,20260101000000Z", b"0A"))
    both = core.ask(request(core.id()), archive_cutoff=30)
    assert expected in both and der.oid("2.5.29.24") in both


def test_row_56_temporarily_unable_is_try_later_and_broken_is_internal_error(
    core, tmp_path, monkeypatch
):
    monkeypatch.setattr(limits, "DATABASE_RETRY_SECONDS", 0.02)
    assert core.ask(request(core.id()), db=tmp_path / "none") == TRY_LATER
    assert core.ask(request(core.id()), rkey=tmp_path / "none") == INTERNAL_ERROR
    assert core.ask(request(core.id()), rsigner=tmp_path / "none") == INTERNAL_ERROR
    assert core.ask(request(core.id()), ca=tmp_path / "none") == INTERNAL_ERROR


def test_row_57_response_extensions_only_when_needed(core):
    assert len(list(core.single(10).extensions)) == 0
    assert len(list(core.single(request(core.id(), extensions=nonce(bytes(16)))).extensions)) == 1


# 1d. Signature and signer certificate


def test_row_59_signature_is_over_response_data(core, pki):
    encoded = core.ask(request(core.id()))
    verified(encoded, core.root)
    (core.directory / "response.der").write_bytes(encoded)
    said = openssl_ocsp(
        pki.home, "-no_nonce", "-respin", str(core.directory / "response.der"), "-serial", "10"
    )
    assert said.stderr == "Response verify OK\n"


SIGNERS = {  # the AlgorithmIdentifier by key; rows 60 to 63
    "rsa:2048": RSA_SHA256,
    "rsa-pss": PSS_SHA256,
    "P-256": ECDSA_SHA256,
    "P-384": ECDSA_SHA384,
    "P-521": ECDSA_SHA512,
    "ed25519": ED25519,
    "ed448": "300506032b6571",
}


@pytest.mark.parametrize(
    "key, identifier",
    [
        # openssl needs seconds for such a key
        pytest.param(*one, marks=pytest.mark.slow if one[0] == "rsa-pss" else ())
        for one in SIGNERS.items()
    ],
)
def test_rows_60_to_63_signature_algorithm(core, pki, place, key, identifier):
    ca = pki.copy(place / "ca")
    newkey = ("ec", "-pkeyopt", f"ec_paramgen_curve:{key}") if key.startswith("P-") else (key,)
    ca.issue("signer", "ocsp_ext", newkey)
    response = core.ask(
        request(core.id()), rsigner=ca.home / "signer.crt", rkey=ca.home / "private" / "signer.key"
    )
    tbs_ends = response.index(bytes.fromhex(identifier) + b"\x03")  # the signature follows
    assert response[tbs_ends + len(identifier) // 2] == der.BIT_STRING
    (core.directory / "response.der").write_bytes(response)
    said = openssl_ocsp(
        core.home, "-no_nonce", "-respin", str(core.directory / "response.der"), "-serial", "10"
    )
    assert said.stderr == "Response verify OK\n"


def test_row_64_there_is_no_way_to_sign_with_sha_1(core, rsa_signer):
    ecdsa_sha1 = "300906072a8648ce3d0401"
    for signer in ({}, rsa_signer):
        response = core.ask(
            request(core.id(), extensions=preferring(RSA_SHA1, ecdsa_sha1)), **signer
        )
        assert bytes.fromhex(RSA_SHA1) not in response and bytes.fromhex(ecdsa_sha1) not in response
        assert verified(response, core.root).signature_hash_algorithm.name == "sha256"
    refused = core.respond(request(core.id()), rmd="sha1")
    assert refused.der == INTERNAL_ERROR and "unknown setting `rmd`" in refused.warnings[0]


@pytest.fixture(params=["delegated", "the CA itself"])
def signs(request, pki):
    """(the settings that name a signer, its certificate)"""
    if request.param == "delegated":
        return {}, certificate(pki.home / "root-ocsp.crt")
    settings = {"rsigner": pki.home / "root-ca.crt", "rkey": pki.home / "private" / "root-ca.key"}
    return settings, certificate(pki.home / "root-ca.crt")


def test_row_65_the_signers_certificate_is_in_the_response(core, signs):
    settings, signer = signs
    assert core.single(10, **settings).certificates == [signer]


def test_row_66_certificates_are_never_an_empty_sequence(core, signs):
    settings, signer = signs
    encoded = core.ask(request(core.id()), **settings)
    outer = der.read(encoded, der.SEQUENCE).elements()
    next(outer)
    response_bytes = outer.expect(der.context(0)).only(der.SEQUENCE).elements()
    next(response_bytes)
    basic = der.read(response_bytes.expect(der.OCTET_STRING).contents, der.SEQUENCE).elements()
    for tag in (der.SEQUENCE, der.SEQUENCE, der.BIT_STRING):
        basic.expect(tag)
    certs = basic.expect(der.context(0)).only(der.SEQUENCE).elements()
    assert certs.expect(der.SEQUENCE).encoded == signer.public_bytes(serialization.Encoding.DER)
    certs.end()
    basic.end()


def test_row_67_signer_of_another_ca_is_refused(core, place):
    from ocsp_cgi.tools.openssl_ca import PrivateCA

    other = PrivateCA(place / "other")
    other.issue("signer", "ocsp_ext")
    response = core.respond(
        request(core.id()),
        rsigner=other.home / "signer.crt",
        rkey=other.home / "private" / "signer.key",
    )
    assert response.der == INTERNAL_ERROR and "signer.crt: not issued by" in response.warnings[0]


def test_row_68_signer_without_ocsp_signing_is_refused(core, pki):
    response = core.respond(
        request(core.id()), rsigner=pki.home / "good.crt", rkey=pki.home / "private" / "good.key"
    )
    assert (
        response.der == INTERNAL_ERROR
        and "lacks the extended key usage OCSPSigning" in response.warnings[0]
    )


@pytest.mark.parametrize(
    "profile, warnings",
    [
        (
            "extendedKeyUsage=OCSPSigning\nkeyUsage=critical,digitalSignature\nauthorityKeyIdentifier=keyid\nnoCheck=yes",
            [],
        ),
        (
            "extendedKeyUsage=OCSPSigning\nkeyUsage=critical,digitalSignature\nauthorityKeyIdentifier=keyid",
            ["lacks-ocsp-nocheck"],
        ),
        (
            "extendedKeyUsage=OCSPSigning\nkeyUsage=nonRepudiation\nauthorityKeyIdentifier=keyid\nnoCheck=yes",
            ["keyUsage-lacks-digitalSignature"],
        ),
        (
            "extendedKeyUsage=OCSPSigning,clientAuth\nnoCheck=yes\nauthorityKeyIdentifier=keyid",
            ["has-other-extendedKeyUsage"],
        ),
        (
            "extendedKeyUsage=OCSPSigning\nauthorityKeyIdentifier=none\nnoCheck=yes\nbasicConstraints=CA:true",
            ["lacks-authorityKeyIdentifier", "is-a-CA"],
        ),
        (
            (
                "extendedKeyUsage=OCSPSigning\nnoCheck=yes\nauthorityKeyIdentifier=keyid\nauthorityInfoAccess=OCSP;URI:http://x/\n"
                "crlDistributionPoints=URI:http://x/"
            ),
            ["has-authorityInfoAccess", "has-crlDistributionPoints"],
        ),
    ],
)
def test_rows_69_and_70_what_a_signer_should_have_is_warned_about(
    core, pki, place, profile, warnings
):
    ca = pki.copy(place / "ca")
    with open(ca.home / "root-ca.cnf", "a") as cnf:
        cnf.write(f"[odd_ext]\nsubjectKeyIdentifier=hash\n{profile}\n")
    ca.issue("signer", "odd_ext")
    response = core.respond(
        request(core.id()), rsigner=ca.home / "signer.crt", rkey=ca.home / "private" / "signer.key"
    )
    assert verified(response.der, core.root)
    said = [value for name, value in response.fields if name == "warning"]
    assert said == ["rsigner-" + warning for warning in (*warnings, "has-no-row-in-db")]


def test_row_71_a_ca_that_signs_itself_should_have_digital_signature(core, pki):
    response = core.respond(
        request(core.id()),
        rsigner=pki.home / "root-ca.crt",
        rkey=pki.home / "private" / "root-ca.key",
    )
    assert (
        verified(response.der, core.root)
        and ("warning", "rsigner-keyUsage-lacks-digitalSignature") in response.fields
    )


def signer_row(core, row: bytes = V, seconds: int = 0) -> bytes:
    """A row for the signer of the core, with the expiry of its certificate or one that is later."""
    expiry = times.generalized_time(
        int(core.signer.not_valid_after.replace(tzinfo=datetime.timezone.utc).timestamp()) + seconds
    )
    return (row % b"%X" % core.signer.serial_number).replace(b"270220135115Z", expiry)


def test_row_72_a_revoked_signer_does_not_sign(core, pki):
    revoked = R.replace(b"%s", b"261122135115Z", 1)
    core.index(INDEX + signer_row(core))
    response = core.respond(request(core.id()))
    assert verified(response.der, core.root).certificate_status == GOOD
    assert "warning" not in dict(response.fields)
    core.index(INDEX + signer_row(core, revoked))
    response = core.respond(request(core.id()))
    assert response.der == INTERNAL_ERROR
    assert "revoked in the database of [root-ca]; issue a new signer" in response.warnings[0]
    core.index(INDEX + b"R %X\n" % core.signer.serial_number)
    assert core.ask(request(core.id())) == INTERNAL_ERROR


def test_section_0_a_signer_without_a_row_is_warned_about(core):
    response = core.respond(request(core.id()))
    assert verified(response.der, core.root)
    assert ("warning", "rsigner-has-no-row-in-db") in response.fields


@pytest.mark.parametrize("row", [V, R.replace(b"%s", b"261122135115Z", 1)])
def test_section_0_a_row_of_the_signers_serial_with_another_expiry_is_of_another_ca(core, row):
    core.index(INDEX + signer_row(core, row, 1))
    response = core.respond(request(core.id()))
    assert (
        response.der == TRY_LATER
        and "it is the database of another CA. Correct `db`" in response.warnings[0]
    )


def test_section_0_in_an_index_being_copied_the_signers_row_may_be_missing(core):
    """Revocations are sent, signed by a signer whose own row has not arrived yet."""
    core.index(INDEX + b"V\t2702")
    response = core.respond(request(core.id(11)))
    assert verified(response.der, core.root).certificate_status == REVOKED
    assert "warning" not in dict(response.fields)
    assert core.ask(request(core.id(10))) == TRY_LATER
    assert core.ask(request(core.id(10), core.id(11))) == TRY_LATER


# 5. HTTP


def test_section_5_headers_of_a_response_without_nonce(core):
    headers, response = core.headers(request(core.id()), nmin=2880, max_age=60)

    def date(value: int) -> str:
        utc = datetime.datetime.fromtimestamp(value, datetime.timezone.utc)
        return utc.strftime("%a, %d %b %Y %H:%M:%S GMT")

    assert headers == {
        "content-type": "application/ocsp-response",
        "content-length": str(len(response.der)),
        "last-modified": date(core.now),
        "expires": date(core.now + 2880 * 60),
        "etag": '"' + hashlib.sha256(response.der).hexdigest() + '"',
        "cache-control": "max-age=3600, public, no-transform, must-revalidate",
    }


def test_section_5_headers_of_a_response_with_nonce(core):
    headers, response = core.headers(request(core.id(), extensions=nonce(bytes(16))))
    assert headers == {
        "content-type": "application/ocsp-response",
        "content-length": str(len(response.der)),
        "cache-control": "max-age=0, private, no-transform",
    }


def test_section_5_headers_of_an_error(core):
    headers, _ = core.headers(b"garbage")
    assert headers == {
        "content-type": "application/ocsp-response",
        "content-length": "5",
        "cache-control": "no-cache, no-store",
    }


@pytest.mark.parametrize(
    "settings, max_age",
    [
        ({}, 1800),
        ({"nmin": 2880}, DAY),
        ({"nmin": 2880, "max_age": 60}, 3600),
        ({"nmin": 20160}, 4 * DAY),
        ({"nmin": 1}, 30),
        ({"nmin": 60, "max_age": 600}, 1800),
    ],
)
def test_section_5_max_age(core, settings, max_age):
    assert core.respond(request(core.id()), **settings).max_age == max_age


def test_section_5_max_age_of_several_is_that_of_the_shortest(core):
    response = core.respond(request(core.id(10), core.id(99)), nmin=2880)
    assert (response.max_age, response.next_update - core.now) == (300, 900)


def test_section_5_max_age_never_reaches_the_end(core, pki):
    end = own_certificate.load(str(pki.home / "root-ocsp.crt")).not_after
    for left, max_age in ((4, 2), (3, 1), (2, 1), (1, 0)):
        core.at = end - left
        assert core.respond(request(core.id())).max_age == max_age


def test_section_0_what_is_not_ocsp_gets_a_page_with_its_status():
    for method, content_type, uri, status in (
        ("POST", "text/plain", "/x", 415),
        ("PUT", "application/ocsp-request", "/x", 405),
        ("GET", "", "/x", 200),
        ("GET", "", "/x/y", 404),
    ):
        with pytest.raises(ocsp_http.NotOCSP) as error:
            ocsp_http.ocsp_request(ocsp_http.Request(method, uri, "/x", "", content_type, b""))
        assert error.value.status == status
