"""Answer over HTTP without Apache, to try things out: replaces `openssl ocsp -port`.

It reads the same config as the CGI, answers at any path, and prints a command to query it.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import shlex
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from .. import config, limits, ocsp_http, wsgi
from ..import_cryptography import SignerError, require_cryptography
from ..tools import config_file, entry, openssl_text
from ..tools.entry import CommandError
from ..tools.wsgi_server import Server

_DEFAULT_PORT = 9080
NOTES = (
    "Not supported: TLS, access control, keep-alive (each connection carries one request), and"
    " chunked bodies (refused with 411, Length Required)."
)
EXAMPLES = ("serve --port 9080 --config ocsp-cgi.conf --text",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        type=_port,
        default=_DEFAULT_PORT,
        help=f"the port to listen on (default: {_DEFAULT_PORT}); 0 picks a free one",
    )
    parser.add_argument(
        "--bind",
        metavar="ADDRESS",
        action="append",
        help="the address to listen on, IPv4 or IPv6 (default: 127.0.0.1); repeatable",
    )
    config_file.add_argument(parser)
    parser.add_argument(
        "--text", action="store_true", help="print each request and response as text"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM.  Returns 0 after SIGTERM."""
    config_path = config_file.path(arguments)
    try:
        settings = config.load(config_path)
        require_cryptography()
        listeners = _listen(arguments.bind or ["127.0.0.1"], arguments.port)
    except config.ConfigError as error:
        hint = "; `--config` names another" if "OCSP_CGI_CONFIG" in str(error) else ""
        raise CommandError(f"{error}{hint}") from None
    except SignerError as error:
        raise CommandError(
            f"{error}; on Debian or Ubuntu: apt-get install python3-cryptography"
        ) from None
    application = wsgi.Application()
    server = Server(
        listeners,
        config_path,
        lambda text: _write(2, text),
        _Printing(application) if arguments.text else application,
    )
    signals: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        signals.append(number)
        server.shutdown()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    _write(1, _greeting(listeners, config_path, settings))
    server.serve_forever()
    return entry.INTERRUPTED if signals[0] == signal.SIGINT else entry.OK


class _Printing:
    """Prints each request, and the application's response to it, as text."""

    def __init__(self, application: wsgi.Application):
        self._application = application
        self._printing = threading.Lock()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> list[bytes]:
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        request = ocsp_http.Request(
            environ["REQUEST_METHOD"],
            environ["REQUEST_URI"],
            "",
            "",
            environ["CONTENT_TYPE"],
            body if len(body) <= limits.REQUEST_BYTES else None,
        )
        response = self._application(environ, start_response)
        try:
            text = openssl_text.request(ocsp_http.ocsp_request(request))
        except ocsp_http.NotOCSP:
            return response
        encoded = b"".join(response)
        if encoded:  # of HEAD there is none, and of a 304
            text += openssl_text.response(encoded)
        with self._printing:
            _write(1, text)
        return response


def _listen(addresses: list[str], port: int) -> list[socket.socket]:
    """Listen on these addresses, all with the same port.  CommandError if that fails."""
    listeners = []
    for address in addresses:
        try:
            found = socket.getaddrinfo(
                address.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except (socket.gaierror, UnicodeError):
            raise CommandError(
                f"--bind {address}: not an address of this machine; `ip address` lists them"
            ) from None
        for family, kind, protocol, _, where in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # so that 0.0.0.0 can be given beside ::
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                listener.bind((where[0], port, *where[2:]))
                listener.listen(1024)
            except OSError as error:
                raise CommandError(
                    f"http://{_host((where[0], port))}/: {error.strerror}{_hint(error.errno)}"
                ) from None
            port = listener.getsockname()[1]
            listeners.append(listener)
    return listeners


def _hint(number: int | None) -> str:
    if number == errno.EADDRINUSE:
        return "; stop what listens there (`ss -ltnp` shows it), or choose another port with --port"
    if number == errno.EACCES:
        return "; only root may listen on a port below 1024: choose another with --port"
    if number == errno.EADDRNOTAVAIL:
        return "; `ip address` lists the addresses of this machine"
    return ""


def _host(address: tuple[Any, ...]) -> str:
    """Address and port as in a URL."""
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _greeting(listeners: list[socket.socket], config_path: str, settings: config.Settings) -> str:
    addresses = [listener.getsockname() for listener in listeners]
    lines = ["This server is for trying things out: use Apache in production.  Ctrl-C stops it."]
    lines += [f"Listening on http://{_host(address)}/ with {config_path}" for address in addresses]
    host, port = addresses[0][:2]
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    url = f"http://{_host((loopback.get(host, host), port))}/"
    for ca in settings.cas:
        path = shlex.quote(ca.ca)
        trust = f"-issuer {path} -CAfile {path} -partial_chain"  # for an issuing CA too
        lines.append(f"    openssl ocsp {trust} -cert server.crt -url {url}")
    if any(not address[0].startswith("127.") and address[0] != "::1" for address in addresses):
        lines.append("Anyone who can reach this machine can query it.")
    return "\n".join(lines) + "\n"


def _write(descriptor: int, text: str) -> None:
    """Write to standard output or standard error, if its reader is still there."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        pass


def _port(word: str) -> int:
    if not (word.isascii() and word.isdigit()) or len(word) > 5 or int(word) > 65535:
        raise argparse.ArgumentTypeError(f"invalid port `{word}`: expected 0 to 65535")
    return int(word)
