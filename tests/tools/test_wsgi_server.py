"""The server under `serve`, in this process, with applications of our own: its limits, and what it
does when they are reached."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import wsgiref.validate
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import HTTPResponse, parse_http, read_all

from ocsp_cgi import answer, limits
from ocsp_cgi.tools import wsgi_runner, wsgi_server

TRY_LATER = b"\x30\x03\x0a\x01\x03"


def wsgi_echo(environ, start_response):
    """An application that says which method, and how much of a body, has reached it."""
    body = environ["wsgi.input"].read(100_000)
    said = f"{environ['REQUEST_METHOD']} {len(body)}".encode()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(said)))]
    start_response("200 OK", headers)
    return [said]


@pytest.fixture
def small(monkeypatch):
    """small(application) is the address, the log and the Server of one in this process, with
    timeouts of parts of a second."""
    for name, seconds in (
        ("READ_SECONDS", 0.5),
        ("WRITE_SECONDS", 0.5),
        ("LINGER_SECONDS", 0.3),
        ("STOP_SECONDS", 0.5),
    ):
        monkeypatch.setattr(wsgi_server, name, seconds)
    with contextlib.ExitStack() as stack:

        def start(application=wsgi_echo):
            listener = socket.create_server(("127.0.0.1", 0))
            logged: list[str] = []
            server = wsgi_server.Server([listener], "/nowhere.conf", logged.append, application)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()

            def stop() -> None:
                server.shutdown()
                thread.join(10)
                assert not thread.is_alive()

            stack.callback(stop)
            return listener.getsockname(), logged, server

        yield start


def ask(address: tuple[str, int], sent: bytes = b"GET / HTTP/1.0\r\n\r\n") -> HTTPResponse:
    with socket.create_connection(address, 20) as connection:
        connection.sendall(sent)
        return parse_http(read_all(connection))


@pytest.mark.parametrize(
    "method, body, said",
    [("GET", b"", b"GET 0"), ("POST", b"x" * 5000, b"POST 5000"), ("POST", b"x", b"POST 1")],
)
def test_the_application_gets_what_pep_3333_promises(small, method, body, said):
    address, logged, _ = small(wsgiref.validate.validator(wsgi_echo))
    head = (
        f"{method} /a%2fb?c HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: {len(body)}"
    )
    response = ask(address, head.encode() + b"\r\n\r\n" + body)
    assert (response.status, response.body, "".join(logged)) == (200, said, "")


def test_variables_of_a_request(small, monkeypatch):
    """None is of this process, and the path is there as it came."""
    monkeypatch.setenv("HTTP_HOST", "process.example.com")
    seen = {}

    def application(environ, start_response):
        seen.update(environ)
        return wsgi_echo(environ, start_response)

    address, _, _ = small(application)
    ask(address, b"GET //a%2Fb//c?d=e HTTP/1.0\r\nServer-Name: x\r\nRequest-URI: /x\r\n\r\n")
    assert "HTTP_HOST" not in seen
    assert seen["REQUEST_URI"] == "//a%2Fb//c?d=e" and seen["REMOTE_ADDR"] == "127.0.0.1"
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("127.0.0.1", str(address[1]))
    assert seen["OCSP_CGI_CONFIG"] == "/nowhere.conf"


def test_an_application_that_fails(small):
    address, logged, _ = small(lambda environ, start_response: 1 / 0)
    response = ask(address)
    assert response.status == 500 and b"ZeroDivisionError" not in response.body
    assert "ZeroDivisionError" in "".join(logged)
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize(
    "sent, drop, told",
    [
        (b"", b"", b""),
        (b"POST / HTTP/1.0\r\n", b"", b"HTTP/1.1 408 "),
        (b"POST / HTTP/1.0\r\n", b"x", b"HTTP/1.1 408 "),
        (b"POST / HTTP/1.0\r\nContent-Length: 1000\r\n\r\n", b"", b"HTTP/1.1 408 "),
        (b"POST / HTTP/1.0\r\nContent-Length: 1000\r\n\r\n", b"x", b"HTTP/1.1 408 "),
        (b"POST / HTTP/1.0\r\nContent-Length: 100000\r\n\r\n", b"x" * 5000, b"HTTP/1.1 408 "),
    ],
    ids=["silent", "half a head", "slow head", "half a body", "slow body", "slow long body"],
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
    assert ("http=408" in "".join(logged)) == bool(told)


@pytest.mark.parametrize("taken", [0, 1000], ids=["not at all", "slowly"])
@pytest.mark.slow
def test_a_client_that_does_not_take_the_response_is_disconnected(small, taken):
    def long_response(environ, start_response):
        start_response("200 OK", [("Content-Length", "30000000")])
        return [bytes(30_000_000)]

    address, _, server = small(long_response)
    with socket.create_connection(address, 5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        end = time.monotonic() + 1
        while time.monotonic() < end:
            time.sleep(0.05)
            connection.recv(taken)
        assert len(read_all(connection)) < 29_000_000
    assert not server._silent_since


@pytest.mark.slow
def test_threads_are_limited_and_active_clients_are_not_disconnected(small, monkeypatch):
    monkeypatch.setattr(wsgi_server, "CONNECTIONS", 4)
    monkeypatch.setattr(wsgi_server, "SILENT_SECONDS", 0.2)
    most = []

    def slow(environ, start_response):
        most.append(len(server._silent_since))
        time.sleep(0.05)
        return wsgi_echo(environ, start_response)

    address, _, server = small(slow)
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(socket.create_connection(address))  # and says nothing

        with ThreadPoolExecutor(20) as pool:
            responses = list(pool.map(ask, [address] * 60))
    assert {response.body for response in responses} == {b"GET 0"}
    assert max(most) <= 4
    assert threading.active_count() <= before + 8


@pytest.mark.slow
def test_all_threads_hang(small, monkeypatch):
    """Each request gets tryLater, and the server goes on when the hanging ends."""
    monkeypatch.setattr(limits, "DEADLINE_SECONDS", 0.3)
    monkeypatch.setattr(wsgi_runner, "HUNG_FILE_SECONDS", 0.1)
    monkeypatch.setattr(wsgi_runner, "RUNNING", 3)
    readable = threading.Event()

    def hangs(environ, start_response):
        answer.reading("/mnt/gone/index")
        assert readable.wait(30)
        environ["wsgi.errors"].write("in time\n")
        return wsgi_echo(environ, start_response)

    address, logged, _ = small(hangs)

    for _ in range(5):
        response = ask(address)
        assert (response.status, response.body) == (200, TRY_LATER)
        assert response.headers["cache-control"] == "no-cache, no-store"
    lines = "".join(logged).splitlines()
    assert sum("still reading /mnt/gone/index: " in line for line in lines) == 1
    assert sum("error: /mnt/gone/index: other requests hang" in line for line in lines) == 2
    assert sum("error: 3 requests hang" in line for line in lines) == 2
    assert sum("GET response=tryLater client=127.0.0.1 ms=" in line for line in lines) == 5
    readable.set()
    deadline = time.monotonic() + 5
    while ask(address).body != b"GET 0" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert ask(address).body == b"GET 0"
    written = "".join(logged)
    assert written.count("in time\n") == 2, "what hung logs nothing more"


@pytest.mark.slow
def test_a_response_under_way_is_finished_at_the_end(small, monkeypatch):
    monkeypatch.setattr(wsgi_server, "STOP_SECONDS", 5)
    begun = threading.Event()

    def slow(environ, start_response):
        begun.set()
        time.sleep(0.5)
        return wsgi_echo(environ, start_response)

    address, _, server = small(slow)
    with socket.create_connection(address, 5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert begun.wait(5)
        server.shutdown()
        answered = read_all(connection)
    assert answered.endswith(b"Connection: close\r\n\r\nGET 0")
