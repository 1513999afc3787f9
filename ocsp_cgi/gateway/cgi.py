"""The CGI door (RFC 3875): environment and standard input in, headers and body out, one line on standard error.

The whole of standard input is read before anything is answered, however little of it is wanted: mod_cgid cuts off the
answer of a script that ends with input unread.  Nothing but the answer goes to standard output, in one write, after the
log line, since Apache ends a script as soon as it has the answer.  Then the process leaves by _exit: Python's own way
out costs a millisecond or more and has nothing left to do.
"""

from __future__ import annotations

import posix
import sys
import time

from .. import config, http, limits, times
from . import handle

_REASON_PHRASES = {404: "Not Found", 405: "Method Not Allowed", 415: "Unsupported Media Type"}


def main(started: float) -> None:
    """Answer the request that Apache started this process for, and end the process.  `started` is a time.monotonic()."""
    request = http.Request(
        _variable("REQUEST_METHOD"),
        _variable("REQUEST_URI"),
        _variable("SCRIPT_NAME"),
        _variable("PATH_INFO"),
        _variable("CONTENT_TYPE"),
        _read_body(_variable("CONTENT_LENGTH")),
    )
    now = int(time.time())
    config_path = posix.environ.get(b"OCSP_CGI_CONFIG", b"").decode(sys.getfilesystemencoding(), "surrogateescape")
    response, lines = handle(request, config_path or config.DEFAULT_PATH, _own_url(), now)
    milliseconds = (time.monotonic() - started) * 1000
    lines[-1] = f"{request.method} {lines[-1]} client={_variable('REMOTE_ADDR')} ms={milliseconds:.0f}"
    for line in lines:
        _log(now, line)
    _write(1, _head(response) + response.body)
    posix._exit(0)


def _variable(name: str) -> str:
    return posix.environ.get(name.encode(), b"").decode("latin-1")


def _read_body(content_length: str) -> bytes | None:
    """Standard input, None if it is longer than a request may be.

    As long as CONTENT_LENGTH says; to its end if that is not there, as for a chunked request.
    """
    expected = int(content_length) if content_length.isdigit() and len(content_length) < 10 else limits.DRAINED_BYTES
    parts, size = [], 0
    while size < min(expected, limits.DRAINED_BYTES):
        try:
            part = posix.read(0, min(expected - size, 65536))
        except OSError:
            part = b""
        if not part:
            break
        size += len(part)
        if size <= limits.REQUEST_BYTES:
            parts.append(part)
    return b"".join(parts) if size <= limits.REQUEST_BYTES else None


def _own_url() -> str:
    """The address the client used, for the HTML page; the server's own name where the client's is none to be shown."""
    scheme = "https" if _variable("HTTPS").lower() == "on" else "http"
    host = _variable("HTTP_HOST")
    if not host or host.strip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]"):
        host = _variable("SERVER_NAME")
    return f"{scheme}://{host}{_variable('SCRIPT_NAME')}"


def _head(response: http.Response) -> bytes:
    """The header.  A success has no Status line: only then does Apache itself answer 304 to who has it already."""
    lines = [f"{name}: {value}" for name, value in response.headers]
    if response.status != 200:
        lines.insert(0, f"Status: {response.status} {_REASON_PHRASES[response.status]}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _log(now: int, line: str) -> None:
    """Write a line to Apache's error log, with the time, since mod_cgid adds none.  What a client sent cannot break it."""
    _write(2, f"{times.log_time(now)} ocsp.cgi: {line}".encode("unicode_escape") + b"\n")


def _write(descriptor: int, data: bytes) -> None:
    """Write all of it, if anybody is still there to read it."""
    try:
        while data:
            data = data[posix.write(descriptor, data) :]
    except OSError:
        pass
