"""The HTML page: well-formed, escaped and self-contained.  How it is sent is in test_cgi.py."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from ocsp_cgi import page

VOID = ("meta", "br", "link", "img")


class Reader(HTMLParser):
    """A strict reader of pages: every element must be closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


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
    assert reader.text.count("-url http://ocsp.example.com/cgi-bin/ocsp.cgi") == 2
    assert ("ocsp.cgi 0.2.0 with cryptography 50 (OpenSSL 3)" in reader.text) and (
        "href",
        "https://pki.example.com/",
    ) in reader.attributes
    for known in page._NOTES.values():
        plain = re.sub("<.*?>", "", known)
        assert not plain or (plain in reader.text) == (plain == note)


def test_outside_text_is_escaped():
    hostile = "http://x/\"'><script>alert(1)</script>&amp;"
    reader = read(200, hostile, hostile, hostile)
    assert reader.text.count(hostile) == 4
    assert ("href", hostile) in reader.attributes


def test_without_hyperlink_or_library():
    reader = read(200, "http://x/", "", "")
    assert "More about" not in reader.text and "ocsp.cgi 0.2.0\n" in reader.text


def test_nothing_is_loaded_from_elsewhere():
    text = page.render(200, "u", "", "").decode()
    assert not re.search(r"src=|url\(|@import|<link|<script", text)
