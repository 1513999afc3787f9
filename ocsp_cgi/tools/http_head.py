"""The head of an HTTP/1.1 request: request line and header fields (RFC 9112 sections 3 and 5)."""

from __future__ import annotations

from ..answer import printable

_METHOD_BYTES = 30
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class HTTPError(Exception):
    """Not a valid HTTP request: `status` is for the client, the text for the client and the log."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


class Head:
    """A request's head; `fields` has the values of each field by its name in lower case."""

    __slots__ = ("fields", "method", "target", "version")

    def __init__(self, text: bytes):
        """Parse a head without the empty line at its end.  HTTPError if it is malformed."""
        request_line, *lines = text.decode("latin-1").split("\n")
        words = request_line.rstrip("\r").split(" ")
        if (
            len(words) != 3
            or not words[0]
            or set(words[0]) - _TOKEN
            or not words[1]
            or words[2][:5] != "HTTP/"
        ):
            if text[:1] == b"\x16":
                raise HTTPError(400, "a TLS handshake, but this server speaks http:// only")
            raise HTTPError(400, f"not an HTTP request line: '{printable(request_line, 60)}'")
        self.method, self.target, self.version = words
        if len(self.method) > _METHOD_BYTES:
            raise HTTPError(501, f"not an HTTP method: '{printable(self.method, 60)}'")
        if self.version not in ("HTTP/1.0", "HTTP/1.1"):
            raise HTTPError(505, f"neither HTTP/1.0 nor HTTP/1.1: '{printable(self.version, 20)}'")
        self.fields: dict[str, list[str]] = {}
        for line in lines:
            name, colon, value = line.rstrip("\r").partition(":")
            if not colon or not name or set(name) - _TOKEN:
                raise HTTPError(400, f"not a header field: '{printable(line, 60)}'")
            self.fields.setdefault(name.lower(), []).append(value.strip(" \t"))
        if self.version == "HTTP/1.1" and len(self.fields.get("host", [])) != 1:
            raise HTTPError(400, "HTTP/1.1 requires exactly one Host field")

    def field(self, name: str) -> str:
        """A field's values, joined by commas; "" if it is absent (RFC 9110 section 5.3)."""
        return ", ".join(self.fields.get(name, []))

    @property
    def keep_alive(self) -> bool:
        """Whether the client may reuse this connection (RFC 9112 section 9.3)."""
        options = [option.strip().lower() for option in self.field("connection").split(",")]
        return "close" not in options and (self.version == "HTTP/1.1" or "keep-alive" in options)

    @property
    def content_length(self) -> int | None:
        """The length of the body, None if it is chunked (RFC 9112 section 6.3).

        HTTPError if the fields contradict each other.
        """
        lengths = {length.strip() for length in self.field("content-length").split(",")}
        if "transfer-encoding" in self.fields:
            if self.version == "HTTP/1.0" or "content-length" in self.fields:
                raise HTTPError(400, "Transfer-Encoding in HTTP/1.0, or beside Content-Length")
            if self.field("transfer-encoding").lower() != "chunked":
                coding = printable(self.field("transfer-encoding"), 40)
                raise HTTPError(501, f"a Transfer-Encoding other than chunked: '{coding}'")
            return None
        if "content-length" not in self.fields:
            return 0
        length = lengths.pop()
        if lengths or not (length.isascii() and length.isdigit()) or len(length) > 18:
            length = printable(self.field("content-length"), 40)
            raise HTTPError(400, f"not a Content-Length: '{length}'")
        return int(length)
