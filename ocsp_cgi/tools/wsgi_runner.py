"""Runs a WSGI application, each time in a thread of its own, and waits no longer than the deadline.

A thread that hangs in a file cannot be ended.  It is left behind, and ends when the file can be
read.  Until then, another request that has to wait for the same file does so only for a moment.
"""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any, cast
from wsgiref.handlers import SimpleHandler

from .. import answer, cgi, limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from wsgiref.headers import Headers

RUNNING = 1024  # threads at once, with those that hang, each of which takes 20 KiB of memory
HUNG_FILE_SECONDS = 1  # for a request to wait for a file in which another hangs


class Runner:
    """Runs one application, for all threads of a server."""

    def __init__(self, application: Callable[..., Any]):
        self.application = application
        self.free = threading.BoundedSemaphore(RUNNING)
        self._late: set[Run] = set()

    def run(
        self, environ: dict[str, Any], body: bytes, request_log: answer.Log
    ) -> Run | answer.Answer:
        """A run that has ended; or the Answer tryLater, and why, in `request_log`.

        RuntimeError if no thread can be started.
        """
        if not self.free.acquire(blocking=False):
            reason = (
                f"{RUNNING} requests hang, so there is no thread for another: the lines above with"
                " `no response within` say in which files. If those can be read again, and this"
                " does not end, restart this server"
            )
            return answer.refusal(answer.TRY_LATER, reason, request_log)
        run = Run(self, environ, body)
        try:
            run.start()
        except RuntimeError:
            self.free.release()
            raise
        run.join(HUNG_FILE_SECONDS)
        if run.is_alive() and run.reading in {late.reading for late in self._still_late()}:
            reason = f"{run.reading}: other requests hang in reading it"
            return answer.refusal(answer.TRY_LATER, reason, request_log)
        run.join(limits.DEADLINE_SECONDS - HUNG_FILE_SECONDS)
        if not run.is_alive():
            return run
        self._late.add(run)
        return cgi.refuse_late(cast(int, run.ident), request_log)

    def _still_late(self) -> list[Run]:
        """The runs that were too late, and have not ended yet."""
        for run in list(self._late):
            if not run.is_alive():
                self._late.discard(run)
        return list(self._late)


class Run(threading.Thread):
    """One run: in the end `response` is the whole HTTP response, and `log` its lines in the log."""

    def __init__(self, runner: Runner, environ: dict[str, Any], body: bytes):
        super().__init__(daemon=True)
        self.response = b""
        self.log = ""
        self._runner = runner
        self._request = environ, body

    @property
    def reading(self) -> str:
        """The file that it is reading, or hangs in."""
        return answer.now_reading(cast(int, self.ident))

    def run(self) -> None:
        environ, body = self._request
        response, log = io.BytesIO(), io.StringIO()
        try:
            _Gateway(io.BytesIO(body), response, log, environ).run(self._runner.application)
            self.response, self.log = response.getvalue(), log.getvalue()
        finally:
            self._runner.free.release()


class _Gateway(SimpleHandler):
    """The standard library's side of WSGI."""

    headers: Headers
    http_version = "1.1"
    os_environ = {}  # noqa: RUF012  the request's variables are not mixed with the process's

    def cleanup_headers(self) -> None:
        # The application sets Content-Length wherever it belongs; in a 304 it does not.
        self.headers["Connection"] = "close"
