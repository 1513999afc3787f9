"""The probe: the ways in which it asks, and what is wrong with what comes back."""

from __future__ import annotations

import http.server
import socket
import threading

import pytest
from clients import run_cgi

from ocsp_cgi import certificate
from ocsp_cgi.tools import probe
from ocsp_cgi.tools.probe import Question, Symptom, Target

OCSP_TYPE = "application/ocsp-response"
PATH = "/cgi-bin/ocsp.cgi"
WAYS = ["POST", "GET with %2F", "GET with //", "GET after //", "POST by HTTP/1.0"]


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
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
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
def question(pki):
    about, issuer = (certificate.load(str(pki.home / name)) for name in ("bad.crt", "root-ca.crt"))
    return Question(about, issuer, expected="revoked")


@pytest.fixture
def ask(question):
    def ask(respond, ways=1, **fields):
        with Server(respond) as server:
            whom = Target("ocsp.example.com", server.port, PATH, "127.0.0.1")
            return probe.ask(question._replace(**fields), whom, ways)

    return ask


@pytest.fixture
def responder(pki, cgi):
    """responder(handler) runs the real script; keywords change its request or its response."""

    def respond(
        handler,
        change=lambda body: body,
        content_type="application/ocsp-response",
        path=lambda path: path,
        headers=lambda headers: headers,
    ):
        request = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        requested = path(handler.path.partition(PATH)[2])
        result = run_cgi(cgi, pki.home / "ocsp-cgi.conf", handler.command, request, requested)
        body = change(result.body)
        sent = {**result.headers, "content-type": content_type, "content-length": str(len(body))}
        handler.send_response(result.status)
        for name, value in headers(sent).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return respond


@pytest.mark.slow
def test_every_way(ask, responder):
    seen = []

    def respond(handler):
        assert handler.headers["Host"].partition(":")[0] == "ocsp.example.com"
        seen.append((handler.command, handler.path.removeprefix(PATH), handler.request_version))
        responder(handler)

    outcomes = ask(respond, None)
    assert [(one.way, one.status, one.faults) for one in outcomes] == [
        (way, "revoked", ()) for way in WAYS
    ]
    assert [(method, version) for method, _, version in seen] == [
        ("POST", "HTTP/1.1"),
        ("GET", "HTTP/1.1"),
        ("GET", "HTTP/1.1"),
        ("GET", "HTTP/1.1"),
        ("POST", "HTTP/1.0"),
    ]
    _, escaped, plain, doubled, _ = [path for _, path, _ in seen]
    assert "%2F%2F" in escaped and "//" not in escaped
    assert "//" in plain and "%" not in plain
    assert doubled == "/" + escaped


def one_fault(outcomes) -> tuple[Symptom, str, bool]:
    [outcome] = outcomes
    fault = outcome.faults[0]
    return fault.symptom, fault.text, outcome.is_usable


@pytest.mark.parametrize(
    "respond, symptom, text",
    [
        (
            lambda handler: respond_with(handler, 404, "text/html", b"no"),
            Symptom.HTTP_STATUS,
            "HTTP status 404",
        ),
        (
            lambda handler: respond_with(handler, 200, "text/html", b"<p>"),
            Symptom.NOT_OCSP,
            "the Content-Type is text/html, not application/ocsp-response",
        ),
        (
            lambda handler: respond_with(handler, 200, "", b"<p>"),
            Symptom.NOT_OCSP,
            "the Content-Type is missing, not application/ocsp-response",
        ),
        (
            lambda handler: respond_with(handler, 200, "text/x-python", b"#!/usr/bin/python3\n"),
            Symptom.SOURCE,
            "the script was sent, not run",
        ),
        (
            lambda handler: respond_with(handler, 200, OCSP_TYPE, b"0\x03", 5),
            Symptom.CUT_OFF,
            "the response was cut off after 2 bytes",
        ),
        (
            lambda handler: respond_with(handler, 200, OCSP_TYPE, b""),
            Symptom.NOT_OCSP,
            "the 0 bytes received are not an OCSPResponse",
        ),
        # An error of OCSP is the first thing to say, whatever else is wrong.
        (
            lambda handler: respond_with(handler, 200, OCSP_TYPE, b"0\x03\x0a\x01\x03", False),
            Symptom.ERROR_RESPONSE,
            "tryLater",
        ),
        (
            lambda handler: respond_with(handler, 500, "text/html", b"0\x03\x0a\x01\x02"),
            Symptom.ERROR_RESPONSE,
            "internalError",
        ),
        (lambda handler: None, Symptom.NO_RESPONSE, "no response from 127.0.0.1 port"),
    ],
)
def test_what_is_not_a_response_for_clients(ask, respond, symptom, text):
    found, said, is_usable = one_fault(ask(respond))
    assert (found, is_usable) == (symptom, False) and said.startswith(text)


def test_nobody_listens(question):
    with socket.socket() as taken:  # bound, so that no other process listens there
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        outcomes = probe.ask(question, Target("ocsp.example.com", port, PATH, "127.0.0.1"))
    assert one_fault(outcomes) == (
        Symptom.CONNECTION_REFUSED,
        f"connection refused at 127.0.0.1 port {port}",
        False,
    )


def changed(**fields):
    """Headers in which some are replaced, or with None are left out."""

    def change(headers):
        merged = {**headers, **{name.replace("_", "-"): value for name, value in fields.items()}}
        return {name: value for name, value in merged.items() if value is not None}

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, symptom, text, is_usable",
    [
        (
            {"change": lambda body: body[:-1] + bytes((body[-1] ^ 1,))},
            Symptom.UNTRUSTED,
            "the response signer's certificate is not signed by the issuer",
            False,
        ),
        ({"change": lambda body: body[:100]}, Symptom.NOT_OCSP, "the 100 bytes received", False),
        (
            {"content_type": f"{OCSP_TYPE}; charset=utf-8"},
            Symptom.CONTENT_TYPE,
            f"the Content-Type is {OCSP_TYPE}; charset=utf-8, and not exactly",
            False,
        ),
        (
            {"headers": changed(content_length=None)},
            Symptom.NO_CONTENT_LENGTH,
            "Content-Length is missing",
            False,
        ),
    ],
)
def test_a_response_that_was_changed(ask, responder, options, symptom, text, is_usable):
    found, said, usable = one_fault(ask(lambda handler: responder(handler, **options)))
    assert (found, usable) == (symptom, is_usable) and said.startswith(text), said


@pytest.mark.slow
def test_merged_slashes(ask, responder):
    def merge(path):
        return path.replace("//", "/")

    outcomes = ask(lambda handler: responder(handler, path=merge), 3)
    assert [one.is_usable for one in outcomes] == [True, True, False]
    assert outcomes[2].faults[0].text == "malformedRequest"


@pytest.mark.slow
def test_an_old_response_is_noticed(ask, responder):
    """A cache that repeats a response to POST: the nonce is another one's."""
    stored = []

    def repeat(handler):
        responder(handler, change=lambda body: stored.append(body) or stored[0])

    [first] = ask(repeat)
    assert first.status == "revoked" and first.faults == ()
    found, said, is_usable = one_fault(ask(repeat))
    assert (found, is_usable) == (Symptom.UNTRUSTED, False) and "another nonce" in said


@pytest.mark.slow
def test_another_status_than_that_of_the_index(ask, responder):
    found, said, is_usable = one_fault(ask(responder, expected="good"))
    assert (found, said, is_usable) == (
        Symptom.WRONG_STATUS,
        "revoked, but the index says good",
        False,
    )


@pytest.mark.slow
def test_headers_that_caches_need_and_the_clock(ask, responder):
    def without(headers):
        return {name: value for name, value in headers.items() if name not in ("etag", "date")}

    def respond(handler):
        handler.date_time_string = lambda: "Sun, 19 Mar 2023 01:00:00 GMT"
        responder(handler, headers=without)

    post, get = ask(respond, 2)
    assert post.is_usable and get.is_usable
    assert [fault.symptom for fault in post.faults] == [Symptom.CLOCK]
    assert [fault.symptom for fault in get.faults] == [Symptom.CACHING, Symptom.CLOCK]
    assert get.faults[0].text == "ETag missing, so caches cannot keep the response"


@pytest.mark.parametrize(
    "url, expected",
    [
        ("http://ocsp.example.com", Target("ocsp.example.com", 80, "/", "ocsp.example.com")),
        ("http://[::1]:8080/x", Target("::1", 8080, "/x", "::1")),
        ("https://ocsp.example.com/", None),
        ("ldap://ocsp.example.com/", None),
        ("http:///x", None),
        ("http://a:99999/", None),
    ],
)
def test_urls(url, expected):
    if expected is None:
        with pytest.raises(ValueError):
            probe.target(url)
    else:
        assert probe.target(url) == expected
        assert probe.target(probe.target(url).url) == expected
