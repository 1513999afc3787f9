"""The probe: three kinds of requests, and what a wrong response says about Apache."""

from __future__ import annotations

import http.server
import socket
import threading

import pytest
from clients import run_cgi

from ocsp_cgi import config
from ocsp_cgi.commands import install
from ocsp_cgi.tools import probe

OCSP_TYPE = "application/ocsp-response"


class Server:
    """Answers every request by `respond(handler)`, on loopback."""

    def __init__(self, respond):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self)

            do_POST = do_GET

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self._server.shutdown()
        self._server.server_close()


def respond_with(handler, status, content_type, body, length=None):
    handler.send_response(status)
    if content_type:
        handler.send_header("Content-Type", content_type)
    if length is not False:
        handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def ask(pki):
    def ask(respond, serial_number=None):
        with Server(respond) as server:
            return probe.ask(
                pki.home / "root-ca.crt",
                serial_number or int(pki.serial("bad"), 16),
                "ocsp.example.com",
                server.port,
            )

    return ask


@pytest.fixture
def responder(pki, cgi):
    """responder(handler) runs the real script; keywords change its request or its response."""

    def respond(
        handler,
        change=lambda body: body,
        content_type="application/ocsp-response",
        path=lambda path: path,
    ):
        request = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        requested = path(handler.path.partition(probe.PATH)[2])
        result = run_cgi(cgi, pki.home / "ocsp-cgi.conf", handler.command, request, requested)
        respond_with(handler, result.status, content_type, change(result.body))

    return respond


@pytest.mark.slow
def test_three_kinds_of_requests(ask, responder):
    seen = []

    def respond(handler):
        assert handler.headers["Host"] == "ocsp.example.com"
        seen.append((handler.command, handler.path))
        responder(handler)

    assert ask(respond) == [
        f"{way}: revoked, Response verify OK" for way in ("POST", "GET with %2F", "GET with //")
    ]
    (post, _), (escaped, escaped_path), (plain, plain_path) = seen
    assert (post, escaped, plain) == ("POST", "GET", "GET")
    assert (
        "%2F" in escaped_path
        and "//" not in escaped_path
        and "//" in plain_path
        and "%" not in plain_path
    )


@pytest.mark.slow
def test_a_serial_number_of_any_sign(ask, responder):
    assert ask(responder, 0x80)[0] == "POST: unknown, Response verify OK"
    assert ask(responder, -66)[0].startswith("POST: ")


@pytest.mark.slow
def test_a_chain_and_a_signer_that_is_trusted_locally(pki, place, cgi):
    """The issuer in the CertID is the signer's, wherever it is in `ca`."""
    ca = pki.copy(place / "ca")
    ca.issue("issuing", "ca_ext")
    ca.openssl(
        "req",
        "-x509",
        "-new",
        "-key",
        "private/root-ocsp.key",
        "-subj",
        "/CN=local",
        "-out",
        "local.crt",
    )
    (ca.home / "chain.crt").write_text(
        (ca.home / "issuing.crt").read_text() + (ca.home / "root-ca.crt").read_text()
    )
    settings = (
        "[root-ca]\ndb = db\nca = {}\nrsigner = {}\nrkey = private/root-ocsp.key\n"
        "signer_trust = {}\n"
    )
    for values, option in (
        (("chain.crt", "root-ocsp.crt", "issued"), "-CAfile"),
        (("root-ca.crt", "local.crt", "local"), "-VAfile"),
    ):
        (ca.home / "ocsp-cgi.conf").write_text(settings.format(*values))
        [section] = config.load(str(ca.home / "ocsp-cgi.conf")).cas
        (ca.home / "issuer.pem").write_text(install._issuer_pem(section))

        def respond(handler):
            request = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
            path = handler.path.partition(probe.PATH)[2]
            result = run_cgi(cgi, ca.home / "ocsp-cgi.conf", handler.command, request, path)
            respond_with(handler, result.status, OCSP_TYPE, result.body)

        trusted = (option, section.rsigner if option == "-VAfile" else section.ca)
        with Server(respond) as server:
            lines = probe.ask(
                ca.home / "issuer.pem",
                int(ca.serial("bad"), 16),
                "ocsp.example.com",
                server.port,
                trusted=trusted,
            )
        assert lines[0] == "POST: revoked, Response verify OK"


@pytest.mark.parametrize(
    "respond, message",
    [
        (
            lambda handler: respond_with(handler, 404, "text/html", b"no"),
            'POST: HTTP status 404. `ScriptAlias "/cgi-bin/ocsp.cgi"` is missing',
        ),
        (
            lambda handler: respond_with(handler, 403, "text/html", b"no"),
            "POST: HTTP status 403. `Require all granted`",
        ),
        (
            lambda handler: respond_with(handler, 500, "text/html", b"no"),
            "POST: HTTP status 500. Apache could not run the script",
        ),
        (
            lambda handler: respond_with(handler, 503, "text/html", b"no"),
            "POST: HTTP status 503. mod_cgid's daemon does not respond",
        ),
        (
            lambda handler: respond_with(handler, 418, "text/html", b"no"),
            "POST: HTTP status 418. The error log of Apache may say why",
        ),
        (
            lambda handler: respond_with(handler, 301, "text/html", b"no"),
            "POST: HTTP status 301. something redirects: OCSP needs plain HTTP",
        ),
        (
            lambda handler: respond_with(handler, 200, "text/html", b"<p>"),
            "POST: the Content-Type is text/html, not application/ocsp-response: another",
        ),
        (
            lambda handler: respond_with(handler, 200, "", b"<p>"),
            "POST: the Content-Type is missing, not application/ocsp-response",
        ),
        (
            lambda handler: respond_with(
                handler, 200, "text/x-python", b"#!/usr/bin/python3 -IS\n"
            ),
            "POST: Apache sent the script's source",
        ),
        (
            lambda handler: respond_with(handler, 200, OCSP_TYPE, b"0\x03\x0a\x01\x03", False),
            "POST: Content-Length is missing. `SetEnv ap_tr",
        ),
        (
            lambda handler: respond_with(handler, 200, OCSP_TYPE, b"0\x03", 5),
            "POST: the response was cut off after 2 bytes",
        ),
        (
            lambda handler: respond_with(handler, 200, OCSP_TYPE, b""),
            "POST: the 0 bytes received are not an OCSPResponse",
        ),
        (
            lambda handler: respond_with(handler, 200, OCSP_TYPE, b"0\x03\x0a\x01\x03"),
            "POST: tryLater. A line in Apache's error log says why",
        ),
        (
            lambda handler: handler.close_connection and None,
            "POST: no response from 127.0.0.1 port",
        ),
    ],
)
@pytest.mark.slow
def test_the_fault_is_named(ask, respond, message):
    with pytest.raises(probe.ProbeError) as error:
        ask(respond)
    assert str(error.value).startswith(message)


def test_connection_refused(pki):
    with socket.socket() as taken:  # bound, so that no other process listens there
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(
            probe.ProbeError,
            match=f"connection refused at 127.0.0.1 port {port}. Is Apache .*`Listen {port}`",
        ):
            probe.ask(pki.home / "root-ca.crt", 1, "ocsp.example.com", port)


def test_a_404_for_escaped_slashes_alone_names_their_directive(ask, responder):
    def respond(handler):
        if "%2F" in handler.path:
            return respond_with(handler, 404, "text/html", b"no")
        return responder(handler)

    with pytest.raises(
        probe.ProbeError,
        match=(
            r"^GET with %2F: 404. `AllowEncodedSlashes NoDecode` is missing; it must be inside "
        ),
    ):
        ask(respond)


@pytest.mark.slow
def test_merged_slashes_and_changed_responses(ask, responder):
    def merge(path):
        return path.replace("//", "/")

    with pytest.raises(probe.ProbeError, match=r"^GET with //: malformedRequest. "):
        ask(lambda handler: responder(handler, path=merge))
    with pytest.raises(probe.ProbeError, match=r"^POST: openssl cannot verify the response: "):
        ask(
            lambda handler: responder(
                handler, change=lambda body: body[:-1] + bytes((body[-1] ^ 1,))
            )
        )
    with pytest.raises(
        probe.ProbeError, match=r"^POST: the 100 bytes received are not an OCSPResponse"
    ):
        ask(lambda handler: responder(handler, change=lambda body: body[:100]))
