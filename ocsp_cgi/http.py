"""OCSP over HTTP: which requests carry OCSP, and which headers an answer has (RFC 6960 appendix A, RFC 9919 sections 6 and 7).

A POST carries the DER as its body.  A GET carries it in the path, as base64 with URL escapes.  Servers decode a path,
and merge its slashes, before a CGI sees it as PATH_INFO, which breaks one request in sixty: so the path is taken from the
request line as it came, REQUEST_URI, and decoded here, once.
"""

import binascii

from . import config, errors, limits, responder, times

OCSP_REQUEST = "application/ocsp-request"
OCSP_RESPONSE = "application/ocsp-response"
_SEQUENCE = b"\x30"
_BASE64_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TO_STANDARD_BASE64 = str.maketrans("-_ ", "+/+", "\r\n")  # some encoders break lines


class Request:
    """An HTTP request, as a CGI gets it (RFC 3875): `uri` is REQUEST_URI, `body` None if it was longer than the limit."""

    __slots__ = ("method", "uri", "script_name", "path_info", "content_type", "body")

    def __init__(self, method: str, uri: str, script_name: str, path_info: str, content_type: str, body: "bytes | None"):
        self.method = method
        self.uri = uri
        self.script_name = script_name
        self.path_info = path_info
        self.content_type = content_type
        self.body = body


class Response:
    """An HTTP response: `status` a number, `headers` (name, value) pairs."""

    __slots__ = ("status", "headers", "body")

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes):
        self.status = status
        self.headers = headers
        self.body = body


class NotOCSP(Exception):
    """The request carries no OCSP: a person is looking, or somebody lost.  `status` is the HTTP status of the page for them."""

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


def ocsp_request(request: Request) -> "bytes | None":
    """What an HTTP request carries as an OCSPRequest, be it one or not; None if it is too long.  NotOCSP if it carries none."""
    if request.method == "POST":
        if request.content_type.partition(";")[0].strip().lower() != OCSP_REQUEST:
            raise NotOCSP(415)
        return request.body
    if request.method in ("GET", "HEAD"):
        return _from_path(_path(request))
    raise NotOCSP(405)


def _path(request: Request) -> str:
    """What follows the script's own name in the path of the request, decoded once."""
    uri = request.uri
    if uri[:7].lower() == "http://" or uri[:8].lower() == "https://":  # absolute-form, RFC 9112 section 3.2.2
        uri = "/" + uri.split("/", 3)[3] if uri.count("/") > 2 else "/"
    path = _unquote(uri.partition("?")[0])
    before, script_name, after = path.partition(request.script_name or "/")
    if script_name and not before.strip("/"):
        return after
    # The server has rewritten the path.  PATH_INFO has what it made of it; the request itself may still be whole in the old one.
    starts = [start for start in range(len(path)) if path.startswith("/M", start)]
    return next((path[start:] for start in starts if _is_whole(_decode(path[start + 1 :]))), request.path_info)


def _unquote(text: str) -> str:
    """Decode the escapes of a path; what is no escape stays as it is."""
    decoded, *rest = text.split("%")
    for part in rest:
        try:
            decoded += chr(binascii.unhexlify(part[:2])[0]) + part[2:]
        except (ValueError, IndexError):
            decoded += "%" + part
    return decoded


def _from_path(path: str) -> "bytes | None":
    """The DER in a path: base64, the standard's or that for URLs, with or without its padding.

    `/` is a digit of base64.  Leading ones are none, since the base64 of a SEQUENCE begins with M.  A last one may be
    a digit or a slip: that reading is right in which the DER is as long as it says.
    """
    text = path.lstrip("/").translate(_TO_STANDARD_BASE64)
    if not text:
        raise NotOCSP(200)
    readings = [_decode(text)]
    if text.endswith("/"):
        readings.append(_decode(text[:-1]))
    readings = [reading for reading in readings if reading[:1] == _SEQUENCE]
    if not readings:
        raise NotOCSP(404)
    encoded = readings[0]
    if len(readings) > 1 and not _is_whole(encoded):
        encoded = next((reading for reading in readings if _is_whole(reading)), encoded)
    return encoded if len(encoded) <= limits.REQUEST_BYTES else None


def _decode(text: str) -> bytes:
    """The octets of this base64, b"" if it is none."""
    digits = text.rstrip("=")
    if digits.strip(_BASE64_DIGITS) or len(digits) % 4 == 1:
        return b""
    return binascii.a2b_base64(digits + "=" * (-len(digits) % 4))


def _is_whole(encoded: bytes) -> bool:
    from . import der  # most requests leave no doubt

    try:
        der.read(encoded, der.SEQUENCE)
    except der.DERError:
        return False
    return True


def response(answer: responder.Answer, method: str) -> Response:
    """The HTTP response around an answer: an error of OCSP is a success of HTTP, and nothing but a success is cached."""
    headers = [("Content-Type", OCSP_RESPONSE), ("Content-Length", str(len(answer.der)))]
    if answer.response_status != errors.SUCCESSFUL:
        headers.append(("Cache-Control", "no-cache, no-store"))
    elif answer.has_nonce:
        headers.append(("Cache-Control", "max-age=0, private, no-transform"))
    else:
        headers += [
            ("Last-Modified", times.http_date(answer.this_update)),
            ("Expires", times.http_date(answer.next_update)),
            ("ETag", f'"{answer.entity_tag}"'),
            ("Cache-Control", f"max-age={answer.max_age}, public, no-transform, must-revalidate"),
        ]
    return Response(200, headers, b"" if method == "HEAD" else answer.der)


def handle(request: Request, config_path: str, url: str, now: int, deadline: "float | None" = None) -> tuple[Response, list[str]]:
    """Answer an HTTP request at a time in seconds since 1970; `url` is the address to show on the HTML page,
    `deadline` that of responder.respond.

    Returns the response, and lines for the log: what the operator should look at first, and what was answered last.
    """
    try:
        encoded = ocsp_request(request)
    except NotOCSP as error:
        return _page(error.status, request.method, config_path, url)
    return answered(responder.respond(encoded, lambda: config.load(config_path), now, deadline), request.method)


def answered(answer: responder.Answer, method: str) -> tuple[Response, list[str]]:
    """An answer as `handle` returns it."""
    facts = " ".join(f"{name}={value}" for name, value in answer.facts)
    return response(answer, method), [*answer.remarks, facts]


def _page(http_status: int, method: str, config_path: str, url: str) -> tuple[Response, list[str]]:
    from . import keys, page  # only people get pages, and they have time

    lines = []
    try:
        hyperlink = config.load(config_path).hyperlink
    except config.ConfigError as error:
        hyperlink = ""
        lines.append(str(error))
    body = page.render(http_status, url, hyperlink, keys.crypto_library())
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-cache"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if http_status == 405:
        headers.append(("Allow", "GET, HEAD, POST"))
    return Response(http_status, headers, b"" if method == "HEAD" else body), [*lines, f"page={http_status}"]
