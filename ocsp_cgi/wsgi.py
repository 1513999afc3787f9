"""The responder as a WSGI application (PEP 3333), for mod_wsgi and other servers: `application`.

It differs from the CGI in how a request arrives and a response leaves, and in that the process
stays: what was read from a file is used until the file changes (see resident.py).  A request may be
answered in any thread, and in any of several processes.

A server that runs a CGI answers 304 to a client that has the response already.  WSGI servers leave
that to the application.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from . import answer, cgi, limits, ocsp_http, times
from .resident import ResidentFiles

# isort: split
# A CGI imports these when it needs them.  By then an upgrade may have replaced them with others
# that do not fit a process of the version before.
from . import (  # noqa: F401
    authority_info,
    buckets,
    child,
    file_kinds,
    page,
    pin_memory,
    producer,
    reuse,
    settings_table,
    signer_memory,
    sync_state,
    token_faults,
    token_key,
    unusual_algorithms,
    without_key,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .files import Files

_UNCHANGED_FIELDS = ("Last-Modified", "Expires", "ETag", "Cache-Control")  # of a 304


class Application:
    """A WSGI application.  `files` are those a response is made from, `clock` returns the time in
    seconds since 1970."""

    def __init__(self, files: Files | None = None, clock: Callable[[], float] = time.time) -> None:
        self._files = files or ResidentFiles()
        self._clock = clock

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> list[bytes]:
        started = time.monotonic()
        answer.reading(answer.REQUEST)

        def variable(name: str) -> str:
            return str(environ.get(name, ""))

        request = ocsp_http.Request(
            variable("REQUEST_METHOD"),
            variable("REQUEST_URI") or variable("RAW_URI"),
            variable("SCRIPT_NAME"),
            variable("PATH_INFO"),
            variable("CONTENT_TYPE"),
            _read_body(environ),
        )
        now = int(self._clock())
        response, lines = ocsp_http.handle(
            request, _config_path(environ), cgi.origin(variable), now, files=self._files
        )
        if request.method in ("GET", "HEAD") and _client_has(response, variable):
            response = ocsp_http.Response(
                304, [one for one in response.headers if one[0] in _UNCHANGED_FIELDS], b""
            )
        _log(environ, cgi.log_lines(lines, request.method, variable("REMOTE_ADDR"), started))
        phrase = cgi.REASON_PHRASES.get(response.status, "Error")
        start_response(f"{response.status} {phrase}", response.headers)
        return [response.body]


class Watched:
    """An application whose requests are watched: the log says when one has no response by the
    deadline, and what it is reading.

    A thread that hangs cannot answer, nor can another one in its place: the server gives up.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._started: dict[int, float] = {}  # by thread, a time.monotonic()
        self._watching = threading.Lock()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> list[bytes]:
        if self._watching.acquire(blocking=False):  # by the first request, and for ever
            threading.Thread(target=self._watch, daemon=True).start()
        thread = threading.get_ident()
        self._started[thread] = time.monotonic()
        try:
            return self._application(environ, start_response)
        finally:
            del self._started[thread]

    def _watch(self) -> None:
        told: dict[int, float] = {}
        while True:
            time.sleep(1)
            late = time.monotonic() - limits.DEADLINE_SECONDS
            for thread, started in list(self._started.items()):
                if started < late and told.get(thread) != started:
                    told[thread] = started
                    kind, reason = cgi.late_reason(thread)
                    if kind == answer.ERROR:
                        line = f"{times.log_time(int(time.time()))} ocsp.cgi: {kind}{reason}\n"
                        sys.stderr.write(line)
                        sys.stderr.flush()


application = Watched(Application())


def _config_path(environ: dict[str, Any]) -> str:
    """OCSP_CGI_CONFIG as the server sets it for the request, else as it is in the environment of
    the process."""
    value = environ.get("OCSP_CGI_CONFIG")
    if value is None:
        return os.environ.get("OCSP_CGI_CONFIG", "")
    try:
        return os.fsdecode(str(value).encode("latin-1"))  # in which PEP 3333 has all bytes
    except UnicodeEncodeError:
        return str(value)


def _read_body(environ: dict[str, Any]) -> bytes | None:
    """The body, None if it is longer than a request may be.

    Without CONTENT_LENGTH it is read to its end, if the server says that it has one.
    """
    ends = environ.get("wsgi.input_terminated")
    return cgi.read_body(
        environ["wsgi.input"].read,
        str(environ.get("CONTENT_LENGTH", "")),
        limits.DRAINED_BYTES if ends else 0,
    )


def _client_has(response: ocsp_http.Response, variable: Callable[[str], str]) -> bool:
    """Whether the client has this response already (RFC 9110 section 13.1.2).

    A date alone, If-Modified-Since, does not show that: in that second, or by another host's clock,
    there may have been `good`, and `revoked` now.
    """
    headers = dict(response.headers)
    if response.status != 200 or "ETag" not in headers:
        return False
    tags = variable("HTTP_IF_NONE_MATCH")
    known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
    return "*" in known or headers["ETag"] in known


def _log(environ: dict[str, Any], lines: list[str]) -> None:
    """Write to the server's log, if it takes anything."""
    try:
        environ["wsgi.errors"].write("".join([line + "\n" for line in lines]))
        environ["wsgi.errors"].flush()
    except (OSError, ValueError):
        pass
