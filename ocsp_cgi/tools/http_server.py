"""A small HTTP/1.1 server (RFC 9112) for whatever comes: ocsp_http.Request in, ocsp_http.Response
out, a thread for each connection.

Nothing that a client does keeps it from answering the others.  Whoever has not sent a whole request
within READ_SECONDS, or does not take its answer within WRITE_SECONDS, is let go, however busily it
sends.  There are CONNECTIONS at once; when all are taken, those who come wait in the listen queue,
and whoever has been silent longest is let go for them.  Of a request no more is kept than a request
may have.
"""

from __future__ import annotations

import collections
import re
import select
import selectors
import socket
import threading
import time

from .. import limits, ocsp_http, times
from ..answer import printable

CONNECTIONS = 64
READ_SECONDS = 10
WRITE_SECONDS = 10
SILENT_SECONDS = 1  # after which a silent connection may be let go for another
LINGER_SECONDS = (
    1  # for the client to read the answer before the connection ends with what it still sends
)
STOP_SECONDS = 5  # for those that are being answered when the server is stopped
HEAD_BYTES = (
    128 * 1024
)  # request line and header; a request line may have the base64 of REQUEST_BYTES
_METHOD_OCTETS = 30
_BLANK_LINES = 4
_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
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


class Head:
    """The request line and header of a request.  `fields` are the values of each field by its name
    in lower case."""

    __slots__ = ("method", "target", "version", "fields")

    def __init__(self, text: bytes):
        """Read a head without the empty line at its end.  HTTPError if it is none."""
        request_line, *lines = text.decode("latin-1").split("\n")
        words = request_line.rstrip("\r").split(" ")
        if (
            len(words) != 3
            or not words[0]
            or set(words[0]) - _TOKEN
            or not words[1]
            or words[2][:5] != "HTTP/"
        ):
            if text[:1] == b"\x16":
                raise HTTPError(400, "a TLS handshake, and this server speaks http:// only")
            raise HTTPError(400, f"no request line of HTTP: '{printable(request_line, 60)}'")
        self.method, self.target, self.version = words
        if len(self.method) > _METHOD_OCTETS:
            raise HTTPError(501, f"no method of HTTP: '{printable(self.method, 60)}'")
        if self.version not in ("HTTP/1.0", "HTTP/1.1"):
            raise HTTPError(505, f"neither HTTP/1.0 nor HTTP/1.1: '{printable(self.version, 20)}'")
        self.fields: dict[str, list[str]] = {}
        for line in lines:
            name, colon, value = line.rstrip("\r").partition(":")
            if not colon or not name or set(name) - _TOKEN:
                raise HTTPError(400, f"no header field: '{printable(line, 60)}'")
            self.fields.setdefault(name.lower(), []).append(value.strip(" \t"))
        if self.version == "HTTP/1.1" and len(self.fields.get("host", [])) != 1:
            raise HTTPError(400, "HTTP/1.1 without one Host field")

    def field(self, name: str) -> str:
        """The value of a field, several joined by commas, "" if there is none (RFC 9110 section
        5.3)."""
        return ", ".join(self.fields.get(name, []))

    @property
    def keep_alive(self) -> bool:
        """Whether the client may go on with this connection (RFC 9112 section 9.3)."""
        options = [option.strip().lower() for option in self.field("connection").split(",")]
        return "close" not in options and (self.version == "HTTP/1.1" or "keep-alive" in options)

    @property
    def content_length(self) -> int | None:
        """The octets of the body, None if it is chunked (RFC 9112 section 6.3).  HTTPError if that
        cannot be told."""
        lengths = {length.strip() for length in self.field("content-length").split(",")}
        if "transfer-encoding" in self.fields:
            if self.version == "HTTP/1.0" or "content-length" in self.fields:
                raise HTTPError(400, "Transfer-Encoding in HTTP/1.0, or beside Content-Length")
            if self.field("transfer-encoding").lower() != "chunked":
                coding = printable(self.field("transfer-encoding"), 40)
                raise HTTPError(501, f"a Transfer-Encoding other than chunked: '{coding}'")
            return None
        if "content-length" not in self.fields:
            return 0
        length = lengths.pop()
        if lengths or not (length.isascii() and length.isdigit()) or len(length) > 18:
            length = printable(self.field("content-length"), 40)
            raise HTTPError(400, f"no Content-Length: '{length}'")
        return int(length)


class HTTPError(Exception):
    """A request that is none of HTTP's; `status` is what the client is told, and the text is for it
    and for the log."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


class _Gone(Exception):
    """The client has closed the connection, or was too slow."""


class Connection:
    """One client.  `silent_since` is a time.monotonic() while nothing of a request has come, else
    None."""

    def __init__(self, client: socket.socket, address: str, server: Server):
        self.socket = client
        self.address = address
        self.silent_since: float | None = time.monotonic()
        self._server = server
        self._received = bytearray()
        self._deadline = 0.0
        self._has_begun = False

    def run(self) -> None:
        """Answer requests until there are no more."""
        try:
            while self._answer_one():
                pass
        except (OSError, _Gone):
            pass

    def _answer_one(self) -> bool:
        """Answer one request.  Returns whether there may be another on this connection."""
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
        response, lines = self._server.answer(head, body, self)
        self._server.log(lines, head.method, self.address, started)
        keep_alive = head.keep_alive and whole and not self._server.stopping
        self._send(response, keep_alive)
        if not whole:
            self._linger()
        return keep_alive

    def _read_head(self) -> bytes:
        """The next request's head, without the empty line that ends it; blank lines before it do no
        harm (RFC 9112 section 2.2)."""
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
            # a TLS handshake has no empty line, and would be waited for until its client gives up
            if received[:1] == b"\x16":
                return bytes(received)
            end = _EMPTY_LINE.search(received, max(0, searched - 3))
            if end and end.start() <= HEAD_BYTES:
                head = bytes(received[: end.start()])
                del end  # which would keep the bytearray from being cut
                received[: len(head)] = b""
                self._read_line()
                self._read_line()
                return head
            searched = len(received)
            if searched > HEAD_BYTES:
                raise HTTPError(431, f"request line and header have more than {HEAD_BYTES} bytes")
            self._receive()

    def _read_body(self, head: Head) -> tuple[bytes | None, bool]:
        """The body, None if it is longer than a request may be; and whether all of it was read."""
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
            self._read_octets(length, body)
            return body.octets, body.whole
        while body.whole:
            size = self._read_line().partition(b";")[0].strip(b" \t")
            if not 0 < len(size) <= 8 or size.strip(b"0123456789abcdefABCDEF"):
                raise HTTPError(400, f"no chunk size: '{printable(size.decode('latin-1'), 20)}'")
            if int(size, 16) == 0:
                break
            self._read_octets(int(size, 16), body)
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
        return body.octets, body.whole

    def _read_octets(self, count: int, body: _Body) -> None:
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
        """Wait for more from the client, but not past the deadline."""
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
        """Read on for a moment: closing while the client sends would take the answer away from it
        (RFC 9112 section 9.6)."""
        self.socket.shutdown(socket.SHUT_WR)
        end = time.monotonic() + LINGER_SECONDS
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            if not self.socket.recv(65536):
                break


class _Body:
    """A body as it comes: `octets` are None once there are more than a request may have, `whole`
    False once that is no use to read on."""

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
    def octets(self) -> bytes | None:
        return bytes(self._parts) if self._size <= limits.REQUEST_BYTES else None


def _plain(error: HTTPError) -> ocsp_http.Response:
    body = f"{error}\n".encode("ascii", "backslashreplace")
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    return ocsp_http.Response(error.status, [*headers, ("X-Content-Type-Options", "nosniff")], body)


class Server:
    """Listens at `listeners` and answers until `stop`.

    `answer(head, body, connection)` returns an ocsp_http.Response and lines for the log;
    `log(lines, method, client, started)` writes these. Both are called in many threads.
    """

    def __init__(self, listeners: list[socket.socket], answer, log):
        self.answer = answer
        self.log = log
        self.stopping = False
        self._listeners = listeners
        self._connections: collections.OrderedDict[Connection, threading.Thread] = (
            collections.OrderedDict()
        )
        self._changed = threading.Condition()
        self._stopped, self._stop = socket.socketpair()

    def stop(self) -> None:
        """Make `serve` return.  For a signal handler, or another thread."""
        self.stopping = True
        self._stop.send(b"x")

    def serve(self) -> None:
        """Answer until `stop`, then let those end that are being answered."""
        with selectors.DefaultSelector() as selector:
            for listener in (*self._listeners, self._stopped):
                listener.setblocking(False)
                selector.register(listener, selectors.EVENT_READ)
            while not self.stopping:
                for key, _ in selector.select():
                    if key.fileobj is not self._stopped and self._has_room():
                        self._accept(key.fileobj)
        for listener in self._listeners:
            listener.close()
        self._end()

    def _has_room(self) -> bool:
        """Wait until there is room for one more.  Returns False if the server is being stopped."""
        with self._changed:
            while len(self._connections) >= CONNECTIONS and not self.stopping:
                silent = [connection for connection in self._connections if _may_go(connection)]
                if silent:
                    _shut(min(silent, key=lambda connection: connection.silent_since or 0))
                self._changed.wait(0.1)
        return not self.stopping

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except BlockingIOError:
            return
        except OSError:  # it is gone already, or this process has no file descriptor left
            time.sleep(0.1)
            return
        connection = Connection(client, address[0], self)
        thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
        with self._changed:
            self._connections[connection] = thread
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread.start()
        except (OSError, RuntimeError):  # gone already, or this machine has no thread left
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
        """Let the silent go at once, and the others within STOP_SECONDS."""
        end = time.monotonic() + STOP_SECONDS
        with self._changed:
            while self._connections and time.monotonic() < end:
                for connection in self._connections:
                    if connection.silent_since is not None:
                        _shut(connection)
                self._changed.wait(0.1)


def _may_go(connection: Connection) -> bool:
    """Whether a connection has been silent for long, and not because nobody has had the time to
    read what it sent."""
    since = connection.silent_since
    if since is None or time.monotonic() - since < SILENT_SECONDS:
        return False
    poll = select.poll()
    poll.register(connection.socket, select.POLLIN)
    return not poll.poll(0)


def _shut(connection: Connection) -> None:
    """Make the thread of a connection notice that it is over."""
    try:
        connection.socket.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
