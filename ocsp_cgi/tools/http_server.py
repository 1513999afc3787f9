"""A small HTTP/1.1 server (RFC 9112) with a thread for each connection.

No client can keep it from answering the others.  A client that has not sent a whole request within
READ_SECONDS, or does not take the response within WRITE_SECONDS, is disconnected, however busily it
sends.  At most CONNECTIONS are open; when all are taken, new clients wait in the listen queue, and
the client that has been silent longest is disconnected to make room.  Of a request, no more is held
in memory than the limits allow.
"""

from __future__ import annotations

import collections
import re
import select
import selectors
import socket
import threading
import time
from typing import Callable, cast

from .. import limits, ocsp_http, times
from ..answer import printable
from .http_head import Head, HTTPError

CONNECTIONS = 64
READ_SECONDS = 10
WRITE_SECONDS = 10
SILENT_SECONDS = 1  # after which a silent client may be disconnected to make room
LINGER_SECONDS = 1  # for a client that still sends to read the response before we close
STOP_SECONDS = 5  # to finish responses when the server is stopped
HEAD_BYTES = 128 * 1024  # the request line of a GET may have REQUEST_BYTES in base64
_BLANK_LINES = 4
_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")
_REASON_PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    505: "HTTP Version Not Supported",
}


class _Gone(Exception):
    """The client closed the connection, or was too slow."""


class Connection:
    """One client; `silent_since` is a time.monotonic() until its request is read, then None."""

    def __init__(self, client: socket.socket, address: str, server: Server):
        self.socket = client
        self.address = address
        self.silent_since: float | None = time.monotonic()
        self._server = server
        self._received = bytearray()
        self._deadline = 0.0
        self._has_begun = False

    def run(self) -> None:
        """Answer requests until the last one."""
        try:
            while self._answer_one():
                pass
        except (OSError, _Gone):
            pass

    def _answer_one(self) -> bool:
        """Answer one request.  Returns whether another may follow on this connection."""
        self.silent_since = time.monotonic()
        self._deadline = self.silent_since + READ_SECONDS
        self._has_begun = bool(self._received)
        started = time.monotonic()
        head = None
        try:
            text = self._read_head()
            started = time.monotonic()
            head = Head(text)
            body, whole = self._read_body(head)
        except HTTPError as error:
            self._server.log(
                [str(error), f"http={error.status}"],
                head.method if head else "-",
                self.address,
                started,
            )
            self._send(_plain(error), False, head is not None and head.method == "HEAD")
            self._linger()
            return False
        self.silent_since = None
        response, lines = self._server.respond(head, body, self)
        self._server.log(lines, head.method, self.address, started)
        keep_alive = head.keep_alive and whole and not self._server.stopping
        self._send(response, keep_alive)
        if not whole:
            self._linger()
        return keep_alive

    def _read_head(self) -> bytes:
        """The next head, without the empty line that ends it; blank lines before it are skipped
        (RFC 9112 section 2.2)."""
        searched = 0
        for _ in range(_BLANK_LINES):
            while not self._received:
                self._receive()
            if self._received[:2] == b"\r\n":
                del self._received[:2]
            elif self._received[:1] == b"\n":
                del self._received[:1]
            else:
                break
        while True:
            received = self._received
            # a TLS handshake has no empty line, and its client waits for us
            if received[:1] == b"\x16":
                return bytes(received)
            end = _EMPTY_LINE.search(received, max(0, searched - 3))
            if end and end.start() <= HEAD_BYTES:
                head = bytes(received[: end.start()])
                del end  # while it exists, the bytearray cannot be resized
                received[: len(head)] = b""
                self._read_line()
                self._read_line()
                return head
            searched = len(received)
            if searched > HEAD_BYTES:
                raise HTTPError(431, f"request line and header have more than {HEAD_BYTES} bytes")
            self._receive()

    def _read_body(self, head: Head) -> tuple[bytes | None, bool]:
        """The body, None if it is longer than the limit; and whether all of it was read."""
        length = head.content_length
        if (
            head.field("expect").lower() == "100-continue"
            and head.version == "HTTP/1.1"
            and length != 0
            and not self._received
        ):
            if length is not None and length > limits.REQUEST_BYTES:
                return None, False
            self._deadline_for_writing()
            self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = _Body()
        if length is not None:
            self._read_bytes(length, body)
            return body.content, body.whole
        while body.whole:
            size = self._read_line().partition(b";")[0].strip(b" \t")
            if not 0 < len(size) <= 8 or size.strip(b"0123456789abcdefABCDEF"):
                raise HTTPError(400, f"not a chunk size: '{printable(size.decode('latin-1'), 20)}'")
            if int(size, 16) == 0:
                break
            self._read_bytes(int(size, 16), body)
            if body.whole and self._read_line():
                raise HTTPError(400, "a chunk is longer than it says")
        trailer = 0
        while body.whole:
            line = self._read_line()
            trailer += len(line)
            if trailer > HEAD_BYTES:
                raise HTTPError(431, "the trailer of a chunked body is too long")
            if not line:
                break
        return body.content, body.whole

    def _read_bytes(self, count: int, body: _Body) -> None:
        while count and body.whole:
            if not self._received:
                self._receive()
            part = bytes(self._received[:count])
            del self._received[: len(part)]
            count -= len(part)
            body.add(part, count)

    def _read_line(self) -> bytes:
        while True:
            line, end, _ = self._received.partition(b"\n")
            if end:
                del self._received[: len(line) + 1]
                return bytes(line).rstrip(b"\r")
            if len(line) > 4096:
                raise HTTPError(400, "a line of a chunked body is too long")
            self._receive()

    def _receive(self) -> None:
        """Wait for more data, but not past the deadline."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise (
                HTTPError(408, f"no whole request within {READ_SECONDS} seconds")
                if self._has_begun
                else _Gone
            )
        self.socket.settimeout(left)
        try:
            part = self.socket.recv(65536)
        except socket.timeout:
            return
        if not part:
            raise _Gone
        self._received += part
        self._has_begun = True

    def _deadline_for_writing(self) -> None:
        self.socket.settimeout(WRITE_SECONDS)  # of the whole of a sendall

    def _send(
        self, response: ocsp_http.Response, keep_alive: bool, head_only: bool = False
    ) -> None:
        lines = [
            f"HTTP/1.1 {response.status} {_REASON_PHRASES[response.status]}",
            f"Date: {times.http_date(int(time.time()))}",
        ]
        lines += [f"{name}: {value}" for name, value in response.headers]
        lines.append("Connection: keep-alive" if keep_alive else "Connection: close")
        self._deadline_for_writing()
        self.socket.sendall(
            ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
            + (b"" if head_only else response.body)
        )

    def _linger(self) -> None:
        """Read on for a moment: if we closed while the client sends, it might lose the response
        (RFC 9112 section 9.6)."""
        self.socket.shutdown(socket.SHUT_WR)
        end = time.monotonic() + LINGER_SECONDS
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            if not self.socket.recv(65536):
                break


class _Body:
    """A body being read: `content` is None once it exceeds the limit, `whole` False once reading on
    is pointless."""

    def __init__(self) -> None:
        self._parts = bytearray()
        self._size = 0
        self.whole = True

    def add(self, part: bytes, left: int) -> None:
        self._size += len(part)
        self.whole = left == 0 or self._size < limits.DRAINED_BYTES
        if self._size <= limits.REQUEST_BYTES:
            self._parts += part

    @property
    def content(self) -> bytes | None:
        return bytes(self._parts) if self._size <= limits.REQUEST_BYTES else None


def _plain(error: HTTPError) -> ocsp_http.Response:
    body = f"{error}\n".encode("ascii", "backslashreplace")
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    return ocsp_http.Response(error.status, [*headers, ("X-Content-Type-Options", "nosniff")], body)


class Server:
    """Accepts connections on `listeners` until `stop`.

    `respond(head, body, connection)` returns an ocsp_http.Response and lines for the log;
    `log(lines, method, client, started)` writes these.  Both are called in many threads.
    """

    def __init__(
        self,
        listeners: list[socket.socket],
        respond: Callable[[Head, bytes | None, Connection], tuple[ocsp_http.Response, list[str]]],
        log: Callable[[list[str], str, str, float], None],
    ):
        self.respond = respond
        self.log = log
        self.stopping = False
        self._listeners = listeners
        self._connections: collections.OrderedDict[Connection, threading.Thread] = (
            collections.OrderedDict()
        )
        self._changed = threading.Condition()
        self._stopped, self._stop = socket.socketpair()

    def stop(self) -> None:
        """Make `serve` return.  May be called from a signal handler or another thread."""
        self.stopping = True
        self._stop.send(b"x")

    def serve(self) -> None:
        """Serve until `stop`, then finish the responses under way."""
        with selectors.DefaultSelector() as selector:
            for listener in (*self._listeners, self._stopped):
                listener.setblocking(False)
                selector.register(listener, selectors.EVENT_READ)
            while not self.stopping:
                for key, _ in selector.select():
                    if key.fileobj is not self._stopped and self._has_room():
                        self._accept(cast(socket.socket, key.fileobj))
        for listener in self._listeners:
            listener.close()
        self._end()

    def _has_room(self) -> bool:
        """Wait until a connection can be accepted.  Returns False if the server is stopping."""
        with self._changed:
            while len(self._connections) >= CONNECTIONS and not self.stopping:
                silent = [connection for connection in self._connections if _is_idle(connection)]
                if silent:
                    _shut(min(silent, key=lambda connection: connection.silent_since or 0))
                self._changed.wait(0.1)
        return not self.stopping

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except BlockingIOError:
            return
        except OSError:  # the client is gone, or this process is out of file descriptors
            time.sleep(0.1)
            return
        connection = Connection(client, address[0], self)
        thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
        with self._changed:
            self._connections[connection] = thread
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread.start()
        except (OSError, RuntimeError):  # the client is gone, or no thread can be started
            self._forget(connection)

    def _run(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        with self._changed:
            connection.socket.close()
            del self._connections[connection]
            self._changed.notify_all()

    def _end(self) -> None:
        """Disconnect silent clients at once, and give the others STOP_SECONDS."""
        end = time.monotonic() + STOP_SECONDS
        with self._changed:
            while self._connections and time.monotonic() < end:
                for connection in self._connections:
                    if connection.silent_since is not None:
                        _shut(connection)
                self._changed.wait(0.1)


def _is_idle(connection: Connection) -> bool:
    """Whether a client has been silent for long, and not only because we have yet to read what it
    sent."""
    since = connection.silent_since
    if since is None or time.monotonic() - since < SILENT_SECONDS:
        return False
    poll = select.poll()
    poll.register(connection.socket, select.POLLIN)
    return not poll.poll(0)


def _shut(connection: Connection) -> None:
    """Make the connection's thread notice that it is closed."""
    try:
        connection.socket.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
