"""Heads of requests (RFC 9112).  What the server does with them is in test_serve.py."""

from __future__ import annotations

import pytest

from ocsp_cgi.tools.http_head import Head, HTTPError

HOST = b"POST / HTTP/1.1\r\nHost: a"


def test_fields():
    head = Head(HOST + b"\r\nX-Y:  1 \r\nx-y: 2\nEmpty:")
    assert (head.method, head.target, head.version) == ("POST", "/", "HTTP/1.1")
    assert [head.field(name) for name in ("host", "x-y", "empty", "absent")] == [
        "a",
        "1, 2",
        "",
        "",
    ]


@pytest.mark.parametrize(
    "text, keep_alive",
    [
        (HOST, True),
        (HOST + b"\r\nConnection: Close", False),
        (HOST + b"\r\nConnection: x, close", False),
        (b"GET / HTTP/1.0", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive", True),
    ],
)
def test_keep_alive(text, keep_alive):
    assert Head(text).keep_alive is keep_alive


@pytest.mark.parametrize(
    "fields, length",
    [
        (b"", 0),
        (b"\r\nContent-Length: 7", 7),
        (b"\r\nContent-Length: 7, 7", 7),
        (b"\r\nContent-Length: 7\r\nContent-Length: 7", 7),
        (b"\r\nTransfer-Encoding: Chunked", None),
    ],
)
def test_content_length(fields, length):
    assert Head(HOST + fields).content_length == length


@pytest.mark.parametrize(
    "text, status",
    [
        (b"\x16\x03\x01", 400),
        (b"GET /", 400),
        (b"G\x00T / HTTP/1.0", 400),
        (b"GET  / HTTP/1.0", 400),
        (b"A" * 31 + b" / HTTP/1.0", 501),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/1.1", 400),
        (HOST + b"\r\nHost: b", 400),
        (HOST + b"\r\nno colon", 400),
        (HOST + b"\r\nName : x", 400),
        (HOST + b"\r\n folded: x", 400),
        (HOST + b"\r\nContent-Length: -1", 400),
        (HOST + b"\r\nContent-Length: 1, 2", 400),
        (HOST + b"\r\nContent-Length: " + b"1" * 19, 400),
        (HOST + b"\r\nTransfer-Encoding: chunked\r\nContent-Length: 1", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked", 400),
        (HOST + b"\r\nTransfer-Encoding: gzip, chunked", 501),
    ],
)
def test_malformed_heads(text, status):
    with pytest.raises(HTTPError) as error:
        assert Head(text).content_length
    assert error.value.status == status
    assert str(error.value).isprintable()
