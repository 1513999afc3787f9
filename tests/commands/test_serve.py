"""The responder without Apache: the same answers as the CGI's, and nothing that a client sends
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
    """A running `serve`.  `port` and `url` are its own, `greeting` what it said first, `log` what
    it has logged so far."""

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
            r"Listening at http://(\S+):(\d+)/", self.greeting
        ).groups()
        self.url = f"http://{self.host}:{self.port}/"

    @property
    def log(self) -> str:
        return self._errors.read_text()

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host.strip("[]"), int(self.port)), 30)

    def send(self, octets: bytes) -> bytes:
        """Send these octets, and no more.  Returns what comes back until the server closes."""
        with self.connect() as connection:
            connection.sendall(octets)
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
    """One server of all tests of this file that do not change it; that it has answered them all is
    what they test, too."""
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
def question(pki, root):
    return lambda name="good", **options: request(
        cert_id(root, int(pki.serial(name), 16)), **options
    )


@pytest.fixture
def still_answers(serving, question, root):
    """still_answers() asks as anybody would.  Returns the seconds that it took."""

    def ask() -> float:
        started = time.monotonic()
        answer = parse_http(serving.send(post(question("bad"))))
        assert verified(answer.body, root).certificate_status == ocsp.OCSPCertStatus.REVOKED
        return time.monotonic() - started

    return ask


# The same answers


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
def test_same_answers_as_the_cgi(serving, cgi, pki, root, question, method, name, options):
    encoded = question(name, **options) if name in ("good", "bad") else b"\x30\x83"
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
    for answer in (ours, theirs):
        for header in ("expires", "last-modified", "etag"):
            if header in answer.headers:
                answer.headers[header] = "differs from second to second"
        if (
            answer.headers["content-type"] != "application/ocsp-response"
            or answer.headers["content-length"] != "5"
        ):
            answer.headers["content-length"] = "differs with the signature, or the address shown"
    assert (ours.status, ours.headers) == (theirs.status, theirs.headers)
    assert list(ours.headers) == list(theirs.headers)
    if name in ("good", "bad") and method != "HEAD":
        statuses = [verified(answer.body, root).certificate_status for answer in (ours, theirs)]
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
def test_get_at_any_path(serving, root, question, path, form):
    text = base64_of(question("bad", extensions=nonce(b"\xff\xfe\xff" * 4)))
    assert "/" in text
    uri = {
        "as it is": (path or "/") + text,
        "escaped": (path or "/") + text.replace("/", "%2F").replace("+", "%2b").replace("=", "%3d"),
        "whole URL": f"http://ocsp.example.com{path or '/'}{text}",
    }[form]
    answer = parse_http(serving.send(f"GET {uri} HTTP/1.0\r\n\r\n".encode()))
    assert verified(answer.body, root).certificate_status == ocsp.OCSPCertStatus.REVOKED


def test_curl_chunked_and_with_expect(serving, pki, root, question, tmp_path):
    (tmp_path / "request").write_bytes(question("bad"))
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


def test_chunks_of_every_size(serving, root, question):
    for size in (1, 7, 1000):
        answer = parse_http(
            serving.send(
                post(chunked(question("bad"), size), "Transfer-Encoding: chunked", version="1.1")
            )
        )
        assert verified(answer.body, root).certificate_status == ocsp.OCSPCertStatus.REVOKED


def test_many_requests_on_one_connection(serving, question):
    """HTTP/1.1 keeps it, HTTP/1.0 if asked to; also when the requests come all at once, and octet
    by octet."""
    with serving.connect() as connection:
        first = post(question(), version="1.1")
        last = post(question(), "Connection: keep-alive") + post(
            question(), "Connection: Close", version="1.1"
        )
        for sent in (first, first + first, last):
            if len(sent) == len(first):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for octet in sent:
                    connection.sendall(bytes((octet,)))
            else:
                connection.sendall(sent)
        answers = read_all(connection)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 5
    assert (
        answers.count(b"Connection: keep-alive\r\n"),
        answers.count(b"Connection: close\r\n"),
    ) == (4, 1)


def test_expect_is_answered_before_the_body_comes(serving, question):
    with serving.connect() as connection:
        head, body = post(
            question(), "Expect: 100-continue", "Connection: close", version="1.1"
        ).split(b"\r\n\r\n", 1)
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_all(connection).startswith(b"HTTP/1.1 200 OK\r\n")
    with serving.connect() as connection:
        connection.sendall(post(b"", "Expect: 100-continue", version="1.1", length=100_000))
        assert parse_http(read_all(connection)).body == MALFORMED


def test_log_line(serving, pki, question):
    before = len(serving.log)
    serving.send(post(question("bad", extensions=nonce(bytes(16)))))
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


# Whatever comes


NAMES_OF_WHAT_IS_NO_HTTP = (
    "TLS",
    "words",
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
    "no chunk size",
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
    ids=NAMES_OF_WHAT_IS_NO_HTTP,
)
@pytest.mark.slow
def test_what_is_no_http_is_told_so(serving, still_answers, sent, status):
    before = len(serving.log)
    answer = parse_http(serving.send(sent))
    assert answer.status == status
    assert (
        answer.headers["content-type"] == "text/plain" and answer.headers["connection"] == "close"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    reason, facts = serving.log[before:].splitlines()
    assert reason.endswith(answer.body.decode().strip())
    assert f"http={status} client=127.0.0.1 ms=" in facts
    assert len(reason) < 500
    assert still_answers() < 5


def test_a_tls_hello_is_told_what_it_is(serving):
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
def test_port_scanners_and_those_who_hang_up(serving, still_answers, question):
    for sent in (b"", b"\r\n", b"POST", post(question())[:-10], post(question())):
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
def test_thousands_of_connections_leave_nothing_behind(serving, question, still_answers):
    asked = post(question("bad", extensions=nonce(bytes(16))))

    def ask(number: int) -> bool:
        sent = (asked, b"GET / HTTP/1.0\r\n\r\n", b"GET", b"")[number % 4]
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
def test_hundreds_of_half_open_connections_keep_nobody_out(serving, still_answers):
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
def test_with_hardly_a_file_descriptor_it_goes_on(place, pki, question):
    server = Serving(place, pki.home / "ocsp-cgi.conf", descriptors=24)
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(server.connect())
        time.sleep(0.5)
    assert parse_http(server.send(post(question()))).status == 200
    assert parse_http(server.send(post(question()))).body != INTERNAL_ERROR
    assert server.end() == 0


@pytest.fixture
def small(monkeypatch):
    """small(answer) is the (host, port) of a server in this process, with time-outs of parts of a
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
            answer=lambda head, body, connection: (
                ocsp_http.Response(200, [], head.method.encode()),
                [""],
            ),
        ):
            listener = socket.create_server(("127.0.0.1", 0))
            logged: list[str] = []
            server = http_server.Server([listener], answer, lambda lines, *_: logged.extend(lines))
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
def test_who_is_slow_is_let_go(small, sent, drop, told):
    """However often something comes: the time is for the whole request."""
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
def test_who_does_not_take_the_answer_is_let_go(small):
    address, _, server = small(
        lambda head, body, connection: (ocsp_http.Response(200, [], bytes(30_000_000)), [""])
    )
    with socket.create_connection(address, 5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        time.sleep(1)
        assert len(read_all(connection)) < 30_000_000
    assert not server._connections


@pytest.mark.slow
def test_there_are_never_more_threads_than_allowed_and_nobody_who_asks_is_let_go(
    small, monkeypatch
):
    monkeypatch.setattr(http_server, "CONNECTIONS", 4)
    monkeypatch.setattr(http_server, "SILENT_SECONDS", 0.2)
    most = []

    def answer(head, body, connection):
        most.append(len(server._connections))
        time.sleep(0.05)
        return ocsp_http.Response(200, [("Content-Length", "2")], b"ok"), [""]

    address, _, server = small(answer)
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(socket.create_connection(address))  # and says nothing

        def ask(_) -> bytes:
            with socket.create_connection(address, 20) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return read_all(connection)

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(ask, range(60)))
    assert all(text.startswith(b"HTTP/1.1 200 OK") for text in answers)
    assert max(most) <= 4
    assert threading.active_count() <= before + 4


# Starting and ending


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
@pytest.mark.slow
def test_it_ends_cleanly(place, pki, question, number, status):
    server = Serving(place, pki.home / "ocsp-cgi.conf")
    with server.connect() as silent, server.connect() as half:
        half.sendall(b"POST / HT")
        assert server.send(post(question())).startswith(b"HTTP/1.1 200")
        started = time.monotonic()
        assert server.end(number) == status
        assert time.monotonic() - started < 3
        assert (read_all(silent), read_all(half)) == (b"", b"")
    assert len(server.log.splitlines()) == 1
    with pytest.raises(ConnectionRefusedError):
        server.connect()


@pytest.mark.slow
def test_an_answer_on_its_way_is_finished_at_the_end(small, monkeypatch):
    monkeypatch.setattr(http_server, "STOP_SECONDS", 5)
    begun = threading.Event()

    def answer(head, body, connection):
        begun.set()
        time.sleep(0.5)
        return ocsp_http.Response(200, [], b"done"), [""]

    address, _, server = small(answer)
    with socket.create_connection(address, 5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert begun.wait(5)
        server.stop()
        answered = read_all(connection)
    assert answered.endswith(b"Connection: close\r\n\r\ndone")


def test_greeting(serving, pki):
    lines = serving.greeting.splitlines()
    assert lines[0] == "This is for trying out; Apache is for serving others.  Ctrl-C ends it."
    assert lines[1] == f"Listening at {serving.url} with {pki.home}/ocsp-cgi.conf"
    assert "Whoever can reach" not in serving.greeting


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
                f"http://127.0.0.1:{port}/: Address already in use;"
                " end what listens there (`ss -ltnp` shows it), or take another with --port\n"
            ),
        )


@pytest.mark.slow
def test_what_it_cannot_begin_with(pki, place):
    config = f"{pki.home}/ocsp-cgi.conf"
    status, reason = fails("--config", config, "--bind", "192.0.2.1")
    assert status == 1 and reason.startswith(
        "http://192.0.2.1:9080/: Cannot assign requested address; `ip address` shows"
    )
    status, reason = fails("--config", config, "--bind", "no address")
    assert status == 1 and reason.startswith("--bind no address: no address of this machine;")
    for port in ("65536", "-1", "x", ""):
        status, reason = fails("--config", config, f"--port={port}")
        assert status == 2 and reason.endswith(
            f"argument --port: `{port}` is no port: it should be 0 to 65535\n"
        )
    missing = (
        f"{place}/none.conf: No such file or directory; this is the config, which OCSP_CGI_CONFIG"
        " names; `--config` names another\n"
    )
    assert fails("--config", f"{place}/none.conf") == (1, missing)
    assert fails(OCSP_CGI_CONFIG=f"{place}/none.conf") == (1, missing)
    (place / "broken.conf").write_text("[root-ca]\ndbb = x\ndb = x\n")
    assert fails("--config", f"{place}/broken.conf") == (
        1,
        f"{place}/broken.conf:2: unknown setting `dbb`; did you mean `db`?\n",
    )


def test_the_default_config(place):
    """Of another name than the real one, which may be there."""
    assert config.DEFAULT_PATH == "/etc/ssl/ocsp-cgi.conf"
    program = (
        "import sys; from ocsp_cgi import config; config.DEFAULT_PATH = sys.argv.pop()\n"
        "from ocsp_cgi import command_line; sys.exit(command_line.main())"
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
    assert run.stderr.startswith(f"{place}/default.conf: No such file or directory")


def test_a_config_broken_after_the_start_is_an_answer_and_a_log_line(place, ca, question):
    server = Serving(place, ca.home / "ocsp-cgi.conf")
    (ca.home / "ocsp-cgi.conf").rename(ca.home / "away.conf")
    assert parse_http(server.send(post(question()))).body == INTERNAL_ERROR
    assert (
        f"{ca.home}/ocsp-cgi.conf: No such file or directory" in server.log
        and "POST response=internalError client=" in server.log
    )
    assert parse_http(server.send(b"GET / HTTP/1.0\r\n\r\n")).status == 200
    (ca.home / "away.conf").rename(ca.home / "ocsp-cgi.conf")
    ca.revoke("good")
    assert b"\x30\x03\x0a" not in server.send(post(question()))[-5:]
    assert "status=revoked" in server.log
    assert server.end() == 0


def test_several_addresses_one_of_them_ipv6(place, pki, question, root):
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
        assert verified(parse_http(server.send(post(question()))).body, root)
    assert " client=::1 " in server.log and " client=127.0.0.1 " in server.log
    assert openssl_ocsp(pki.home, "-cert", "good.crt", "-url", server.url).stdout.startswith(
        "good.crt: good\n"
    )
    assert server.end() == 0


def test_everywhere(place, pki):
    server = Serving(place, pki.home / "ocsp-cgi.conf", "--bind", "0.0.0.0")
    assert (
        f"-url http://127.0.0.1:{server.port}/" in server.greeting
        and "Whoever can reach this machine can ask." in server.greeting
    )
    assert server.end() == 0


# In words


@pytest.fixture
def in_words(place, pki):
    server = Serving(place, pki.home / "ocsp-cgi.conf", "--text")
    yield server
    assert server.end() == 0


def test_text(in_words, pki, root, question):
    asked = request(
        cert_id(root, int(pki.serial("good"), 16)),
        cert_id(root, int(pki.serial("bad"), 16), "sha256"),
        cert_id(root, 5),
        extensions=nonce(bytes(16)),
    )
    answer = parse_http(in_words.send(post(asked))).body
    words = in_words.output.read_text()[len(in_words.greeting) :]
    (pki.home / "text.der").write_bytes(answer)
    theirs = openssl_ocsp(pki.home, "-respin", "text.der", "-noverify", "-resp_text").stdout
    end = theirs.index("    Signature Algorithm: ")
    without_spaces = [line.rstrip() for line in theirs[:end].splitlines()]
    ours = words[words.index("OCSP Response Data:") :].splitlines()
    assert ours[: len(without_spaces)] == without_spaces
    assert (
        "    Certificate: C = GB, O = Example, CN = root-ocsp, issued by C = GB, O = Example, CN ="
        " Root CA,\n" in words
    )
    (pki.home / "text.der").write_bytes(asked)
    run = subprocess.run(
        ["openssl", "ocsp", "-reqin", "text.der", "-req_text"],
        cwd=pki.home,
        capture_output=True,
        text=True,
    )
    assert [line.rstrip() for line in run.stdout.splitlines()] == words[
        : words.index("OCSP Response Data:")
    ].splitlines()


@pytest.mark.parametrize(
    "sent, words",
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
def test_text_of_what_is_no_request(in_words, sent, words):
    in_words.send(sent)
    assert in_words.output.read_text()[len(in_words.greeting) :] == words


def test_standard_output_that_nobody_reads(pki, question):
    command = [*COMMAND, "--port", "0", "--text", "--config", f"{pki.home}/ocsp-cgi.conf"]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        greeting = process.stdout.read1(10_000).decode()
        port = int(re.search(r"127\.0\.0\.1:(\d+)/ with", greeting)[1])
        process.stdout.close()
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.sendall(post(question()))
                assert read_all(connection).startswith(b"HTTP/1.1 200 OK")
        process.terminate()
        assert process.wait(10) == 0
