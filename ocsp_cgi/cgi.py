"""The CGI (RFC 3875): environment and standard input in, headers and body out, and lines on
standard error for Apache's log.

All of standard input is read before anything is answered, however little of it is needed: mod_cgid
cuts off the response of a script that ends with input unread.  Nothing but the response goes to
standard output, in one write, after the log lines, since Apache ends a script as soon as it has the
response.  Then the process leaves by _exit: Python's own way out takes a millisecond or more, and
has nothing left to do.

Whatever the main thread blocks on, such as a client that stops sending or a file system that hangs,
a second thread sends tryLater at the deadline and ends the process.
"""

import _thread
import posix
import sys
import time

if sys.version_info < (3, 9):  # noqa: UP036
    raise SystemError  # which last_resort.py explains

from . import answer, limits, ocsp_http, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

REASON_PHRASES = {
    200: "OK",
    304: "Not Modified",
    404: "Not Found",
    405: "Method Not Allowed",
    415: "Unsupported Media Type",
}
_NO_THREAD = (
    "no second thread can be started, so a request that hangs is not ended at the deadline: raise"
    " RLimitNPROC or RLimitMEM in Apache, or TasksMax= of its service in systemd"
)


def main() -> None:
    """Answer the request that Apache started this process for, and end the process."""
    started = time.monotonic()
    answering = _thread.allocate_lock()
    request_log = answer.Log()
    try:
        _thread.start_new_thread(_watch, (started, answering, _thread.get_ident()))
    except RuntimeError:
        request_log.warn(_NO_THREAD)
    request = ocsp_http.Request(
        _variable("REQUEST_METHOD"),
        _variable("REQUEST_URI"),
        _variable("SCRIPT_NAME"),
        _variable("PATH_INFO"),
        _variable("CONTENT_TYPE"),
        read_body(_read, _variable("CONTENT_LENGTH"), limits.DRAINED_BYTES),
    )
    now = int(time.time())
    encoded_path = posix.environ.get(b"OCSP_CGI_CONFIG", b"")
    config_path = encoded_path.decode(sys.getfilesystemencoding(), "surrogateescape")
    deadline = started + limits.DEADLINE_SECONDS
    response, lines = ocsp_http.handle(
        request, config_path, origin(_variable), now, deadline, request_log
    )
    _answer(response, lines, started, answering)


def _watch(started: float, answering: _thread.LockType, watched: int) -> None:
    """At the deadline, unless a response is on its way out, send tryLater and end the process.

    `watched` is the thread that makes the response.
    """
    time.sleep(max(0, started + limits.DEADLINE_SECONDS - time.monotonic()))
    request_log = answer.Log()
    refusal = refuse_late(watched, request_log)
    child = sys.modules.get("ocsp_cgi.child")
    if child:
        child.kill_all()
    response = ocsp_http.response(refusal, _variable("REQUEST_METHOD"))
    _answer(response, request_log.lines(), started, answering)


def refuse_late(watched: int, request_log: answer.Log) -> answer.Answer:
    """tryLater, for a request without a response by the deadline; why is as in late_reason."""
    kind, reason = late_reason(watched)
    return answer.refusal(answer.TRY_LATER, reason, request_log, kind)


def late_reason(watched: int) -> "tuple[str, str]":
    """Why a request has no response by the deadline, as the kind and the text of a line of the log.

    `watched` is the thread that makes the response.
    """
    admission = sys.modules.get("ocsp_cgi.admission")
    kind, question = answer.ERROR, "does what it is on hang?"
    now_reading = answer.now_reading(watched)
    if now_reading == answer.REQUEST:
        kind, question = answer.CLIENT_FAULT, "did the client not send all of it?"
    if admission and admission.overloaded:
        return kind, admission.OVERLOADED
    return kind, (
        f"no response within {limits.DEADLINE_SECONDS} seconds, still reading"
        f" {now_reading}: {question} Or is this machine overloaded? Its load average is"
        f" {posix.getloadavg()[0]:.0f}"
    )


def _answer(
    response: ocsp_http.Response, lines: list[str], started: float, answering: _thread.LockType
) -> None:
    """Log, write the response, and end the process: the thread that comes first does."""
    with answering:
        log(lines, _variable("REQUEST_METHOD"), _variable("REMOTE_ADDR"), started)
        _write(1, _head(response) + response.body)
        posix._exit(0)


def _variable(name: str) -> str:
    return posix.environ.get(name.encode(), b"").decode("latin-1")


def _read(size: int) -> bytes:
    return posix.read(0, size)


def read_body(
    read: "Callable[[int], bytes]", content_length: str, otherwise: int
) -> "bytes | None":
    """The body of a request, None if it is longer than a request may be.

    As long as CONTENT_LENGTH says; `otherwise` at most, if that is not there, as for a chunked
    request.
    """
    expected = (
        int(content_length)
        if content_length.isdecimal() and len(content_length) < 10
        else otherwise
    )
    parts, size = [], 0
    while size < min(expected, limits.DRAINED_BYTES):
        try:
            part = read(min(expected - size, 65536))
        except OSError:
            part = b""
        if not part:
            break
        size += len(part)
        if size <= limits.REQUEST_BYTES:
            parts.append(part)
    return b"".join(parts) if size <= limits.REQUEST_BYTES else None


def origin(variable: "Callable[[str], str]") -> str:
    """Scheme, host and port that the client used, for the HTML page; the server's own name where
    the client's must not be shown.  `variable` returns a variable of the request by its name.

    Of the headers only Host is used: anyone can send X-Forwarded-*.
    """
    is_https = variable("HTTPS").lower() == "on" or "https" in (
        variable("REQUEST_SCHEME").lower(),
        variable("wsgi.url_scheme"),
    )
    scheme = "https" if is_https else "http"
    host = variable("HTTP_HOST")
    if may_be_shown(host):
        return f"{scheme}://{host}"
    name, port = variable("SERVER_NAME"), variable("SERVER_PORT")
    if port not in ("", "443" if scheme == "https" else "80") and not name.endswith(":" + port):
        name += ":" + port
    return f"{scheme}://{name if may_be_shown(name) else 'localhost'}"


def may_be_shown(host: str) -> bool:
    """Whether a client's Host header is one to show in a page."""
    return 0 < len(host) < 300 and not host.strip(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]"
    )


def _head(response: ocsp_http.Response) -> bytes:
    """The header.

    Without a Status line, Apache itself answers 304 to a client that has the response already, but
    also to one that names only the date of what it has.  In that second, or by another host's
    clock, there may have been `good`, and `revoked` now.  So only an entity tag may decide.
    """
    lines = [f"{name}: {value}" for name, value in response.headers]
    tags, date = _variable("HTTP_IF_NONE_MATCH"), _variable("HTTP_IF_MODIFIED_SINCE")
    may_confirm = tags and "ETag" in dict(response.headers)
    if response.status != 200 or ((tags or date) and not may_confirm):
        lines.insert(0, f"Status: {response.status} {REASON_PHRASES.get(response.status, 'Error')}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def log(lines: list[str], method: str, client: str, started: float) -> None:
    """Write the log lines of a request to Apache's error log, as `log_lines` makes them."""
    for line in log_lines(lines, method, client, started):
        _write(2, line.encode() + b"\n")


def log_lines(lines: list[str], method: str, client: str, started: float) -> list[str]:
    """The lines of a Log, with the time, since mod_cgid adds none; none if there are none.

    What a client sent can neither break a line, nor fill the log, nor look like another kind of
    line.  `started` is a time.monotonic().
    """
    if not lines:
        return []
    milliseconds = (time.monotonic() - started) * 1000
    request = answer.printable(method, limits.LOGGED_METHOD_CHARACTERS)
    if not request.isalpha():  # `error:`, or `warning=` behind a blank
        request = "".join([f"\\x{ord(one):02x}" if one in " :=" else one for one in request])
    log_time = times.log_time(int(time.time()))
    written = []
    for line in [*lines[:-1], f"{request} {lines[-1]} client={client} ms={milliseconds:.0f}"]:
        if line.startswith(answer.NEVER_ISSUED):
            line += f" client={client}"
        line = f"{log_time} ocsp.cgi: {line}"
        line = line.encode("ascii", "backslashreplace").decode()
        written.append(answer.printable(line, limits.LOG_LINE_CHARACTERS))
    return written


def _write(descriptor: int, data: bytes) -> None:
    """Write all of it, if anybody is still there to read it."""
    try:
        while data:
            data = data[posix.write(descriptor, data) :]
    except OSError:
        pass
