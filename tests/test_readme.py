"""The README shows what is there."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import settings
from clients import certificate, started
from cryptography.hazmat.primitives.serialization import Encoding

from ocsp_cgi.commands import install
from ocsp_cgi.tools.wsgi_server import LocalServer

CHECKOUT = Path(__file__).resolve().parent.parent
README = (CHECKOUT / "README.md").read_text()


def without_what_differs(transcript: str) -> str:
    """A transcript of the demonstration without serials, times, ports and names of directories."""
    for pattern, name in (
        (r"\b[0-9A-F]{31,32}\b", "SERIAL"),
        (r"\w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} GMT", "TIME"),
        (r"\S*\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"\bms=\d+", "ms"),
        (r"ocsp-cgi-demo-\w+", "DIRECTORY"),
        (r"Apache/\S+ \(\w+\)", "APACHE"),
    ):
        transcript = re.sub(pattern, name, transcript)
    return transcript


@pytest.mark.apache
@pytest.mark.slow
def test_transcript_of_the_demonstration(place, cgi, pki):
    with started(place / "httpd", cgi, pki.home / "ocsp-cgi.conf"):
        pass  # skips if the demonstration has no Apache either
    [transcript] = re.findall(r"```\n(Working in.*?)```", README, re.DOTALL)
    run = subprocess.run(
        [sys.executable, "-m", "ocsp_cgi", "demo"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR": "/tmp"},
        timeout=120,
    )
    assert without_what_differs(run.stdout) == without_what_differs(transcript)


def test_tables_of_settings():
    assert settings.written(README) == README, "run: python3 tests/settings.py"


LINKS = [
    (page, path)
    for page in ("README.md", "ocsp_cgi/README.md", "tests/README.md", "tests/conformance.md")
    for path in dict.fromkeys(
        re.findall(r"\]\(([^)h][^)]*)\)", (CHECKOUT / page).read_text(encoding="utf-8"))
    )
]


@pytest.mark.parametrize("page, path", LINKS)
def test_links_lead_somewhere(page, path):
    headings = [
        "#" + heading.lower().replace(" ", "-").replace(",", "")
        for heading in re.findall(r"^#+ (.*)", README, re.MULTILINE)
    ]
    assert path in headings or (CHECKOUT / page).parent.joinpath(path).exists()


@pytest.mark.slow
def test_middleware(ca, monkeypatch, caplog):
    """Run from the README, with a stand-in for django.http, over certificates that name a real
    responder."""
    [code] = re.findall(r"```python\n(from django.*?)```", README, re.DOTALL)
    stand_in = types.ModuleType("django.http")
    stand_in.HttpResponseForbidden = lambda text: ("forbidden", text)
    monkeypatch.setitem(sys.modules, "django", types.ModuleType("django"))
    monkeypatch.setitem(sys.modules, "django.http", stand_in)
    with LocalServer(ca.home / "ocsp-cgi.conf") as server:
        cnf = ca.home / "root-ca.cnf"
        cnf.write_text(re.sub(r"(?m)^ocsp_url .*", f"ocsp_url = {server.url}", cnf.read_text()))
        for name in ("client", "thief"):
            ca.issue(name, "client_ext")
        ca.revoke("thief", "-crl_reason", "keyCompromise")
        assert "/etc/ssl/ocsp/root-ca.crt" in code
        names: dict = {}
        exec(code.replace("/etc/ssl/ocsp/root-ca.crt", str(ca.home / "root-ca.crt")), names)
        middleware = names["ocsp_middleware"](lambda request: ("page", request))

        def ask(**meta: str):
            request = types.SimpleNamespace(META=meta)
            response = middleware(request)
            return "page" if response == ("page", request) else response

        client, thief = ((ca.home / f"{name}.crt").read_text() for name in ("client", "thief"))
        refused = ("forbidden", "Your certificate was refused.")
        assert ask(SSL_CLIENT_CERT=client) == "page"
        assert ask(SSL_CLIENT_CERT=thief) == refused
        assert ask() == refused
        (ca.home / "private" / "root-ocsp.key").unlink()
        assert ask(SSL_CLIENT_CERT=client) == refused
        url = "http://127.0.0.1:1/\x1b]0;<script>alert(1)</script>\x07"
        cnf.write_text(re.sub(r"(?m)^ocsp_url .*", lambda _: f"ocsp_url = {url}", cnf.read_text()))
        ca.issue("attacker", "client_ext")
        attacker = (ca.home / "attacker.crt").read_text()
        assert url.encode() in certificate(ca.home / "attacker.crt").public_bytes(Encoding.DER)
        assert ask(SSL_CLIENT_CERT=attacker) == refused
    assert ask(SSL_CLIENT_CERT=client) == refused
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 5 and all(line.isprintable() for line in lines)
    assert lines[0] == "client certificate refused: revoked"
    assert lines[1].endswith(": certificate: no -----BEGIN CERTIFICATE----- block")
    assert lines[2].endswith(": the responder answered internalError")
    assert r": http://127.0.0.1:1/\x1b]0;<script>alert(1)</script>\x07: " in lines[3]


def test_every_option_of_the_installer_is_named():
    parser = argparse.ArgumentParser(add_help=False)
    install.add_arguments(parser)
    options = [option for action in parser._actions for option in action.option_strings]
    assert [
        option for option in options if f"`{option}" not in README and f" {option} " not in README
    ] == []
