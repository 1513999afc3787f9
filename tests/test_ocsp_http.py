"""OCSP over HTTP, without a server: which bytes of a path are the request, what the page and the
log say, and how long that takes."""

from __future__ import annotations

import random
import time
import urllib.parse

import pytest
from clients import (
    SPELLINGS,
    awkward_requests,
    base64_of,
    cert_id,
    cert_id_of,
    certificate,
    nonce,
    request,
)

from ocsp_cgi import answer, cgi, config, limits, ocsp_http

MALFORMED, UNAUTHORIZED = b"\x30\x03\x0a\x01\x01", b"\x30\x03\x0a\x01\x06"


def foreign(value: bytes = b"\xff\xfe\xff" * 4) -> bytes:
    """A request about a foreign issuer, with `/`, `//` and `+` in its base64."""
    return request(cert_id_of("sha1", bytes(20), b"\xfb" * 20, 0x1234), extensions=nonce(value))


ENCODED = foreign()
TEXT = base64_of(ENCODED)
QUOTED = urllib.parse.quote(TEXT, safe="")
MERGED = TEXT.replace("//", "/")


def get(
    uri: str, script_name: str = "/cgi-bin/ocsp.cgi", path_info: str = "", method: str = "GET"
) -> ocsp_http.Request:
    return ocsp_http.Request(method, uri, script_name, path_info, "", b"")


@pytest.mark.parametrize(
    "uri, script_name, path_info",
    [
        (f"/cgi-bin/ocsp.cgi/{TEXT}", "/cgi-bin/ocsp.cgi", f"/{MERGED}"),
        (f"/{TEXT}", f"/{MERGED}", ""),  # ScriptAliasMatch
        (f"/pattern/{QUOTED}", f"/pattern/{TEXT.replace('/', '%2F')}", ""),
        (f"/MCA//Main/{QUOTED}", "/MCA/Main/", ""),
        (f"/MAMA/{TEXT}", "/other", ""),  # a rewrite
        (f"/{TEXT}", "", f"/{MERGED}"),
        (f"/{TEXT}", "/", ""),
        (f"//{TEXT}", "//", f"/{MERGED}"),
        (f"/our%20ocsp/{QUOTED}", "/our ocsp", f"/{MERGED}"),
        (f"/our%2520ocsp/{QUOTED}", "/our%20ocsp", f"/{MERGED}"),
        (f"/a//b/{TEXT}", "/a//b", f"/{MERGED}"),
        (f"/a%2Fb/{TEXT}", "/a%2Fb", f"/{MERGED}"),
        (f"/%C3%A4/{TEXT}", "/\xc3\xa4", f"/{MERGED}"),
        (f"http://ocsp.example.com/x/{TEXT}", "/x", f"/{MERGED}"),
        (f"HTTPS://[::1]:8443//x/{TEXT}?a://b/c", "/x", f"/{MERGED}"),
        (f"/action/{TEXT}", "/cgi-bin/ocsp.cgi", f"/action/{MERGED}"),  # mod_actions
        ("/somewhere/else", "/cgi-bin/ocsp.cgi", f"/{TEXT}"),
        ("", "/cgi-bin/ocsp.cgi", f"/{TEXT}"),
        ("", "", f"/{TEXT}"),
        (f"/x/{TEXT}", "", ""),
        (f"/x/{TEXT[:4]}/../{TEXT}", "/x", ""),
    ],
)
def test_the_request_is_found_wherever_it_begins(uri, script_name, path_info):
    for end in ("", "/", "?", "?x=%2F/y"):
        if uri or not end:
            assert ocsp_http.ocsp_request(get(uri + end, script_name, path_info)) == ENCODED


@pytest.fixture(scope="module")
def awkward():
    return awkward_requests(cert_id_of("sha1", bytes(20), b"\xfb" * 20, 0x1234))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_section_5_every_spelling_of_a_get(awkward, spelling, method):
    for encoded in awkward:
        path = SPELLINGS[spelling](base64_of(encoded))
        http_request = get(f"/cgi-bin/ocsp.cgi{path}", method=method)
        assert ocsp_http.ocsp_request(http_request) == encoded


def test_a_path_that_the_server_has_rewritten(awkward):
    """PATH_INFO then lacks one slash of two, but the path as it came is whole."""
    for encoded in awkward:
        text = base64_of(encoded)
        for uri in (f"/ocsp/{urllib.parse.quote(text, safe='')}", f"/{text}", f"/Main/{text}"):
            http_request = get(uri, path_info="/" + text.replace("//", "/"))
            assert ocsp_http.ocsp_request(http_request) == encoded


@pytest.mark.parametrize(
    "content_type",
    [
        "application/ocsp-request",
        "Application/OCSP-Request",
        " application/ocsp-request ",
        "application/ocsp-request; charset=utf-8",
        "application/ocsp-request;",
    ],
)
@pytest.mark.parametrize("body", [ENCODED, b"", b"hello", None])
def test_section_5_a_post_is_its_body(content_type, body):
    """Whatever is in the path; None if it is longer than the limit."""
    for uri in ("/x", f"/x/{TEXT}"):
        http_request = ocsp_http.Request("POST", uri, "/x", "", content_type, body)
        assert ocsp_http.ocsp_request(http_request) == body


@pytest.mark.parametrize(
    "method, content_type, status",
    [
        ("POST", "", 415),
        ("POST", "text/plain", 415),
        ("POST", "application/ocsp-response", 415),
        ("POST", "application/ocsp-request, text/plain", 415),
        ("POST", "application/ocsp-requests", 415),
        ("PUT", "application/ocsp-request", 405),
        ("DELETE", "", 405),
        ("OPTIONS", "", 405),
        ("get", "", 405),
        ("", "", 405),
    ],
)
def test_section_5_what_is_not_ocsp(method, content_type, status):
    with pytest.raises(ocsp_http.NotOCSP) as error:
        ocsp_http.ocsp_request(
            ocsp_http.Request(method, f"/x/{TEXT}", "/x", "", content_type, ENCODED)
        )
    assert error.value.status == status


CACHEABLE = answer.Answer(answer.SUCCESSFUL, b"0", 0, 86400, 3600, "abc")


@pytest.mark.parametrize(
    "given, headers",
    [
        (
            CACHEABLE,
            {
                "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT",
                "Expires": "Fri, 02 Jan 1970 00:00:00 GMT",
                "ETag": '"abc"',
                "Cache-Control": "max-age=3600, public, no-transform, must-revalidate",
            },
        ),
        (
            answer.Answer(answer.SUCCESSFUL, b"0", 0, 86400, 0, ""),
            {"Cache-Control": "max-age=0, private, no-transform"},
        ),
        (
            answer.Answer(answer.TRY_LATER, b"0"),
            {"Cache-Control": "no-cache, no-store"},
        ),
    ],
    ids=["cacheable", "for one client", "error"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_section_5_headers(given, headers, method):
    response = ocsp_http.response(given, method)
    assert response.status == 200
    assert response.headers == [
        ("Content-Type", "application/ocsp-response"),
        ("Content-Length", "1"),
        *headers.items(),
    ]
    assert response.body == (b"" if method == "HEAD" else b"0")


def test_escapes_that_were_escaped_again(base="/cgi-bin/ocsp.cgi/"):
    text = QUOTED
    for times in range(3):
        for uri in (text, text.replace("%2F", "%2f").replace("%3D", "%3d")):
            assert ocsp_http.ocsp_request(get(base + uri)) == ENCODED, times
            assert (
                ocsp_http.ocsp_request(get("", path_info=urllib.parse.unquote(f"/{uri}")))
                == ENCODED
            )
        text = text.replace("%", "%25")


def test_the_right_reading_of_a_last_slash(pki):
    seen = set()
    for number in range(1000):
        encoded = foreign(number.to_bytes(2, "big") + b"\xff" * (1 + number % 3))
        digits = base64_of(encoded).rstrip("=")
        seen.add((digits[-1] == "/", len(digits) % 4))
        for end in ("", "/"):
            assert ocsp_http.ocsp_request(get(f"/cgi-bin/ocsp.cgi/{digits}{end}")) == encoded
    assert {remainder for is_slash, remainder in seen} == {0, 2, 3} and (True, 0) in seen


def test_a_last_slash_does_not_replace_a_merged_one():
    draw = random.Random(7)
    seen = 0
    for _ in range(1000):
        serial = draw.getrandbits(150)
        encoded = request(cert_id_of("sha1", bytes(20), b"\x01" * 20, serial))
        digits = base64_of(encoded).rstrip("=")
        merged = digits.replace("//", "/")
        seen += len(merged) == len(digits) - 1
        path_info = f"/action/{merged}/"
        read = ocsp_http.ocsp_request(get(f"/action/{digits}/", "/cgi-bin/ocsp.cgi", path_info))
        assert read == encoded
    assert seen


@pytest.mark.parametrize(
    "uri, script_name, path_info, status",
    [
        ("/cgi-bin/ocsp.cgi", "/cgi-bin/ocsp.cgi", "", 200),
        ("/cgi-bin/ocsp.cgi/", "/cgi-bin/ocsp.cgi", "/", 200),
        ("/cgi-bin/ocsp.cgi/x", "/cgi-bin/ocsp.cgi", "/x", 404),
        ("/cgi-bin/ocsp.cgix", "/cgi-bin/ocsp.cgi", "", 200),  # a rewrite
        (
            "/cgi-bin/ocsp.cgi/%4dAIN",
            "/cgi-bin/ocsp.cgi",
            "/MAIN",
            None,
        ),  # which is base64 of a SEQUENCE
        ("/", "/", "", 200),
        ("/MCA/Main", "/MCA/Main", "", 200),
        ("/MCA", "/MCA", "", 200),
        ("/MCA", "/cgi-bin/ocsp.cgi", "", 200),
        ("/action", "/cgi-bin/ocsp.cgi", "/action", 200),
        ("/ocsp/x", "/cgi-bin/ocsp.cgi", "/x", 404),
        ("/", "/ocsp.cgi", "", 200),  # DirectoryIndex
        ("*", "", "", 200),
        ("", "", "", 200),
        ("http://ocsp.example.com", "", "", 200),
        ("http://ocsp.example.com?x", "", "", 200),
        ("/%", "", "", 404),
    ],
)
def test_a_person_gets_the_page(uri, script_name, path_info, status):
    if status is None:
        assert ocsp_http.ocsp_request(get(uri, script_name, path_info))[:1] == b"\x30"
        return
    with pytest.raises(ocsp_http.NotOCSP) as error:
        ocsp_http.ocsp_request(get(uri, script_name, path_info))
    assert error.value.status == status


@pytest.mark.parametrize(
    "uri, script_name, path_info, address",
    [
        ("/cgi-bin/ocsp.cgi", "/cgi-bin/ocsp.cgi", "", "/cgi-bin/ocsp.cgi"),
        ("/cgi-bin/ocsp.cgi/x?y=z", "/cgi-bin/ocsp.cgi", "/x", "/cgi-bin/ocsp.cgi"),
        ("//cgi-bin/ocsp.cgi", "/cgi-bin/ocsp.cgi", "", "/cgi-bin/ocsp.cgi"),
        ("/pattern/", "/pattern/", "", "/pattern/"),
        ("/pattern/x", "/pattern/x", "", "/pattern/x"),
        ("/", "/", "", "/"),
        ("/x", "", "/x", ""),
        ("/our%20ocsp", "/our ocsp", "", "/our%20ocsp"),
        ("/%22%3e%3Cscript%3e", '/"><script>', "", "/%22%3E%3Cscript%3E"),
        ("/a$(id);'b'&c", "/a$(id);'b'&c", "", "/a%24%28id%29%3B%27b%27%26c"),
        ("/ocsp", "/cgi-bin/ocsp.cgi", "", "/ocsp"),
        ("/ocsp/x", "/cgi-bin/ocsp.cgi", "/x", "/ocsp"),
        ("/action", "/cgi-bin/ocsp.cgi", "/action", "/action"),
        ("http://evil.example.com/ocsp", "/ocsp", "", "/ocsp"),
        ("", "/cgi-bin/ocsp.cgi", "/x", "/cgi-bin/ocsp.cgi"),
    ],
)
def test_the_page_shows_the_address_that_was_used(pki, uri, script_name, path_info, address):
    response, _ = ocsp_http.handle(
        get(uri, script_name, path_info),
        f"{pki.home}/ocsp-cgi.conf",
        "https://ocsp.example.com:8443",
        0,
    )
    assert response.body.decode().count(f"-url https://ocsp.example.com:8443{address}</pre>") == 3


@pytest.mark.parametrize(
    "variables, origin",
    [
        ({"HTTP_HOST": "a.example.com"}, "http://a.example.com"),
        ({"HTTP_HOST": "a.example.com:8080", "HTTPS": "on"}, "https://a.example.com:8080"),
        ({"HTTP_HOST": "[::1]:8080", "REQUEST_SCHEME": "https"}, "https://[::1]:8080"),
        ({"SERVER_NAME": "b.example.com", "SERVER_PORT": "80"}, "http://b.example.com"),
        ({"SERVER_NAME": "b.example.com", "SERVER_PORT": "443"}, "http://b.example.com:443"),
        (
            {"SERVER_NAME": "b.example.com", "SERVER_PORT": "443", "HTTPS": "on"},
            "https://b.example.com",
        ),
        (
            {"SERVER_NAME": "b.example.com", "SERVER_PORT": "8080", "HTTP_HOST": "<script>"},
            "http://b.example.com:8080",
        ),
        ({"SERVER_NAME": "b.example.com:8080", "SERVER_PORT": "8080"}, "http://b.example.com:8080"),
        ({"SERVER_NAME": "$(id)", "HTTP_HOST": "a b"}, "http://localhost"),
        ({"HTTP_HOST": "a" * 1000}, "http://localhost"),
        ({}, "http://localhost"),
        (
            {
                "HTTP_HOST": "a.example.com",
                "HTTP_X_FORWARDED_HOST": "evil.example.com",
                "HTTP_X_FORWARDED_PROTO": "https",
                "HTTP_X_FORWARDED_PORT": "1",
                "HTTP_FORWARDED": "host=evil.example.com;proto=https",
            },
            "http://a.example.com",
        ),
    ],
)
def test_origin(variables, origin):
    assert cgi.origin(lambda name: variables.get(name, "")) == origin


# What the log says


@pytest.fixture
def handle(pki):
    """handle(http_request) is the body, and all lines of the log as one."""

    def handle(http_request, config_path=f"{pki.home}/ocsp-cgi.conf"):
        response, lines = ocsp_http.handle(http_request, config_path, "http://x", int(time.time()))
        return response.body, "\n".join(lines)

    return handle


HINT = "a proxy in front of this server has merged its slashes"


def test_merged_slashes_are_logged_and_never_repaired(handle):
    """However many are lost.  What lacks a digit could be another request, truncated, so nothing is
    signed."""
    for value in (b"\xff\xff\xff", b"\xff\xff\xff\xff", b"\xff" * 20, b"\xff" * 100):
        text = base64_of(foreign(value))
        merged = text
        while "//" in merged:
            merged = merged.replace("//", "/")
            for uri in (merged, urllib.parse.quote(merged), merged.rstrip("=")):
                for script_name in ("/x", f"/x/{merged}"):
                    body, log = handle(get(f"/x/{uri}", script_name))
                    assert body == MALFORMED and HINT in log and "proxy_pass http://HOST;" in log, (
                        uri
                    )
        assert handle(get(f"/x/{text}", "/x"))[0] == UNAUTHORIZED


def test_what_is_wrong_otherwise_has_no_such_hint(handle):
    for path in (
        "MEMO",
        "MEMO/",
        TEXT + "AAAA",
        TEXT + "/AAAA",
        base64_of(b"\x30\x80" + bytes(60)),
        base64_of(b"\x30\x40" + bytes(30)),
    ):
        body, log = handle(get(f"/x/{path}", "/x"))
        assert body == MALFORMED and HINT not in log, path
    assert (
        HINT
        not in handle(
            ocsp_http.Request("POST", "/x", "/x", "", ocsp_http.OCSP_REQUEST, ENCODED[:-1])
        )[1]
    )


def test_unauthorized_names_the_config(handle, pki, monkeypatch):
    body, log = handle(get(f"/x/{TEXT}", "/x"))
    assert body == UNAUTHORIZED and f"the config is {pki.home}/ocsp-cgi.conf\n" in log
    monkeypatch.setattr(config, "DEFAULT_PATH", f"{pki.home}/ocsp-cgi.conf")
    body, log = handle(get(f"/x/{TEXT}", "/x"), "")
    assert body == UNAUTHORIZED
    assert (
        f"the config is {pki.home}/ocsp-cgi.conf, the default, since OCSP_CGI_CONFIG is not set"
        in log
        and "suexec drops" in log
    )


def test_an_error_in_the_default_config_says_why_it_is_that_one(handle, monkeypatch, tmp_path):
    monkeypatch.setattr(config, "DEFAULT_PATH", f"{tmp_path}/ocsp-cgi.conf")
    for content, message in (
        (None, "No such file or directory"),
        ("[root-ca]\nx = y\n", ":1: [root-ca] has no setting of a CA"),
    ):
        if content:
            (tmp_path / "ocsp-cgi.conf").write_text(content)
        for http_request in (get(f"/x/{TEXT}", "/x"), get("/x", "/x")):
            log = handle(http_request, "")[1]
            assert (
                log.startswith(f"error: {tmp_path}/ocsp-cgi.conf")
                and message in log
                and "suexec drops" in log
            )
            assert "suexec" not in handle(http_request, f"{tmp_path}/ocsp-cgi.conf")[1]


# How long it takes

GROWING = {
    "many places to begin at": lambda n: "/M" * (n // 2),
    "many headers of DER": lambda n: "/MIIA" * (n // 5),
    "nested requests": lambda n: "".join("/MI" + "IA" + "A" for _ in range(n // 5)) + "=",
    "percent signs": lambda n: "/" + "%" * n,
    "escapes": lambda n: "/" + "%4D" * (n // 3),
    "escaped percent signs": lambda n: "/" + "%25" * (n // 3),
    "escapes of escapes": lambda n: "/M" + "%2525252525" * (n // 11),
    "every false escape": lambda n: (
        "/" + "".join("%" + chr(33 + i % 90) + chr(33 + i // 90 % 90) for i in range(n // 3))
    ),
    "slashes": lambda n: "/" * n,
    "equals signs": lambda n: "/M" + "=" * n,
    "spaces and lines": lambda n: "/M" + "%20%0A" * (n // 6),
    "base64": lambda n: "/" + base64_of(b"\x30\x82\xff\xff" + b"\xff" * (n * 3 // 4)),
    "base64 and a bad character": lambda n: (
        "/" + base64_of(b"\x30\x82\xff\xff" + b"\xff" * (n * 3 // 4)) + "."
    ),
    "absolute form": lambda n: "http:" + "//" * (n // 2),
}


@pytest.mark.parametrize("kind", GROWING)
@pytest.mark.parametrize("script_name", ["/x", "whole path"])
@pytest.mark.slow
def test_work_grows_as_the_path_does(kind, script_name):
    """Eight times the length takes about eight times as long, not sixty-four."""

    def seconds(length: int) -> float:
        path = GROWING[kind](length)
        uri = path if script_name == "whole path" or path[0] != "/" else "/x" + path
        http_request = get(uri, uri if script_name == "whole path" else script_name, uri)
        best = 9.0
        for _ in range(10):
            started = time.process_time()
            try:
                ocsp_http.ocsp_request(http_request)
            except ocsp_http.NotOCSP:
                pass
            ocsp_http._split(http_request)
            best = min(best, time.process_time() - started)
        return best

    short, long = seconds(16 * 1024), seconds(128 * 1024)
    assert long < 20 * short or long < 0.003, (short, long)


@pytest.mark.slow
def test_fuzz_handle(pki):
    """Whatever the environment is, there is a response that can be sent, and lines for the log."""
    rng = random.Random(6960)
    pieces = [
        "/",
        "//",
        "M",
        "MA",
        "MIIA",
        "%",
        "%2F",
        "%252F",
        "%00",
        "\0",
        "\n",
        "\r\n",
        "\xff",
        "=",
        "?",
        "#",
        " ",
        "+",
        "-",
        "_",
        "http://",
        "https:",
        ":",
        "*",
        "..",
        "/x",
        "/cgi-bin/ocsp.cgi",
        TEXT,
        MERGED,
        QUOTED,
        TEXT[:40],
        TEXT[40:],
        "A" * 300,
        "\x80\x81",
    ]
    methods = ["GET", "GET", "GET", "HEAD", "POST", "PUT", "", "get", "\n", "G" * 1000]
    types = [
        ocsp_http.OCSP_REQUEST,
        ocsp_http.OCSP_REQUEST.upper(),
        ";",
        "text/plain",
        "",
        "\xff\0",
        "application/ocsp-request;x",
    ]
    bodies = [
        None,
        b"",
        b"\x30",
        ENCODED,
        ENCODED[:-1],
        ENCODED + b"x",
        bytes(100),
        b"\xff" * 70_000,
    ]
    configs = [f"{pki.home}/ocsp-cgi.conf", f"{pki.home}/none", str(pki.home), "", "\udcff"]
    ours = request(cert_id(certificate(pki.home / "root-ca.crt"), 0x1234))

    def make() -> str:
        return "".join(rng.choice(pieces) for _ in range(rng.randrange(7)))

    statuses = set()
    for number in range(20_000):
        uri, script_name, path_info = make(), make(), make()
        kind = rng.randrange(6)
        if kind == 0:
            uri, path_info = script_name + path_info, path_info
        elif kind == 1:
            script_name = uri
        http_request = ocsp_http.Request(
            rng.choice(methods), uri, script_name, path_info, rng.choice(types), rng.choice(bodies)
        )
        if number % 1000 == 0:
            http_request = ocsp_http.Request(
                "POST", uri, script_name, path_info, ocsp_http.OCSP_REQUEST, ours
            )
        config_path = configs[0] if rng.random() < 0.9 else rng.choice(configs)
        response, lines = ocsp_http.handle(
            http_request,
            config_path,
            rng.choice(["http://x", "https://[::1]:1", ""]),
            rng.choice([0, 10**9, 10**12]),
        )
        head = cgi._head(response)
        assert head.endswith(b"\r\n\r\n") and head.count(b"\r\n") == len(response.headers) + 1 + (
            response.status != 200
        )
        assert lines and "report this" not in " ".join(lines), (lines, uri)
        length = dict(response.headers)["Content-Length"]
        assert int(length) == len(response.body) or (
            http_request.method == "HEAD" and not response.body
        )
        statuses.add((response.status, response.body if len(response.body) == 5 else b""))
    assert {
        (200, MALFORMED),
        (200, UNAUTHORIZED),
        (200, b""),
        (404, b""),
        (405, b""),
        (415, b""),
    } <= statuses


def test_an_error_outside_of_the_responder_is_a_response(pki, monkeypatch):
    for name in ("ocsp_request", "_page", "_whole", "_split"):
        with monkeypatch.context() as patch:
            patch.setattr(ocsp_http, name, lambda *arguments: 1 / 0)
            response, lines = ocsp_http.handle(
                get("/x", "/x"), f"{pki.home}/ocsp-cgi.conf", "http://x", 0
            )
        assert response.status == 200 and lines
        assert name == "_whole" or (
            response.body == b"\x30\x03\x0a\x01\x02" and "ZeroDivisionError" in lines[0]
        )


def test_a_request_above_the_limit(handle):
    assert (
        "more than 65536 bytes"
        in handle(
            get("/x/" + base64_of(b"\x30\x83\x01\x11\x70" + bytes(limits.REQUEST_BYTES)), "/x")
        )[1]
    )
