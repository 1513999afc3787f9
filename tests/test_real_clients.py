"""What other programs make of the responses: browsers, web servers that staple or that check their
clients, and ocsptool.

All ask one responder, ocsp.cgi in a real Apache, whose address is in their certificates.  Its log
shows how they asked.
"""

from __future__ import annotations

import contextlib
import http.server
import re
import ssl
import struct
import subprocess
import threading
import time
import zlib

import loopback
import pytest
from browser import Chromium, Firefox, need
from clients import settle, started

from ocsp_cgi.tools import httpd

pytestmark = [pytest.mark.slow, pytest.mark.apache]

SITES = {
    "site": "good",
    "revoked-site": "revoked",
    "forgotten-site": "unknown",
    "unasked-site": "good",
}
USERS = {"user": "good", "revoked-user": "revoked", "forgotten-user": "unknown"}


@pytest.fixture(scope="module")
def apache(workspace, cgi):
    """The responder, over the CA of these tests."""
    with started(
        workspace / "clients-httpd", cgi, workspace / "clients-ca" / "ocsp-cgi.conf"
    ) as server:
        yield server


@pytest.fixture(scope="module")
def ca(pki, workspace, apache):
    """A CA whose certificates name the responder's address, and this host."""
    ca = pki.copy(workspace / "clients-ca")
    config = ca.home / "root-ca.cnf"
    text, found = re.subn(r"(?m)^(ocsp_url *= ).*", rf"\1{apache.url}", config.read_text())
    assert found == 1 and text.count("[server_ext]\n") == 1
    config.write_text(
        text.replace(
            "[server_ext]\n", "[server_ext]\nsubjectAltName = DNS:localhost, IP:127.0.0.1\n"
        )
    )
    for name, status in {**SITES, **USERS}.items():
        ca.issue(name, "server_ext" if name in SITES else "client_ext")
        if status == "revoked":
            ca.revoke(name, "-crl_reason", "keyCompromise")
    index = ca.home / "db" / "index"
    forgotten = {
        ca.serial(name) for name, status in {**SITES, **USERS}.items() if status == "unknown"
    }
    rows = [
        row
        for row in index.read_text().splitlines(keepends=True)
        if row.split("\t")[3] not in forgotten
    ]
    index.write_text("".join(rows))
    settle(index)
    httpd.let_read(ca.home)
    return ca


@pytest.fixture
def asked(apache, ca):
    """asked(name): the requests about a certificate since the test began, each with its method,
    status and the bytes of its nonce."""
    before = len(apache.error_log)

    def asked(name: str) -> set[str]:
        pattern = (
            rf"ocsp\.cgi: (\w+) serial={ca.serial(name)} status=(\w+)(?: reason=\w+)? ca=root-ca(?:"
            r" (nonce=\d+))? client="
        )
        return {" ".join(found).strip() for found in re.findall(pattern, apache.error_log[before:])}

    return asked


@contextlib.contextmanager
def stopped(apache):
    """Inside the `with`, the responder is stopped."""
    apache.__exit__()
    try:
        yield
    finally:
        apache.__enter__()


def s_client(ca, port: int) -> str:
    """What `openssl s_client` prints about a TLS server on loopback and what it stapled."""
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{port}",
        "-servername",
        "localhost",
        "-status",
        "-CAfile",
        "root-ca.crt",
        "-verify_return_error",
    ]
    run = subprocess.run(
        command, cwd=ca.home, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def curl(ca, port: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Fetch /here from a TLS server on loopback."""
    command = [
        need("curl", "curl"),
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--cacert",
        "root-ca.crt",
        *options,
        f"https://127.0.0.1:{port}/here",
    ]
    return subprocess.run(command, cwd=ca.home, capture_output=True, text=True, timeout=60)


# Firefox


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!DOCTYPE html><title>The site</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        pass


@contextlib.contextmanager
def https_site(ca, name: str):
    """A site with NAME.crt, which staples nothing.  Yields its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca.home / f"{name}.crt", ca.home / "private" / f"{name}.key")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *arguments: None  # clients are expected to break off
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"https://localhost:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module", params=[True, False], ids=["hard fail", "as installed"])
def hard_fail(request):
    """Whether Firefox has the preferences for hard fail, or the default ones."""
    return request.param


@pytest.fixture(scope="module")
def firefox(workspace, ca, hard_fail):
    preferences = {"security.OCSP.enabled": 1, "security.OCSP.require": True} if hard_fail else {}
    with Firefox(
        workspace / f"firefox-{hard_fail}", ca.home / "root-ca.crt", preferences
    ) as browser:
        yield browser


@pytest.mark.browser
@pytest.mark.parametrize(
    "name, seen",
    [
        ("site", "The site"),
        ("revoked-site", "SEC_ERROR_REVOKED_CERTIFICATE"),
        ("forgotten-site", "SEC_ERROR_OCSP_UNKNOWN_CERT"),
    ],
)
def test_firefox(firefox, ca, asked, name, seen):
    with https_site(ca, name) as url:
        assert firefox.visit(url) == seen
    assert asked(name) == {f"POST {SITES[name]}"}


@pytest.mark.browser
def test_firefox_while_the_responder_is_stopped(firefox, hard_fail, apache, ca):
    with https_site(ca, "unasked-site") as url, stopped(apache):
        assert firefox.visit(url) == ("SEC_ERROR_OCSP_SERVER_ERROR" if hard_fail else "The site")


@pytest.mark.browser
def test_firefox_does_not_ask_again_for_what_it_was_told(firefox, ca, asked, apache):
    with https_site(ca, "site") as url:
        assert firefox.visit(url) == "The site"
    before = len(apache.error_log)
    with https_site(ca, "site") as url:
        assert firefox.visit(url) == "The site"
    assert "serial=" not in apache.error_log[before:]


@pytest.mark.browser
@pytest.mark.parametrize("enabled", [0, 2])
def test_firefox_can_be_told_not_to_ask(place, ca, asked, enabled):
    preferences = {"security.OCSP.enabled": enabled}
    with (
        https_site(ca, "revoked-site") as url,
        Firefox(place / "firefox", ca.home / "root-ca.crt", preferences) as browser,
    ):
        assert browser.visit(url) == "The site"
    assert asked("revoked-site") == set()


# GnuTLS


@pytest.mark.parametrize("nonce", [False, True], ids=["without nonce", "with nonce"])
@pytest.mark.parametrize("name", [name for name in SITES if name != "unasked-site"])
def test_gnutls_ocsptool(ca, apache, asked, name, nonce):
    response = ocsptool(ca, name, *["--nonce"] * nonce)
    assert response.returncode == 0, response.stderr
    lines = [line.strip() for line in response.stdout.splitlines()]
    assert (
        f"Certificate Status: {SITES[name]}" in lines
        and "Verifying OCSP Response: Success." in lines
    )
    assert any(line.startswith("Nonce: ") for line in lines) == nonce
    assert asked(name) == {f"POST {SITES[name]}" + " nonce=23" * nonce}


def test_gnutls_ocsptool_while_the_responder_is_stopped(ca, apache):
    with stopped(apache):
        response = ocsptool(ca, "site")
    assert response.returncode == 1 and "Connection refused" in response.stderr


def ocsptool(ca, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Ask at the address in NAME.crt."""
    command = [
        need("ocsptool", "gnutls-bin"),
        "--ask",
        *options,
        "--load-issuer",
        "root-ca.crt",
        "--load-cert",
        f"{name}.crt",
    ]
    return subprocess.run(
        command, cwd=ca.home, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


# nginx

STAPLING = """\
server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {ca}/{name}.crt;
    ssl_certificate_key {ca}/private/{name}.key;
    ssl_trusted_certificate {ca}/root-ca.crt;
    ssl_stapling on;
    ssl_stapling_verify on;
}}
"""


@contextlib.contextmanager
def nginx(place, ca, name: str):
    """An nginx with NAME.crt that staples.  Yields its port."""
    port = httpd.free_port()
    block = STAPLING.format(ca=ca.home, name=name, port=port)
    with loopback.nginx(place / "nginx", block, port):
        yield port


def test_nginx_staples_a_good_response(place, ca, asked):
    with nginx(place, ca, "site") as port:
        first = s_client(ca, port)
        deadline = time.monotonic() + 20
        while (
            "Cert Status: good" not in (last := s_client(ca, port)) and time.monotonic() < deadline
        ):
            time.sleep(0.1)
    assert "OCSP response: no response sent" in first
    assert (
        "OCSP Response Status: successful" in last
        and "Cert Status: good" in last
        and "Verify return code: 0 (ok)" in last
    )
    assert asked("site") == {"GET good"}


@pytest.mark.parametrize("name", ["revoked-site", "forgotten-site"])
def test_nginx_staples_no_other_response(place, ca, asked, name):
    refusal = f'certificate status "{SITES[name]}" in the OCSP response'
    with nginx(place, ca, name) as port:
        deadline = time.monotonic() + 20
        s_client(ca, port)
        while (
            refusal not in (place / "nginx" / "run" / "error.log").read_text()
            and time.monotonic() < deadline
        ):
            time.sleep(0.1)
        last = s_client(ca, port)
    assert refusal in (place / "nginx" / "run" / "error.log").read_text()
    assert "OCSP response: no response sent" in last
    assert asked(name) == {f"GET {SITES[name]}"}


# Apache

TLS_SITE = """\
SSLStaplingCache "shmcb:{home}/run/stapling(128000)"
DocumentRoot "{home}/htdocs"
<Directory "{home}/htdocs">
    Require all granted
</Directory>
<VirtualHost *:80>
    SSLEngine on
    SSLCertificateFile "{ca}/{name}.crt"
    SSLCertificateKeyFile "{ca}/private/{name}.key"
    SSLCACertificateFile "{ca}/root-ca.crt"
    {directives}
</VirtualHost>
"""


def tls_site(place, cgi, ca, name: str, *directives: str):
    """An Apache with NAME.crt and these directives."""
    home = place / "tls-site"
    (home / "htdocs").mkdir(parents=True)
    (home / "htdocs" / "here").write_text("The site\n")
    site_conf = TLS_SITE.format(
        home=home, ca=ca.home, name=name, directives="\n    ".join(directives)
    )
    return started(
        home, cgi, ca.home / "ocsp-cgi.conf", site_conf=site_conf, modules=("ssl", "socache_shmcb")
    )


@pytest.mark.parametrize("name", [name for name in SITES if name != "unasked-site"])
def test_apache_staples(place, cgi, ca, asked, name):
    with tls_site(place, cgi, ca, name, "SSLUseStapling on") as site:
        handshake = s_client(ca, site.port)
        fetched = curl(ca, site.port, "--cert-status")
    assert (
        "OCSP Response Status: successful" in handshake
        and f"Cert Status: {SITES[name]}" in handshake
    )
    assert asked(name) == {f"POST {SITES[name]}"}
    assert (fetched.returncode, fetched.stdout) == (
        (0, "The site\n") if name == "site" else (91, "")
    ), fetched
    assert ("SSL certificate revocation reason: keyCompromise" in fetched.stderr) == (
        name == "revoked-site"
    )


def test_apache_staples_while_the_responder_is_stopped(place, cgi, ca, apache):
    with stopped(apache), tls_site(place, cgi, ca, "site", "SSLUseStapling on") as site:
        handshake = s_client(ca, site.port)
        fetched = curl(ca, site.port, "--cert-status")
        trusting = curl(ca, site.port)
    assert "OCSP Response Status: trylater" in handshake
    assert fetched.returncode == 91, fetched
    assert trusting.stdout == "The site\n"


CHECKS_CLIENTS = ("SSLVerifyClient require", "SSLOCSPEnable on", "SSLOCSPUseRequestNonce on")


@pytest.mark.parametrize("name", USERS)
def test_apache_checks_its_clients(place, cgi, ca, asked, name):
    with tls_site(place, cgi, ca, "site", *CHECKS_CLIENTS) as site:
        fetched = curl(ca, site.port, "--cert", f"{name}.crt", "--key", f"private/{name}.key")
    assert asked(name) == {f"POST {USERS[name]} nonce=16"}
    if name == "user":
        assert (fetched.returncode, fetched.stdout) == (0, "The site\n"), fetched
    else:
        assert fetched.returncode != 0 and fetched.stdout == ""
        assert f"OCSP validation completed, certificate status: {USERS[name]} " in site.error_log
    assert ("alert certificate revoked" in fetched.stderr) == (name == "revoked-user")


def test_apache_insists_on_the_nonce(place, cgi, ca):
    config = ca.home / "ocsp-cgi.conf"
    text = config.read_text()
    config.write_text(text.replace("[root-ca]\n", "[root-ca]\nnonce = ignore\n"))
    try:
        with tls_site(place, cgi, ca, "site", *CHECKS_CLIENTS) as site:
            fetched = curl(ca, site.port, "--cert", "user.crt", "--key", "private/user.key")
    finally:
        config.write_text(text)
    assert fetched.returncode != 0 and fetched.stdout == ""
    assert "bad nonce" in site.error_log


def test_apache_refuses_its_clients_while_the_responder_is_stopped(place, cgi, ca, apache):
    with stopped(apache), tls_site(place, cgi, ca, "site", *CHECKS_CLIENTS) as site:
        fetched = curl(ca, site.port, "--cert", "user.crt", "--key", "private/user.key")
    assert fetched.returncode != 0 and fetched.stdout == ""
    assert "could not connect to OCSP responder" in site.error_log


# Chromium

LIGHT, DARK = (0xFD, 0xFD, 0xFC), (0x16, 0x18, 0x1A)


@pytest.fixture(scope="module")
def chromium(workspace, ca):
    with Chromium(workspace / "chromium", ca.home / "root-ca.crt") as browser:
        yield browser


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize(
    "color_scheme, ground", [("light", LIGHT), ("dark", DARK)], ids=["light", "dark"]
)
def test_page_in_chromium(chromium, apache, width, color_scheme, ground):
    chromium.visit(apache.url, width, 800, color_scheme)
    assert chromium.evaluate("document.title") == "OCSP responder"
    page = "document.documentElement"  # which does not scroll sideways
    assert chromium.evaluate(f"{page}.scrollWidth - {page}.clientWidth") == 0
    image = chromium.screenshot()
    assert png_corner(image) == ((width, 800), ground)


@pytest.mark.browser
def test_chromium_does_not_ask(chromium, ca, asked):
    with https_site(ca, "revoked-site") as url:
        chromium.visit(url, 1280, 800, "light")
        assert chromium.evaluate("document.title") == "The site"
    assert asked("revoked-site") == set()


def png_corner(image: bytes) -> tuple[tuple[int, int], tuple[int, ...]]:
    """The size of a PNG, and the colour of its first pixel, which no PNG filter changes."""
    width, height, depth, color_type = struct.unpack_from(">IIBB", image, 16)
    assert depth == 8 and color_type in (2, 6)
    data, position = b"", 8
    while position < len(image):
        length, kind = struct.unpack_from(">I4s", image, position)
        data += image[position + 8 : position + 8 + length] if kind == b"IDAT" else b""
        position += length + 12
    return (width, height), tuple(zlib.decompress(data)[1:4])


# A CA that signs its responses itself, and signers that some clients cannot verify

PERL = r"""
use IO::Socket::SSL;
my ($port, $ca) = @ARGV;
my $client = IO::Socket::SSL->new(
    PeerAddr => '127.0.0.1', PeerPort => $port, SSL_hostname => 'localhost', SSL_ca_file => $ca,
    SSL_ocsp_mode => SSL_OCSP_FULL_CHAIN | SSL_OCSP_FAIL_HARD) or die "handshake: $SSL_ERROR\n";
my $errors = $client->ocsp_resolver->resolve_blocking(timeout => 20);
print defined $errors && $errors ne '' ? "refused: $errors\n" : "accepted\n";
"""
ED25519 = ("ed25519",)
ED448 = ("ed448",)
P256 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
SECP256K1 = ("ec", "-pkeyopt", "ec_paramgen_curve:secp256k1")
BRAINPOOL = ("ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1")
P384 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-384")
P521 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-521")
RSA = ("rsa:2048",)
RSASSA_PSS = ("rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048")


@contextlib.contextmanager
def signed_by(ca, name: str, key: str):
    """Inside the `with`, the responses are signed by NAME.crt."""
    config = ca.home / "ocsp-cgi.conf"
    text = config.read_text()
    changed, found = re.subn(r"(?m)^(rsigner *= ).*\n(rkey *= ).*", rf"\1{name}.crt\n\2{key}", text)
    assert found == 1
    config.write_text(changed)
    httpd.let_read(ca.home)
    try:
        yield
    finally:
        config.write_text(text)


@pytest.fixture
def ca_signs(ca):
    with signed_by(ca, "root-ca", "private/root-ca.key"):
        yield


@pytest.mark.parametrize("name", ["user", "revoked-user"])
def test_apache_checks_its_clients_with_a_ca_that_signs_itself(
    place, cgi, ca, ca_signs, apache, name
):
    with tls_site(place, cgi, ca, "site", *CHECKS_CLIENTS) as site:
        fetched = curl(ca, site.port, "--cert", f"{name}.crt", "--key", f"private/{name}.key")
    assert f"POST serial={ca.serial(name)} status={USERS[name]} " in apache.error_log
    assert "AH01925" not in site.error_log
    if name == "user":
        assert (fetched.returncode, fetched.stdout) == (0, "The site\n"), (fetched, site.error_log)
    else:
        assert fetched.returncode != 0 and "alert certificate revoked" in fetched.stderr


@pytest.mark.parametrize("name", ["site", "revoked-site"])
def test_gnutls_ocsptool_that_trusts_a_ca_that_signs_itself(ca, ca_signs, apache, place, name):
    response = place / "response.der"
    run = ocsptool(ca, name, "--outfile", str(response))
    assert run.returncode == 0, run.stderr
    command = [
        need("ocsptool", "gnutls-bin"),
        "--verify-response",
        "--load-trust",
        "root-ca.crt",
        "--load-response",
        str(response),
    ]
    run = subprocess.run(command, cwd=ca.home, capture_output=True, text=True, timeout=60)
    assert "Verifying OCSP Response: Success." in run.stdout, run


@pytest.mark.parametrize("name", ["site", "revoked-site"])
def test_perl_with_a_ca_that_signs_itself(ca, ca_signs, apache, name):
    perl = need("perl", "perl")
    if subprocess.run([perl, "-MIO::Socket::SSL", "-e", "1"], capture_output=True).returncode:
        pytest.skip(
            "IO::Socket::SSL is not installed (Debian: apt-get install libio-socket-ssl-perl)"
        )
    with https_site(ca, name) as url:
        port = url.rpartition(":")[2].strip("/")
        command = [perl, "-e", PERL, port, str(ca.home / "root-ca.crt")]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if name == "site":
        assert run.stdout == "accepted\n", run
    else:
        assert run.stdout.startswith("refused: ") and "revoked" in run.stdout, run


@pytest.mark.browser
@pytest.mark.parametrize(
    "newkey, revoked, good",
    [
        (P256, "SEC_ERROR_REVOKED_CERTIFICATE", "The site"),
        (P384, "SEC_ERROR_REVOKED_CERTIFICATE", "The site"),
        (P521, "SEC_ERROR_REVOKED_CERTIFICATE", "The site"),
        (RSA, "SEC_ERROR_REVOKED_CERTIFICATE", "The site"),
        (ED25519, "The site", "The site"),
        (ED448, "The site", "The site"),
        (SECP256K1, "The site", "The site"),
        (BRAINPOOL, "The site", "The site"),
        (RSASSA_PSS, "The site", "The site"),
    ],
    ids=[
        "P-256",
        "P-384",
        "P-521",
        "RSA",
        "Ed25519",
        "Ed448",
        "secp256k1",
        "brainpoolP256r1",
        "RSASSA-PSS",
    ],
)
def test_firefox_loads_a_revoked_site_if_it_cannot_verify_the_signer(
    ca, place, hard_fail, newkey, revoked, good
):
    """With its default settings; with hard fail it then refuses every site."""
    name = f"signer-{newkey[0].partition(':')[0]}-{newkey[-1].rpartition(':')[2]}-{hard_fail}"
    ca.issue(name, "ocsp_ext", newkey)
    settle(ca.home / "db" / "index")
    preferences = {"security.OCSP.enabled": 1, "security.OCSP.require": True} if hard_fail else {}
    with (
        signed_by(ca, name, f"private/{name}.key"),
        Firefox(place / "firefox", ca.home / "root-ca.crt", preferences) as browser,
    ):
        seen = []
        for site in ("revoked-site", "site"):
            with https_site(ca, site) as url:
                seen.append(browser.visit(url))
    if hard_fail and revoked == "The site":
        assert "The site" not in seen
    else:
        assert seen == [revoked, good]
