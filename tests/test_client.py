"""The client: which responses it accepts, and which it must refuse."""

from __future__ import annotations

import datetime
import http.server
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from clients import cert_id_of, certificate, settle
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from ocsp_cgi import client, client_http, der, ocsp_request, ocsp_response
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.wsgi_server import LocalServer

NOW = datetime.datetime(*time.gmtime()[:6])  # naive, as all releases of `cryptography` take it
HOUR, DAY = datetime.timedelta(hours=1), datetime.timedelta(days=1)
AIA_URL = "http://ocsp.example.com/"


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def issue(
    subject: str,
    key,
    issuer: str,
    issuer_key,
    *extensions: x509.ExtensionType,
    begin=NOW - DAY,
    end=NOW + DAY,
    critical=False,
) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        name(issuer), name(subject), key.public_key(), x509.random_serial_number(), begin, end
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(
        issuer_key,
        (
            None
            if isinstance(issuer_key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
            else hashes.SHA256()
        ),
    )


def key_usage(bit: str) -> x509.KeyUsage:
    bits = (
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
    return x509.KeyUsage(**{one: one == bit for one in bits})


@pytest.fixture(scope="module")
def world():
    """A CA with its key, another CA, certificates, and signers, of which `signer` is authorized and
    has no flaw."""
    keys = {
        who: ec.generate_private_key(ec.SECP256R1()) for who in ("ca", "other", "subject", "signer")
    }
    eku = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
    location = x509.AccessDescription(
        AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(AIA_URL)
    )

    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")

    def signer(*extensions, by="ca", issuer="CA", **times) -> x509.Certificate:
        return issue("signer", keys["signer"], issuer, keys[by], *extensions, **times)

    return SimpleNamespace(
        keys=keys,
        ca=issue("CA", keys["ca"], "CA", keys["ca"]),
        other_ca=issue("other CA", keys["other"], "other CA", keys["other"]),
        subject=issue(
            "subject",
            keys["subject"],
            "CA",
            keys["ca"],
            x509.AuthorityInformationAccess([location]),
        ),
        another=issue("another", keys["subject"], "CA", keys["ca"]),
        signer=signer(eku),
        without_eku=signer(),
        client_eku=signer(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])),
        of_another_ca=signer(eku, issuer="other CA", by="other"),
        forged=signer(eku, by="other"),
        expired=signer(eku, begin=NOW - 2 * DAY, end=NOW - HOUR),
        future=signer(eku, begin=NOW + HOUR, end=NOW + DAY),
        for_encipherment=signer(eku, key_usage("key_encipherment")),
        for_data=signer(eku, key_usage("digital_signature"), critical=True),
        with_nonrepudiation=signer(eku, key_usage("content_commitment")),
        with_critical_extension=signer(eku, unknown, critical=True),
        that_is_a_ca=signer(eku, x509.BasicConstraints(True, None), critical=True),
        local=issue("local", keys["signer"], "local", keys["signer"]),
        local_expired=issue(
            "local", keys["signer"], "local", keys["signer"], begin=NOW - 2 * DAY, end=NOW - HOUR
        ),
    )


class Responder:
    """An HTTP server that answers every POST with reply(request), a (status, headers, body); the
    body may be an iterable of parts.  It knows nothing of OCSP."""

    def __init__(self, reply):
        responder = self
        self.requests: list[bytes] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                responder.requests.append(self.rfile.read(int(self.headers["Content-Length"])))
                status, headers, body = reply(responder.requests[-1])
                self.send_response(status)
                for header in headers.items():
                    self.send_header(*header)
                self.end_headers()
                try:
                    for part in [body] if isinstance(body, bytes) else body:
                        self.wfile.write(part)
                except OSError:
                    pass  # the client has closed the connection

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def respond():
    """respond(reply) starts a Responder that ends with the test.  Bytes that a reply returns are
    sent with the right status and headers."""
    running = []

    def start(reply) -> Responder:
        def over_http(encoded: bytes):
            replied = reply(encoded)
            return (
                replied
                if isinstance(replied, tuple)
                else (200, {"Content-Type": "application/ocsp-response"}, replied)
            )

        running.append(Responder(over_http))
        return running[-1]

    yield start
    for responder in running:
        responder.end()


def nonce_of(encoded: bytes) -> bytes | None:
    try:
        return (
            ocsp.load_der_ocsp_request(encoded)
            .extensions.get_extension_for_class(x509.OCSPNonce)
            .value.nonce
        )
    except x509.ExtensionNotFound:
        return None


def make_response(
    world,
    encoded: bytes,
    *,
    subject=None,
    issuer=None,
    status="GOOD",
    revoked=None,
    reason=None,
    this_update=NOW,
    next_update=NOW + HOUR,
    nonce="echo",
    signer=None,
    key="signer",
    by_name=False,
    named=None,
    certs=None,
    sign=None,
    extension=None,
) -> bytes:
    """A response made with `cryptography`, correct except for what the arguments make wrong."""
    algorithm = ocsp.load_der_ocsp_request(encoded).hash_algorithm
    signer = signer or world.signer
    builder = ocsp.OCSPResponseBuilder().add_response(
        subject or world.subject,
        issuer or world.ca,
        algorithm,
        getattr(ocsp.OCSPCertStatus, status),
        this_update,
        next_update,
        revoked,
        reason,
    )
    builder = builder.responder_id(
        ocsp.OCSPResponderEncoding.NAME if by_name else ocsp.OCSPResponderEncoding.HASH,
        named or signer,
    )
    certs = [signer] if certs is None else certs
    builder = builder.certificates(certs) if certs else builder
    value = nonce_of(encoded) if nonce == "echo" else nonce
    if value is not None:
        builder = builder.add_extension(x509.OCSPNonce(value), critical=False)
    if extension is not None:
        builder = builder.add_extension(*extension)
    key = world.keys[key]
    named_key = {world.another: world.keys["subject"], world.ca: world.keys["ca"]}.get(
        named, key
    )  # some releases check that it fits
    made = builder.sign(named_key, hashes.SHA256())
    sign = sign or (right if named else None)
    if sign is None:
        return made.public_bytes(serialization.Encoding.DER)
    identifier, signature = sign(key, made.tbs_response_bytes)
    algorithm = der.sequence(der.tlv(der.OBJECT_IDENTIFIER, der.oid(identifier)))
    encoded_certs = [cert.public_bytes(serialization.Encoding.DER) for cert in certs]
    return ocsp_response.basic_response(
        made.tbs_response_bytes, algorithm, signature, encoded_certs
    )


@pytest.fixture
def query(world, respond):
    """query(options=..., **flaws) is client.query, with these options, of a responder whose
    response has these flaws."""

    def ask(*, reply=None, options=(), **flaws):
        responder = respond(reply or (lambda encoded: make_response(world, encoded, **flaws)))
        return client.query(world.subject, world.ca, responder.url, **dict(options))

    return ask


def utc(naive: datetime.datetime) -> datetime.datetime:
    return naive.replace(tzinfo=datetime.timezone.utc)


# Accepted responses


def test_good(query, world):
    result = query()
    assert (result.status, result.revocation_time, result.revocation_reason) == ("good", None, None)
    assert (result.this_update, result.next_update) == (utc(NOW), utc(NOW + HOUR))
    assert (
        abs(result.produced_at.timestamp() - time.time()) < 60
        and result.produced_at.tzinfo is datetime.timezone.utc
    )
    assert result.responder == world.signer


def test_revoked(query):
    result = query(status="REVOKED", revoked=NOW - HOUR, reason=x509.ReasonFlags.key_compromise)
    assert (result.status, result.revocation_time, result.revocation_reason) == (
        "revoked",
        utc(NOW - HOUR),
        "keyCompromise",
    )
    assert query(status="REVOKED", revoked=NOW - HOUR).revocation_reason is None


def test_unknown(query):
    assert query(status="UNKNOWN").status == "unknown"


@pytest.mark.parametrize(
    "flaws",
    [
        {"by_name": True},
        {"signer": "ca", "key": "ca"},
        {"signer": "ca", "key": "ca", "certs": []},
        {"signer": "ca", "key": "ca", "certs": [], "by_name": True},
        {"next_update": None},
        {"options": {"hash_name": "sha256"}},
        {"options": {"nonce": "optional"}},
        {"options": {"nonce": "optional"}, "nonce": None},
        {"options": {"nonce": "none"}},
        {"options": {"nonce": "none"}, "nonce": b"somebody's"},
        {
            "extension": (
                x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"),
                False,
            )
        },
    ],
    ids=lambda flaws: ",".join(f"{what}={value}" for what, value in flaws.items())[:60],
)
def test_good_in_other_forms(query, world, flaws):
    if flaws.get("signer") == "ca":
        flaws = {**flaws, "signer": world.ca}
    assert query(**flaws).status == "good"


def test_clocks_may_differ_by_five_minutes(query):
    now, four = datetime.datetime(*time.gmtime()[:6]), datetime.timedelta(minutes=4)
    assert query(this_update=now + four, next_update=now + HOUR).status == "good"
    assert query(this_update=now - DAY, next_update=now - four).status == "good"


def test_several_certificates_in_the_response(query, world):
    assert (
        query(certs=[world.ca, world.forged, world.without_eku, world.signer]).responder
        == world.signer
    )


@pytest.mark.parametrize(
    "forms", [("object", "object"), ("PEM", "DER"), ("DER", "PEM"), ("text", "text")]
)
def test_forms_of_certificates(world, respond, forms):
    def form(which: str, of: x509.Certificate):
        pem = of.public_bytes(serialization.Encoding.PEM)
        return {
            "object": of,
            "PEM": b"Subject: x\n" + pem,
            "DER": of.public_bytes(serialization.Encoding.DER),
            "text": pem.decode(),
        }[which]

    responder = respond(lambda encoded: make_response(world, encoded))
    assert (
        client.query(form(forms[0], world.subject), form(forms[1], world.ca), responder.url).status
        == "good"
    )


@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha384", "sha512"])
def test_the_request_as_cryptography_makes_it(world, respond, hash_name):
    responder = respond(lambda encoded: b"")
    with pytest.raises(client.Malformed):
        client.query(world.subject, world.ca, responder.url, nonce="none", hash_name=hash_name)
    built = (
        ocsp.OCSPRequestBuilder()
        .add_certificate(world.subject, world.ca, getattr(hashes, hash_name.upper())())
        .build()
    )
    assert responder.requests == [built.public_bytes(serialization.Encoding.DER)]


def test_every_request_has_a_new_nonce(world, respond):
    responder = respond(lambda encoded: make_response(world, encoded))
    for _ in range(2):
        client.query(world.subject, world.ca, responder.url)
    nonces = {nonce_of(encoded) for encoded in responder.requests}
    assert len(nonces) == 2 and {len(nonce) for nonce in nonces} == {32}


def several(world, encoded: bytes, *statuses: tuple, produced: int = 0) -> bytes:
    """A response with several SingleResponses, which `cryptography` cannot make.

    Each is of a certificate, or of the DER of a CertID, with a status, the seconds since its
    thisUpdate, and singleExtensions in DER.  `produced` is the seconds from now to producedAt.
    """
    asked = ocsp_request.OCSPRequest.from_der(encoded)
    now = int(time.time())
    responses = []
    for subject, status, *more in statuses:
        age, single_extensions = [*more, *(0, b"")[len(more) :]]
        named = subject if isinstance(subject, bytes) else cert_id(world, subject=subject)
        single_id = ocsp_request.CertID(der.read(named, der.SEQUENCE))
        cert_status = ocsp_response.CertStatus(status, now if status == "revoked" else None)
        single = ocsp_response.SingleResponse(
            single_id, cert_status, now - age, now - age + 3600, {}
        )
        fields = der.read(single.encode(), der.SEQUENCE).contents + single_extensions
        responses.append(SimpleNamespace(encode=lambda fields=fields: der.sequence(fields)))
    key_hash = x509.SubjectKeyIdentifier.from_public_key(world.ca.public_key()).digest
    nonce = asked.request_extensions[ocsp_request.ID_PKIX_OCSP_NONCE]
    responder_id, echo = ocsp_response.responder_id_by_key(key_hash), [nonce]
    tbs = ocsp_response.response_data(responder_id, now + produced, responses, echo)
    algorithm = der.sequence(der.tlv(der.OBJECT_IDENTIFIER, der.oid("1.2.840.10045.4.3.2")))
    return ocsp_response.basic_response(
        tbs, algorithm, world.keys["ca"].sign(tbs, ec.ECDSA(hashes.SHA256())), []
    )


def test_of_several_responses_the_requested_one(query, world):
    statuses = [(world.another, "good"), (world.subject, "revoked"), (world.signer, "good")]
    assert query(reply=lambda encoded: several(world, encoded, *statuses)).status == "revoked"


def replies(world, *statuses: tuple, **options):
    """A reply of a Responder: `several` of these."""
    return lambda encoded: several(world, encoded, *statuses, **options)


@pytest.mark.parametrize(
    "statuses, expected",
    [
        (["good", "revoked"], "revoked"),
        (["revoked", "good"], "revoked"),
        (["good", "unknown", "good"], "unknown"),
        (["unknown", "revoked", "unknown"], "revoked"),
        (["good", "good"], "good"),
    ],
)
def test_of_several_revoked_wins_then_unknown(query, world, statuses, expected):
    same = [(world.subject, one) for one in statuses]
    assert query(reply=replies(world, *same)).status == expected
    hash_names = ("sha1", "sha256", "sha384")
    mixed = [(cert_id(world, hash_name), one) for hash_name, one in zip(hash_names, statuses)]
    assert query(reply=replies(world, *mixed)).status == expected


def test_of_several_with_the_same_status_the_later_one(query, world):
    for ages in ((0, 1800), (1800, 0), (0, 100_000)):
        result = query(reply=replies(world, *[(world.subject, "good", age) for age in ages]))
        assert abs(result.this_update.timestamp() - time.time()) < 60


def test_an_expired_revocation_is_not_outvoted(query, world):
    expired = (world.subject, "revoked", 100_000)
    with pytest.raises(client.Stale, match="expired on"):
        query(reply=replies(world, (world.subject, "good"), expired))


def cert_id(world, hash_name="sha1", subject=None, issuer=None, oid_of=None) -> bytes:
    """The DER of a CertID whose hashes are by `hash_name`, and say they are by `oid_of`."""
    algorithm = getattr(hashes, hash_name.upper())()
    builder = ocsp.OCSPRequestBuilder()
    asked = builder.add_certificate(subject or world.subject, issuer or world.ca, algorithm).build()
    parts = asked.issuer_name_hash, asked.issuer_key_hash, asked.serial_number
    return cert_id_of(oid_of or hash_name, *parts)


@pytest.mark.parametrize("hash_name", ["sha1", "sha224", "sha256", "sha384", "sha512"])
def test_a_cert_id_with_another_hash_than_the_request(query, world, hash_name):
    for asked in ("sha1", "sha256"):
        reply = replies(world, (cert_id(world, hash_name), "good"))
        assert query(reply=reply, options={"hash_name": asked}).status == "good"
    for wrong in (
        cert_id(world, hash_name, subject=world.another),
        cert_id(world, hash_name, issuer=world.other_ca),
        cert_id(world, hash_name, oid_of="sha384" if hash_name != "sha384" else "sha256"),
        cert_id(world, hash_name, oid_of="1.2.3.4"),
        cert_id_of(hash_name, b"", b"", world.subject.serial_number),
    ):
        with pytest.raises(client.Mismatch, match="another certificate"):
            query(reply=replies(world, (wrong, "good")))


def test_the_issuers_name_as_another_type_of_string(world, respond):
    """RFC 5280 section 7.1: PrintableString equals UTF8String."""
    encoded = world.ca.public_bytes(serialization.Encoding.DER)
    renewed = encoded.replace(b"\x0c\x02CA", b"\x13\x02CA")
    assert renewed != encoded
    issuer = x509.load_der_x509_certificate(renewed)
    for flaws in (
        {},
        {"issuer": issuer},
        {"named": issuer, "by_name": True, "key": "ca", "signer": world.ca, "certs": []},
    ):
        responder = respond(lambda encoded, flaws=flaws: make_response(world, encoded, **flaws))
        assert client.query(world.subject, renewed, responder.url).status == "good"


def test_produced_in_the_future(query, world):
    for seconds, options in ((-100_000, {}), (240, {}), (3600, {"skew": 7200})):
        reply = replies(world, (world.subject, "good"), produced=seconds)
        assert query(reply=reply, options=options).status == "good"
    for seconds, options in ((600, {}), (60, {"skew": 10})):
        reply = replies(world, (world.subject, "good"), produced=seconds)
        with pytest.raises(client.Stale, match="produced in the future"):
            query(reply=reply, options=options)


def extensions(extn_id: bytes, critical: bool) -> bytes:
    """singleExtensions with this one, whose value is NULL."""
    parts = [
        der.tlv(der.OBJECT_IDENTIFIER, extn_id),
        der.tlv(der.BOOLEAN, b"\xff") if critical else b"",
        der.tlv(der.OCTET_STRING, b"\5\0"),
    ]
    return der.tlv(der.context(1), der.sequence(der.sequence(*parts)))


@pytest.mark.parametrize(
    "extn_id, words",
    [
        (ocsp_request.ID_PKIX_OCSP_NONCE, "critical extension, nonce in singleExtensions"),
        (ocsp_response.ID_PKIX_OCSP_EXTENDED_REVOKE, "critical extension, OID 2b0601050507300109"),
        (der.oid("1.2.3.4"), "critical extension, OID 2a0304"),
        (der.oid("2.5.29.29"), "critical extension, OID 551d1d"),
    ],
    ids=["nonce", "extended revoke", "unknown", "certificateIssuer"],
)
def test_critical_single_extensions(query, world, extn_id, words):
    """A nonce belongs into responseExtensions, and certificateIssuer says the response is about
    another CA's certificate."""
    harmless, critical = extensions(extn_id, False), extensions(extn_id, True)
    assert query(reply=replies(world, (world.subject, "good", 0, harmless))).status == "good"
    for statuses in (
        [(world.subject, "good", 0, critical)],
        [(world.subject, "good", 0, critical), (world.subject, "revoked")],
        [(world.subject, "unknown"), (world.subject, "good", 0, critical)],
    ):
        with pytest.raises(client.Malformed, match=words):
            query(reply=replies(world, *statuses))
    archive_cutoff = extensions(ocsp_response.ID_PKIX_OCSP_ARCHIVE_CUTOFF, True)
    statuses = [(world.another, "good", 0, critical), (world.subject, "good", 0, archive_cutoff)]
    assert query(reply=replies(world, *statuses)).status == "good"


# Whose signature is accepted


@pytest.mark.parametrize("signer", ["for_data", "with_nonrepudiation"])
def test_key_usages_of_a_signer(query, world, signer):
    assert query(signer=getattr(world, signer)).status == "good"


def test_a_signer_that_is_a_ca_is_warned_of(query, world):
    result = query(signer=world.that_is_a_ca)
    warning = "the response signer is itself a CA, which some clients refuse"
    assert (result.status, result.warnings) == ("good", (warning,))


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("included", [True, False])
def test_a_trusted_responder(query, world, by_name, included):
    flaws = {"signer": world.local, "by_name": by_name, "certs": [world.local] if included else []}
    with pytest.raises(client.Untrusted):
        query(**flaws)
    pem = world.local.public_bytes(serialization.Encoding.PEM)
    for form in (world.local, pem, pem.decode()):
        result = query(**flaws, options={"trusted_responder": form})
        assert (result.status, result.responder, result.warnings) == ("good", world.local, ())


def test_others_than_the_trusted_responder_may_sign_too(query, world):
    trusted = {"options": {"trusted_responder": world.local}}
    assert query(by_name=True, **trusted).responder == world.signer
    assert query(**as_ca(world), **trusted).responder == world.ca


@pytest.mark.parametrize(
    "trusted, words",
    [
        ("local_expired", "expired on"),
        ("ca", "issued by another CA"),
        ("other_ca", "issued by another CA"),
        ("another", "issued by another CA"),
    ],
)
def test_a_response_not_signed_by_the_trusted_responder(query, world, trusted, words):
    with pytest.raises(client.Untrusted, match=words):
        query(signer=world.local_expired, options={"trusted_responder": getattr(world, trusted)})


def test_a_trusted_responder_that_cryptography_cannot_read(query, world):
    encoded = world.local.public_bytes(serialization.Encoding.DER).replace(
        bytes.fromhex("a003020102"), bytes.fromhex("a003020105"), 1
    )
    with pytest.raises(client.Untrusted, match="cannot be read"):
        query(signer=world.local, options={"trusted_responder": encoded})


def test_a_trusted_responder_authorizes_no_other_certificate(query, world):
    """One with the same name, or one that it issued."""
    same_name = issue("local", world.keys["other"], "local", world.keys["other"])
    issued = issue(
        "below",
        world.keys["other"],
        "local",
        world.keys["signer"],
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]),
    )
    for signer in (same_name, issued):
        for by_name in (True, False):
            with pytest.raises(client.Untrusted):
                query(
                    signer=signer,
                    key="other",
                    by_name=by_name,
                    options={"trusted_responder": world.local},
                )


def test_the_signer_among_the_certificates_given(query, world):
    pem, *others = (
        one.public_bytes(serialization.Encoding.PEM)
        for one in (world.signer, world.another, world.ca)
    )
    encoded = world.signer.public_bytes(serialization.Encoding.DER)
    bundle = b"".join([*others, b"text\n", pem])
    for given in (
        [world.signer],
        (world.another, encoded),
        [pem],
        [pem.decode()],
        bundle,
        world.signer,
        iter([others[0], pem]),
    ):
        result = query(certs=[], options={"certificates": given})
        assert (result.status, result.responder) == ("good", world.signer)
    for unauthorized in (
        world.without_eku,
        world.forged,
        world.of_another_ca,
        world.expired,
        world.local,
    ):
        with pytest.raises(client.Untrusted):
            query(certs=[], signer=unauthorized, options={"certificates": [unauthorized]})
    options = {"certificates": [world.without_eku, world.signer]}
    assert query(certs=[world.forged], options=options).responder == world.signer


@pytest.mark.process
@pytest.mark.parametrize(
    "kind, bits, warned",
    [
        ("RSA", 512, None),
        ("RSA", 1023, None),
        ("RSA", 1024, True),
        ("RSA", 2047, True),
        ("RSA", 2048, False),
        ("EC", 112, None),
        ("EC", 192, True),
        ("EC", 224, False),
    ],
)
@pytest.mark.parametrize("who", ["issuer", "signer", "trusted"])
@pytest.mark.slow
def test_short_keys(tmp_path, respond, who, kind, bits, warned):
    """Made, and signed with, by openssl, since `cryptography` makes no key of 512 bits."""
    curves = {112: "secp112r1", 192: "prime192v1", 224: "secp224r1"}

    def openssl(*arguments: str) -> bytes:
        run = subprocess.run(
            ["openssl", *arguments], cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    for name_, length in (
        ("ca", bits if who == "issuer" else 2048),
        ("signer", 2048 if who == "issuer" else bits),
        ("subject", 2048),
    ):
        if kind == "EC" and length == bits:
            openssl("ecparam", "-genkey", "-noout", "-name", curves[bits], "-out", f"{name_}.key")
        else:
            openssl("genrsa", "-out", f"{name_}.key", str(length))
    openssl("req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=CA", "-out", "ca.crt")
    (tmp_path / "eku").write_text("extendedKeyUsage = OCSPSigning\n")
    for name_ in ("signer", "subject"):
        openssl(
            "req", "-new", "-key", f"{name_}.key", "-subj", f"/CN={name_}", "-out", f"{name_}.csr"
        )
        openssl(
            "x509",
            "-req",
            "-in",
            f"{name_}.csr",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-set_serial",
            "1" if name_ == "subject" else "2",
            "-extfile",
            "eku",
            "-out",
            f"{name_}.crt",
        )
    if who == "trusted":
        openssl(
            "req", "-x509", "-new", "-key", "signer.key", "-subj", "/CN=local", "-out", "signer.crt"
        )
    (tmp_path / "index").write_text("V\t491231235959Z\t\t01\tunknown\t/CN=subject\n")

    def reply(encoded: bytes) -> bytes:
        (tmp_path / "request").write_bytes(encoded)
        openssl(
            "ocsp",
            "-index",
            "index",
            "-CA",
            "ca.crt",
            "-rsigner",
            "signer.crt",
            "-rkey",
            "signer.key",
            "-reqin",
            "request",
            "-respout",
            "response",
            "-ndays",
            "1",
        )
        return (tmp_path / "response").read_bytes()

    subject, ca, trusted = (
        (tmp_path / f"{one}.crt").read_bytes() for one in ("subject", "ca", "signer")
    )

    def ask() -> client.Result:
        return client.query(
            subject, ca, respond(reply).url, trusted_responder=trusted if who == "trusted" else None
        )

    whose = "the issuer's" if who == "issuer" else "the response signer's"
    if warned is None:
        with pytest.raises(client.Untrusted, match=f"{whose} {kind} key has {bits} bits"):
            ask()
    else:
        result = ask()
        usual = 2048 if kind == "RSA" else 224
        warning = f"{whose} {kind} key has {bits} bits: replace it with one of {usual} or more"
        assert (result.status, result.warnings) == ("good", (warning,) if warned else ())


PSS_SHA512 = bytes.fromhex(
    "304106092a864886f70d01010a3034a00f300d06096086480165030402030500"
    "a11c301a06092a864886f70d010108300d06096086480165030402030500a203020140"
)


@pytest.mark.parametrize(
    "kind",
    [
        "RSA",
        "RSA-PSS",
        "P-384",
        "P-521",
        "Ed25519",
        "Ed448",
        "secp256k1",
        "brainpoolP384r1",
    ],
)
@pytest.mark.slow
def test_signature_algorithms(world, respond, kind):
    """Of the response, and of the certificates.  The CA signs its own responses."""
    key = {
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
        "brainpoolP384r1": lambda: ec.generate_private_key(ec.BrainpoolP384R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "Ed448": ed448.Ed448PrivateKey.generate,
    }.get(kind, lambda: rsa.generate_private_key(65537, 2048))()
    ca, subject = issue("K", key, "K", key), issue("subject", world.keys["subject"], "K", key)
    hash_algorithm = None if kind.startswith("Ed") else hashes.SHA512()

    def reply(encoded: bytes) -> bytes:
        builder = ocsp.OCSPResponseBuilder().add_response(
            subject, ca, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD, NOW, NOW + HOUR, None, None
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, ca).add_extension(
            x509.OCSPNonce(nonce_of(encoded)), False
        )
        made = builder.sign(key, hash_algorithm)
        if kind != "RSA-PSS":
            return made.public_bytes(serialization.Encoding.DER)
        signature = key.sign(
            made.tbs_response_bytes, padding.PSS(padding.MGF1(hash_algorithm), 64), hash_algorithm
        )
        return ocsp_response.basic_response(made.tbs_response_bytes, PSS_SHA512, signature, [])

    def tampered(encoded: bytes) -> bytes:
        *head, last = reply(encoded)
        return bytes((*head, last ^ 1))

    assert client.query(subject, ca, respond(reply).url).status == "good"
    with pytest.raises(client.Untrusted, match="signature of the response is wrong"):
        client.query(subject, ca, respond(tampered).url)


# Real responders


@pytest.mark.parametrize(
    "name, expected", [("good", "good"), ("bad", "revoked"), ("held", "revoked")]
)
def test_our_own_responder(pki, name, expected):
    with LocalServer(pki.home / "ocsp-cgi.conf") as server:
        result = client.query(
            certificate(pki.home / f"{name}.crt"), certificate(pki.home / "root-ca.crt"), server.url
        )
    assert result.status == expected
    assert (
        result.revocation_reason
        == {"good": None, "bad": "keyCompromise", "held": "certificateHold"}[name]
    )
    assert result.responder == certificate(pki.home / "root-ocsp.crt")


def test_the_responder_of_openssl(ca):
    settle(ca.home / "db" / "index")
    port = httpd.free_port()
    command = [
        "openssl",
        "ocsp",
        "-port",
        str(port),
        "-index",
        "db/index",
        "-CA",
        "root-ca.crt",
        "-rsigner",
        "root-ocsp.crt",
        "-rkey",
        "private/root-ocsp.key",
    ]
    with subprocess.Popen(
        command, cwd=ca.home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            issuer = certificate(ca.home / "root-ca.crt")
            deadline = time.monotonic() + 20
            while True:
                try:
                    result = client.query(
                        certificate(ca.home / "bad.crt"), issuer, f"http://127.0.0.1:{port}"
                    )
                    break
                except client.Unreachable:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            assert (result.status, result.revocation_reason, result.next_update) == (
                "revoked",
                "keyCompromise",
                None,
            )
            assert (
                client.query(
                    certificate(ca.home / "good.crt"),
                    issuer,
                    f"http://127.0.0.1:{port}/",
                    hash_name="sha256",
                ).status
                == "good"
            )
        finally:
            process.terminate()


# Refused responses


def right(key, tbs: bytes) -> tuple[str, bytes]:
    return "1.2.840.10045.4.3.2", key.sign(tbs, ec.ECDSA(hashes.SHA256()))


def wrong(key, tbs: bytes) -> tuple[str, bytes]:
    return "1.2.840.10045.4.3.2", key.sign(tbs + b"x", ec.ECDSA(hashes.SHA256()))


def with_sha1(key, tbs: bytes) -> tuple[str, bytes]:
    return "1.2.840.10045.4.1", key.sign(tbs, ec.ECDSA(hashes.SHA1()))


def as_ca(world) -> dict:
    return {"signer": world.ca, "key": "ca", "certs": []}


FLAWED = {
    "wrong nonce": (client.Mismatch, "another nonce", lambda world: {"nonce": bytes(32)}),
    "wrong nonce where it is optional": (
        client.Mismatch,
        "another nonce",
        lambda world: {"nonce": bytes(32), "options": {"nonce": "optional"}},
    ),
    "no nonce": (client.Mismatch, "no nonce", lambda world: {"nonce": None}),
    "other serial": (
        client.Mismatch,
        "another certificate",
        lambda world: {"subject": world.another},
    ),
    "other issuer": (
        client.Mismatch,
        "another certificate",
        lambda world: {"issuer": world.other_ca},
    ),
    "expired": (
        client.Stale,
        "expired on",
        lambda world: {"this_update": NOW - DAY, "next_update": NOW - HOUR},
    ),
    "expired by more than the skew": (
        client.Stale,
        "expired on",
        lambda world: {
            "this_update": NOW - DAY,
            "next_update": NOW - datetime.timedelta(minutes=4),
            "options": {"skew": 60},
        },
    ),
    "from the future": (
        client.Stale,
        "from the future",
        lambda world: {"this_update": NOW + HOUR, "next_update": NOW + 2 * HOUR},
    ),
    "old and without nextUpdate": (
        client.Stale,
        "how long it is valid",
        lambda world: {"this_update": NOW - 2 * HOUR, "next_update": None},
    ),
    "older than max_age": (
        client.Stale,
        "how long it is valid",
        lambda world: {
            "this_update": NOW - HOUR / 2,
            "next_update": None,
            "options": {"max_age": 60},
        },
    ),
    "signer without EKU": (
        client.Untrusted,
        "OCSPSigning",
        lambda world: {"signer": world.without_eku},
    ),
    "signer with another EKU": (
        client.Untrusted,
        "OCSPSigning",
        lambda world: {"signer": world.client_eku},
    ),
    "signer of another CA": (
        client.Untrusted,
        "another CA",
        lambda world: {"signer": world.of_another_ca},
    ),
    "signer not signed by the CA it names": (
        client.Untrusted,
        "not signed by the issuer",
        lambda world: {"signer": world.forged},
    ),
    "expired signer": (client.Untrusted, "expired on", lambda world: {"signer": world.expired}),
    "signer for encipherment": (
        client.Untrusted,
        "lacks digitalSignature",
        lambda world: {"signer": world.for_encipherment},
    ),
    "signer with an unknown critical extension": (
        client.Untrusted,
        "unknown critical extension, OID 2a0304",
        lambda world: {"signer": world.with_critical_extension},
    ),
    "signer of the future": (
        client.Untrusted,
        "not valid before",
        lambda world: {"signer": world.future},
    ),
    "another CA": (
        client.Untrusted,
        "responderID",
        lambda world: {"signer": world.other_ca, "key": "other", "certs": []},
    ),
    "another CA with its certificate": (
        client.Untrusted,
        "another CA",
        lambda world: {"signer": world.other_ca, "key": "other"},
    ),
    "signer not in the response": (client.Untrusted, "responderID", lambda world: {"certs": []}),
    "wrong responderID": (client.Untrusted, "responderID", lambda world: {"named": world.another}),
    "wrong responderID by name": (
        client.Untrusted,
        "responderID",
        lambda world: {"named": world.another, "by_name": True},
    ),
    "responderID of the CA, signed by another": (
        client.Untrusted,
        "signature of the response",
        lambda world: {"named": world.ca},
    ),
    "bad signature": (client.Untrusted, "signature of the response", lambda world: {"sign": wrong}),
    "bad signature of the CA": (
        client.Untrusted,
        "signature of the response",
        lambda world: {"sign": wrong, **as_ca(world)},
    ),
    "SHA-1": (
        client.Untrusted,
        "the response is signed with SHA-1, which is weak",
        lambda world: {"sign": with_sha1},
    ),
    "SHA-1 of the CA": (
        client.Untrusted,
        "weak",
        lambda world: {"sign": with_sha1, **as_ca(world)},
    ),
    "unknown critical extension": (
        client.Malformed,
        "critical",
        lambda world: {
            "extension": (
                x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"),
                True,
            )
        },
    ),
}


@pytest.mark.parametrize("flaw", FLAWED)
@pytest.mark.slow
def test_a_flawed_response_is_refused(query, world, flaw):
    error, words, flaws = FLAWED[flaw]
    with pytest.raises(error, match=words) as raised:
        query(**flaws(world))
    assert type(raised.value) is error


def test_a_response_that_ends_before_it_begins(world, query):
    """`cryptography` refuses to make one, so its times are swapped here, and it is signed again."""

    def reply(encoded: bytes) -> bytes:
        made = ocsp.load_der_ocsp_response(
            make_response(world, encoded, **as_ca(world), this_update=NOW - HOUR, next_update=NOW)
        )
        early, late = (
            (NOW - HOUR).strftime("%Y%m%d%H%M%SZ").encode(),
            NOW.strftime("%Y%m%d%H%M%SZ").encode(),
        )
        start, end, body = (
            made.tbs_response_bytes.find(early),
            made.tbs_response_bytes.rfind(late),
            bytearray(made.tbs_response_bytes),
        )
        body[start : start + 15], body[end : end + 15] = late, early
        algorithm = der.sequence(der.tlv(der.OBJECT_IDENTIFIER, der.oid("1.2.840.10045.4.3.2")))
        return ocsp_response.basic_response(
            bytes(body),
            algorithm,
            world.keys["ca"].sign(bytes(body), ec.ECDSA(hashes.SHA256())),
            [],
        )

    with pytest.raises(client.Stale, match="expired before it became valid"):
        query(reply=reply)


@pytest.mark.parametrize(
    "status, name",
    [
        (1, "malformedRequest"),
        (2, "internalError"),
        (3, "tryLater"),
        (5, "sigRequired"),
        (6, "unauthorized"),
    ],
)
def test_errors_of_the_responder(query, status, name):
    with pytest.raises(client.ErrorResponse, match=f"answered {name}") as raised:
        query(reply=lambda encoded: b"\x30\x03\x0a\x01" + bytes((status,)))
    assert raised.value.response_status == name


@pytest.mark.slow
def test_truncated_and_changed_responses(world, query, respond):
    """Whichever byte is lost or changed, the result is a QueryError."""
    whole: list[bytes] = []
    query(reply=lambda encoded: whole.append(make_response(world, encoded)) or whole[0])
    replies = [whole[0][:size] for size in range(0, len(whole[0]), 7)]
    replies += [
        whole[0][:at] + bytes((whole[0][at] ^ 0x11,)) + whole[0][at + 1 :]
        for at in range(0, len(whole[0]), 5)
    ]
    replies += [
        whole[0] + b"\0",
        b"\x30\x03\x0a\x01\x04",
        b"\x30\x03\x0a\x01\x00",
        b"\x30\x80\0\0",
        b"hello",
        b"\0" * 1000,
    ]
    left = iter(replies)
    responder = respond(lambda encoded: next(left))
    for _ in replies:
        with pytest.raises(client.QueryError):
            client.query(world.subject, world.ca, responder.url)
    assert next(left, None) is None


@pytest.mark.parametrize(
    "reply, words",
    [
        ((500, {"Content-Type": "application/ocsp-response"}, b""), "HTTP status 500"),
        ((404, {}, b""), "HTTP status 404"),
        (
            (200, {"Content-Type": "text/html"}, b"<html>"),
            "the response is 'text/html', not application/ocsp-response",
        ),
        ((200, {}, b"x"), "the response is '', not application/ocsp-response"),
        (
            (200, {"Content-Type": "a\x1b]0;b\x07\x9bm" + "x" * 1000}, b""),
            r"the response is 'a\\x1b\]0;b\\x07\\x9bmx{50,80}\.\.\.', not",
        ),
        (
            (302, {"Location": "http://x/\x1b[31m\x9b" + "y" * 1000}, b""),
            r"redirects to 'http://x/\\x1b\[31m\\x9by{150,190}\.\.\.' \(HTTP status 302\)",
        ),
        (
            (302, {"Location": "file:///etc/passwd"}, b""),
            "redirects to 'file:///etc/passwd' .HTTP status 302., which is not followed",
        ),
        ((307, {"Location": "http://127.0.0.1:1/"}, b""), "redirects to"),
        (
            (
                200,
                {"Content-Type": "application/ocsp-response", "Content-Length": str(10**12)},
                bytes(70_000),
            ),
            "more than 65536 bytes",
        ),
        (
            (
                200,
                {
                    "Content-Type": "application/ocsp-response",
                    **{f"x{number}": "y" for number in range(200)},
                },
                b"",
            ),
            "the response is not HTTP",
        ),
    ],
)
def test_not_an_ocsp_response_over_http(query, reply, words):
    with pytest.raises(client.Unreachable, match=words):
        query(reply=lambda encoded: reply)


def forever(part: bytes, pause: float = 0.0):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        yield part
        time.sleep(pause)


def test_endless_body(query):
    started = time.monotonic()
    with pytest.raises(client.Unreachable, match="more than 65536 bytes"):
        query(
            reply=lambda encoded: (
                200,
                {"Content-Type": "application/ocsp-response"},
                forever(bytes(10_000)),
            )
        )
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "reply",
    [
        lambda encoded: time.sleep(3) or b"",
        lambda encoded: (200, {"Content-Type": "application/ocsp-response"}, forever(b"x", 0.1)),
        lambda encoded: (
            200,
            {"Content-Type": "application/ocsp-response", "Content-Length": "5000"},
            forever(b"x", 0.1),
        ),
    ],
    ids=["no response", "slow body", "slow body of known length"],
)
@pytest.mark.slow
def test_the_timeout_is_for_everything(query, reply):
    started = time.monotonic()
    with pytest.raises(client.Unreachable, match=r"no complete response within 0\.5 seconds"):
        query(reply=reply, options={"timeout": 0.5})
    assert 0.4 < time.monotonic() - started < 2


def raw(content: bytes, pause: float) -> tuple[str, threading.Thread]:
    """A server that sends its one client this content byte by byte, whatever the request.  Returns
    its address and its thread."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            try:
                request = connection.makefile("rb")
                # All of it is read, or the client would get a reset.
                lines = list(iter(request.readline, b"\r\n"))
                request.read(
                    next(
                        int(line.split()[1]) for line in lines if line.startswith(b"Content-Length")
                    )
                )
                for byte in content:
                    connection.sendall(bytes((byte,)))
                    time.sleep(pause)
            except OSError:
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/", thread


@pytest.mark.parametrize(
    "content, pause, words",
    [
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000, 0.05, "no complete response within"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0.02, "no complete response within"),
        (b"hello\r\n\r\n", 0, "the response is not HTTP"),
        (b"", 0, "Remote end closed|reset"),
        (
            b"HTTP/1.1 \x1b[2J\r\n\r\n",
            0,
            r"the response is not HTTP: BadStatusLine HTTP/1.1 .{0,2}\\x1b\[2J",
        ),
        (b"\x16\x03\x01", 0, "the response is not HTTP"),
    ],
)
@pytest.mark.slow
def test_slow_or_odd_heads(world, content, pause, words):
    url, thread = raw(content, pause)
    started = time.monotonic()
    with pytest.raises(client.Unreachable, match=words):
        client.query(world.subject, world.ca, url, timeout=0.5)
    assert time.monotonic() - started < 2
    thread.join(10)


def test_connection_refused(world):
    with pytest.raises(client.Unreachable, match=r"http://127\.0\.0\.1:\d+/: Connection refused"):
        client.query(world.subject, world.ca, f"http://127.0.0.1:{httpd.free_port()}/")
    with pytest.raises(client.Unreachable, match=r"^http://127\.0\.0\.1:0/: "):  # not port 80
        client.query(world.subject, world.ca, "http://127.0.0.1:0/")


def test_an_https_server_is_verified(world, tmp_path):
    """This one has a certificate that nobody trusts."""
    (tmp_path / "cert.pem").write_bytes(world.subject.public_bytes(serialization.Encoding.PEM))
    key = world.keys["subject"].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key.pem").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(client.Unreachable, match="certificate verify failed"):
        client.query(
            world.subject, world.ca, f"https://127.0.0.1:{listener.getsockname()[1]}/", timeout=5
        )
    thread.join(10)


@pytest.mark.slow
def test_name_resolution_is_within_the_timeout(world, respond, monkeypatch):
    resolve, release = socket.getaddrinfo, threading.Event()

    def slowly(*arguments, **options):
        release.wait(20)
        return resolve(*arguments, **options)

    url = respond(lambda encoded: make_response(world, encoded)).url.replace(
        "127.0.0.1", "localhost"
    )
    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    started = time.monotonic()
    words = "no complete response within 0.5 seconds, still resolving the name localhost"
    with pytest.raises(client.Unreachable, match=words):
        client.query(world.subject, world.ca, url, timeout=0.5)
    assert 0.4 < time.monotonic() - started < 2
    threading.Timer(0.3, release.set).start()
    assert client.query(world.subject, world.ca, url, timeout=20).status == "good"


def test_names_that_do_not_resolve(world, monkeypatch):
    def fail(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(
        client.Unreachable, match=r"^http://ocsp\.example\.com/: Name or service not known$"
    ):
        client.query(world.subject, world.ca, AIA_URL)


@pytest.mark.process
def test_a_process_ends_while_a_name_is_resolved(world, tmp_path):
    for name_, one in (("subject", world.subject), ("ca", world.ca)):
        (tmp_path / name_).write_bytes(one.public_bytes(serialization.Encoding.PEM))
    code = (
        "import socket, time\n"
        "socket.getaddrinfo = lambda *arguments, **options: time.sleep(60)\n"
        "from ocsp_cgi import client\n"
        "try:\n"
        "    subject, ca = open('subject').read(), open('ca').read()\n"
        "    client.query(subject, ca, 'http://x.test/', timeout=0.2)\n"
        "except client.Unreachable as error:\n"
        "    print(error)\n"
    )
    checkout = str(Path(client.__file__).parent.parent)
    started = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": checkout},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "still resolving the name x.test" in run.stdout
    assert time.monotonic() - started < 20


def test_without_threads_the_name_is_still_resolved(world, respond, monkeypatch):
    url = respond(lambda encoded: make_response(world, encoded)).url
    client.query(world.subject, world.ca, url)

    def refuse(thread) -> None:
        if thread.name == "ocsp_cgi-resolve":
            raise RuntimeError("can't start new thread")
        start(thread)

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert client.query(world.subject, world.ca, url).status == "good"


# Unusable certificates and arguments


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://x/",
        "ocsp.example.com",
        "http://",
        "http://x:99999/",
        "http://[::1/",
        "http:///x",
        "http://" + "x" * 64 + "/",
        "javascript:alert(1)",
        "http://a b/",
        "http://a\x07b/",
        "http://a\x7fb/",
        "http://a:\x1b/",
        "\x1b[2J",
    ],
)
def test_invalid_addresses(world, url):
    with pytest.raises(client.UnusableCertificate, match="invalid address") as raised:
        client.query(world.subject, world.ca, url)
    assert str(raised.value).isprintable()


def test_the_address_in_the_certificate(world, monkeypatch):
    asked = []
    monkeypatch.setattr(client_http, "post", lambda url, *_: asked.append(url) or b"")
    with pytest.raises(client.Malformed):
        client.query(world.subject, world.ca)
    assert asked == [AIA_URL]
    with pytest.raises(client.UnusableCertificate, match="does not say where to ask"):
        client.query(world.another, world.ca)


@pytest.mark.parametrize(
    "broken",
    [
        "",
        b"",
        "hello",
        "prüfung",
        b"\x30",
        b"\x30\x00",
        b"-----BEGIN CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    ],
)
def test_unreadable_certificates(world, broken):
    with pytest.raises(client.UnusableCertificate, match=r"^certificate: "):
        client.query(broken, world.ca, "http://127.0.0.1:1/")
    with pytest.raises(client.UnusableCertificate, match=r"^issuer: "):
        client.query(world.subject, broken, "http://127.0.0.1:1/")
    with pytest.raises(client.UnusableCertificate, match=r"^trusted_responder: "):
        client.query(world.subject, world.ca, "http://127.0.0.1:1/", trusted_responder=broken)
    with pytest.raises(client.UnusableCertificate, match=r"^certificates: "):
        client.query(
            world.subject, world.ca, "http://127.0.0.1:1/", certificates=[world.signer, broken]
        )


def test_a_certificate_of_another_issuer(world):
    same_name = issue("CA", world.keys["other"], "CA", world.keys["other"])
    for issuer in (world.other_ca, same_name):
        with pytest.raises(client.UnusableCertificate, match="not issued by this issuer"):
            client.query(world.subject, issuer, "http://127.0.0.1:1/")


@pytest.mark.parametrize(
    "options, words",
    [
        ({"nonce": "yes"}, "nonce is 'yes', and should be one of required, optional, none"),
        ({"nonce": True}, "nonce is True"),
        ({"hash_name": "md5"}, "hash_name is 'md5'"),
        ({"timeout": 0}, "timeout should be"),
        ({"skew": -1}, "timeout should be"),
        ({"max_age": float("nan")}, "timeout should be"),
    ],
)
def test_wrong_options(world, options, words):
    with pytest.raises(ValueError, match=words):
        client.query(world.subject, world.ca, AIA_URL, **options)


def test_wrong_types(world):
    with pytest.raises(
        TypeError, match=r"certificate is NoneType, and should be an x509\.Certificate, PEM or DER"
    ):
        client.query(None, world.ca)
    with pytest.raises(
        TypeError, match=r"certificates is int, and should be an x509\.Certificate, PEM or DER"
    ):
        client.query(world.subject, world.ca, certificates=[1])


def test_no_connection_is_left_open(world, respond):
    responder = respond(lambda encoded: make_response(world, encoded))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(3):
            client.query(world.subject, world.ca, responder.url)
        with pytest.raises(client.Unreachable):
            client.query(world.subject, world.ca, f"http://127.0.0.1:{httpd.free_port()}/")
        import gc

        gc.collect()
    assert not [
        warning
        for warning in caught
        if "socket" in str(warning.message) and "raddr" in str(warning.message)
    ]
