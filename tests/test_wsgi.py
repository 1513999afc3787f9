"""What the WSGI application does itself.  What it has in common with the CGI is tested with that:
test_cgi.py, test_conformance.py, test_apache.py."""

from __future__ import annotations

import email.utils
import hashlib
import importlib.util
import io
import os
import socket
import sys
import threading
import time

import pytest
from clients import (
    SPELLINGS,
    base64_of,
    cert_id,
    certificate,
    curl,
    nonce,
    program,
    request,
    run_wsgi,
    verified,
)
from cryptography.x509 import ocsp

from ocsp_cgi import limits, wsgi
from ocsp_cgi.tools import httpd

pytestmark = pytest.mark.process

MALFORMED = b"\x30\x03\x0a\x01\x01"


@pytest.fixture
def root(pki):
    return certificate(pki.home / "root-ca.crt")


@pytest.fixture
def encoded(pki, root) -> bytes:
    return request(cert_id(root, int(pki.serial("bad"), 16)))


@pytest.fixture
def ask(pki):
    return lambda *arguments, **variables: run_wsgi(
        wsgi.application, pki.home / "ocsp-cgi.conf", *arguments, **variables
    )


@pytest.mark.parametrize("name", ["REQUEST_URI", "RAW_URI"])
def test_the_raw_path_is_where_the_server_puts_it(ask, encoded, root, name):
    for number in range(10000):  # until the path that the server has decoded lacks a slash
        text = base64_of(
            request(encoded[8:], extensions=nonce(hashlib.sha256(b"%d" % number).digest()))
        )
        if "//" in text:
            break
    assert "//" in text
    variables = {
        "REQUEST_URI": "",
        "PATH_INFO": "/" + text.replace("//", "/"),
        name: "/cgi-bin/ocsp.cgi" + SPELLINGS["escaped"](text),
    }
    assert verified(ask("GET", **variables).body, root)
    del variables[name]
    assert ask("GET", **{**variables, "REQUEST_URI": ""}).body == MALFORMED


def test_the_config_is_that_of_the_request_else_that_of_the_process(pki, encoded, monkeypatch):
    body = io.BytesIO
    environ = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": "application/ocsp-request"}

    def log(**variables: object) -> str:
        errors = io.StringIO()
        variables = {
            **environ,
            "CONTENT_LENGTH": str(len(encoded)),
            "wsgi.input": body(encoded),
            "wsgi.errors": errors,
            **variables,
        }
        b"".join(wsgi.application(variables, lambda *arguments: None))
        return errors.getvalue()

    monkeypatch.setenv("OCSP_CGI_CONFIG", "/nowhere/of-the-process.conf")
    assert "/nowhere/of-the-process.conf: No such file" in log()
    assert "status=revoked" in log(OCSP_CGI_CONFIG=str(pki.home / "ocsp-cgi.conf"))
    monkeypatch.setenv("OCSP_CGI_CONFIG", str(pki.home / "ocsp-cgi.conf"))
    assert "status=revoked" in log()
    assert "/nowhere/of-the-request.conf: No such file" in log(
        OCSP_CGI_CONFIG="/nowhere/of-the-request.conf"
    )
    monkeypatch.delenv("OCSP_CGI_CONFIG")
    assert "since OCSP_CGI_CONFIG is not set" in log()


def test_a_config_of_any_name(ca, encoded, root):
    path = ca.home / os.fsdecode("ä\udcff.conf".encode("utf-8", "surrogateescape"))
    os.rename(ca.home / "ocsp-cgi.conf", path)
    assert verified(run_wsgi(wsgi.application, path, "POST", encoded).body, root)


class _Input:
    """A body that arrives as a server lets it arrive."""

    def __init__(self, *parts: bytes | Exception):
        self.parts = list(parts)
        self.asked: list[int] = []

    def read(self, size: int) -> bytes:
        self.asked.append(size)
        part = self.parts.pop(0) if self.parts else b""
        if isinstance(part, Exception):
            raise part
        if len(part) > size:
            self.parts.insert(0, part[size:])
        return part[:size]

    def readline(self, *_): ...
    def readlines(self, *_): ...
    def __iter__(self): ...


def test_a_body_in_pieces(ask, encoded, root):
    parts = [encoded[at : at + 7] for at in range(0, len(encoded), 7)]
    assert verified(ask("POST", encoded, **{"wsgi.input": _Input(*parts)}).body, root)


@pytest.mark.parametrize("end", [(), (OSError("connection closed"),)], ids=["short", "error"])
def test_a_body_that_breaks_off_is_malformed(ask, encoded, end):
    assert ask("POST", encoded, **{"wsgi.input": _Input(encoded[:30], *end)}).body == MALFORMED


def test_a_body_of_any_length_is_not_kept(ask):
    body = _Input(*[b"\x30" * 65536] * 100)
    length = str(100 * 65536)
    response = ask("POST", CONTENT_LENGTH=length, **{"wsgi.input": body})
    assert response.body == MALFORMED and "more than 65536 bytes" in response.log
    assert sum(body.asked) <= limits.DRAINED_BYTES and max(body.asked) <= 65536


def test_without_a_length_nothing_is_read_unless_the_server_says_that_it_ends(pki, encoded, root):
    """A read would wait for the client's next request."""
    body = _Input(encoded)
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/ocsp-request",
        "OCSP_CGI_CONFIG": str(pki.home / "ocsp-cgi.conf"),
        "wsgi.input": body,
        "wsgi.errors": io.StringIO(),
    }
    assert b"".join(wsgi.application(environ, lambda *arguments: None)) == MALFORMED
    assert body.asked == []
    environ["wsgi.input_terminated"] = True
    assert verified(b"".join(wsgi.application(environ, lambda *arguments: None)), root)


def _date(seconds: float) -> str:
    return email.utils.formatdate(seconds, usegmt=True)


def test_section_5_304_for_what_the_client_has(pki, encoded):
    """Apache does this for a CGI; the responses are cached here, so that there can be one again."""
    config = pki.home / "ocsp-cgi.conf"
    now = int(time.time())
    application = wsgi.Application(clock=lambda: now)
    seen = {}

    def ask(method: str = "GET", **headers: str):
        path = "/" + base64_of(encoded) if method != "POST" else ""
        body = encoded if method == "POST" else b""
        variables = {f"HTTP_{name}": value for name, value in headers.items()}
        return run_wsgi(application, config, method, body, path, **variables)

    for method in ("GET", "HEAD"):
        response = ask(method, IF_NONE_MATCH="*")
        assert (response.status, response.body) == (304, b"")
        assert set(response.headers) == {"last-modified", "expires", "etag", "cache-control"}
        assert ask(method, IF_NONE_MATCH='"another"').status == 200
        # RFC 9110 section 13.1.3: the date is ignored then
        both = {"IF_NONE_MATCH": '"another"', "IF_MODIFIED_SINCE": _date(now)}
        assert ask(method, **both).status == 200
        seen[method] = ask(method).headers["content-length"]
    assert ask("POST", IF_NONE_MATCH="*").status == 200
    assert seen["HEAD"]


def test_section_5_a_date_alone_does_not_show_what_the_client_has(ca, encoded):
    """A revocation in the second of the response that it has, or the clock of another host."""
    config, path = ca.home / "ocsp-cgi.conf", "/" + base64_of(encoded)
    now = int(time.time())
    application = wsgi.Application(clock=lambda: now)
    good = run_wsgi(application, config, "GET", path=path)
    ca.revoke("good")
    for since in (good.headers["last-modified"], _date(now + 1), _date(now - 1), "yesterday"):
        for method in ("GET", "HEAD"):
            variables = {"HTTP_IF_MODIFIED_SINCE": since}
            response = run_wsgi(application, config, method, path=path, **variables)
            assert response.status == 200
            assert response.headers["last-modified"] == good.headers["last-modified"]
            assert response.headers["etag"] != good.headers["etag"]


def test_section_5_the_entity_tag_of_a_cached_response(ca, encoded):
    (ca.home / "cache").mkdir(mode=0o750)
    config = ca.home / "ocsp-cgi.conf"
    config.write_text(config.read_text().replace("rkey", "cache = cache\nrkey"))
    path = "/" + base64_of(encoded)
    tag = run_wsgi(wsgi.application, config, "GET", path=path).headers["etag"]
    for value, status in (
        (tag, 304),
        (f'"x", W/{tag}', 304),
        (f'"x",{tag},"y"', 304),
        (tag.strip('"'), 200),
    ):
        again = run_wsgi(wsgi.application, config, "GET", path=path, HTTP_IF_NONE_MATCH=value)
        assert again.status == status, value
        assert again.headers["etag"] == tag


@pytest.mark.parametrize("path", ["", "/MEMO"])
def test_what_is_not_a_response_is_never_304(ask, path):
    assert ask("GET", path=path, HTTP_IF_NONE_MATCH="*").status == 200


def test_a_log_that_cannot_be_written_costs_no_response(ask, encoded, root):
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("no space left on device")

    assert verified(ask("POST", encoded, **{"wsgi.errors": Full()}).body, root)


@pytest.mark.slow
def test_many_threads_each_get_their_own_response(pki, root):
    """Statuses, nonces and log lines are those of the request."""
    statuses = {"good": ocsp.OCSPCertStatus.GOOD, "bad": ocsp.OCSPCertStatus.REVOKED}
    serials = {name: pki.serial(name) for name in statuses}
    config = pki.home / "ocsp-cgi.conf"
    application = wsgi.Application()
    wrong: list[object] = []

    def ask(number: int) -> None:
        for count in range(50):
            name = ("good", "bad")[(number + count) % 2]
            value = b"%d,%d" % (number, count)
            encoded = request(cert_id(root, int(serials[name], 16)), extensions=nonce(value))
            answered = run_wsgi(application, config, "POST", encoded)
            response = verified(answered.body, root)
            if (
                response.certificate_status != statuses[name]
                or value not in answered.body
                or answered.log.count(f" serial={serials[name]} ") != 1
                or answered.log.count("\n") != 1
            ):
                wrong.append((name, answered))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.fixture(scope="module")
def waitress_url(pki):
    """The address of waitress, which has nothing of Apache's, with the application."""
    if importlib.util.find_spec("waitress") is None:
        pytest.skip("waitress is not installed (pip install waitress)")
    port = httpd.free_port()
    command = [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{port}"]
    environment = {**os.environ, "OCSP_CGI_CONFIG": str(pki.home / "ocsp-cgi.conf")}
    options = {"cwd": httpd.data_files.PACKAGE.parent, "env": environment}
    with program([*command, "ocsp_cgi.wsgi:application"], **options):
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["POST", "POST, chunked", "GET", "HEAD", "page"])
def test_in_a_server_that_is_all_python(waitress_url, encoded, root, place, method):
    (place / "request.der").write_bytes(encoded)
    post = ("-H", "Content-Type: application/ocsp-request", "--data-binary")
    post += (f"@{place}/request.der",)
    options = {
        "POST": post,
        "POST, chunked": (*post, "-H", "Transfer-Encoding: chunked"),
        "HEAD": ("--head",),
    }.get(method, ())
    path = "/" + base64_of(encoded) if method in ("GET", "HEAD") else "/"
    for _ in range(3):
        response = curl(*options, waitress_url + path)
        assert response.status == 200
        if method == "page":
            assert b"<h1>OCSP responder</h1>" in response.body
        elif method == "HEAD":
            assert int(response.headers["content-length"]) > 500 and not response.body
        else:
            assert verified(response.body, root)


@pytest.mark.process
@pytest.mark.slow
def test_a_request_that_hangs_is_logged(place, encoded, capfd, monkeypatch):
    """With the file in which it hangs; once."""
    os.mkfifo(place / "hangs.conf")
    monkeypatch.setattr(limits, "DEADLINE_SECONDS", 0.5)
    ask = wsgi.Watched(wsgi.Application())
    thread = threading.Thread(target=run_wsgi, args=(ask, place / "hangs.conf", "POST", encoded))
    thread.start()
    deadline = time.monotonic() + 20
    log = ""
    while "no response" not in log and time.monotonic() < deadline:
        time.sleep(0.1)
        log += capfd.readouterr().err
    time.sleep(1.5)
    open(place / "hangs.conf", "w").close()
    thread.join(20)
    assert not thread.is_alive()
    log += capfd.readouterr().err
    assert log.count("no response within") == 1
    assert (
        f"ocsp.cgi: error: no response within 0.5 seconds, still reading {place}/hangs.conf" in log
    )
