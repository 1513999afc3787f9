"""Answer over HTTP without Apache, to try things out: takes the place of `openssl ocsp -port`."""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import signal
import socket
import sys
import threading
import time

from .. import cgi, config, import_cryptography, limits, ocsp_http
from ..answer import printable
from ..tools import entry, openssl_text
from ..tools.http_server import Connection, Head, Server

_DEFAULT_PORT = 9080


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        type=_port,
        default=_DEFAULT_PORT,
        help=f"to listen at, {_DEFAULT_PORT} by default; 0 is any free one",
    )
    parser.add_argument(
        "--bind",
        metavar="ADDRESS",
        action="append",
        help=(
            "to listen at, 127.0.0.1 by default; can be given several times, and be IPv6 such"
            " as ::1"
        ),
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"by default what OCSP_CGI_CONFIG names, else {config.DEFAULT_PATH}",
    )
    parser.add_argument(
        "--text", action="store_true", help="print each request and each answer in words"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM.  Returns 0 after SIGTERM, and 1 if it could not begin."""
    config_path = arguments.config or os.environ.get("OCSP_CGI_CONFIG") or config.DEFAULT_PATH
    try:
        settings = config.load(config_path)
        import_cryptography.require_cryptography()
        listeners = _listen(arguments.bind or ["127.0.0.1"], arguments.port)
    except config.ConfigError as error:
        return _fail(
            f"{error}; `--config` names another" if "OCSP_CGI_CONFIG" in str(error) else str(error)
        )
    except import_cryptography.SignerError as error:
        return _fail(f"{error}; on Debian or Ubuntu: apt-get install python3-cryptography")
    except _CannotListen as error:
        return _fail(str(error))
    door = _Door(config_path, arguments.text)
    server = Server(listeners, door.answer, cgi.log)
    ends: list[int] = []

    def stop(number: int, _) -> None:
        ends.append(number)
        server.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    _say(_greeting(listeners, config_path, settings))
    server.serve()
    return entry.INTERRUPTED if ends[0] == signal.SIGINT else 0


class _CannotListen(Exception):
    pass


class _Door:
    """What becomes of a request, in the thread of its connection."""

    def __init__(self, config_path: str, in_words: bool):
        self._config_path = config_path
        self._in_words = in_words
        self._printing = threading.Lock()

    def answer(
        self, head: Head, body: bytes | None, connection: Connection
    ) -> tuple[ocsp_http.Response, list[str]]:
        """The response, and lines for the log."""
        request = ocsp_http.Request(
            head.method, head.target, "", "", head.field("content-type"), body
        )
        host = head.field("host")
        if not cgi.may_be_shown(host):
            host = _host(connection.socket.getsockname())
        response, lines = ocsp_http.handle(
            request, self._config_path, f"http://{host}", int(time.time())
        )
        if self._in_words:
            self._print(request, response)
        return response, lines

    def _print(self, request: ocsp_http.Request, response: ocsp_http.Response) -> None:
        try:
            asked = openssl_text.request(ocsp_http.ocsp_request(request))
        except ocsp_http.NotOCSP:
            return
        answered = openssl_text.response(response.body) if response.body else ""  # none for HEAD
        with self._printing:
            _say(asked + answered)


def _listen(addresses: list[str], port: int) -> list[socket.socket]:
    """Listen at these addresses, at a port that is the same for all.  _CannotListen, with the mend,
    if that is not possible."""
    listeners = []
    for address in addresses:
        try:
            found = socket.getaddrinfo(
                address.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except (socket.gaierror, UnicodeError):
            raise _CannotListen(
                f"--bind {address}: no address of this machine; `ip address` shows those it has"
            ) from None
        for family, kind, protocol, _, where in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(
                    socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1
                )  # so that 0.0.0.0 can be given beside ::
            try:
                listener.bind((where[0], port, *where[2:]))
                listener.listen(1024)
            except OSError as error:
                raise _CannotListen(
                    f"http://{_host((where[0], port))}/: {error.strerror}{_mend(error.errno)}"
                ) from None
            port = listener.getsockname()[1]
            listeners.append(listener)
    return listeners


def _mend(number: int | None) -> str:
    if number == errno.EADDRINUSE:
        return "; end what listens there (`ss -ltnp` shows it), or take another with --port"
    if number == errno.EACCES:
        return "; only root may listen at a port below 1024: take another with --port"
    if number == errno.EADDRNOTAVAIL:
        return "; `ip address` shows the addresses of this machine"
    return ""


def _host(address: tuple) -> str:
    """Address and port as in a URL."""
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _greeting(listeners: list[socket.socket], config_path: str, settings: config.Settings) -> str:
    addresses = [listener.getsockname() for listener in listeners]
    lines = ["This is for trying out; Apache is for serving others.  Ctrl-C ends it."]
    lines += [f"Listening at http://{_host(address)}/ with {config_path}" for address in addresses]
    ours = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    first = addresses[0]
    url = f"http://{_host((ours.get(first[0], first[0]), first[1]))}/"
    for ca in settings.cas:
        path = shlex.quote(ca.ca)
        lines.append(f"    openssl ocsp -issuer {path} -CAfile {path} -cert server.crt -url {url}")
    if any(not address[0].startswith("127.") and address[0] != "::1" for address in addresses):
        lines.append("Whoever can reach this machine can ask.")
    return "\n".join(lines) + "\n"


def _say(words: str) -> None:
    """Write to standard output, if anybody is still there to read it."""
    data = words.encode("utf-8", "surrogateescape")
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        pass


def _fail(reason: str) -> int:
    sys.stderr.write(printable(reason, limits.LOG_LINE_CHARACTERS) + "\n")
    return 1


def _port(word: str) -> int:
    if not (word.isascii() and word.isdigit()) or len(word) > 5 or int(word) > 65535:
        raise argparse.ArgumentTypeError(f"`{word}` is no port: it should be 0 to 65535")
    return int(word)
