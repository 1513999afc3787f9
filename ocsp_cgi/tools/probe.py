"""Query a live responder over HTTP in the ways that clients do, and find what is wrong with its
responses.

Of each response the OCSP status is looked at first: an OCSP response that is an error, or not to be
trusted, says more than any header.  What Apache has to do with a fault is for diagnosis.py to say.
"""

from __future__ import annotations

import base64
import enum
import http.client
import os
import socket
import time
import urllib.parse
from typing import NamedTuple

from ..answer import RESPONSE_STATUS_NAMES, SUCCESSFUL, printable
from ..certificate import Certificate
from ..ocsp_request import Extension, encode_request, nonce_extension
from ..ocsp_response import MalformedResponse, OCSPResponse
from .sample_requests import cert_id

_SECONDS = 20
_MOST_BYTES = 64 * 1024
_SKEW_SECONDS = 60  # of a clock that is set by NTP, many times over
# Ignored by every responder (RFC 6960 section 4.1.2); its value puts `//` into a request's base64.
# The OBJECT IDENTIFIER is in the arc of UUIDs.
_FILLER = Extension(
    bytes.fromhex("69f4dcecace9cda2bcbd8c8ed8d8d6d8bdff12"),
    b"\xff" * 16,
)
OCSP_REQUEST = "application/ocsp-request"
OCSP_RESPONSE = "application/ocsp-response"


class Symptom(enum.Enum):
    """What kind of fault it is."""

    CONNECTION_REFUSED = enum.auto()
    NO_RESPONSE = enum.auto()
    CUT_OFF = enum.auto()
    HTTP_STATUS = enum.auto()  # other than 200
    SOURCE = enum.auto()  # the script itself was sent
    NOT_OCSP = enum.auto()  # another Content-Type, and no OCSPResponse
    ERROR_RESPONSE = enum.auto()  # an OCSPResponse that is an error
    UNTRUSTED = enum.auto()
    WRONG_STATUS = enum.auto()
    CONTENT_TYPE = enum.auto()
    NO_CONTENT_LENGTH = enum.auto()
    CACHING = enum.auto()
    CLOCK = enum.auto()
    UNVERIFIED = enum.auto()  # the text has the cause


class Question(NamedTuple):
    """What to ask about: a certificate of an issuer.

    `trusted` are the certificates of responders of which any may sign although the issuer did not
    authorize it, `has_nonce` whether the responder repeats a nonce, `expected` the status that the
    certificate has in the index, "" if that is not known.
    """

    certificate: Certificate
    issuer: Certificate
    trusted: tuple[Certificate, ...] = ()
    has_nonce: bool = True
    expected: str = ""


class Target(NamedTuple):
    """Whom to ask: the server `name` and `port` of a URL, its `path`, and the `address` to connect
    to."""

    name: str
    port: int
    path: str
    address: str

    @property
    def host(self) -> str:
        """The Host field."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port == 80 else f"{name}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}{self.path}"


class Reply(NamedTuple):
    """An HTTP response; the names of `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def server(self) -> str:
        return printable(self.headers.get("server", ""), 60)


class Fault(NamedTuple):
    """What is wrong with a response.  `is_fatal` if clients cannot use it; `reply` is None if there
    was none."""

    symptom: Symptom
    text: str
    reply: Reply | None = None
    is_fatal: bool = True


class Outcome(NamedTuple):
    """What came of asking in one `way`, such as "POST": the certificate's `status`, "" if it did
    not become known, and the `faults`, the one that explains the others first."""

    way: str
    status: str
    faults: tuple[Fault, ...]

    @property
    def is_usable(self) -> bool:
        return not any(fault.is_fatal for fault in self.faults)


class _Way(NamedTuple):
    name: str
    method: str
    target: str
    encoded: bytes
    nonce: bytes | None
    version: str = "HTTP/1.1"


def target(url: str, address: str = "") -> Target:
    """The target that a URL names, at an address, by default the one its name resolves to.
    ValueError if it is not a URL of HTTP."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"not a URL that begins with http://: {printable(url)}")
    return Target(parts.hostname, parts.port or 80, parts.path or "/", address or parts.hostname)


def ask(question: Question, whom: Target, ways: int | None = None) -> list[Outcome]:
    """Ask in each way, or in the first ones: POST comes first."""
    outcomes = []
    for way in _ways(question, whom)[:ways]:
        began = time.monotonic()
        reply, fault = _exchange(way, whom)
        if reply is None:
            assert fault is not None
            outcomes.append(Outcome(way.name, "", (fault,)))
            was_slow = time.monotonic() - began > _SECONDS  # and would be again
            if fault.symptom is Symptom.CONNECTION_REFUSED or was_slow:
                break
        else:
            status, faults = _judge(way, reply, question)
            outcomes.append(Outcome(way.name, status, tuple(faults)))
    return outcomes


def _ways(question: Question, whom: Target) -> list[_Way]:
    """GET has no nonce, so that its response may be cached, as clients' usually may."""
    nonce = os.urandom(16) if question.has_nonce else None
    post = _request(question, None if nonce is None else nonce_extension(nonce))
    get = _request(question, _FILLER)
    text = base64.b64encode(get).decode()
    escaped = urllib.parse.quote(text, safe="")
    path = whom.path.rstrip("/")
    return [
        _Way("POST", "POST", whom.path, post, nonce),
        _Way("GET with %2F", "GET", f"{path}/{escaped}", b"", None),
        _Way("GET with //", "GET", f"{path}/{text}", b"", None),
        _Way("GET after //", "GET", f"{path}//{escaped}", b"", None),
        _Way("POST by HTTP/1.0", "POST", whom.path, post, nonce, "HTTP/1.0"),
    ]


def _request(question: Question, extension: Extension | None) -> bytes:
    about = cert_id(question.issuer, question.certificate.serial_number)
    return encode_request([about], [] if extension is None else [extension])


def _exchange(way: _Way, whom: Target) -> tuple[Reply | None, Fault | None]:
    """The response in one way, or why there is none."""
    lines = [f"{way.method} {way.target} {way.version}", f"Host: {whom.host}"]
    if way.encoded:
        lines += [f"Content-Type: {OCSP_REQUEST}", f"Content-Length: {len(way.encoded)}"]
    if way.version == "HTTP/1.1":
        lines.append("Connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
    place = f"{whom.address} port {whom.port}"
    try:
        with socket.create_connection((whom.address, whom.port), _SECONDS) as connection:
            connection.sendall(head + way.encoded)
            response = http.client.HTTPResponse(connection, method=way.method)
            response.begin()
            body = response.read(_MOST_BYTES)
            if response.length:  # what Content-Length says is still to come
                text = f"the response was cut off after {len(body)} bytes"
                return None, Fault(Symptom.CUT_OFF, text)
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, headers, body), None
    except ConnectionRefusedError:
        return None, Fault(Symptom.CONNECTION_REFUSED, f"connection refused at {place}")
    except http.client.IncompleteRead as error:
        text = f"the response was cut off after {len(error.partial)} bytes"
        return None, Fault(Symptom.CUT_OFF, text)
    except (OSError, http.client.HTTPException) as error:
        reason = printable(str(error)) or type(error).__name__
        return None, Fault(Symptom.NO_RESPONSE, f"no response from {place}: {reason}")


def _judge(way: _Way, reply: Reply, question: Question) -> tuple[str, list[Fault]]:
    """The certificate's status in a response, "" if it has none to be trusted, and its faults."""
    try:
        response = OCSPResponse.from_der(reply.body)
    except MalformedResponse as error:
        return "", [_not_ocsp(reply, error)]
    if response.response_status != SUCCESSFUL:
        name = RESPONSE_STATUS_NAMES[response.response_status]
        return "", [Fault(Symptom.ERROR_RESPONSE, name, reply)]
    status, fault = _verified(way, response, question)
    faults = [] if fault is None else [fault._replace(reply=reply)]
    if status and question.expected and status != question.expected:
        text = f"{status}, but the index says {question.expected}"
        faults.append(Fault(Symptom.WRONG_STATUS, text, reply))
    return status, faults + _http_faults(way, reply)


def _not_ocsp(reply: Reply, error: Exception) -> Fault:
    content_type = printable(reply.headers.get("content-type", ""), 100) or "missing"
    if reply.status != 200:
        text = f"HTTP status {reply.status}"
        if location := reply.headers.get("location"):
            text += f", a redirect to {_place(location)}"
        return Fault(Symptom.HTTP_STATUS, text, reply)
    if reply.body[:2] == b"#!":
        return Fault(Symptom.SOURCE, "the script was sent, not run", reply)
    if content_type.partition(";")[0].strip() != OCSP_RESPONSE:
        text = f"the Content-Type is {content_type}, not {OCSP_RESPONSE}"
        return Fault(Symptom.NOT_OCSP, text, reply)
    text = f"the {len(reply.body)} bytes received are not an OCSPResponse: {printable(str(error))}"
    return Fault(Symptom.NOT_OCSP, text, reply)


def _place(location: str) -> str:
    """Where a redirect leads to, without its path."""
    try:
        parts = urllib.parse.urlsplit(location)
    except ValueError:
        return printable(location)
    return printable(f"{parts.scheme}://{parts.netloc}/") if parts.netloc else "another path"


def _verified(way: _Way, response: OCSPResponse, question: Question) -> tuple[str, Fault | None]:
    """The certificate's status in a response, and why it is not to be trusted."""
    try:
        from .. import client_checks  # `cryptography` may be missing
    except ImportError as error:
        text = f"the signature was not verified, because this Python has no cryptography: {error}"
        names = [one.cert_status.name for one in response.responses]
        return (names or [""])[0], Fault(Symptom.UNVERIFIED, text, None, is_fatal=False)
    from ..client_errors import QueryError

    now = time.time()
    try:
        _check_signer(response, question, now)
        about = client_checks.find_single_responses(response, question.certificate, question.issuer)
        client_checks.check_critical_extensions(response, about)
        client_checks.check_nonce(response, way.nonce, required=True)
        client_checks.check_time(about[0], response.produced_at, now, _SKEW_SECONDS, 0)
    except QueryError as error:
        return "", Fault(Symptom.UNTRUSTED, str(error))
    status = about[0].cert_status.name
    if about[0].next_update is None:
        return status, Fault(Symptom.UNVERIFIED, "the response has no nextUpdate", None, False)
    ahead = max(about[0].this_update, response.produced_at) - now
    if ahead > 2:
        text = f"the response is {ahead:.0f} seconds ahead of this machine's clock"
        return status, Fault(Symptom.CLOCK, text, None, False)
    return status, None


def _check_signer(response: OCSPResponse, question: Question, now: float) -> None:
    """QueryError unless somebody has signed who may."""
    from .. import client_checks
    from ..client_errors import QueryError

    refused = []
    for trusted in question.trusted or (None,):
        try:
            client_checks.find_signer(response, question.issuer, trusted, [], now, _SKEW_SECONDS)
            return
        except QueryError as error:
            refused.append(error)
    raise refused[0]


def _http_faults(way: _Way, reply: Reply) -> list[Fault]:
    """What clients and caches do not like about the HTTP around a good OCSPResponse."""
    faults = []
    headers = reply.headers
    if reply.status != 200:
        text = f"HTTP status {reply.status} with an OCSPResponse, which most clients ignore"
        faults.append(Fault(Symptom.HTTP_STATUS, text, reply))
    content_type = headers.get("content-type", "")
    if content_type != OCSP_RESPONSE:
        text = (
            f"the Content-Type is {printable(content_type, 100) or 'missing'}, and not exactly"
            f" {OCSP_RESPONSE}, so openssl, nginx and others refuse the response"
        )
        faults.append(Fault(Symptom.CONTENT_TYPE, text, reply))
    if "content-encoding" in headers:
        text = f"the response is encoded as {printable(headers['content-encoding'], 40)}"
        faults.append(Fault(Symptom.CONTENT_TYPE, text, reply))
    if "content-length" not in headers:
        text = (
            "Content-Length is missing, so clients of HTTP/1.0 cannot tell a whole response from"
            " one that was cut off"
        )
        faults.append(Fault(Symptom.NO_CONTENT_LENGTH, text, reply))
    if way.method == "GET":
        missing = [name for name in ("Cache-Control", "ETag") if name.lower() not in headers]
        if missing:
            text = f"{' and '.join(missing)} missing, so caches cannot keep the response"
            faults.append(Fault(Symptom.CACHING, text, reply, is_fatal=False))
    if (apart := _seconds_apart(headers.get("date", ""))) > _SKEW_SECONDS:
        text = f"the Date of the response and this machine's clock are {apart:.0f} seconds apart"
        faults.append(Fault(Symptom.CLOCK, text, reply, is_fatal=False))
    return faults


def _seconds_apart(date: str) -> float:
    """How far a Date field is from this machine's clock; 0 if it cannot be read."""
    try:
        from email.utils import parsedate_to_datetime

        return abs(parsedate_to_datetime(date).timestamp() - time.time())
    except (TypeError, ValueError, IndexError):
        return 0
