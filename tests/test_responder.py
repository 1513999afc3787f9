"""What the responder does with several CAs, and with faults.  Single rows of the protocol are in
test_conformance.py."""

from __future__ import annotations

import time

import pytest
from clients import (
    Answered,
    cert_id,
    cert_id_of,
    certificate,
    openssl_ocsp,
    request,
    respond,
    verified,
)
from cryptography.x509 import ocsp

from ocsp_cgi import config, index_search, limits, ocsp_request
from ocsp_cgi.answer import INTERNAL_ERROR, SUCCESSFUL, TRY_LATER, UNAUTHORIZED
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = pytest.mark.process

GOOD, REVOKED = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED

SERIAL = "77AA"  # of a server of each CA: revoked in the first, good in the second


@pytest.fixture(scope="module")
def cas(workspace) -> dict[str, PrivateCA]:
    """Two CAs in one config that have issued the same serial numbers."""
    home = workspace / "two-cas"
    both = {}
    for name in ("first", "second"):
        ca = PrivateCA(home / name, common_name=f"{name} CA")
        ca.issue(f"{name}-ocsp", "ocsp_ext")
        (ca.home / "db" / "serial").write_text(SERIAL)
        ca.issue("server")
        both[name] = ca
    both["first"].revoke("server", "-crl_reason", "keyCompromise")
    section = (
        "[{0}]\ndb = {0}/db\nca = {0}/root-ca.crt\nrsigner = {0}/{0}-ocsp.crt\nrkey ="
        " {0}/private/{0}-ocsp.key\n"
    )
    (home / "ocsp-cgi.conf").write_text(section.format("first") + section.format("second"))
    return both


@pytest.fixture
def ask(cas, workspace):
    path = str(workspace / "two-cas" / "ocsp-cgi.conf")
    return lambda encoded: respond(encoded, lambda: config.load(path), int(time.time()))


@pytest.fixture
def roots(cas):
    return {name: certificate(ca.home / "root-ca.crt") for name, ca in cas.items()}


@pytest.mark.slow
def test_the_same_serial_of_two_cas_is_two_certificates(ask, cas, roots):
    for name, status in (("first", REVOKED), ("second", GOOD)):
        assert cas[name].serial("server") == SERIAL
        answered = ask(request(cert_id(roots[name], 0x77AA)))
        response = verified(answered.der, roots[name])
        assert response.certificate_status == status
        assert response.certificates == [certificate(cas[name].home / f"{name}-ocsp.crt")]
        assert ("ca", name) in answered.fields


def statuses(response: Answered) -> list[tuple[str, str]]:
    """(status, CA) of each certificate asked about, as logged."""
    values = [value for name, value in response.fields if name in ("status", "ca")]
    return list(zip(values[::2], values[1::2]))


@pytest.mark.parametrize("names", [("second", "first"), ("first", "second")])
def test_both_in_one_request(ask, cas, roots, names):
    """The first one's CA signs: its signer is valid for no other (RFC 6960 section 4.2.2.2)."""
    answered = ask(request(*[cert_id(roots[name], 0x77AA) for name in names]))
    assert statuses(answered) == [
        ("good" if names[0] == "second" else "revoked", names[0]),
        ("unknown", "-"),
    ]
    response = ocsp.load_der_ocsp_response(answered.der)
    assert response.certificates == [certificate(cas[names[0]].home / f"{names[0]}-ocsp.crt")]
    assert b"\x82\x00" in answered.der
    assert answered.warnings == [
        f"one request asks about certificates of several CAs, and the signer of [{names[0]}] cannot"
        f" speak for [{names[1]}]: unknown for serial 77AA. Clients must ask about each CA in a"
        " separate request"
    ]


def test_both_in_one_request_with_a_signer_that_clients_trust_for_both(cas, roots, tmp_path):
    """Then each status is from its own database, and `openssl ocsp` agrees."""
    home = cas["second"].home
    section = (
        "[{0}]\ndb = {1}/db\nca = {1}/root-ca.crt\nsigner_trust = {3}\n"
        "rsigner = {2}/second-ocsp.crt\nrkey = {2}/private/second-ocsp.key\n"
    )
    encoded = request(cert_id(roots["second"], 0x77AA), cert_id(roots["first"], 0x77AA))
    for trust, expected in (
        (("local", "local"), ("revoked", "first")),
        (("issued", "local"), ("unknown", "-")),
    ):
        (tmp_path / "conf").write_text(
            section.format("first", cas["first"].home, home, trust[1])
            + section.format("second", home, home, trust[0])
        )
        response = respond(encoded, lambda: config.load(str(tmp_path / "conf")), int(time.time()))
        assert statuses(response) == [("good", "second"), expected]
        if trust[0] == "local":
            (tmp_path / "response.der").write_bytes(response.der)
    own = section.format("first", cas["first"].home, cas["first"].home, "local").replace(
        "second", "first"
    )
    (tmp_path / "conf").write_text(own + section.format("second", home, home, "local"))
    response = respond(encoded, lambda: config.load(str(tmp_path / "conf")), int(time.time()))
    assert statuses(response) == [("good", "second"), ("unknown", "-")]  # signers of their own
    said = openssl_ocsp(
        home,
        "-no_nonce",
        "-respin",
        str(tmp_path / "response.der"),
        "-cert",
        "server.crt",
        "-issuer",
        str(cas["first"].home / "root-ca.crt"),
        "-cert",
        str(cas["first"].home / "server.crt"),
        "-VAfile",
        "second-ocsp.crt",
    )
    assert said.stderr == "Response verify OK\n"
    assert [line for line in said.stdout.splitlines() if line[0] != "\t"] == [
        "server.crt: good",
        f"{cas['first'].home}/server.crt: revoked",
    ]


def test_an_expired_ca_among_those_asked(ask, cas, roots):
    """The other CA's signer responds, wherever that CA is in the request."""
    home = cas["second"].home
    (home / "root-ca.crt").rename(home / "away.crt")
    home.joinpath("root-ca.crt").write_text(home.joinpath("away.crt").read_text())
    try:
        cas["second"].openssl(
            "x509",
            "-in",
            "away.crt",
            "-signkey",
            "private/root-ca.key",
            "-days",
            "1",
            "-out",
            "root-ca.crt",
        )
        ids = [cert_id(roots["first"], 0x77AA), cert_id(roots["second"], 0x77AA)]
        path = str(home.parent / "ocsp-cgi.conf")

        def ask_later(*cert_ids: bytes) -> Answered:
            return respond(
                request(*cert_ids), lambda: config.load(path), int(time.time()) + 2 * 24 * 3600
            )

        response = ask_later(ids[1])
        assert response.response_status == INTERNAL_ERROR
        assert "second/root-ca.crt: expired on " in response.warnings[0]
        assert statuses(ask_later(*ids)) == [("revoked", "first"), ("unknown", "-")]
        reversed_answer = ask_later(*ids[::-1])
        assert statuses(reversed_answer) == [("unknown", "-"), ("revoked", "first")]
        assert reversed_answer.warnings == response.warnings
    finally:
        (home / "away.crt").rename(home / "root-ca.crt")


def test_issuer_name_of_one_and_key_of_the_other_is_neither(ask, roots):
    first, second = (
        ocsp_request.OCSPRequest.from_der(request(cert_id(root, 0x77AA))).request_list[0].req_cert
        for root in roots.values()
    )
    mixed = cert_id_of("sha1", first.issuer_name_hash, second.issuer_key_hash, 0x77AA)
    assert ask(request(mixed)).response_status == UNAUTHORIZED


def test_one_ca_with_two_databases_is_refused(cas, roots, tmp_path):
    section = (
        "[{0}]\ndb = {1}\nca = {2}/root-ca.crt\nrsigner = {2}/first-ocsp.crt\nrkey ="
        " {2}/private/first-ocsp.key\n"
    )
    home = cas["first"].home
    for db, expected in (
        (home / "db", SUCCESSFUL),
        (cas["second"].home / "db", INTERNAL_ERROR),
    ):
        (tmp_path / "conf").write_text(
            section.format("old", home / "db", home) + section.format("new", db, home)
        )
        response = respond(
            request(cert_id(roots["first"], 0x77AA)),
            lambda: config.load(str(tmp_path / "conf")),
            int(time.time()),
        )
        assert response.response_status == expected
    assert response.warnings == [
        "[old] and [new] of the config are one CA by the certificates in `ca`, and have different"
        " `db`"
    ]


def test_a_broken_ca_affects_only_its_own_certificates(ask, cas, roots, monkeypatch):
    (cas["first"].home / "root-ca.crt").rename(cas["first"].home / "away.crt")
    try:
        assert verified(ask(request(cert_id(roots["second"], 0x77AA))).der, roots["second"])
        response = ask(request(cert_id(roots["first"], 0x77AA)))
        assert response.response_status == INTERNAL_ERROR
        assert "first/root-ca.crt: No such file or directory; `ca` names it" in response.warnings[0]
        both = ask(request(cert_id(roots["first"], 0x77AA), cert_id(roots["second"], 0x77AA)))
        assert [fact for fact in both.fields if fact[0] == "status"] == [
            ("status", "unknown"),
            ("status", "good"),
        ]
        assert both.warnings == response.warnings
    finally:
        (cas["first"].home / "away.crt").rename(cas["first"].home / "root-ca.crt")


def test_a_missing_database_affects_only_its_own_ca(ask, cas, roots, monkeypatch):
    monkeypatch.setattr(limits, "DATABASE_RETRY_SECONDS", 0.02)
    (cas["first"].home / "db").rename(cas["first"].home / "away")
    try:
        assert verified(ask(request(cert_id(roots["second"], 0x77AA))).der, roots["second"])
        response = ask(request(cert_id(roots["first"], 0x77AA)))
        assert response.response_status == TRY_LATER
    finally:
        (cas["first"].home / "away").rename(cas["first"].home / "db")


def test_a_bug_is_an_error_response_and_the_log_says_where(ask, roots, monkeypatch):
    monkeypatch.setattr(index_search, "find", lambda *arguments: 1 / 0)
    response = ask(request(cert_id(roots["first"], 0x77AA)))
    assert response.der == b"\x30\x03\x0a\x01\x02"
    assert response.warnings[0].startswith(
        "please report this: ZeroDivisionError('division by zero') at "
    )
    assert "test_responder.py:" in response.warnings[0]


def test_a_broken_config_is_an_error_response(tmp_path, roots):
    response = respond(
        request(cert_id(roots["first"], 1)), lambda: config.load(str(tmp_path / "none")), 0
    )
    assert response.der == b"\x30\x03\x0a\x01\x02" and "this is the config" in response.warnings[0]
