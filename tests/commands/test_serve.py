"""The responder without Apache: the same responses as the CGI's, and nothing that a client sends
keeps it from answering."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clients import (
    base64_of,
    cert_id,
    certificate,
    curl,
    nonce,
    openssl_ocsp,
    parse_http,
    request,
    run_cgi,
    verified,
)
from cryptography.x509 import ocsp

from ocsp_cgi import config, ocsp_http
from ocsp_cgi.tools import http_server

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "ocsp_cgi", "serve"]
MALFORMED, INTERNAL_ERROR = b"\x30\x03\x0a\x01\x01", b"\x30\x03\x0a\x01\x02"


class Serving:
    """A running `serve`: `greeting` is its first output, `log` what it has logged so far."""

    def __init__(self, directory: Path, config: Path, *options: str, descriptors: int = 0):
        self.output, self._errors = directory / "output", directory / "errors"
        limit = (
            (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors)))
            if descriptors
            else None
        )
        with open(self.output, "wb") as output, open(self._errors, "wb") as errors:
            command = [*COMMAND, "--port", "0", "--config", str(config), *options]
            self.process = subprocess.Popen(
                command, cwd=CHECKOUT, stdout=output, stderr=errors, preexec_fn=limit
            )
        deadline = time.monotonic() + 20
        while "openssl ocsp -issuer" not in self.output.read_text():
            assert time.monotonic() < deadline and self.process.poll() is None, self.log
            time.sleep(0.02)
        self.greeting = self.output.read_text()
        self.host, self.port = re.search(
            r"Listening on http://(\S+):(\d+)/", self.greeting
        ).groups()
        self.url = f"http://{self.host}:{self.port}/"

    @property
    def log(self) -> str:
        return self._errors.read_text()

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host.strip("[]"), int(self.port)), 30)

    def send(self, data: bytes) -> bytes:
        """Send this and no more.  Returns what comes back until the server closes."""
        with self.connect() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def read_all(connection: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def post(
    body: bytes, *fields: str, path: str = "/", version: str = "1.0", length: int | None = None
) -> bytes:
    lines = [
        f"POST {path} HTTP/{version}",
        "Host: ocsp.example.com",
        "Content-Type: application/ocsp-request",
        *fields,
    ]
    if not any(field.startswith("Transfer-Encoding") for field in fields):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(body: bytes, size: int = 20) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return (
        b"".join(b"%X;x=y\r\n%s\r\n" % (len(part), part) for part in parts)
        + b"0\r\nTrailer: x\r\n\r\n"
    )


@pytest.fixture(scope="module")
def serving(pki, workspace):
    """One server for all tests here that do not change it: it must survive them all."""
    directory = workspace / "serve"
    directory.mkdir()
    server = Serving(directory, pki.home / "ocsp-cgi.conf")
    yield server
    assert server.end() == 0
    assert "Traceback" not in server.log and "please report" not in server.log


@pytest.fixture
def root(pki):
    return certificate(pki.home / "root-ca.crt")


@pytest.fixture
def ocsp_request(pki, root):
    return lambda name="good", **options: request(
        cert_id(root, int(pki.serial(name), 16)), **options
    )


@pytest.fixture
def still_answers(serving, ocsp_request, root):
    """still_answers() sends an ordinary request.  Returns the seconds that the response took."""

    def ask() -> float:
        started = time.monotonic()
        response = parse_http(serving.send(post(ocsp_request("bad"))))
        assert verified(response.body, root).certificate_status == ocsp.OCSPCertStatus.REVOKED
        return time.monotonic() - started

    return ask


# The same responses as from the CGI


@pytest.mark.parametrize(
    "method, name, options",
    [
        ("POST", "good", {}),
        ("POST", "bad", {}),
        ("POST", "good", {"extensions": nonce(bytes(16))}),
        ("GET", "good", {}),
        ("GET", "bad", {}),
        ("HEAD", "good", {}),
        ("POST", "", {}),
        ("POST", "malformed", {}),
        ("GET", "malformed", {}),
        ("GET", "", {}),
        ("GET", "favicon.ico", {}),
        ("PUT", "", {}),
    ],
)
@pytest.mark.slow
def test_same_responses_as_the_cgi(serving, cgi, pki, root, ocsp_request, method, name, options):
    encoded = ocsp_request(name, **options) if name in ("good", "bad") else b"\x30\x83"
    path = "/" + (
        base64_of(encoded)
        if name in ("good", "bad", "malformed") and method != "POST"
        else name
        if method != "POST"
        else ""
    )
    body = encoded if method == "POST" else b""
    theirs = run_cgi(cgi, pki.home / "ocsp-cgi.conf", method, body, path=path)
    content_type = "application/ocsp-request" if method == "POST" else ""
    head = (
        f"{method} {path} HTTP/1.0\r\nContent-Type: {content_type}\r\nContent-Length:"
        f" {len(body)}\r\n\r\n"
    )
    ours = parse_http(serving.send(head.encode() + body))
    assert ours.headers.pop("connection") == "close" and ours.headers.pop("date").endswith(" GMT")
    for response in (ours, theirs):
        for header in ("expires", "last-modified", "etag"):
            if header in response.headers:
                response.headers[header] = "differs from second to second"
        if (
            response.headers["content-type"] != "application/ocsp-response"
            or response.headers["content-length"] != "5"
        ):
            response.headers["content-length"] = "differs with the signature, or the address shown"
    assert (ours.status, ours.headers) == (theirs.status, theirs.headers)
    assert list(ours.headers) == list(theirs.headers)
    if name in ("good", "bad") and method != "HEAD":
        statuses = [verified(response.body, root).certificate_status for response in (ours, theirs)]
        assert (
            statuses[0]
            == statuses[1]
            == {"good": ocsp.OCSPCertStatus.GOOD, "bad": ocsp.OCSPCertStatus.REVOKED}[name]
        )
    elif ours.headers["content-type"] == "application/ocsp-response":
        assert ours.body == theirs.body


def test_openssl_asks(serving, pki):
    run = openssl_ocsp(pki.home, "-cert", "good.crt", "-cert", "bad.crt", "-url", serving.url)
    assert run.returncode == 0 and "Response verify OK" in run.stderr
    assert re.findall(r"^\w+\.crt: \w+$", run.stdout, re.MULTILINE) == [
        "good.crt: good",
        "bad.crt: revoked",
    ]


def test_the_command_it_says_works(serving, pki):
    [command] = re.findall(r"^    (openssl ocsp .*)$", serving.greeting, re.MULTILINE)
    run = subprocess.run(
        command.replace("server.crt", "good.crt"),
        shell=True,
        cwd=pki.home,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout.startswith("good.crt: good\n") and "Response verify OK" in run.stderr


@pytest.mark.parametrize("path", ["", "/", "//", "/%2F", "/cgi-bin/ocsp.cgi/", "/Main/", "/ocsp//"])
@pytest.mark.parametrize("form", ["as it is", "escaped", "whole URL"])
@pytest.mark.slow
def test_get_at_any_path(serving, root, ocsp_request, path, form):
    text = base64_of(ocsp_request("bad", extensions=nonce(b"\xff\xfe\xff" * 4)))
    assert "/" in text
    uri = {
        "as it is": (path or "/") + text,
        "escaped": (path or "/") + text.replace("/", "%2F").replace("+", "%2b").replace("=", "%3d"),
        "whole URL": f"http://ocsp.example.com{path or '/'}{text}",
    }[form]
    response = parse_http(serving.send(f"GET {uri} HTTP/1.0\r\n\r\n".encode()))
    assert verified(response.body, root).certificate_status == ocsp.OCSPCertStatus.REVOKED


def test_curl_chunked_and_with_expect(serving, pki, root, ocsp_request, tmp_path):
    (tmp_path / "request").write_bytes(ocsp_request("bad"))
    arguments = [
        "-H",
        "Content-Type: application/ocsp-request",
        "--data-binary",
        f"@{tmp_path}/request",
        serving.url + "any/path",
    ]
    for more in (
        [],
        ["-H", "Expect: 100-continue"],
        ["-H", "Transfer-Encoding: chunked"],
        ["-0"],
        ["-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue"],
    ):
        assert (
            verified(curl(*more, *arguments).body, root).certificate_status
            == ocsp.OCSPCertStatus.REVOKED
        )


def test_chunks_of_every_size(serving, root, ocsp_request):
    for size in (1, 7, 1000):
        response = parse_http(
            serving.send(
                post(
                    chunked(ocsp_request("bad"), size), "Transfer-Encoding: chunked", version="1.1"
                )
            )
        )
        assert verified(response.body, root).certificate_status == ocsp.OCSPCertStatus.REVOKED


def test_many_requests_on_one_connection(serving, ocsp_request):
    """HTTP/1.1 keeps it, HTTP/1.0 if sent to; also when the requests come all at once, and octet
    by octet."""
    with serving.connect() as connection:
        first = post(ocsp_request(), version="1.1")
        last = post(ocsp_request(), "Connection: keep-alive") + post(
            ocsp_request(), "Connection: Close", version="1.1"
        )
        for sent in (first, first + first, last):
            if len(sent) == len(first):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for octet in sent:
                    connection.sendall(bytes((octet,)))
            else:
                connection.sendall(sent)
        responses = read_all(connection)
    assert responses.count(b"HTTP/1.1 200 OK\r\n") == 5
    assert (
        responses.count(b"Connection: keep-alive\r\n"),
        responses.count(b"Connection: close\r\n"),
    ) == (4, 1)


def test_expect_is_answered_before_the_body_comes(serving, ocsp_request):
    with serving.connect() as connection:
        head, body = post(
            ocsp_request(), "Expect: 100-continue", "Connection: close", version="1.1"
        ).split(b"\r\n\r\n", 1)
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_all(connection).startswith(b"HTTP/1.1 200 OK\r\n")
    with serving.connect() as connection:
        connection.sendall(post(b"", "Expect: 100-continue", version="1.1", length=100_000))
        assert parse_http(read_all(connection)).body == MALFORMED


def test_log_line(serving, pki, ocsp_request):
    before = len(serving.log)
    serving.send(post(ocsp_request("bad", extensions=nonce(bytes(16)))))
    serial = pki.serial("bad")
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ ocsp\.cgi: POST serial={serial} status=revoked"
        r" reason=keyCompromise ca=root-ca nonce=16"
        r" client=127\.0\.0\.1 ms=\d+\n",
        serving.log[before:],
    )


@pytest.mark.parametrize(
    "sent, shown",
    [(b"Host: pki.example.com:9080", "http://pki.example.com:9080"), (b'Host: "><script>', None)],
)
def test_page_shows_the_address_that_was_used(serving, sent, shown):
    page = parse_http(serving.send(b"GET / HTTP/1.0\r\n" + sent + b"\r\n\r\n")).body.decode()
    assert f"-url {shown or serving.url[:-1]}</pre>" in page and "<script>" not in page


# Hostile and broken clients


NAMES_OF_INVALID_HTTP = (
    "TLS",
    "text",
    "HTTP/0.9",
    "NULs",
    "HTTP/2",
    "HTTP/2 preface",
    "no Host",
    "two Hosts",
    "no colon",
    "space before colon",
    "folded",
    "long method",
    "long target",
    "no line",
    "long header",
    "gzip",
    "chunked in HTTP/1.0",
    "chunked and a length",
    "two lengths",
    "negative length",
    "huge length",
    "not a chunk size",
    "negative chunk size",
    "long chunk",
    "long chunk line",
    "long trailer",
)


@pytest.mark.parametrize(
    "sent, status",
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2, 400),
        (b"hello\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"\x00" * 1000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nName : x\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nName: x\r\n folded\r\n\r\n", 400),
        (b"A" * 31 + b" / HTTP/1.0\r\n\r\n", 501),
        (b"GET /" + b"A" * 200_000 + b" HTTP/1.0\r\n\r\n", 431),
        (b"A" * 2_000_000, 431),
        (b"GET / HTTP/1.0\r\n" + b"x: y\r\n" * 100_000 + b"\r\n", 431),
        (post(b"x", "Transfer-Encoding: gzip", version="1.1"), 501),
        (post(b"x", "Transfer-Encoding: chunked"), 400),
        (post(b"x", "Transfer-Encoding: chunked", "Content-Length: 1", version="1.1"), 400),
        (post(b"x", "Content-Length: 2"), 400),
        (post(b"x", length=-1), 400),
        (post(b"x", length=10**30), 400),
        (post(b"zz\r\n", "Transfer-Encoding: chunked", version="1.1"), 400),
        (post(b"-1\r\nx", "Transfer-Encoding: chunked", version="1.1"), 400),
        (post(b"1\r\nxyz\r\n", "Transfer-Encoding: chunked", version="1.1"), 400),
        (post(b"9" * 10_000, "Transfer-Encoding: chunked", version="1.1"), 400),
        (post(b"0\r\n" + b"x: y\r\n" * 100_000, "Transfer-Encoding: chunked", version="1.1"), 431),
    ],
    ids=NAMES_OF_INVALID_HTTP,
)
@pytest.mark.slow
def test_invalid_http_gets_an_error(serving, still_answers, sent, status):
    before = len(serving.log)
    response = parse_http(serving.send(sent))
    assert response.status == status
    assert (
        response.headers["content-type"] == "text/plain"
        and response.headers["connection"] == "close"
    )
    assert response.headers["x-content-type-options"] == "nosniff"
    reason, fields = serving.log[before:].splitlines()
    assert reason.endswith(response.body.decode().strip())
    assert f"http={status} client=127.0.0.1 ms=" in fields
    assert len(reason) < 500
    assert still_answers() < 5


def test_a_tls_handshake_gets_an_error(serving):
    with serving.connect() as connection:  # that stays open, as a real client's does
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
        assert b"this server speaks http:// only" in read_all(connection)


@pytest.mark.parametrize(
    "uri, status",
    [
        ("/favicon.ico", 404),
        ("/", 200),
        ("*", 200),
        ("/?x=y", 200),
        ("/%", 404),
        ("http://", 200),
        ("/\xe4%ff", 404),
        ("//////", 200),
        ("/MEMO", 200),
    ],
)
def test_odd_targets(serving, uri, status):
    assert (
        parse_http(serving.send(f"GET {uri} HTTP/1.0\r\n\r\n".encode("latin-1"))).status == status
    )


@pytest.mark.parametrize("size", [65_537, 1_000_000, 3_000_000])
@pytest.mark.parametrize("form", ["with its length", "chunked"])
def test_bodies_too_large_are_malformed_requests(serving, still_answers, size, form):
    body = b"\x30" * size
    sent = (
        post(body)
        if form == "with its length"
        else post(chunked(body, 10_000), "Transfer-Encoding: chunked", version="1.1")
    )
    with serving.connect() as connection:
        with contextlib.suppress(ConnectionError):  # of the largest one not everything is read
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        assert parse_http(read_all(connection)).body == MALFORMED
    assert still_answers() < 5


@pytest.mark.slow
def test_port_scanners_and_clients_that_hang_up(serving, still_answers, ocsp_request):
    for sent in (b"", b"\r\n", b"POST", post(ocsp_request())[:-10], post(ocsp_request())):
        for _ in range(200):
            with serving.connect() as connection:
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                )  # close with a reset
                connection.sendall(sent)
    assert still_answers() < 5


def descriptors(serving: Serving) -> int:
    return len(os.listdir(f"/proc/{serving.process.pid}/fd"))


def threads(serving: Serving) -> int:
    return len(os.listdir(f"/proc/{serving.process.pid}/task"))


def memory(serving: Serving) -> int:
    """Resident memory in KiB."""
    return int(
        re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{serving.process.pid}/status").read_text())[1]
    )


@pytest.mark.slow
def test_thousands_of_connections_leave_nothing_behind(serving, ocsp_request, still_answers):
    whole = post(ocsp_request("bad", extensions=nonce(bytes(16))))

    def ask(number: int) -> bool:
        sent = (whole, b"GET / HTTP/1.0\r\n\r\n", b"GET", b"")[number % 4]
        return serving.send(sent).startswith(b"HTTP/1.1 200 OK") or number % 4 > 1

    with ThreadPoolExecutor(50) as pool:
        assert all(
            pool.map(ask, range(400))
        )  # until its threads and caches are what they are to be
        before = memory(serving)
        assert all(pool.map(ask, range(3000)))
    assert still_answers() < 5
    deadline = time.monotonic() + 10
    while (threads(serving), descriptors(serving)) > (1, 10) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threads(serving) == 1 and descriptors(serving) <= 10
    assert memory(serving) - before < 8 * 1024


@pytest.mark.slow
def test_hundreds_of_half_open_connections_block_no_one(serving, still_answers):
    with contextlib.ExitStack() as stack:
        for number in range(300):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex((serving.host, int(serving.port)))
            if number % 2:
                with contextlib.suppress(OSError):
                    connection.send(b"POST / HTTP/1.1\r\nHost: ")
        assert still_answers() < http_server.READ_SECONDS
        assert threads(serving) <= http_server.CONNECTIONS + 1


@pytest.mark.slow
def test_with_few_file_descriptors_it_goes_on(place, pki, ocsp_request):
    server = Serving(place, pki.home / "ocsp-cgi.conf", descriptors=24)
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(server.connect())
        time.sleep(0.5)
    assert parse_http(server.send(post(ocsp_request()))).status == 200
    assert parse_http(server.send(post(ocsp_request()))).body != INTERNAL_ERROR
    assert server.end() == 0


@pytest.fixture
def small(monkeypatch):
    """small(respond) is the (host, port) of a server in this process, with time-outs of parts of a
    second, which echoes the method."""
    for name, seconds in (
        ("READ_SECONDS", 0.5),
        ("WRITE_SECONDS", 0.5),
        ("LINGER_SECONDS", 0.3),
        ("STOP_SECONDS", 0.5),
    ):
        monkeypatch.setattr(http_server, name, seconds)
    with contextlib.ExitStack() as stack:

        def start(
            respond=lambda head, body, connection: (
                ocsp_http.Response(200, [], head.method.encode()),
                [""],
            ),
        ):
            listener = socket.create_server(("127.0.0.1", 0))
            logged: list[str] = []
            server = http_server.Server([listener], respond, lambda lines, *_: logged.extend(lines))
            thread = threading.Thread(target=server.serve)
            thread.start()

            def stop() -> None:
                server.stop()
                thread.join(10)
                assert not thread.is_alive()

            stack.callback(stop)
            return listener.getsockname(), logged, server

        yield start


@pytest.mark.parametrize(
    "sent, drop, told",
    [
        (b"", b"", b""),
        (b"POST / HTTP/1.0\r\n", b"", b"HTTP/1.1 408 "),
        (b"POST / HTTP/1.0\r\n", b"x", b"HTTP/1.1 408 "),
        (b"POST / HTTP/1.0\r\nContent-Length: 1000\r\n\r\n", b"", b"HTTP/1.1 408 "),
        (b"POST / HTTP/1.0\r\nContent-Length: 1000\r\n\r\n", b"x", b"HTTP/1.1 408 "),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
            b"HTTP/1.1 408 ",
        ),
    ],
    ids=["silent", "half a head", "slow head", "half a body", "slow body", "slow chunks"],
)
@pytest.mark.slow
def test_slow_clients_are_disconnected(small, sent, drop, told):
    """However often data arrives: the time is for the whole request."""
    address, logged, _ = small()
    started = time.monotonic()
    with socket.create_connection(address, 5) as connection:
        connection.sendall(sent)
        connection.settimeout(0.05)
        received = b""
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - started < 5:
                try:
                    part = connection.recv(1000)
                    received += part
                    if not part:
                        break
                except socket.timeout:
                    connection.sendall(drop)
    assert time.monotonic() - started < 2.5
    assert received.startswith(told) and bool(received) == bool(told)
    assert (logged[-1:] == ["http=408"]) == bool(told)


@pytest.mark.slow
def test_a_client_that_does_not_read_the_response_is_disconnected(small):
    address, _, server = small(
        lambda head, body, connection: (ocsp_http.Response(200, [], bytes(30_000_000)), [""])
    )
    with socket.create_connection(address, 5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        time.sleep(1)
        assert len(read_all(connection)) < 30_000_000
    assert not server._connections


@pytest.mark.slow
def test_threads_are_limited_and_active_clients_are_not_disconnected(small, monkeypatch):
    monkeypatch.setattr(http_server, "CONNECTIONS", 4)
    monkeypatch.setattr(http_server, "SILENT_SECONDS", 0.2)
    most = []

    def respond(head, body, connection):
        most.append(len(server._connections))
        time.sleep(0.05)
        return ocsp_http.Response(200, [("Content-Length", "2")], b"ok"), [""]

    address, _, server = small(respond)
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(socket.create_connection(address))  # and says nothing

        def ask(_) -> bytes:
            with socket.create_connection(address, 20) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return read_all(connection)

        with ThreadPoolExecutor(20) as pool:
            responses = list(pool.map(ask, range(60)))
    assert all(text.startswith(b"HTTP/1.1 200 OK") for text in responses)
    assert max(most) <= 4
    assert threading.active_count() <= before + 4


@pytest.mark.slow
def test_log_of_problems_alone(place, ca, ocsp_request):
    """Also of what is not even HTTP; and everything once the config cannot be read."""
    config_file = ca.home / "ocsp-cgi.conf"
    config_file.write_text(config_file.read_text() + "log = problems\n")
    server = Serving(place, config_file)
    try:
        server.send(post(ocsp_request()))
        server.send(b"no HTTP\r\n\r\n")
        assert server.log == ""
        (ca.home / "private" / "root-ocsp.key").unlink()
        server.send(post(ocsp_request()))
        error, line = server.log.splitlines()
        assert "Z ocsp.cgi: error: " in error and "response=internalError" in line
        config_file.unlink()
        server.send(b"no HTTP\r\n\r\n")
        reason, line = server.log.splitlines()[2:]
        assert "error:" not in reason and "http=400" in line
    finally:
        server.end()


# Starting and ending


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
@pytest.mark.slow
def test_it_ends_cleanly(place, pki, ocsp_request, number, status):
    server = Serving(place, pki.home / "ocsp-cgi.conf")
    with server.connect() as silent, server.connect() as half:
        half.sendall(b"POST / HT")
        assert server.send(post(ocsp_request())).startswith(b"HTTP/1.1 200")
        started = time.monotonic()
        assert server.end(number) == status
        assert time.monotonic() - started < 3
        assert (read_all(silent), read_all(half)) == (b"", b"")
    assert len(server.log.splitlines()) == 1
    with pytest.raises(ConnectionRefusedError):
        server.connect()


@pytest.mark.slow
def test_a_response_under_way_is_finished_at_the_end(small, monkeypatch):
    monkeypatch.setattr(http_server, "STOP_SECONDS", 5)
    begun = threading.Event()

    def respond(head, body, connection):
        begun.set()
        time.sleep(0.5)
        return ocsp_http.Response(200, [], b"done"), [""]

    address, _, server = small(respond)
    with socket.create_connection(address, 5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert begun.wait(5)
        server.stop()
        answered = read_all(connection)
    assert answered.endswith(b"Connection: close\r\n\r\ndone")


def test_greeting(serving, pki):
    lines = serving.greeting.splitlines()
    assert (
        lines[0]
        == "This server is for trying things out: use Apache in production.  Ctrl-C stops it."
    )
    assert lines[1] == f"Listening on {serving.url} with {pki.home}/ocsp-cgi.conf"
    assert "Anyone who can reach" not in serving.greeting


def fails(*options: str, **environment: str) -> tuple[int, str]:
    run = subprocess.run(
        [*COMMAND, *options],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **environment},
    )
    assert run.stdout == ""
    return run.returncode, run.stderr


def test_a_port_in_use(pki):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert fails("--config", f"{pki.home}/ocsp-cgi.conf", "--port", str(port)) == (
            1,
            (
                f"python3 -m ocsp_cgi: http://127.0.0.1:{port}/: Address already in use; stop what"
                " listens there (`ss -ltnp` shows it), or choose another port with --port\n"
            ),
        )


@pytest.mark.slow
def test_it_says_why_it_cannot_start(pki, place):
    config = f"{pki.home}/ocsp-cgi.conf"
    status, reason = fails("--config", config, "--bind", "192.0.2.1")
    assert status == 1 and reason.startswith(
        "python3 -m ocsp_cgi: http://192.0.2.1:9080/: Cannot assign requested address;"
        " `ip address` lists"
    )
    status, reason = fails("--config", config, "--bind", "no address")
    assert status == 1
    assert "--bind no address: not an address of this machine; `ip address` lists" in reason
    for port in ("65536", "-1", "x", ""):
        status, reason = fails("--config", config, f"--port={port}")
        assert status == 3 and reason.endswith(
            f"argument --port: invalid port `{port}`: expected 0 to 65535\n"
        )
    missing = (
        f"python3 -m ocsp_cgi: {place}/none.conf: No such file or directory; this is the config,"
        " which OCSP_CGI_CONFIG names; `--config` names another\n"
    )
    assert fails("--config", f"{place}/none.conf") == (1, missing)
    assert fails(OCSP_CGI_CONFIG=f"{place}/none.conf") == (1, missing)
    (place / "broken.conf").write_text("[root-ca]\ndbb = x\ndb = x\n")
    assert fails("--config", f"{place}/broken.conf") == (
        1,
        f"python3 -m ocsp_cgi: {place}/broken.conf:2: unknown setting `dbb`; did you mean `db`?\n",
    )


def test_the_default_config(place):
    """With another path: the real default may exist."""
    assert config.DEFAULT_PATH == "/etc/ssl/ocsp-cgi.conf"
    program = (
        "import sys; from ocsp_cgi import config; config.DEFAULT_PATH = sys.argv.pop()\n"
        "from ocsp_cgi import __main__; __main__.main()"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, "serve", f"{place}/default.conf"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "OCSP_CGI_CONFIG": ""},
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith(
        f"python3 -m ocsp_cgi: {place}/default.conf: No such file or directory"
    )


def test_a_config_that_disappears_later_gives_internal_error_and_a_log_line(
    place, ca, ocsp_request
):
    server = Serving(place, ca.home / "ocsp-cgi.conf")
    (ca.home / "ocsp-cgi.conf").rename(ca.home / "away.conf")
    assert parse_http(server.send(post(ocsp_request()))).body == INTERNAL_ERROR
    assert (
        f"{ca.home}/ocsp-cgi.conf: No such file or directory" in server.log
        and "POST response=internalError client=" in server.log
    )
    assert parse_http(server.send(b"GET / HTTP/1.0\r\n\r\n")).status == 200
    (ca.home / "away.conf").rename(ca.home / "ocsp-cgi.conf")
    ca.revoke("good")
    assert b"\x30\x03\x0a" not in server.send(post(ocsp_request()))[-5:]
    assert "status=revoked" in server.log
    assert server.end() == 0


def test_several_addresses_one_of_them_ipv6(place, pki, ocsp_request, root):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    server = Serving(place, pki.home / "ocsp-cgi.conf", "--bind", "::1", "--bind", "127.0.0.1")
    assert (
        server.url == f"http://[::1]:{server.port}/"
        and f"http://127.0.0.1:{server.port}/" in server.greeting
    )
    for host in ("::1", "127.0.0.1"):
        server.host = host
        assert verified(parse_http(server.send(post(ocsp_request()))).body, root)
    assert " client=::1 " in server.log and " client=127.0.0.1 " in server.log
    assert openssl_ocsp(pki.home, "-cert", "good.crt", "-url", server.url).stdout.startswith(
        "good.crt: good\n"
    )
    assert server.end() == 0


def test_everywhere(place, pki):
    server = Serving(place, pki.home / "ocsp-cgi.conf", "--bind", "0.0.0.0")
    assert (
        f"-url http://127.0.0.1:{server.port}/" in server.greeting
        and "Anyone who can reach this machine can query it." in server.greeting
    )
    assert server.end() == 0


# --text


@pytest.fixture
def with_text(place, pki):
    server = Serving(place, pki.home / "ocsp-cgi.conf", "--text")
    yield server
    assert server.end() == 0


def test_text(with_text, pki, root, ocsp_request):
    sent = request(
        cert_id(root, int(pki.serial("good"), 16)),
        cert_id(root, int(pki.serial("bad"), 16), "sha256"),
        cert_id(root, 5),
        extensions=nonce(bytes(16)),
    )
    response = parse_http(with_text.send(post(sent))).body
    text = with_text.output.read_text()[len(with_text.greeting) :]
    (pki.home / "text.der").write_bytes(response)
    theirs = openssl_ocsp(pki.home, "-respin", "text.der", "-noverify", "-resp_text").stdout
    end = theirs.index("    Signature Algorithm: ")
    without_spaces = [line.rstrip() for line in theirs[:end].splitlines()]
    ours = text[text.index("OCSP Response Data:") :].splitlines()
    assert ours[: len(without_spaces)] == without_spaces
    assert (
        "    Certificate: C = GB, O = Example, CN = root-ocsp, issued by C = GB, O = Example, CN ="
        " Root CA,\n" in text
    )
    (pki.home / "text.der").write_bytes(sent)
    run = subprocess.run(
        ["openssl", "ocsp", "-reqin", "text.der", "-req_text"],
        cwd=pki.home,
        capture_output=True,
        text=True,
    )
    assert [line.rstrip() for line in run.stdout.splitlines()] == text[
        : text.index("OCSP Response Data:")
    ].splitlines()


@pytest.mark.parametrize(
    "sent, text",
    [
        (
            post(b""),
            (
                "OCSP Request Data: not an OCSPRequest: no element of tag 30 at byte 0\nOCSP"
                " Response Data:\n    OCSP Response Status: malformedRequest (0x1)\n"
            ),
        ),
        (
            post(b"x" * 70_000),
            (
                "OCSP Request Data: too long to be read\nOCSP Response Data:\n"
                "    OCSP Response Status: malformedRequest (0x1)\n"
            ),
        ),
        (b"GET / HTTP/1.0\r\n\r\n", ""),
        (b"PUT / HTTP/1.0\r\n\r\n", ""),
    ],
    ids=["nothing", "too long", "GET", "PUT"],
)
@pytest.mark.slow
def test_text_of_what_is_not_a_request(with_text, sent, text):
    with_text.send(sent)
    assert with_text.output.read_text()[len(with_text.greeting) :] == text


def test_standard_output_without_a_reader(pki, ocsp_request):
    command = [*COMMAND, "--port", "0", "--text", "--config", f"{pki.home}/ocsp-cgi.conf"]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        greeting = process.stdout.read1(10_000).decode()
        port = int(re.search(r"127\.0\.0\.1:(\d+)/ with", greeting)[1])
        process.stdout.close()
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.sendall(post(ocsp_request()))
                assert read_all(connection).startswith(b"HTTP/1.1 200 OK")
        process.terminate()
        assert process.wait(10) == 0
