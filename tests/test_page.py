"""The HTML page: well-formed, escaped and self-contained.  How it is sent is in test_cgi.py."""

from __future__ import annotations

import contextlib
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ocsp_cgi import __version__, page
from ocsp_cgi.commands import demo
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.openssl_ca import PrivateCA
from ocsp_cgi.tools.wsgi_server import LocalServer

VOID = ("meta", "br", "link", "img")


class Reader(HTMLParser):
    """A strict reader of pages: every element must be closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.commands: list[str] = []  # each <pre>
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        if tag == "pre":
            self.commands.append("")
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "pre" in self.open:
            self.commands[-1] += data


def read(*arguments) -> Reader:
    reader = Reader()
    reader.feed(page.render(*arguments).decode())
    assert reader.open == []
    return reader


@pytest.mark.parametrize(
    "status, note",
    [
        (200, None),
        (404, "What follows the address is not an OCSP request."),
        (405, "An OCSP request is a POST or a GET; this was neither."),
        (
            415,
            (
                "A POST to this address must have the type application/ocsp-request; this one did"
                " not."
            ),
        ),
    ],
)
def test_page(status, note):
    reader = read(
        status,
        "http://ocsp.example.com/cgi-bin/ocsp.cgi",
        "https://pki.example.com/",
        "cryptography 50 (OpenSSL 3)",
    )
    assert reader.text.count("-url http://ocsp.example.com/cgi-bin/ocsp.cgi") == 3
    assert (f"ocsp.cgi {__version__} with cryptography 50 (OpenSSL 3)" in reader.text) and (
        "href",
        "https://pki.example.com/",
    ) in reader.attributes
    for known in page._NOTES.values():
        plain = re.sub("<.*?>", "", known)
        assert not plain or (plain in reader.text) == (plain == note)


def test_outside_text_is_escaped():
    hostile = "http://x/\"'><script>alert(1)</script>&amp;"
    reader = read(200, hostile, hostile, hostile)
    assert reader.text.count(hostile) == 5
    assert ("href", hostile) in reader.attributes


def test_without_hyperlink_or_library():
    reader = read(200, "http://x/", "", "")
    assert "More about" not in reader.text and f"ocsp.cgi {__version__}\n" in reader.text


def test_nothing_is_loaded_from_elsewhere():
    text = page.render(200, "u", "", "").decode()
    assert not re.search(r"src=|url\(|@import|<link|<script", text)


@contextlib.contextmanager
def tls_server(ca: PrivateCA, name: str):
    """A server with this certificate.  Its address is what `with` gives."""
    port = httpd.free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", f"{name}.crt"]
    command += ["-key", f"private/{name}.key"]
    server = subprocess.Popen(
        command, cwd=ca.home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert any(line == "ACCEPT\n" for line in server.stdout)
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.communicate()


@pytest.mark.slow
@pytest.mark.process
def test_its_commands_work(ca, place):
    """Typed into a shell, about certificates of a root and of an issuing CA; but for Windows'."""
    sub = PrivateCA(place / "sub", root=ca)
    sub.issue("sub-ocsp", "ocsp_ext")
    sub.issue("server")
    sub.revoke("server")
    with open(ca.home / "ocsp-cgi.conf", "a") as config:
        config.write(demo.CONFIG.replace("root-", "sub-").replace("= ", f"= {sub.home}/"))

    def run(command: str, home: Path, **names: str) -> str:
        for before, after in names.items():
            command = re.sub(rf"\b{before}\b", after, command)
        ran = subprocess.run(["sh", "-c", command], cwd=home, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout + ran.stderr

    with LocalServer(ca.home / "ocsp-cgi.conf") as server:
        commands = read(200, server.url, "", "").commands
        certificate, from_issuing, by_serial, of_file, of_server, windows = commands
        for name in ("good", "sub-ca"):
            said = run(certificate, ca.home, ca="root-ca", server=name)
            assert "Response verify OK" in said and f"{name}.crt: good" in said
        said = run(from_issuing.replace("issuing-ca", "sub-ca"), sub.home)
        assert "Response verify OK" in said and "server.crt: revoked" in said
        said = run(of_file, sub.home)
        assert said == f"serial={sub.serial('server')}\n"
        said = run(by_serial.replace("1234", sub.serial("server")), sub.home, ca="sub-ca")
        assert "Response verify OK" in said and ": revoked" in said
    with tls_server(sub, "server") as address:
        said = run(of_server.replace("server.example.com:443", address), sub.home)
    assert f"serial={sub.serial('server')}\n" in said
    assert windows.split() == ["certutil", "-url", "server.crt"]
