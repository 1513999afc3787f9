"""The command `query`, against the responder itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from clients import certificate, openssl_ocsp
from cryptography.hazmat.primitives.serialization import Encoding
from test_client import Responder

from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.wsgi_server import LocalServer

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def url(pki):
    with LocalServer(pki.home / "ocsp-cgi.conf") as server:
        yield server.url


def query(home: Path, *options: str, **environment: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "ocsp_cgi", "query", *options]
    run = subprocess.run(
        command,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(CHECKOUT), **environment},
    )
    return run.returncode, run.stdout, run.stderr


@pytest.mark.parametrize(
    "name, status, code", [("good", "good", 0), ("bad", "revoked", 1), ("held", "revoked", 1)]
)
@pytest.mark.slow
def test_output_is_that_of_openssl(pki, url, name, status, code):
    times = re.compile(r"(?<= Update: ).*")
    returned, output, errors = query(
        pki.home, "--issuer", "root-ca.crt", "--cert", f"{name}.crt", "--url", url
    )
    theirs = openssl_ocsp(pki.home, "-cert", f"{name}.crt", "-url", url).stdout
    assert (returned, errors) == (code, "")
    assert times.sub("TIME", output) == "Response verify OK\n" + times.sub("TIME", theirs)
    assert f"{name}.crt: {status}\n" in output and output.count(" Update: ") == 2


def test_unknown(pki, url, ca):
    """A certificate that the CA issued, but that is not in the responder's database."""
    ca.issue("late")
    returned, output, _ = query(
        ca.home, "--issuer", "root-ca.crt", "--cert", "late.crt", "--url", url, "--no-nonce"
    )
    assert returned == 1 and "late.crt: unknown\n" in output


@pytest.mark.slow
def test_no_nonce(ca):
    with open(ca.home / "ocsp-cgi.conf", "w") as config:
        config.write(
            "[root-ca]\ndb = db\nca = root-ca.crt\nrsigner = root-ocsp.crt\nrkey ="
            " private/root-ocsp.key\nnonce = ignore\n"
        )
    with LocalServer(ca.home / "ocsp-cgi.conf") as server:
        options = ("--issuer", "root-ca.crt", "--cert", "good.crt", "--url", server.url)
        assert query(ca.home, *options) == (
            2,
            "",
            (
                "python3 -m ocsp_cgi: Mismatch: the response has no nonce, so it may be an old"
                " one: if this responder never sends one, ask without a nonce\n"
            ),
        )
        assert query(ca.home, *options, "--no-nonce")[0] == 0
        assert " nonce=" not in server.error_log.splitlines()[-1]


@pytest.mark.slow
def test_errors(pki):
    options = ("--issuer", "root-ca.crt", "--cert", "good.crt")
    closed = f"http://127.0.0.1:{httpd.free_port()}/"
    assert query(pki.home, *options, "--url", closed) == (
        2,
        "",
        f"python3 -m ocsp_cgi: Unreachable: {closed}: Connection refused\n",
    )
    assert query(pki.home, "--issuer", "none.crt", "--cert", "good.crt") == (
        2,
        "",
        "python3 -m ocsp_cgi: none.crt: No such file or directory\n",
    )
    assert query(pki.home, "--issuer", "root-ca.cnf", "--cert", "good.crt") == (
        2,
        "",
        "python3 -m ocsp_cgi: issuer: no -----BEGIN CERTIFICATE----- block"
        " (--cert good.crt, --issuer root-ca.cnf)\n",
    )
    assert query(pki.home, "--issuer", "bad.crt", "--cert", "good.crt") == (
        2,
        "",
        "python3 -m ocsp_cgi: the certificate was not issued by this issuer"
        " (--cert good.crt, --issuer bad.crt)\n",
    )
    returned, _, errors = query(pki.home, *options, "--timeout", "soon")
    assert returned == 3 and errors.endswith(
        "argument --timeout: invalid number of seconds `soon`: expected more than 0, at most 3600\n"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/\x1b]0;x\x07",
        "http://a\x1b[2Jb/",
        "http://127.0.0.1:1/" + "x" * 5000,
    ],
    ids=["path", "host", "long"],
)
@pytest.mark.slow
def test_what_a_certificate_says_cannot_control_the_terminal(ca, url):
    cnf = (ca.home / "root-ca.cnf").read_text()
    (ca.home / "root-ca.cnf").write_text(
        re.sub(r"(?m)^ocsp_url .*", lambda _: f"ocsp_url = {url}", cnf)
    )
    ca.issue("attacker")
    assert url.encode() in certificate(ca.home / "attacker.crt").public_bytes(Encoding.DER)
    returned, output, errors = query(ca.home, "--issuer", "root-ca.crt", "--cert", "attacker.crt")
    assert (returned, output) == (2, "")
    assert errors[:-1].isprintable() and errors.endswith("\n") and len(errors) < 600


@pytest.mark.slow
def test_names_of_files(pki, url, place):
    """Printable names are unchanged; control characters are escaped."""
    for name, shown in (
        ("prüfung.crt", "prüfung.crt"),
        ("a\x1b[2J\nb.crt", r"a\x1b[2J\nb.crt"),
        ("-" * 3 + "x.crt", "---x.crt"),
    ):
        (place / name).write_bytes((pki.home / "good.crt").read_bytes())
        returned, output, errors = query(
            place, f"--issuer={pki.home}/root-ca.crt", f"--cert={name}", f"--url={url}"
        )
        assert (returned, errors) == (0, "") and output.splitlines()[1] == f"{shown}: good"
    options = (f"--issuer={pki.home}/root-ca.crt", "--cert=prüfung.crt", f"--url={url}")
    output = query(place, *options, PYTHONIOENCODING="ascii")[1]
    assert output.splitlines()[1] == r"pr\xfcfung.crt: good"
    returned, output, errors = query(place, "--issuer=a\x1b.crt", "--cert=prüfung.crt")
    assert (returned, output) == (2, "")
    assert errors == r"python3 -m ocsp_cgi: a\x1b.crt: No such file or directory" + "\n"


@pytest.fixture
def responder(ca):
    """responder(options) is the URL of a responder that runs `openssl ocsp` with these options."""
    running: list[Responder] = []

    def start(*options: str) -> str:
        def reply(encoded: bytes):
            (ca.home / "request").write_bytes(encoded)
            command = [
                "openssl",
                "ocsp",
                "-index",
                "db/index",
                "-CA",
                "root-ca.crt",
                "-reqin",
                "request",
                "-respout",
                "response",
                "-ndays",
                "1",
                *options,
            ]
            subprocess.run(command, cwd=ca.home, capture_output=True, check=True)
            content = (ca.home / "response").read_bytes()
            return 200, {"Content-Type": "application/ocsp-response"}, content

        running.append(Responder(reply))
        return running[-1].url

    yield start
    for one in running:
        one.end()


def local_responder(home: Path, bits: int = 2048) -> tuple[str, ...]:
    """Make local.crt, which signs itself; returns the options to sign with it."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        f"rsa:{bits}",
        "-nodes",
        "-subj",
        "/CN=local",
        "-keyout",
        "local.key",
        "-out",
        "local.crt",
    ]
    subprocess.run(command, cwd=home, capture_output=True, check=True)
    return "-rsigner", "local.crt", "-rkey", "local.key"


@pytest.mark.slow
def test_trusted_responder(ca, responder):
    url = responder(*local_responder(ca.home))
    options = ("--issuer", "root-ca.crt", "--cert", "good.crt", "--url", url)
    returned, output, errors = query(ca.home, *options)
    assert (returned, output) == (2, "") and errors.startswith("python3 -m ocsp_cgi: Untrusted: ")
    returned, output, errors = query(ca.home, *options, "--trusted-responder", "local.crt")
    assert (returned, errors) == (0, "") and "good.crt: good\n" in output
    assert query(ca.home, *options, "--trusted-responder", "db/index") == (
        2,
        "",
        (
            "python3 -m ocsp_cgi: trusted_responder: no -----BEGIN CERTIFICATE----- block"
            " (--cert good.crt, --issuer root-ca.crt, --trusted-responder db/index)\n"
        ),
    )


@pytest.mark.slow
def test_certificates(ca, responder):
    url = responder("-rsigner", "root-ocsp.crt", "-rkey", "private/root-ocsp.key", "-resp_no_certs")
    options = ("--issuer", "root-ca.crt", "--cert", "good.crt", "--url", url)
    assert query(ca.home, *options)[0] == 2
    chain = [(ca.home / f"{name}.crt").read_bytes() for name in ("root-ca", "bad", "root-ocsp")]
    (ca.home / "chain.pem").write_bytes(b"".join(chain))
    for files in (["root-ocsp.crt"], ["chain.pem"], ["bad.crt", "root-ocsp.crt"]):
        more = [word for file in files for word in ("--certificates", file)]
        returned, output, errors = query(ca.home, *options, *more)
        assert (returned, errors) == (0, "") and "good.crt: good\n" in output
    reason = "python3 -m ocsp_cgi: none.pem: No such file or directory\n"
    assert query(ca.home, *options, "--certificates", "none.pem") == (2, "", reason)


@pytest.mark.slow
def test_a_short_key_causes_a_warning(ca, responder):
    url = responder(*local_responder(ca.home, 1024))
    options = ("--issuer", "root-ca.crt", "--cert", "bad.crt", "--trusted-responder", "local.crt")
    returned, output, errors = query(ca.home, *options, "--url", url)
    assert returned == 1 and "bad.crt: revoked\n" in output
    what = "the response signer's RSA key has 1024 bits"
    assert errors == f"warning: {what}: replace it with one of 2048 or more\n"
