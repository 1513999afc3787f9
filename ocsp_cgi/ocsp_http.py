"""OCSP over HTTP: which requests carry OCSP, and which headers a response has (RFC 6960 appendix A,
RFC 9919 sections 6 and 7).

A POST carries the DER as its body.  A GET carries it in the path, as base64 with URL escapes.
Servers decode a path, and merge its slashes, before a CGI sees it as PATH_INFO, which breaks one
request in sixty: so the path is taken from the request line as it came, REQUEST_URI, and decoded
here.

Where in the path the base64 begins cannot be told from SCRIPT_NAME alone: after ScriptAliasMatch
that is the whole path, and after a rewrite it is not in the path at all.  But DER says how long it
is, so a request is recognized wherever it begins.
"""

import binascii

from . import config, limits, responder, times
from .answer import (
    CLIENT_FAULT,
    ERROR,
    INTERNAL_ERROR,
    MALFORMED_REQUEST,
    SUCCESSFUL,
    UNAUTHORIZED,
    Answer,
    Log,
    explain,
    refusal,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .files import Files

OCSP_REQUEST = "application/ocsp-request"
OCSP_RESPONSE = "application/ocsp-response"
_BASE64_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TO_STANDARD_BASE64 = str.maketrans("-_ ", "+/+", "\r\n")  # some encoders break lines
_SECOND_DIGITS = "ABCDEFGHIJKLMNOP"  # of base64 that begins with M and decodes to a SEQUENCE
_ESCAPED_TIMES = 3  # gateways, and some clients, escape what is already escaped
_STARTS = 100  # places in one path at which a request may begin
# of a damaged request; the shortest whole one has more, and no address for people looks like that
_LEAST_DIGITS = 60


class Request:
    """An HTTP request, as a CGI gets it (RFC 3875): `uri` is REQUEST_URI, `body` None if it was
    longer than the limit."""

    __slots__ = ("method", "uri", "script_name", "path_info", "content_type", "body")

    def __init__(
        self,
        method: str,
        uri: str,
        script_name: str,
        path_info: str,
        content_type: str,
        body: "bytes | None",
    ):
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
    """The request carries no OCSP: a person is looking, or somebody lost.  `status` is the HTTP
    status of the page for them."""

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


def ocsp_request(request: Request) -> "bytes | None":
    """The bytes that an HTTP request carries as its OCSPRequest; None if they are too many.
    NotOCSP if it carries none."""
    if request.method == "POST":
        if request.content_type.partition(";")[0].strip().lower() != OCSP_REQUEST:
            raise NotOCSP(415)
        return request.body
    if request.method not in ("GET", "HEAD"):
        raise NotOCSP(405)
    path, _, rest = _split(request)
    for text in dict.fromkeys((path, rest, request.path_info)):  # slashes may be merged in the last
        encoded = _whole(text)
        if encoded:
            break
    else:
        encoded = _damaged(rest, 0) or _damaged(path, _LEAST_DIGITS)
        if not encoded:
            raise NotOCSP(404 if rest.strip("/") else 200)
    return encoded if len(encoded) <= limits.REQUEST_BYTES else None


def _split(request: Request) -> tuple[str, str, str]:
    """The path of the request, decoded once; which part of it is the responder's address; and what
    follows that."""
    uri = request.uri.partition("?")[0]
    if uri and uri[0] != "/":  # absolute-form, RFC 9112 section 3.2.2; or `*`
        uri = "/" + uri.partition("://")[2].partition("/")[2]
    script_name, path_info = request.script_name, request.path_info
    path = "/" + _unquote(uri).lstrip("/") if uri else script_name + path_info
    if path == script_name:
        return path, path, ""
    script_name = script_name.rstrip("/")
    if path.startswith(script_name) and path[len(script_name) :][:1] in ("", "/"):
        return path, script_name, path[len(script_name) :]
    # The server has rewritten the path.
    if path_info == path:  # mod_actions
        return path, path, ""
    if path_info and path.endswith(path_info):
        return path, path[: -len(path_info)], path_info
    return path, path, path_info


def _unquote(text: str) -> str:
    """Decode the escapes of a path; what is not an escape stays as it is."""
    if "%" not in text:
        return text
    first, *rest = text.split("%")
    decoded = {}
    for digits in {part[:2] for part in rest}:
        try:
            decoded[digits] = chr(binascii.unhexlify(digits)[0])
        except (ValueError, IndexError):
            decoded[digits] = "%" + digits
    return first + "".join([decoded[part[:2]] + part[2:] for part in rest])


def _whole(path: str) -> bytes:
    """The DER at the end of a path, if it is as long as it says; b"" if there is none.

    It is base64, the standard's or that for URLs, with or without its padding, however often it has
    been escaped.  `/` is a digit of base64, so a last one may belong to it or not; no request
    begins with one.
    """
    for _ in range(_ESCAPED_TIMES):
        text = "/" + path.translate(_TO_STANDARD_BASE64)
        for digits in (text.rstrip("="), text[:-1].rstrip("=") if text[-1] == "/" else ""):
            at = digits.find("/M", len(digits.rstrip(_BASE64_DIGITS)))
            for _ in range(_STARTS):
                if at < 0:
                    break
                if digits[at + 2 : at + 3] in _SECOND_DIGITS and len(
                    digits
                ) - at - 1 == _digits_stated(digits[at + 1 : at + 9]):
                    return _decode(digits[at + 1 :])
                at = digits.find("/M", at + 1)
        escaped, path = path, _unquote(path)
        if path == escaped:
            break
    return b""


def _damaged(path: str, least: int) -> bytes:
    """What begins as a request at the end of a path and is not whole, b"" if there is none.

    It has as many digits of base64 as `least`; with 0, it is all of the path.
    """
    text = ("/" + path.lstrip("/").translate(_TO_STANDARD_BASE64)).rstrip("=")
    at = text.find("/M", len(text.rstrip(_BASE64_DIGITS)))
    digits = text[at + 1 :]
    if (
        at < 0
        or not digits[1:2]
        or digits[1] not in _SECOND_DIGITS
        or len(digits) < least
        or (at > 0 and not least)
    ):
        return b""
    return _decode(digits)


def _digits_stated(digits: str) -> int:
    """How many digits of base64 the DER has that begins with these eight, by its own header; 0 if
    it is not a SEQUENCE."""
    header = _decode(digits)
    if len(header) < 4 or header[0] != 0x30 or header[1] > 0x82 or header[1] == 0x80:
        return 0
    octets = header[1] & 0x7F if header[1] & 0x80 else 0
    length = int.from_bytes(header[2 : 2 + octets], "big") if octets else header[1]
    return (4 * (2 + octets + length) + 2) // 3


def _decode(digits: str) -> bytes:
    """The bytes of this base64 without padding; a last digit that is not enough for a byte is left
    out."""
    digits = digits[:-1] if len(digits) % 4 == 1 else digits
    return binascii.a2b_base64(digits + "=" * (-len(digits) % 4))


def is_short(encoded: bytes) -> bool:
    """Whether the DER from a path lacks bytes at its end, as it does after a proxy has merged the
    slashes in its base64.

    It is not repaired: base64 of which the end was cut off looks the same, and what was put
    together from that may be another certificate's serial number.
    """
    digits = binascii.b2a_base64(encoded, newline=False).rstrip(b"=").decode()
    return "/" in digits and len(digits) < _digits_stated(digits[:8])


def response(answer: Answer, method: str) -> Response:
    """The HTTP response around an answer: an error of OCSP is a success of HTTP, and nothing but a
    successful OCSPResponse may be cached."""
    headers = [("Content-Type", OCSP_RESPONSE), ("Content-Length", str(len(answer.der)))]
    if answer.response_status != SUCCESSFUL:
        headers.append(("Cache-Control", "no-cache, no-store"))
    elif not answer.entity_tag:
        headers.append(("Cache-Control", "max-age=0, private, no-transform"))
    else:
        headers += [
            ("Last-Modified", times.http_date(answer.this_update)),
            ("Expires", times.http_date(answer.next_update)),
            ("ETag", f'"{answer.entity_tag}"'),
            ("Cache-Control", f"max-age={answer.max_age}, public, no-transform, must-revalidate"),
        ]
    return Response(200, headers, b"" if method == "HEAD" else answer.der)


def handle(
    request: Request,
    config_path: str,
    origin: str,
    now: int,
    deadline: "float | None" = None,
    log: "Log | None" = None,
    files: "Files | None" = None,
) -> tuple[Response, list[str]]:
    """Answer an HTTP request at a time in seconds since 1970.  Never raises.

    `config_path` is "" where OCSP_CGI_CONFIG is not set, `origin` the scheme, host and port to show
    on the HTML page, `deadline` and `files` are those of responder.respond, `log` is what is to be
    logged already.
    Returns the response, and the lines of the Log.
    """
    log = log or Log()
    try:
        try:
            encoded = ocsp_request(request)
        except NotOCSP as error:
            return _page(error.status, request, config_path, origin, log, files), log.lines()
        answer = responder.respond(
            encoded, lambda: _load_config(config_path, log, files), now, log, deadline, files
        )
        if answer.response_status == UNAUTHORIZED:
            path = config_path or config.DEFAULT_PATH
            log.note(CLIENT_FAULT, f"the config is {path}{_why_default(config_path)}")
        is_malformed = answer.response_status == MALFORMED_REQUEST
        if is_malformed and request.method != "POST" and encoded and is_short(encoded):
            log.warn(MERGED_SLASHES)
    except Exception as error:
        log.fields = []
        answer = refusal(INTERNAL_ERROR, explain(error), log)
    return response(answer, request.method), log.lines()


MERGED_SLASHES = (
    "the path lacks digits of its base64: a proxy in front of this server has merged its slashes,"
    " or cut it off. nginx passes a path on unchanged with `proxy_pass http://HOST;` without a path"
    " behind HOST (or with `merge_slashes off;` in the server block); Apache with `ProxyPass ..."
    " nocanon`, `AllowEncodedSlashes NoDecode` and `MergeSlashes Off`"
)


def _load_config(path: str, log: Log, files: "Files | None") -> config.Settings:
    load = config.load if files is None else files.settings
    try:
        settings = load(path or config.DEFAULT_PATH)
    except config.ConfigError as error:
        if path:
            raise
        raise config.ConfigError(f"{error}{_why_default(path)}") from None
    log.only_problems = settings.log == "problems"
    return settings


def _why_default(config_path: str) -> str:
    if config_path:
        return ""
    return (
        ", the default, since OCSP_CGI_CONFIG is not set: name another with `SetEnv"
        " OCSP_CGI_CONFIG`; suexec drops that variable, and under it the config has to be the"
        " default one"
    )


def _page(
    http_status: int,
    request: Request,
    config_path: str,
    origin: str,
    log: Log,
    files: "Files | None",
) -> Response:
    from . import import_cryptography, page  # only people get pages, and they have time

    hyperlink, library = "", None
    try:
        settings = _load_config(config_path, log, files)
        hyperlink = settings.hyperlink
        if settings.versions == "show":
            library = import_cryptography.crypto_library()
    except config.ConfigError as error:
        log.note(ERROR, str(error))
    except Exception as error:
        log.note(ERROR, explain(error))
    body = page.render(http_status, origin + page.quote(_split(request)[1]), hyperlink, library)
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-cache, no-store"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if http_status == 405:
        headers.append(("Allow", "GET, HEAD, POST"))
    log.fields.append(("page", str(http_status)))
    return Response(http_status, headers, b"" if request.method == "HEAD" else body)
