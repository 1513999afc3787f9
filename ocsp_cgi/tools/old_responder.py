"""The responder that ocsp.cgi replaces, asked as Apache asks it: a shell script in cgi-bin, or the
line of `openssl ocsp` in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .. import ocsp_http
from ..config import CASettings
from ..index_file import path_of
from .entry import CommandError

_SECONDS = 60
_REFUSES_INDEX = b"Problem with index file"


class HTTPResponse(NamedTuple):
    """`content_type` is "" if there is none, `log` what went to standard error."""

    content_type: str
    body: bytes
    log: bytes

    @property
    def is_ocsp(self) -> bool:
        return self.content_type.partition(";")[0].strip().lower() == ocsp_http.OCSP_RESPONSE


class OldResponder(Protocol):
    """`speaks_http` is whether it sees more of a request than its body."""

    name: str
    speaks_http: bool

    def ask(self, request: ocsp_http.Request) -> HTTPResponse: ...


class Pipeline:
    """`openssl ocsp` with the files of one CA of the config."""

    speaks_http = False

    def __init__(self, ca: CASettings, account: dict[str, Any]):
        """`account` are arguments for subprocess: the user it runs as."""
        self.name = f"`openssl ocsp -index {path_of(ca.db)}`"
        self._account = account
        self._command = ["openssl", "ocsp", "-index", path_of(ca.db), "-CA", ca.ca]
        self._command += ["-rsigner", ca.rsigner, "-rkey", ca.rkey, "-nmin", str(ca.nmin)]
        if ca.passin:
            self._command += ["-passin", f"file:{ca.passin}"]
        self._command += ["-reqin", "/dev/stdin", "-respout", "/dev/stdout"]

    def ask(self, request: ocsp_http.Request) -> HTTPResponse:
        run = _run(self._command, request.body or b"", {}, self._account)
        return HTTPResponse(ocsp_http.OCSP_RESPONSE, run.stdout, run.stderr)

    def refuses_index(self, request: ocsp_http.Request) -> bool:
        """Whether openssl cannot use the index at all."""
        return _REFUSES_INDEX in self.ask(request).log


class Script:
    """A script, run as a CGI (RFC 3875)."""

    speaks_http = True

    def __init__(self, path: Path, account: dict[str, Any]):
        """`account` are arguments for subprocess: the user it runs as."""
        self.name = str(path)
        self._path = path.resolve()
        self._account = account

    def ask(self, request: ocsp_http.Request) -> HTTPResponse:
        body = request.body or b""
        environment = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "HTTP_HOST": "localhost",
            "REMOTE_ADDR": "127.0.0.1",
            "SCRIPT_FILENAME": str(self._path),
            "REQUEST_METHOD": request.method,
            "REQUEST_URI": request.uri,
            "SCRIPT_NAME": request.script_name,
            "PATH_INFO": request.path_info,
            "QUERY_STRING": "",
        }
        if request.method not in ("GET", "HEAD"):
            environment["CONTENT_LENGTH"] = str(len(body))
            environment["CONTENT_TYPE"] = request.content_type
        run = _run([str(self._path)], body, environment, self._account, self._path.parent)
        for end in (b"\r\n\r\n", b"\n\n"):
            head, found, content = run.stdout.partition(end)
            if found and b"<" not in head:
                break
        else:
            return HTTPResponse("", run.stdout, run.stderr)
        fields = dict(line.partition(b":")[::2] for line in head.lower().splitlines())
        content_type = fields.get(b"content-type", b"").strip().decode("latin-1")
        return HTTPResponse(content_type, content, run.stderr)


def _run(
    command: list[str],
    body: bytes,
    environment: dict[str, str],
    account: dict[str, Any],
    directory: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command between two `cat`, whose pipes belong to its own user.

    /dev/stdin and /dev/stdout are opened by name, so a pipe of ours would refuse another user.
    """
    path = os.environ.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    try:
        return subprocess.run(
            ["/bin/sh", "-c", 'cat | "$@" | cat', "sh", *command],
            input=body,
            env={"PATH": path, **environment},
            capture_output=True,
            cwd=directory or "/",
            timeout=_SECONDS,
            **account,
        )
    except OSError as error:
        raise CommandError(f"{command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{command[0]}: no response within {_SECONDS} seconds") from None
