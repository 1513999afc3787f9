"""The client's HTTP: one POST (RFC 6960 appendix A) that ends by a deadline, whatever the responder
or the resolver does.  It follows no redirect and uses no proxy.

A deadline is a time.monotonic().  http.client and `ssl` only know the timeout of a single read or
write, so each gets the time that is left.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import ssl
import threading
import time
import urllib.parse

from .answer import printable
from .client_errors import Unreachable, UnusableCertificate

RESPONSE_BYTES = 64 * 1024

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _typeshed import WriteableBuffer


def post(url: str, encoded: bytes, deadline: float, timeout: float) -> bytes:
    """The body of the response to an OCSPRequest; `timeout` is how long the deadline was away.

    UnusableCertificate if the URL cannot be used, Unreachable if there is no OCSP response; both
    name the URL.
    """
    shown = printable(url)
    connection, target = _connection(url, deadline)
    try:
        connection.request(
            "POST",
            target,
            encoded,
            {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"},
        )
        response = connection.getresponse()
        _check_head(shown, response)
        body = response.read(RESPONSE_BYTES + 1)
    except (socket.timeout, TimeoutError):
        reason = f"{shown}: no complete response within {timeout:g} seconds"
        if not connection.is_resolved:
            reason += f", still resolving the name {printable(connection.host)}"
        raise Unreachable(reason) from None
    except OSError as error:
        raise Unreachable(f"{shown}: {printable(error.strerror or str(error))}") from None
    except (http.client.HTTPException, ValueError) as error:
        reason = printable(str(error))
        raise Unreachable(
            f"{shown}: the response is not HTTP: {type(error).__name__} {reason}"
        ) from None
    finally:
        connection.end()
    if len(body) > RESPONSE_BYTES:
        raise Unreachable(f"{shown}: the response has more than {RESPONSE_BYTES} bytes")
    return body


def _connection(url: str, deadline: float) -> tuple[_Connection, str]:
    """A connection to the server of a URL, not yet opened, and the request target."""
    shown = printable(url)
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UnusableCertificate(f"invalid address `{shown}`: expected http:// or https://")
        parts.hostname.encode("idna")
        connection = _Connection(parts.scheme == "https", parts.hostname, parts.port, deadline)
    except (http.client.InvalidURL, ValueError) as error:  # UnicodeError is a ValueError
        raise UnusableCertificate(f"invalid address `{shown}`: {printable(str(error))}") from None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return connection, urllib.parse.quote(target, "/?:@!$&'()*+,;=%-._~")


def _check_head(shown: str, response: http.client.HTTPResponse) -> None:
    """Unreachable unless the status and the content type are those of an OCSP response."""
    if 300 <= response.status < 400:
        location = printable(response.getheader("Location", ""))
        raise Unreachable(
            f"{shown}: redirects to '{location}' (HTTP status {response.status}), which is not"
            " followed"
        )
    if response.status != 200:
        raise Unreachable(f"{shown}: HTTP status {response.status}")
    content_type = response.getheader("Content-Type", "")
    if content_type.partition(";")[0].strip().lower() != "application/ocsp-response":
        raise Unreachable(
            f"{shown}: the response is '{printable(content_type, 100)}', not"
            " application/ocsp-response: is this the responder's address?"
        )


class _Connection(http.client.HTTPConnection):
    """A connection that ends at a deadline, however often something arrives."""

    def __init__(self, tls: bool, host: str, port: int | None, deadline: float):
        super().__init__(host, (443 if tls else 80) if port is None else port)
        self.is_resolved = False
        self._tls = tls
        self._deadline = deadline
        self._opened: socket.socket | None = None

    def end(self) -> None:
        self.close()
        if self._opened is not None:
            self._opened.close()

    def connect(self) -> None:
        failed: OSError = OSError("no address")
        addresses = _resolve(self.host, self.port, self._deadline)
        self.is_resolved = True
        for family, kind, protocol, _, address in addresses:
            opened = socket.socket(family, kind, protocol)
            try:
                opened.settimeout(_left(self._deadline))
                opened.connect(address)
                if self._tls:
                    opened.settimeout(_left(self._deadline))
                    opened = ssl.create_default_context().wrap_socket(
                        opened, server_hostname=self.host
                    )
                self._opened = opened
                self.sock = _Socket(opened, self._deadline)
                return
            except OSError as error:
                opened.close()
                failed = error
        raise failed


def _resolve(host: str, port: int, deadline: float) -> list[tuple[Any, ...]]:
    """As getaddrinfo, but socket.timeout at the deadline.

    getaddrinfo cannot be interrupted, so it runs in a thread that neither the caller nor the end of
    the process waits for.
    """
    results: queue.SimpleQueue[list[tuple[Any, ...]] | Exception] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            results.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except Exception as error:
            results.put(error)

    try:
        threading.Thread(target=resolve, name="ocsp_cgi-resolve", daemon=True).start()
    except RuntimeError:  # the process may have no more threads, or is ending
        resolve()
    try:
        result = results.get(timeout=_left(deadline))
    except queue.Empty:
        raise socket.timeout from None
    if isinstance(result, Exception):
        raise result
    return result


class _Socket(io.RawIOBase):
    """A socket as http.client uses one: each operation ends at the deadline.

    http.client closes it while the response is still being read, so closing it does nothing.
    """

    def __init__(self, opened: socket.socket, deadline: float):
        self._opened = opened
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._opened.settimeout(_left(self._deadline))
        self._opened.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._opened.settimeout(_left(self._deadline))
        return self._opened.recv_into(buffer)

    def close(self) -> None:
        pass


def _left(deadline: float) -> float:
    """The seconds until the deadline.  socket.timeout if it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout
    return left
