"""The command `query`, against the responder itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from clients import openssl_ocsp

from ocsp_cgi.commands import httpd
from ocsp_cgi.commands.cgi_server import CGIServer

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def url(pki, cgi):
    with CGIServer(cgi, pki.home / "ocsp-cgi.conf") as server:
        yield server.url


def query(home: Path, *options: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "ocsp_cgi", "query", *options]
    run = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(CHECKOUT)})
    return run.returncode, run.stdout, run.stderr


@pytest.mark.parametrize("name, status, code", [("good", "good", 0), ("bad", "revoked", 1), ("held", "revoked", 1)])
def test_the_words_of_openssl(pki, url, name, status, code):
    times = re.compile(r"(?<= Update: ).*")
    returned, output, errors = query(pki.home, "--issuer", "root-ca.crt", "--cert", f"{name}.crt", "--url", url)
    theirs = openssl_ocsp(pki.home, "-cert", f"{name}.crt", "-url", url).stdout
    assert (returned, errors) == (code, "")
    assert times.sub("TIME", output) == "Response verify OK\n" + times.sub("TIME", theirs)
    assert f"{name}.crt: {status}\n" in output and output.count(" Update: ") == 2


def test_unknown(pki, url, ca):
    """A certificate that its CA has issued, and the responder's database does not have."""
    ca.issue("late")
    returned, output, _ = query(ca.home, "--issuer", "root-ca.crt", "--cert", "late.crt", "--url", url, "--no-nonce")
    assert returned == 1 and "late.crt: unknown\n" in output


def test_no_nonce(ca, cgi):
    with open(ca.home / "ocsp-cgi.conf", "w") as config:
        config.write("[root-ca]\ndb = db\nca = root-ca.crt\nrsigner = root-ocsp.crt\nrkey = private/root-ocsp.key\nnonce = ignore\n")
    with CGIServer(cgi, ca.home / "ocsp-cgi.conf") as server:
        options = ("--issuer", "root-ca.crt", "--cert", "good.crt", "--url", server.url)
        assert query(ca.home, *options) == (
            2, "", "Mismatch: the answer has no nonce, so it may be an old one: if this responder gives none, ask without\n")  # fmt: skip
        assert query(ca.home, *options, "--no-nonce")[0] == 0
        assert " nonce=" not in server.error_log.splitlines()[-1]


def test_errors(pki):
    options = ("--issuer", "root-ca.crt", "--cert", "good.crt")
    closed = f"http://127.0.0.1:{httpd.free_port()}/"
    assert query(pki.home, *options, "--url", closed) == (2, "", f"Unreachable: {closed}: Connection refused\n")
    assert query(pki.home, "--issuer", "none.crt", "--cert", "good.crt") == (2, "", "none.crt: No such file or directory\n")
    assert query(pki.home, "--issuer", "root-ca.cnf", "--cert", "good.crt") == (
        2, "", "issuer: no -----BEGIN CERTIFICATE----- block (--cert good.crt, --issuer root-ca.cnf)\n")  # fmt: skip
    assert query(pki.home, "--issuer", "bad.crt", "--cert", "good.crt") == (
        2, "", "the certificate was not issued by this issuer (--cert good.crt, --issuer bad.crt)\n")  # fmt: skip
    returned, _, errors = query(pki.home, *options, "--timeout", "soon")
    assert returned == 2 and errors.endswith("argument --timeout: `soon` is no number of seconds up to 3600\n")
