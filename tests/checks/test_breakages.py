"""Each breakage of breakages.md, under a real Apache: what clients get, and whether `check` and the
log say so."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest
from checks.breakages import BREAKAGES, FOR_ROOT, Place
from checks.conftest import Web
from clients import settle, started

from ocsp_cgi import certificate
from ocsp_cgi.answer import RESPONSE_STATUS_NAMES, SUCCESSFUL
from ocsp_cgi.checks import report
from ocsp_cgi.commands import check
from ocsp_cgi.ocsp_request import encode_request
from ocsp_cgi.ocsp_response import MalformedResponse, OCSPResponse
from ocsp_cgi.tools import httpd, layout
from ocsp_cgi.tools.sample_requests import cert_id

PAGE = Path(__file__).with_name("breakages.md")
ENTRY = re.compile(
    r"^### (.+)\n\n    clients  (.+)\n    check    (.+)\n    log      (.+)\n", re.MULTILINE
)


class Expected(NamedTuple):
    """What breakages.md has: a line of `check` and one of the log, "-" if there is none."""

    clients: str
    check: str
    log: str


EXPECTED = {title: Expected(*lines) for title, *lines in ENTRY.findall(PAGE.read_text())}


class Seen(NamedTuple):
    """What clients get, the problems that `check` prints, and the lines of ocsp.cgi in the log."""

    clients: str
    check: list[str]
    log: list[str]


@pytest.fixture
def whole(own_web: Web) -> Place:
    """Nothing is broken yet."""
    return Place(own_web.ca, own_web.script)


def test_the_page_has_each_breakage():
    assert list(EXPECTED) == list(BREAKAGES)
    assert len(EXPECTED) == PAGE.read_text().count("\n### ") >= 30


@pytest.mark.apache
def test_nothing_is_said_of_what_is_whole(whole, place):
    settle(whole.index)
    seen = look(whole, place)
    assert (seen.clients, seen.check) == ("good", [])
    assert [line.partition("=")[0] for line in seen.log] == ["POST serial"]


@pytest.mark.apache
@pytest.mark.parametrize(
    "title",
    [pytest.param(title, marks=[pytest.mark.root] * (title in FOR_ROOT)) for title in BREAKAGES],
)
def test_breakage(title, whole, place):
    expected = EXPECTED[title]
    seen = look(whole, place, title)
    assert seen.clients == expected.clients
    assert has(expected.check, seen.check), "\n".join(seen.check)
    if expected.log == "-":
        assert seen.log == []
    else:
        assert has(expected.log, seen.log), "\n".join(seen.log)


def has(expected: str, lines: list[str]) -> bool:
    pattern = ".*".join(map(re.escape, expected.split("...")))
    return any(re.fullmatch(pattern, line) for line in lines)


def look(site: Place, home: Path, title: str = "") -> Seen:
    """Ask, check and read the log, after breaking something."""
    issuer = certificate.load(str(site.file("root-ca.crt")))
    if title:
        BREAKAGES[title](site)
        if site.index.exists():
            settle(site.index)
    serial = int(site.ca.serial("good"), 16) if site.asked is None else site.asked
    modules = ("wsgi",) if "WSGIDaemonProcess" in site.site else ()
    server = started(home / "httpd", site.script, site.config, site_conf=site.site, modules=modules)
    encoded = encode_request([cert_id(issuer, serial)])
    if not site.runs:
        return _look(site, server, encoded)
    with server:
        return _look(site, server, encoded)


def _look(site: Place, server: httpd.Apache, encoded: bytes) -> Seen:
    for _ in range(site.requests):
        clients = post(server.url, encoded)
    log = re.findall(r"(?m)^.*?\dZ ocsp\.cgi: (.*)", server.error_log)
    subject = Web(site.ca, site.script).subject(
        server, layout=layout.LAYOUTS[0]._replace(cgi_bin=site.script.parent), now=int(time.time())
    )
    findings = report.without_repeats(check.examine(subject))
    lines = [f"{one.level.name} {report.sentence(one)}" for one in findings if one.level]
    usual = (
        (str(site.config), "/etc/ssl/ocsp-cgi.conf"),
        (str(site.ca.home), "/etc/ssl/ocsp"),
        (str(site.script.parent), "/usr/lib/cgi-bin"),
        (str(server.home / "site.conf"), "/etc/apache2/sites-available/ocsp-cgi.conf"),
        (str(server.home / "run" / "error.log"), "/var/log/apache2/error.log"),
        (f"ocsp.example.com:{server.port}/", "ocsp.example.com/"),
    )

    def as_on_the_page(line: str) -> str:
        for here, there in usual:
            line = line.replace(here, there)
        return line

    return Seen(clients, [*map(as_on_the_page, lines)], [*map(as_on_the_page, log)])


def post(url: str, encoded: bytes) -> str:
    """The status of the certificate in the response, or else that of OCSP or HTTP."""
    headers = {"Content-Type": "application/ocsp-request"}
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(urllib.request.Request(url, encoded, headers), timeout=30) as opened:
            body = opened.read()
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except OSError:
        return "no connection"
    try:
        response = OCSPResponse.from_der(body)
    except MalformedResponse:
        return "something else"
    if response.response_status != SUCCESSFUL:
        return RESPONSE_STATUS_NAMES[response.response_status]
    return response.responses[0].cert_status.name


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None
