"""The CGI, run as Apache runs it: environment and standard input in, response and log line out."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import urllib.parse
import venv
from pathlib import Path

import pytest
from clients import (
    SPELLINGS,
    awkward_requests,
    base64_of,
    cert_id,
    certificate,
    nonce,
    parse_http,
    request,
    run_cgi,
    run_wsgi,
    verified,
)
from cryptography import x509
from cryptography.x509 import ocsp

from ocsp_cgi import __version__, wsgi
from ocsp_cgi.tools import httpd

CHECKOUT = Path(__file__).resolve().parents[1]
MALFORMED, INTERNAL_ERROR = b"\x30\x03\x0a\x01\x01", b"\x30\x03\x0a\x01\x02"


@pytest.fixture(params=["CGI", "WSGI"])
def ask(request, pki, cgi):
    """ask(...) runs the CGI, or the WSGI application, over the unchanged CA."""
    run, responder = (run_cgi, cgi) if request.param == "CGI" else (run_wsgi, wsgi.application)
    return lambda *arguments, **variables: run(
        responder, pki.home / "ocsp-cgi.conf", *arguments, **variables
    )


@pytest.fixture
def root(pki):
    return certificate(pki.home / "root-ca.crt")


@pytest.fixture
def request_about(pki, root):
    """request_about(name) is an OCSPRequest about NAME.crt."""
    return lambda name, **options: request(
        cert_id(root, certificate(pki.home / f"{name}.crt").serial_number), **options
    )


@pytest.mark.parametrize(
    "name, status, reason",
    [
        ("good", ocsp.OCSPCertStatus.GOOD, None),
        ("bad", ocsp.OCSPCertStatus.REVOKED, "keyCompromise"),
        ("held", ocsp.OCSPCertStatus.REVOKED, "certificateHold"),
    ],
)
def test_post(ask, request_about, root, name, status, reason):
    answered = ask("POST", request_about(name))
    assert (answered.status, answered.headers["content-type"]) == (200, "application/ocsp-response")
    assert answered.headers["content-length"] == str(len(answered.body))
    response = verified(answered.body, root)
    assert response.certificate_status == status
    assert (response.revocation_reason and response.revocation_reason.value) == reason


def test_unknown_serial(ask, root):
    assert (
        verified(ask("POST", request(cert_id(root, 0x1234))).body, root).certificate_status
        == ocsp.OCSPCertStatus.UNKNOWN
    )


@pytest.fixture(scope="session")
def awkward(pki):
    """awkward_requests about bad.crt."""
    root = certificate(pki.home / "root-ca.crt")
    return awkward_requests(cert_id(root, certificate(pki.home / "bad.crt").serial_number))


@pytest.mark.parametrize("form", SPELLINGS)
@pytest.mark.slow
def test_section_5_get(ask, root, awkward, form):
    for encoded in awkward:
        response = ask("GET", path=SPELLINGS[form](base64_of(encoded)))
        assert response.status == 200, form
        assert verified(response.body, root).certificate_status == ocsp.OCSPCertStatus.REVOKED


def test_get_in_absolute_form_and_behind_doubled_slashes(ask, request_about, root):
    text = base64_of(request_about("bad"))
    for uri in (
        f"http://ocsp.example.com/cgi-bin/ocsp.cgi/{text}",
        f"HTTP://ocsp.example.com:80//cgi-bin/ocsp.cgi/{text}",
        f"//cgi-bin/ocsp.cgi//{text}",
    ):
        assert (
            verified(ask("GET", REQUEST_URI=uri).body, root).certificate_status
            == ocsp.OCSPCertStatus.REVOKED
        )


def test_get_where_only_path_info_tells_the_path(ask, request_about, root):
    response = ask(
        "GET", REQUEST_URI="/somewhere/else", PATH_INFO="/" + base64_of(request_about("bad"))
    )
    assert verified(response.body, root).certificate_status == ocsp.OCSPCertStatus.REVOKED


@pytest.mark.slow
def test_get_at_a_path_that_the_server_has_rewritten(ask, awkward, root):
    """PATH_INFO then lacks one slash of two, but the path as it came is whole."""
    for encoded in awkward:
        text = base64_of(encoded)
        for uri in (f"/ocsp/{urllib.parse.quote(text, safe='')}", f"/{text}", f"/Main/{text}"):
            response = ask("GET", REQUEST_URI=uri, PATH_INFO="/" + text.replace("//", "/"))
            assert verified(response.body, root).certificate_status == ocsp.OCSPCertStatus.REVOKED


def test_get_and_post_differ_in_nothing_but_the_signature(ask, request_about):
    get, post = (
        ask("GET", path="/" + base64_of(request_about("bad"))),
        ask("POST", request_about("bad")),
    )
    get, post = ocsp.load_der_ocsp_response(get.body), ocsp.load_der_ocsp_response(post.body)
    assert get.revocation_reason == post.revocation_reason == x509.ReasonFlags.key_compromise
    assert (get.serial_number, get.responder_key_hash) == (
        post.serial_number,
        post.responder_key_hash,
    )


def test_head_is_get_without_its_body(ask, request_about):
    response = ask("HEAD", path="/" + base64_of(request_about("good")))
    assert response.body == b"" and int(response.headers["content-length"]) > 500


@pytest.mark.parametrize(
    "content_type",
    [
        "application/ocsp-request",
        "Application/OCSP-Request",
        "application/ocsp-request; charset=utf-8",
    ],
)
def test_section_5_content_type(ask, request_about, root, content_type):
    assert verified(ask("POST", request_about("good"), CONTENT_TYPE=content_type).body, root)


def test_chunked_body_without_content_length(ask, request_about, root):
    assert verified(ask("POST", request_about("good"), CONTENT_LENGTH="").body, root)


@pytest.mark.parametrize(
    "method, path, content_type, status",
    [
        ("GET", "", "", 200),
        ("GET", "/", "", 200),
        ("GET", "/favicon.ico", "", 404),
        ("GET", "/AAAA", "", 404),
        ("GET", "/Main", "", 404),
        ("POST", "", "text/plain", 415),
        ("POST", "", "", 415),
        ("PUT", "", "application/ocsp-request", 405),
        ("DELETE", "", "", 405),
    ],
)
@pytest.mark.slow
def test_section_0_page(ask, pki, method, path, content_type, status):
    response = ask(
        method,
        b"<script>" if method == "POST" else b"",
        path=path,
        CONTENT_TYPE=content_type,
        HTTP_HOST="pki.example.com",
    )
    assert (response.status, response.headers["content-type"]) == (
        status,
        "text/html; charset=utf-8",
    )
    assert response.headers["content-length"] == str(len(response.body))
    assert response.headers.get("allow") == ("GET, HEAD, POST" if status == 405 else None)
    page = response.body.decode()
    assert page.count("-url http://pki.example.com/cgi-bin/ocsp.cgi") == 3
    assert 'href="https://pki.example.com/ocsp"' in page
    import cryptography

    assert f"ocsp.cgi {__version__} with cryptography {cryptography.__version__} (OpenSSL " in page
    assert str(pki.home) not in page and "<script>" not in page


def test_page_with_a_hostile_host_shows_the_servers_own_name(ask):
    page = ask("GET", HTTP_HOST='"><script>alert(1)</script>').body.decode()
    assert "script>" not in page and "-url http://ocsp.example.com/cgi-bin/ocsp.cgi" in page


def test_a_broken_config_is_in_the_log_and_not_on_the_page(cgi, place):
    response = run_cgi(cgi, place / "none.conf", "GET")
    assert response.status == 200
    assert str(place) not in response.body.decode() and "none.conf" not in response.body.decode()
    assert (
        f"{place}/none.conf: No such file or directory; this is the config, which OCSP_CGI_CONFIG"
        " names" in response.log
    )


def test_section_0_what_is_not_ocsp_in_the_right_type_is_malformed(ask):
    for body in (b"", b"hello", b"\x30", b"\x30\x80"):
        response = ask("POST", body)
        assert (response.status, response.body, response.headers["cache-control"]) == (
            200,
            MALFORMED,
            "no-cache, no-store",
        )
    assert ask("GET", path="/MEMO").body == MALFORMED


def test_body_above_the_limit_is_malformed(ask):
    response = ask("POST", b"\x30" * 65537)
    assert response.body == MALFORMED and "more than 65536 bytes" in response.log


def test_log_line(ask, request_about, pki):
    serial = pki.serial("bad")
    *warnings, line = ask(
        "POST", request_about("bad", extensions=nonce(bytes(16)))
    ).log.splitlines()
    assert not warnings
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ ocsp\.cgi: POST serial={serial} status=revoked"
        r" reason=keyCompromise ca=root-ca nonce=16"
        r" client=192\.0\.2\.1 ms=\d+",
        line,
    )


def test_log_cannot_be_forged(ask):
    response = ask("G\nT\x1b[2J")
    assert response.log.count("\n") == 1 and "\x1b" not in response.log


@pytest.mark.parametrize(
    "method",
    [
        "M" * 8000,
        "\x1b[2J" * 1000,
        "\x9b\u202eé" * 1000,
    ],
    ids=["long", "ESC", "not ASCII"],
)
def test_log_cannot_be_filled(ask, method):
    line = ask(method).log
    assert line.isascii() and line[:-1].isprintable() and len(line) < 200
    assert " page=405 client=" in line


def test_a_line_of_the_log_is_written_in_one_piece(cgi, place, request_about):
    config = "[root-ca]\ndb = x\nca = x\nrsigner = x\nrkey = x\n[responder]\nhyperlink = "
    (place / "ocsp-cgi.conf").write_text(config + "証" * 3000)
    line = run_cgi(cgi, place / "ocsp-cgi.conf", "POST", request_about("good")).log.splitlines()[0]
    assert r"`hyperlink` is `\u8a3c" in line and line.isascii() and 3900 < len(line) < 4096


def test_an_error_names_the_file_and_the_fix(ca, cgi, request_about):
    (ca.home / "private" / "root-ocsp.key").unlink()
    response = run_cgi(cgi, ca.home / "ocsp-cgi.conf", "POST", request_about("good"))
    assert (response.status, response.body) == (200, INTERNAL_ERROR)
    assert (
        f"{ca.home}/private/root-ocsp.key: No such file or directory; `rkey` names it"
        in response.log
    )
    assert f"POST serial={ca.serial('good')} response=internalError" in response.log


def test_a_revocation_is_in_the_next_response(ca, cgi, request_about, root):
    config = ca.home / "ocsp-cgi.conf"
    assert (
        verified(run_cgi(cgi, config, "POST", request_about("good")).body, root).certificate_status
        == ocsp.OCSPCertStatus.GOOD
    )
    ca.revoke("good")
    assert (
        verified(run_cgi(cgi, config, "POST", request_about("good")).body, root).certificate_status
        == ocsp.OCSPCertStatus.REVOKED
    )


@pytest.mark.parametrize("kind", ["absolute", "relative", "to a link", "through directories"])
def test_linked_into_cgi_bin(cgi, place, pki, request_about, root, kind):
    """However many links lead to ocsp.cgi, its package is found beside itself."""
    link = place / "cgi-bin" / "ocsp.cgi"
    link.parent.mkdir()
    if kind == "absolute":
        link.symlink_to(cgi)
    elif kind == "relative":
        link.symlink_to(Path("..", "..", *cgi.relative_to(place.parent).parts))
    elif kind == "to a link":
        (place / "other.cgi").symlink_to(cgi)
        link.symlink_to("../other.cgi")
    else:
        (place / "current").symlink_to(cgi.parent)
        (place / "deep").mkdir()
        (place / "deep" / "again.cgi").symlink_to("../current/ocsp.cgi")
        (place / "deeper").symlink_to("deep")
        link.symlink_to("../deeper/again.cgi")
    response = run_cgi(link, pki.home / "ocsp-cgi.conf", "POST", request_about("good"))
    assert verified(response.body, root), response.log


@pytest.fixture(scope="session")
def installed(workspace):
    """A virtual environment in which pip has installed the package from a copy of this checkout."""
    source = workspace / "source"
    source.mkdir()
    for name in (
        *("ocsp.cgi", "ocsp_cgi", "apache"),
        *("setup.cfg", "pyproject.toml", "README.md", "LICENSE"),
    ):
        path = CHECKOUT / name
        (shutil.copytree if path.is_dir() else shutil.copy)(path, source / name)
    environment = workspace / "installed"
    venv.create(environment, system_site_packages=True, with_pip=True)
    python = environment / "bin" / "python"
    for distribution in (
        sys.path
    ):  # where the packages of this Python's own virtual environment are, if it is in one
        if distribution.endswith("-packages"):
            site = subprocess.run(
                [python, "-c", "import site; print(site.getsitepackages()[0])"],
                capture_output=True,
                text=True,
            )
            Path(site.stdout.strip(), "tests.pth").write_text(distribution + "\n")
            break
    run = subprocess.run(
        [python, "-m", "pip", "install", "--no-deps", str(source)],
        capture_output=True,
        text=True,
        cwd="/",
    )
    if run.returncode != 0:
        pytest.skip(f"pip cannot install: {(run.stderr or run.stdout).strip().splitlines()[-1]}")
    return python


@pytest.mark.slow
def test_copied_to_cgi_bin_with_the_package_installed(installed, place, pki, request_about, root):
    script = httpd.install_script(place, str(installed))
    response = run_cgi(script, pki.home / "ocsp-cgi.conf", "POST", request_about("good"))
    assert verified(response.body, root), response.log


@pytest.mark.slow
def test_a_copy_with_a_package_beside_it_ignores_what_is_installed(
    installed, place, pki, request_about, root
):
    script = httpd.install_cgi(place, str(installed))
    version = place / "ocsp_cgi" / "__init__.py"
    version.write_text(version.read_text().replace('"0.', '"9.'))
    page = run_cgi(script, pki.home / "ocsp-cgi.conf", "GET").body.decode()
    assert "ocsp.cgi 9." in page
    response = run_cgi(script, pki.home / "ocsp-cgi.conf", "POST", request_about("good"))
    assert verified(response.body, root), response.log


def test_nothing_but_the_variables_of_cgi(ca, cgi, request_about, root):
    """As suexec leaves it: without even PATH.  The config is where a constant says then, so here it
    is the only other variable."""
    encoded = request_about("good")
    environment = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/ocsp-request",
        "CONTENT_LENGTH": str(len(encoded)),
        "OCSP_CGI_CONFIG": str(ca.home / "ocsp-cgi.conf"),
    }
    run = subprocess.run([cgi], input=encoded, env=environment, capture_output=True, cwd="/")
    assert verified(parse_http(run.stdout).body, root), run.stderr


def test_without_any_environment(cgi):
    run = subprocess.run([cgi], input=b"", env={}, capture_output=True, cwd="/")
    assert parse_http(run.stdout).status == 405
    assert b"ocsp.cgi: error: /etc/ssl/ocsp-cgi.conf" in run.stderr


def test_config_of_any_name(cgi, ca, request_about, root):
    config = ca.home / "prüfung \udcff.conf"
    (ca.home / "ocsp-cgi.conf").rename(config)
    assert verified(run_cgi(cgi, config, "POST", request_about("good")).body, root)


def test_standard_input_that_cannot_be_read(cgi, pki, request_about, root):
    environment = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/" + base64_of(request_about("good")),
        "OCSP_CGI_CONFIG": str(pki.home / "ocsp-cgi.conf"),
    }
    run = subprocess.run(["sh", "-c", '"$0" <&-', cgi], env=environment, capture_output=True)
    assert verified(parse_http(run.stdout).body, root), run.stderr


def test_without_its_package_it_responds_and_logs_a_hint(place, pki, request_about):
    script = httpd.install_script(
        place, "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    )
    response = run_cgi(script, pki.home / "ocsp-cgi.conf", "POST", request_about("good"))
    assert response.body == INTERNAL_ERROR
    assert (
        "Z ocsp.cgi: error: ModuleNotFoundError(\"No module named 'ocsp_cgi'\")" in response.log
        and f"is the whole of ocsp_cgi in {place}, or installed for" in response.log
    )


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(("cgi",), marks=pytest.mark.slow),
        ("cgi", "failure"),
        pytest.param(("cgi", "last_resort"), marks=pytest.mark.slow),
    ],
)
def test_with_a_damaged_package_it_responds_and_names_the_file(place, pki, request_about, damaged):
    script = httpd.install_cgi(place)
    for name in damaged:
        (place / "ocsp_cgi" / f"{name}.py").write_text("def\n")
    # more than a pipe holds, all of which must be read
    body = request_about("good") + bytes(200_000)
    response = run_cgi(script, pki.home / "ocsp-cgi.conf", "POST", body)
    assert response.body == INTERNAL_ERROR
    assert response.headers["cache-control"] == "no-cache, no-store"
    assert "Z ocsp.cgi: error: " in response.log and response.log.count("\n") == 1
    assert "cgi.py" in response.log and "invalid syntax" in response.log
    assert (
        f"is the whole of ocsp_cgi in {place}, or installed for {sys.executable}?" in response.log
    )


def test_what_a_client_can_put_into_the_environment_changes_nothing(ask, request_about, root):
    response = ask(
        "POST",
        request_about("good"),
        HTTP_OCSP_CGI_CONFIG="/nowhere",
        QUERY_STRING="config=/nowhere",
        HTTP_PROXY="http://example.com",
        PYTHONPATH="/nowhere",
        PYTHONHOME="/nowhere",
    )
    assert verified(response.body, root)


def test_arguments_change_nothing(pki, cgi, request_about, root):
    environment = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/ocsp-request",
        "OCSP_CGI_CONFIG": str(pki.home / "ocsp-cgi.conf"),
    }
    run = subprocess.run(
        [cgi, "-h", "--config=/nowhere"],
        input=request_about("good"),
        env=environment,
        capture_output=True,
    )
    assert verified(parse_http(run.stdout).body, root)
