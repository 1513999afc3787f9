"""What the installer does for anybody: refuse without root, and tell from an answer over HTTP what
is wrong with Apache."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from clients import run_cgi

from ocsp_cgi import config
from ocsp_cgi.commands import install
from ocsp_cgi.tools import plan, probe

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--uninstall",)], ids=" ".join)
def test_without_root_it_refuses_in_one_line(options, place):
    command = [
        sys.executable,
        "-m",
        "ocsp_cgi",
        "install",
        "--prefix",
        str(place / "prefix"),
        *options,
    ]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
        command[4] = "/usr/bin/python3"  # the one that everybody can run
    run = subprocess.run(
        command,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert (
        run.stderr
        == "ocsp_cgi install: this has to be run as root: sudo python3 -m ocsp_cgi install\n"
    )
    assert not (place / "prefix").exists()


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


def answer(handler, status, content_type, body, length=None):
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
    """responder(handler) answers as the real script does; a keyword changes what it got or gives."""

    def respond(
        handler,
        change=lambda body: body,
        content_type="application/ocsp-response",
        path=lambda path: path,
    ):
        request = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        requested = path(handler.path.partition(probe.PATH)[2])
        result = run_cgi(cgi, pki.home / "ocsp-cgi.conf", handler.command, request, requested)
        answer(handler, result.status, content_type, change(result.body))

    return respond


@pytest.mark.slow
def test_three_ways_of_asking(ask, responder):
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
    """The issuer asked about is the signer's, wherever it is in `ca`."""
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
            answer(handler, result.status, OCSP_TYPE, result.body)

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


OCSP_TYPE = "application/ocsp-response"


@pytest.mark.parametrize(
    "respond, message",
    [
        (
            lambda handler: answer(handler, 404, "text/html", b"no"),
            'POST: HTTP status 404. `ScriptAlias "/cgi-bin/ocsp.cgi"` is missing',
        ),
        (
            lambda handler: answer(handler, 403, "text/html", b"no"),
            "POST: HTTP status 403. `Require all granted`",
        ),
        (
            lambda handler: answer(handler, 500, "text/html", b"no"),
            "POST: HTTP status 500. Apache could not run the script",
        ),
        (
            lambda handler: answer(handler, 503, "text/html", b"no"),
            "POST: HTTP status 503. mod_cgid's daemon does not answer",
        ),
        (
            lambda handler: answer(handler, 418, "text/html", b"no"),
            "POST: HTTP status 418. Apache has the reason in its error log",
        ),
        (
            lambda handler: answer(handler, 301, "text/html", b"no"),
            "POST: HTTP status 301. something redirects: OCSP needs plain HTTP",
        ),
        (
            lambda handler: answer(handler, 200, "text/html", b"<p>"),
            "POST: the answer is text/html and not application/ocsp-response: another",
        ),
        (
            lambda handler: answer(handler, 200, "", b"<p>"),
            "POST: the answer is of no Content-Type and not application/ocsp-response",
        ),
        (
            lambda handler: answer(handler, 200, "text/x-python", b"#!/usr/bin/python3 -IS\n"),
            "POST: the script's own text came",
        ),
        (
            lambda handler: answer(handler, 200, OCSP_TYPE, b"0\x03\x0a\x01\x03", False),
            "POST: no Content-Length. `SetEnv ap_tr",
        ),
        (
            lambda handler: answer(handler, 200, OCSP_TYPE, b"0\x03", 5),
            "POST: the answer was cut off after 2 octets",
        ),
        (
            lambda handler: answer(handler, 200, OCSP_TYPE, b""),
            "POST: the 0 bytes that came are not an OCSPResponse",
        ),
        (
            lambda handler: answer(handler, 200, OCSP_TYPE, b"0\x03\x0a\x01\x03"),
            "POST: tryLater. A line in Apache's error log says why",
        ),
        (lambda handler: handler.close_connection and None, "POST: no answer from 127.0.0.1 port"),
    ],
)
@pytest.mark.slow
def test_what_is_wrong_is_named(ask, respond, message):
    with pytest.raises(probe.Wrong) as wrong:
        ask(respond)
    assert str(wrong.value).startswith(message)


def test_nobody_listens(pki):
    with socket.socket() as taken:  # bound, but not listening: so nobody else is there either
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(
            probe.Wrong,
            match=f"connection refused at 127.0.0.1 port {port}. Is Apache .*`Listen {port}`",
        ):
            probe.ask(pki.home / "root-ca.crt", 1, "ocsp.example.com", port)


def test_a_404_for_escaped_slashes_alone_names_their_directive(ask, responder):
    def respond(handler):
        if "%2F" in handler.path:
            return answer(handler, 404, "text/html", b"no")
        return responder(handler)

    with pytest.raises(
        probe.Wrong,
        match=(
            r"^GET with %2F: 404. `AllowEncodedSlashes NoDecode` is missing; it has to stand"
            r" inside "
        ),
    ):
        ask(respond)


@pytest.mark.slow
def test_merged_slashes_and_changed_answers(ask, responder):
    def merge(path):
        return path.replace("//", "/")

    with pytest.raises(probe.Wrong, match="^GET with //: malformedRequest. "):
        ask(lambda handler: responder(handler, path=merge))
    with pytest.raises(probe.Wrong, match="^POST: openssl does not verify the answer: "):
        ask(
            lambda handler: responder(
                handler, change=lambda body: body[:-1] + bytes((body[-1] ^ 1,))
            )
        )
    with pytest.raises(probe.Wrong, match="^POST: the 100 bytes that came are not an OCSPResponse"):
        ask(lambda handler: responder(handler, change=lambda body: body[:100]))


def test_a_plan_changes_nothing_until_it_is_carried_out(place):
    record = plan.Record(place / "installed.json")
    the_plan = plan.Plan(record)
    the_plan.file(place / "file", b"content")
    the_plan.link(place / "link", place / "file")
    assert list(place.iterdir()) == []
    the_plan.carry_out()
    assert {path.name for path in place.iterdir()} == {"file", "link", "installed.json"}
    again = plan.Plan(plan.Record(place / "installed.json"))
    again.file(place / "file", b"content")
    again.link(place / "link", place / "file")
    assert again.steps == []
    again.file(place / "file", b"of another version")
    assert [step.text for step in again.steps] == [f"write {place}/file"]
    (place / "file").write_text("the operator's")
    changed = plan.Plan(plan.Record(place / "installed.json"))
    changed.file(place / "file", b"of another version")
    assert (changed.steps, len(changed.remarks)) == ([], 1)


def test_what_was_done_before_a_failure_is_recorded(place):
    the_plan = plan.Plan(plan.Record(place / "installed.json"))
    the_plan.file(place / "file", b"content")
    the_plan.command("false", "--with-this-option")
    the_plan.file(place / "later", b"content")
    with pytest.raises(plan.Refused, match="^false --with-this-option\n  ended with status 1$"):
        the_plan.carry_out()
    assert list(plan.Record(place / "installed.json").files) == [str(place / "file")]
    (place / "installed.json").write_text("{")
    with pytest.raises(
        plan.Refused,
        match="installed.json: this is the record of what was installed, and cannot be read",
    ):
        plan.Record(place / "installed.json")
