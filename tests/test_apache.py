"""The responder in a real Apache, asked by real clients: ocsp.cgi with apache/ocsp-cgi.conf, run by
mod_cgid and by mod_cgi, and ocsp.wsgi with apache/ocsp-cgi-wsgi.conf, run by mod_wsgi."""

from __future__ import annotations

import email.utils
import hashlib
import shutil
import urllib.parse

import pytest
from clients import (
    base64_of,
    cert_id,
    cert_id_of,
    certificate,
    curl,
    nonce,
    openssl_ocsp,
    request,
    settle,
    started,
    started_wsgi,
    verified,
)
from cryptography.x509 import ocsp

from ocsp_cgi.tools import httpd

pytestmark = pytest.mark.apache

GOOD, REVOKED = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED
OCSP_TYPE = ("-H", "Content-Type: application/ocsp-request")


@pytest.fixture(scope="module")
def ca(pki, workspace):
    """A copy of the CA that the web server can read, for the tests of this module to change."""
    ca = pki.copy(workspace / "apache-ca")
    settle(ca.home / "db" / "index")
    httpd.let_read(ca.home)
    return ca


@pytest.fixture(scope="module")
def root(ca):
    return certificate(ca.home / "root-ca.crt")


@pytest.fixture(
    scope="module", params=["event", pytest.param("prefork", marks=pytest.mark.slow), "wsgi"]
)
def apache(request, workspace, ca, cgi):
    """A running Apache: mod_cgid in the event MPM, Debian's default; mod_cgi in prefork; or
    mod_wsgi."""
    home, config = workspace / f"httpd-{request.param}", ca.home / "ocsp-cgi.conf"
    with (
        started_wsgi(home, cgi, config)
        if request.param == "wsgi"
        else started(home, cgi, config, request.param)
    ) as server:
        yield server


@pytest.fixture
def request_about(ca, root):
    return lambda name, **options: request(
        cert_id(root, certificate(ca.home / f"{name}.crt").serial_number), **options
    )


@pytest.fixture
def post(apache, place):
    """post(der) asks with curl."""

    def post(encoded, *options):
        (place / "request.der").write_bytes(encoded)
        return curl(*OCSP_TYPE, *options, "--data-binary", f"@{place}/request.der", apache.url)

    return post


@pytest.mark.parametrize(
    "name, status", [("good", "good"), ("bad", "revoked"), ("held", "revoked")]
)
@pytest.mark.parametrize("options", [(), ("-no_nonce",), ("-sha256",)], ids=" ".join)
@pytest.mark.slow
def test_openssl_ocsp(apache, ca, name, status, options):
    response = openssl_ocsp(ca.home, *options, "-cert", f"{name}.crt", "-url", apache.url)
    assert response.stderr == "Response verify OK\n"
    assert response.stdout.splitlines()[0] == f"{name}.crt: {status}"
    if name == "bad":
        assert "Reason: keyCompromise" in response.stdout and "Revocation Time: " in response.stdout


def test_openssl_ocsp_asks_about_a_serial_that_was_never_issued(apache, ca):
    response = openssl_ocsp(ca.home, "-serial", "0x1234", "-url", apache.url)
    assert (response.stderr, response.stdout.splitlines()[0]) == (
        "Response verify OK\n",
        "0x1234: unknown",
    )


def test_openssl_ocsp_asks_about_several(apache, ca):
    response = openssl_ocsp(
        ca.home, "-cert", "good.crt", "-cert", "bad.crt", "-serial", "0x1234", "-url", apache.url
    )
    assert response.stderr == "Response verify OK\n"
    statuses = [line for line in response.stdout.splitlines() if not line.startswith("\t")]
    assert statuses == ["good.crt: good", "bad.crt: revoked", "0x1234: unknown"]


def test_curl_post(post, request_about, root):
    answered = post(request_about("bad"))
    assert (answered.status, answered.headers["content-type"]) == (200, "application/ocsp-response")
    assert answered.headers["content-length"] == str(len(answered.body))
    response = verified(answered.body, root)
    assert (response.certificate_status, response.revocation_reason.value) == (
        REVOKED,
        "keyCompromise",
    )


@pytest.mark.parametrize(
    "options",
    [("-H", "Transfer-Encoding: chunked"), ("--http1.0",), ("-H", "Expect: 100-continue")],
    ids=" ".join,
)
def test_curl_post_in_other_ways(post, request_about, root, options):
    assert verified(post(request_about("good"), *options).body, root).certificate_status == GOOD


@pytest.mark.parametrize(
    "form",
    [
        "escaped",
        "lower-case escapes",
        "plain",
        "doubled slash",
        "for URLs, without padding",
        "absolute-form",
    ],
)
@pytest.mark.slow
def test_section_5_curl_get(apache, request_about, root, form):
    for number in range(10000):  # until one has //, which Apache would merge, and +
        text = base64_of(
            request_about(
                "bad", extensions=nonce(hashlib.sha256(bytes(str(number), "ascii")).digest())
            )
        )
        if "//" in text and "+" in text:
            break
    assert "//" in text and "+" in text
    escaped = urllib.parse.quote(text, safe="")
    path = {
        "escaped": "/" + escaped,
        "lower-case escapes": (
            "/" + escaped.replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d")
        ),
        "plain": "/" + text,
        "doubled slash": "//" + escaped,
        "for URLs, without padding": "/" + text.rstrip("=").replace("/", "_").replace("+", "-"),
        "absolute-form": "/" + escaped,
    }[form]
    options = ("--request-target", apache.url + path) if form == "absolute-form" else ()
    response = curl(*options, apache.url + path)
    assert (response.status, response.headers["content-type"]) == (200, "application/ocsp-response")
    assert verified(response.body, root).certificate_status == REVOKED


def test_curl_head(apache, request_about):
    response = curl("--head", f"{apache.url}/{base64_of(request_about('good'))}")
    assert (
        response.status == 200
        and int(response.headers["content-length"]) > 500
        and response.body == b""
    )


@pytest.mark.slow
def test_section_5_apache_answers_304_for_what_a_cache_has(apache, request_about):
    url = f"{apache.url}/{base64_of(request_about('good'))}"

    assert curl("-H", "If-None-Match: *", url).status == 304
    assert curl("-H", 'If-None-Match: "another"', url).status == 200
    for changing in (f"{apache.url}/MAMCAQA=", f"{apache.url}/"):  # an error, and the page
        before = curl(changing)
        confirmed = curl("-H", "If-None-Match: *", changing)
        assert (confirmed.status, confirmed.body) == (before.status, before.body)
        assert before.status == 200 and before.body
    # A revoked response may have the date of the good one that the client has.
    for _ in range(3):  # one of them not across the end of a second
        date = f"If-Modified-Since: {email.utils.formatdate(usegmt=True)}"
        assert curl("-H", date, url).status == 200
        assert curl("-H", date, "-H", 'If-None-Match: "another"', url).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "NONSENSE"])
@pytest.mark.slow
def test_section_5_other_methods(apache, method):
    response = curl("-X", method, apache.url)
    assert (response.status, response.headers["allow"]) == (405, "GET, HEAD, POST")


def test_trace_is_off(apache):
    assert curl("-X", "TRACE", apache.url).status == 405


def test_page(apache):
    for path, status in (("", 200), ("/", 200), ("/favicon.ico", 404)):
        response = curl(apache.url + path)
        assert (response.status, response.headers["content-type"]) == (
            status,
            "text/html; charset=utf-8",
        )
        assert f"-url {apache.url}</pre>" in response.body.decode()
    assert curl("-d", "text", apache.url).status == 415


@pytest.mark.slow
def test_a_body_that_is_not_read_does_no_harm(post, apache):
    """mod_cgid truncates the output of a script that leaves input unread."""
    for _ in range(20):
        response = post(b"x" * 65536)
        assert (response.status, response.body) == (200, b"\x30\x03\x0a\x01\x01")
    assert curl("--data-binary", "x" * 70000, apache.url).status == 413


def test_query_string_of_words_is_not_taken_as_arguments(apache, request_about, root):
    response = curl(f"{apache.url}/{base64_of(request_about('good'))}?-h+--config=/nowhere")
    assert verified(response.body, root).certificate_status == GOOD


def test_a_revocation_is_in_the_next_response(apache, ca, post, root):
    name = f"for-{apache.home.name}"
    ca.issue(name)
    httpd.let_read(ca.home)
    encoded = request(cert_id(root, certificate(ca.home / f"{name}.crt").serial_number))
    assert verified(post(encoded).body, root).certificate_status == GOOD
    ca.revoke(name, "-crl_reason", "superseded")
    httpd.let_read(ca.home)
    response = verified(post(encoded).body, root)
    assert (response.certificate_status, response.revocation_reason.value) == (
        REVOKED,
        "superseded",
    )


def test_error_log_has_a_line_for_each_request_and_no_noise(apache, post, request_about, ca):
    before = len(apache.error_log)
    post(request_about("good"))
    long_path = "/" + base64_of(request_about("bad", extensions=nonce(bytes(128))))
    assert len(long_path) > 255
    curl(apache.url + long_path)
    lines = apache.error_log[before:].splitlines()
    assert len(lines) == 2, lines
    assert (
        f"POST serial={ca.serial('good')} status=good ca=root-ca client=127.0.0.1 ms=" in lines[0]
    )
    assert (
        f"GET serial={ca.serial('bad')} status=revoked reason=keyCompromise ca=root-ca nonce=128"
        " client=127.0.0.1 ms=" in lines[1]
    )


@pytest.mark.slow
def test_linked_into_cgi_bin(workspace, place, ca, cgi, root, request_about):
    link = place / "cgi-bin" / "ocsp.cgi"
    link.parent.mkdir()
    link.symlink_to(cgi)
    httpd.let_read(workspace / "ocsp-cgi")
    httpd.let_read(place)
    with started(place / "httpd", link, ca.home / "ocsp-cgi.conf") as server:
        response = curl(f"{server.url}/{base64_of(request_about('good'))}")
    assert verified(response.body, root).certificate_status == GOOD


@pytest.mark.slow
def test_site_conf_fits_rhel_as_it_is(place, ca, cgi, root, request_about):
    """Its cgi-bin is another; the file finds out by itself."""
    site_conf = (
        httpd.SITE_CONF.read_text()
        .replace("/usr/lib/cgi-bin", "/nowhere")
        .replace("/var/www/cgi-bin", str(cgi.parent))
    )
    with started(place / "httpd", cgi, ca.home / "ocsp-cgi.conf", site_conf=site_conf) as server:
        response = curl(f"{server.url}/{base64_of(request_about('good'))}")
    assert verified(response.body, root).certificate_status == GOOD


@pytest.mark.parametrize(
    "directive, effect",
    [
        ("AllowEncodedSlashes NoDecode", "404 for %2F"),
        ("SetEnv ap_trust_cgilike_cl yes", "no Content-Length"),
        ("LimitRequestBody 65536", "no 413"),
        ("LogLevel core:crit authz_core:crit", "noise in the log"),
        ("TraceEnable off", "TRACE is answered"),
    ],
)
@pytest.mark.slow
def test_every_directive_of_the_site_conf_is_needed(
    place, ca, cgi, request_about, directive, effect
):
    site_conf = httpd.SITE_CONF.read_text()
    assert site_conf.count(directive) == 1
    with started(
        place / "httpd", cgi, ca.home / "ocsp-cgi.conf", site_conf=site_conf.replace(directive, "")
    ) as server:
        text = base64_of(request_about("good", extensions=nonce(b"\xff" * 128)))
        url = f"{server.url}/{urllib.parse.quote(text, safe='')}"
        seen = {
            "404 for %2F": curl(url).status == 404,
            # sometimes Apache has the whole response soon enough to count it itself
            "no Content-Length": not all("content-length" in curl(url).headers for _ in range(20)),
            "no 413": curl("--data-binary", "x" * 70000, server.url).status == 415,
            "noise in the log": "AH00036" in server.error_log or "AH01630" in server.error_log,
            "TRACE is answered": curl("-X", "TRACE", server.url).status == 200,
        }
    assert [what for what, happened in seen.items() if happened] == [effect]


# What people have in their configuration instead of ScriptAlias.  Each address must take a GET and
# a POST, and show itself on its page.
ADDRESSES = {
    "ScriptAlias": ("/ocsp", 'ScriptAlias "/ocsp" "SCRIPT"'),
    "ScriptAlias with a slash": ("/ocsp/", 'ScriptAlias "/ocsp/" "SCRIPT/"'),
    "ScriptAlias of a name with a space": ("/our%20ocsp", 'ScriptAlias "/our ocsp" "SCRIPT"'),
    "ScriptAlias of a name with escapes": (
        "/100%25%C3%A4/M%2B",
        'ScriptAlias "/100%ä/M+" "SCRIPT"',
    ),
    "ScriptAliasMatch": ("/ocsp", 'ScriptAliasMatch "^/ocsp(/|$)" "SCRIPT"'),
    "ScriptAliasMatch with a slash": ("/ocsp/", 'ScriptAliasMatch "^/ocsp/" "SCRIPT"'),
    "ScriptAliasMatch that passes the path on": (
        "/ocsp",
        'ScriptAliasMatch "^/ocsp(/.*)?$" "SCRIPT$1"',
    ),
    "ScriptAliasMatch that passes a part of it on": (
        "/ocsp",
        'ScriptAliasMatch "^/ocsp(?:/[^/]*)?(/.*)?$" "SCRIPT$1"',
    ),
    "AliasMatch": (
        "/MCA/ocsp",
        (
            'AliasMatch "^/MCA/ocsp(/|$)" "SCRIPT"\n<Location "/MCA/ocsp">\nSetHandler'
            " cgi-script\n</Location>"
        ),
    ),
    "RewriteRule": (
        "/ocsp",
        'RewriteEngine on\nRewriteRule "^/ocsp(/|$)" "SCRIPT" [H=cgi-script,L]',
    ),
    "RewriteRule that passes the path on": (
        "/ocsp",
        'RewriteEngine on\nRewriteRule "^/ocsp(/.*)?$" "/bin/ocsp.cgi$1" [PT]',
    ),
    "RewriteRule of all": ("/", 'RewriteEngine on\nRewriteRule "^" "/bin/ocsp.cgi" [PT]'),
    "Action": (
        "/ocsp",
        'Action ocsp "/bin/ocsp.cgi" virtual\n<Location "/ocsp">\nSetHandler ocsp\n</Location>',
    ),
    "the whole virtual host": ("/", 'ScriptAliasMatch "^" "SCRIPT"'),
    "the root": ("/", 'ScriptAlias "/" "SCRIPT/"'),
    "DirectoryIndex, FallbackResource": (
        "/",
        'DirectoryIndex "/bin/ocsp.cgi"\nFallbackResource "/bin/ocsp.cgi"',
    ),
}


@pytest.fixture(scope="module")
def addresses(workspace, ca, cgi):
    """addresses(kind, path, *options) asks an Apache with a virtual host for each of ADDRESSES, and
    one with TLS."""
    home = workspace / "addresses"
    (home / "empty").mkdir(parents=True)
    hosts = [
        f"""
<VirtualHost *:80>
    ServerName {number}.example.com
    DocumentRoot "{home}/empty"
    AllowEncodedSlashes NoDecode
    {directives.replace("SCRIPT", str(cgi))}
    {"" if "/bin/" not in directives else f'ScriptAlias "/bin/ocsp.cgi" "{cgi}"'}
</VirtualHost>"""
        for number, (_, directives) in enumerate(ADDRESSES.values())
    ]
    tls = httpd.free_port()
    site_conf = f"""
SetEnv OCSP_CGI_CONFIG /etc/ssl/ocsp-cgi.conf
SetEnv ap_trust_cgilike_cl yes
<Directory "{cgi.parent}">
    Options +ExecCGI
    Require all granted
</Directory>
<Directory "{home}/empty">
    Require all granted
</Directory>
{"".join(hosts)}
Listen 127.0.0.1:{tls}
<VirtualHost 127.0.0.1:{tls}>
    SSLEngine on
    SSLCertificateFile "{ca.home}/good.crt"
    SSLCertificateKeyFile "{ca.home}/private/good.key"
    ScriptAlias "/ocsp" "{cgi}"
</VirtualHost>
"""
    with started(
        home,
        cgi,
        ca.home / "ocsp-cgi.conf",
        "event",
        site_conf,
        ("rewrite", "actions", "dir", "ssl"),
    ) as server:

        def ask(kind, path, *options):
            if kind == "TLS":
                return curl("--insecure", *options, f"https://127.0.0.1:{tls}{path}")
            host = f"{list(ADDRESSES).index(kind)}.example.com"
            return curl("-H", f"Host: {host}", *options, f"http://127.0.0.1:{server.port}{path}")

        ask.tls_port = tls
        yield ask


@pytest.fixture(scope="module")
def awkward(ca, root):
    """Requests with and without slashes in their base64, which Apache treats differently, and their
    statuses.

    The one without is about another issuer, since the hashes of ours may have slashes.
    """
    ours = cert_id(root, certificate(ca.home / "bad.crt").serial_number)
    found = {}
    for number in range(10000):
        value = hashlib.sha256(str(number).encode()).digest()[: 12 + number % 3] + b"\xff"
        encoded = request(ours, extensions=nonce(value))
        text = base64_of(encoded)
        found.setdefault("//" if "//" in text else "/", (encoded, "revoked"))
        if text.rstrip("=").endswith("/"):
            found.setdefault("/ at its end", (encoded, "revoked"))
        if len(found) == 3:
            break
    without = request(cert_id_of("sha1", bytes(20), bytes(20), int("41" * 16, 16)))
    assert len(found) == 3 and "/" not in base64_of(without)
    return [*found.values(), (without, "unauthorized")]


def status(response, root):
    """The status in an HTTPResponse."""
    if response.body == b"\x30\x03\x0a\x01\x06":
        return "unauthorized"
    assert response.headers["content-type"] == "application/ocsp-response"
    return verified(response.body, root).certificate_status.name.lower()


@pytest.mark.parametrize("kind", ADDRESSES)
@pytest.mark.slow
def test_every_way_to_an_address(addresses, awkward, place, root, kind):
    address = ADDRESSES[kind][0]
    for encoded, expected in awkward:
        (place / "request.der").write_bytes(encoded)
        assert (
            status(
                addresses(kind, address, *OCSP_TYPE, "--data-binary", f"@{place}/request.der"), root
            )
            == expected
        )
        text = base64_of(encoded)
        quoted = urllib.parse.quote(text, safe="")
        for path in (text, quoted, quoted.replace("%", "%25"), f"/{text}/"):
            assert status(addresses(kind, f"{address.rstrip('/')}/{path}"), root) == expected, path
    response = addresses(kind, address)
    assert (response.status, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    shown = f"http://{list(ADDRESSES).index(kind)}.example.com{address}"
    if kind in ("ScriptAlias with a slash", "the root"):
        shown = shown[:-1]  # so Apache splits it, and it takes a POST too
    assert f"-url {shown}</pre>" in response.body.decode()


@pytest.mark.slow
def test_page_shows_scheme_and_port_that_the_client_used(addresses):
    forwarded = (
        "-H",
        "X-Forwarded-Proto: http",
        "-H",
        "X-Forwarded-Host: evil.example.com",
        "-H",
        "Forwarded: host=evil.example.com",
    )
    page = addresses("TLS", "/ocsp/favicon.ico?x=y", *forwarded)
    assert (
        page.status == 404
        and f"-url https://127.0.0.1:{addresses.tls_port}/ocsp</pre>" in page.body.decode()
    )


@pytest.mark.slow
def test_apaches_limit_of_processes(place, ca, cgi, root, request_about):
    """RLimitNPROC includes threads: the CGI responds without its second one."""
    site_conf = httpd.SITE_CONF.read_text().replace(
        "TraceEnable off", "TraceEnable off\n    RLimitNPROC 1 1"
    )
    with started(place / "httpd", cgi, ca.home / "ocsp-cgi.conf", site_conf=site_conf) as server:
        response = curl(f"{server.url}/{base64_of(request_about('good'))}")
        log = server.error_log
    assert verified(response.body, root).certificate_status == GOOD
    assert "no second thread can be started" in log and "status=good" in log


@pytest.mark.slow
def test_apache_is_gone_afterwards(place, ca, cgi):
    with started(place / "httpd", cgi, ca.home / "ocsp-cgi.conf") as server:
        assert curl(server.url).status == 200
    assert not (place / "httpd" / "run" / "httpd.pid").exists()
    shutil.rmtree(place / "httpd")
