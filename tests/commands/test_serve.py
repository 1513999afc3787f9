"""The responder without Apache: the same responses as the CGI's, and nothing that a client sends
keeps it from answering."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import resource
import signal
import socket
import subprocess
import sys
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
    read_all,
    request,
    run_cgi,
    settle,
    verified,
)
from cryptography.x509 import ocsp

from ocsp_cgi import config, sidecar
from ocsp_cgi.tools import wsgi_server
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "ocsp_cgi", "serve"]
MALFORMED, INTERNAL_ERROR, TRY_LATER = (b"\x30\x03\x0a\x01" + end for end in (b"\1", b"\2", b"\3"))


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
                command,
                cwd=CHECKOUT,
                stdout=output,
                stderr=errors,
                preexec_fn=limit,
                start_new_session=True,
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


@contextlib.contextmanager
def serving_ended(directory: Path, config: Path, *options: str):
    """As Serving, which ends with the `with`."""
    server = Serving(directory, config, *options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def post(body: bytes, *fields: str, version: str = "1.0", length: int | None = None) -> bytes:
    lines = [
        f"POST / HTTP/{version}",
        "Host: ocsp.example.com",
        "Content-Type: application/ocsp-request",
        *fields,
    ]
    if not any(field.startswith("Transfer-Encoding") for field in fields):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


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


@pytest.mark.slow
def test_the_commands_it_says_work_for_an_issuing_ca(pki, place):
    root = pki.copy(place / "root")
    sub = PrivateCA(place / "sub", root=root)
    sub.issue("sub-ocsp", "ocsp_ext")
    sub.issue("www")
    settle(sub.home / "db" / "index")
    config_file = root.home / "ocsp-cgi.conf"
    section = f"""
[sub-ca]
db      = {sub.home}/db
ca      = {sub.home}/sub-ca.crt
rsigner = {sub.home}/sub-ocsp.crt
rkey    = {sub.home}/private/sub-ocsp.key
"""
    config_file.write_text(config_file.read_text() + section)
    settle(root.home / "db" / "index")
    server = Serving(place, config_file)
    try:
        of_root, of_sub = re.findall(r"^    (openssl ocsp .*)$", server.greeting, re.MULTILINE)
        for command, name in ((of_root, "sub/sub-ca.crt"), (of_sub, "sub/www.crt")):
            run = subprocess.run(
                command.replace("server.crt", name),
                shell=True,
                cwd=place,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert run.stdout.startswith(f"{name}: good\n"), run
            assert "Response verify OK" in run.stderr
    finally:
        server.end()


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


def test_curl(serving, root, ocsp_request, tmp_path):
    (tmp_path / "request").write_bytes(ocsp_request("bad"))
    post_it = ["-H", "Content-Type: application/ocsp-request"]
    post_it += ["--data-binary", f"@{tmp_path}/request", serving.url + "any/path"]
    for more in ([], ["-H", "Expect: 100-continue"], ["-0"]):
        response = verified(curl(*more, *post_it).body, root)
        assert response.certificate_status == ocsp.OCSPCertStatus.REVOKED
    refused = curl("-H", "Transfer-Encoding: chunked", *post_it)
    assert refused.status == 411 and b"send the body's Content-Length" in refused.body


@pytest.mark.slow
def test_curl_with_a_long_body(serving, root, pki, tmp_path):
    """Above 1 KiB, or 1 MiB in newer releases, it asks first by itself whether to send it."""
    serial = int(pki.serial("bad"), 16)
    (tmp_path / "request").write_bytes(request(*[cert_id(root, serial)] * 30))
    options = ["-H", "Content-Type: application/ocsp-request", "-H", "Expect: 100-continue"]
    options += ["--expect100-timeout", "20"]
    started = time.monotonic()
    response = curl(*options, "--data-binary", f"@{tmp_path}/request", serving.url)
    assert time.monotonic() - started < 15, "curl was not sent `100 Continue`"
    statuses = [one.certificate_status for one in verified(response.body, root).responses]
    assert statuses == [ocsp.OCSPCertStatus.REVOKED] * 30


@pytest.mark.slow
def test_query_asks(serving, pki):
    command = [sys.executable, "-m", "ocsp_cgi", "query", "--issuer", f"{pki.home}/root-ca.crt"]
    command += ["--cert", f"{pki.home}/bad.crt", "--url", serving.url]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and "bad.crt: revoked" in run.stdout


def test_a_connection_carries_one_request(serving, ocsp_request):
    """Also where the client would like to keep it, and has sent the next request already."""
    with serving.connect() as connection:
        connection.sendall(
            post(ocsp_request(), "Connection: keep-alive", version="1.1")
            + post(ocsp_request(), "Connection: keep-alive", version="1.1")
        )
        sent = read_all(connection)
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n") and sent.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in sent


def test_a_request_that_comes_byte_by_byte(serving, ocsp_request, root):
    with serving.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"\r\n" + post(ocsp_request("bad")):
            connection.sendall(bytes((byte,)))
        assert verified(parse_http(read_all(connection)).body, root)


def test_expect_is_answered_before_the_body_comes(serving, ocsp_request):
    with serving.connect() as connection:
        head, body = post(ocsp_request(), "Expect: 100-continue", version="1.1").split(
            b"\r\n\r\n", 1
        )
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_all(connection).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_body_that_is_refused_is_not_asked_for(serving):
    with serving.connect() as connection:
        fields = ("Expect: 100-continue", "Transfer-Encoding: chunked")
        connection.sendall(post(b"", *fields, version="1.1"))
        assert read_all(connection).startswith(b"HTTP/1.1 411 Length Required\r\n")


def test_304_for_what_the_client_has(serving, ocsp_request):
    response = curl("-H", "If-None-Match: *", serving.url + base64_of(ocsp_request()))
    assert (response.status, response.body) == (304, b"")
    assert response.headers["etag"] and "content-length" not in response.headers


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


@pytest.mark.parametrize(
    "sent, status",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 50, 400, id="TLS"),
        pytest.param(b"hello\r\n\r\n", 400, id="text"),
        pytest.param(b"\x1b[2J\xff\r\n\r\n", 400, id="escapes"),
        pytest.param(b"GET /\r\n\r\n", 400, id="HTTP/0.9"),
        pytest.param(b"\x00" * 1000 + b"\r\n\r\n", 400, id="NULs"),
        pytest.param(b"GET / HTTP/x\r\n\r\n", 400, id="no version"),
        pytest.param(b"GET / HTTP/2.0\r\n\r\n", 505, id="HTTP/2"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, id="HTTP/2 preface"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no Host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, id="two Hosts"),
        pytest.param(b"GET / HTTP/1.0\r\nno colon\r\n\r\n", 400, id="no colon"),
        pytest.param(b"GET / HTTP/1.0\r\nName : x\r\n\r\n", 400, id="space before colon"),
        pytest.param(b"GET /" + b"A" * 200_000 + b" HTTP/1.0\r\n\r\n", 431, id="long target"),
        pytest.param(b"A" * 2_000_000, 431, id="no line"),
        pytest.param(b"GET / HTTP/1.0\r\n" + b"x: y\r\n" * 101 + b"\r\n", 431, id="many fields"),
        pytest.param(
            b"GET / HTTP/1.0\r\n" + (b"x: " + b"y" * 60_000 + b"\r\n") * 5, 431, id="long header"
        ),
        pytest.param(b"GET / HTTP/1.0\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431, id="long field"),
        pytest.param(post(b"x", "Transfer-Encoding: gzip", version="1.1"), 411, id="gzip"),
        pytest.param(
            post(b"1\r\nx\r\n0\r\n\r\n", "Transfer-Encoding: chunked", version="1.1"),
            411,
            id="chunked",
        ),
        pytest.param(
            post(b"x", "Transfer-Encoding: chunked", "Content-Length: 1", version="1.1"),
            411,
            id="chunked and a length",
        ),
        pytest.param(post(b"x", "Content-Length: 2"), 400, id="two lengths"),
        pytest.param(post(b"x", length=-1), 400, id="negative length"),
        pytest.param(post(b"x", length=10**30), 400, id="huge length"),
    ],
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
def test_bodies_too_large_are_malformed_requests(serving, still_answers, size):
    with serving.connect() as connection:
        with contextlib.suppress(ConnectionError):  # of the largest one not everything is read
            connection.sendall(post(b"\x30" * size))
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
        assert still_answers() < wsgi_server.READ_SECONDS
        assert threads(serving) <= wsgi_server.CONNECTIONS + 2  # main, and the application's


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


@pytest.mark.slow
def test_a_hung_index_blocks_no_other_ca(place, pki):
    """A pipe that nobody writes to hangs, as a network file system does whose server is gone."""
    hung, other = pki.copy(place / "hung"), PrivateCA(place / "other")
    other.issue("root-ocsp", "ocsp_ext")
    other.issue("good")
    settle(other.home / "db" / "index")
    index = hung.home / "db" / "index"
    saved = index.read_bytes()
    index.unlink()
    os.mkfifo(index)
    config_file = place / "both.conf"
    config_file.write_text(
        "".join(
            f"[{ca.home.name}]\ndb = {ca.home}/db\nca = {ca.home}/root-ca.crt\n"
            f"rsigner = {ca.home}/root-ocsp.crt\nrkey = {ca.home}/private/root-ocsp.key\n"
            for ca in (hung, other)
        )
    )
    of_hung, of_other = (
        request(cert_id(certificate(ca.home / "root-ca.crt"), int(ca.serial("good"), 16)))
        for ca in (hung, other)
    )
    with serving_ended(place, config_file) as server, ThreadPoolExecutor(40) as pool:
        hanging = [pool.submit(server.send, post(of_hung)) for _ in range(40)]
        time.sleep(1)
        started = time.monotonic()
        for _ in range(5):
            response = parse_http(server.send(post(of_other)))
            assert verified(response.body, certificate(other.home / "root-ca.crt"))
        assert time.monotonic() - started < 5 and not any(one.done() for one in hanging)
        assert {parse_http(one.result()).body for one in hanging} == {TRY_LATER}
        assert f"no response within 10 seconds, still reading {hung.home}/db:" in server.log
        # now those who ask for this CA are sent away sooner, and others have room
        started = time.monotonic()
        assert parse_http(server.send(post(of_hung))).body == TRY_LATER
        assert time.monotonic() - started < 8 and "other requests hang" in server.log
        # the pipe is replaced, and those who wait for it still do
        (place / "index").write_bytes(saved)
        (place / "index").rename(index)
        settle(index)
        response = parse_http(server.send(post(of_hung)))
        assert verified(response.body, certificate(hung.home / "root-ca.crt"))


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
def test_ctrl_c_also_ends_the_process_that_maps_an_index(place, ca, ocsp_request):
    """Without a traceback: a terminal's Ctrl-C reaches both."""
    cache = ca.home / "cache"
    cache.mkdir()
    config_file = ca.home / "ocsp-cgi.conf"
    config_file.write_text(config_file.read_text().replace("rkey", "cache = cache\nrkey"))
    index = ca.home / "db" / "index"
    first = index.read_text().partition("\n")[0].split("\t")
    rows = ["\t".join([*first[:3], f"{number:X}", *first[4:]]) for number in range(4096, 12000)]
    with open(index, "a") as file:
        file.write("\n".join(rows) + "\n")
    settle(index)
    [section] = config.load(str(config_file)).cas
    path = sidecar.may_be_written(section, index.stat()) + sidecar.LOCK_SUFFIX
    with open(path, "wb") as lock, serving_ended(place, config_file) as server:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server.send(post(ocsp_request()))
        waiter = eventually(lambda: waiting_for(lock))
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(10) == 130
        assert eventually(lambda: has_ended(waiter))
        assert len(server.log.splitlines()) == 1 and "status=good" in server.log


def waiting_for(lock) -> int:
    """The process that waits for the lock on this file; 0 if there is none."""
    inode = os.fstat(lock.fileno()).st_ino
    waits = rf"-> FLOCK .* (\d+) \S+:{inode} "
    found = re.search(waits, Path("/proc/locks").read_text())
    return int(found[1]) if found else 0


def has_ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] == "Z"
    except OSError:
        return True


def eventually(test):
    """What test() returns as soon as it is true."""
    deadline = time.monotonic() + 10
    while not (value := test()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


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
    assert "    Certificate: CN = root-ocsp, issued by C = GB, O = Example, CN = Root CA,\n" in text
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
