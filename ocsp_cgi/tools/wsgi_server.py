"""An HTTP server for the WSGI application, made of the standard library's: to try things out.

No client keeps it from answering the others, and no file that hangs does:

- At most CONNECTIONS clients have a thread each.  When all are taken, new clients wait in the
  listen queue, and the client that has been silent longest is disconnected to make room.
- A client that has not sent its whole request within READ_SECONDS, or does not take the response
  within WRITE_SECONDS, is disconnected, however busily it sends.
- The application runs in another thread.  If that has no response by the deadline, the client gets
  tryLater, as from the CGI, and its own thread is free again (see wsgi_runner.py).

A connection carries one request, and a body is as long as Content-Length says: neither keep-alive
nor chunked bodies are supported.
"""

from __future__ import annotations

import io
import os
import select
import selectors
import socket
import socketserver
import threading
import time
from typing import TYPE_CHECKING, Any, cast
from wsgiref.simple_server import WSGIRequestHandler

from .. import answer, cgi, config, limits, ocsp_http, wsgi
from .wsgi_runner import Run, Runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONNECTIONS = 64
READ_SECONDS = 10
WRITE_SECONDS = 10
SILENT_SECONDS = 1  # after which a silent client may be disconnected to make room
LINGER_SECONDS = 1  # for a client that still sends to read the response before we close
STOP_SECONDS = 5  # to finish responses when the server is stopped
HEAD_BYTES = 128 * 1024  # the request line of a GET may have REQUEST_BYTES in base64


class _Refused(Exception):
    """Not a request for the application: `status` is for the client, the text for the client and
    the log."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


class Server(socketserver.BaseServer):
    """Serves `application` to those who connect to one of `listeners`.

    `config_path` is its OCSP_CGI_CONFIG.  `write_log` gets the lines of each request, as one text;
    it is called in many threads.
    """

    def __init__(
        self,
        listeners: list[socket.socket],
        config_path: str | Path,
        write_log: Callable[[str], object],
        application: Callable[..., Any] | None = None,
    ):
        super().__init__(listeners[0].getsockname(), _Handler)
        self.runner = Runner(application or wsgi.Application())
        self.base_environ = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SCRIPT_NAME": "",
            "OCSP_CGI_CONFIG": os.fsencode(config_path).decode("latin-1"),  # as PEP 3333
        }
        self.write_log = write_log
        self._config_path = str(config_path)
        self._listeners = listeners
        self._silent_since: dict[socket.socket, float | None] = {}  # None once a request is read
        self._changed = threading.Condition()
        self._stopping = False
        self._stopped, self._stop = socket.socketpair()

    def shutdown(self) -> None:
        """Make `serve_forever` return.  May be called from a signal handler or another thread."""
        self._stopping = True
        self._stop.send(b"x")

    def serve_forever(self, poll_interval: float = 0.1) -> None:
        """Serve until `shutdown`, then finish the responses under way."""
        with selectors.DefaultSelector() as selector:
            for listener in (*self._listeners, self._stopped):
                listener.setblocking(False)
                selector.register(listener, selectors.EVENT_READ)
            while not self._stopping:
                for key, _ in selector.select():
                    if key.fileobj is not self._stopped and self._has_room(poll_interval):
                        self._accept(cast(socket.socket, key.fileobj))
        for listener in self._listeners:
            listener.close()
        end = time.monotonic() + STOP_SECONDS
        with self._changed:
            while self._silent_since and time.monotonic() < end:
                for client, since in self._silent_since.items():
                    if since is not None:
                        _disconnect(client)
                self._changed.wait(poll_interval)

    def server_close(self) -> None:
        """Release what `serve_forever` does not, after its end."""
        self._stopped.close()
        self._stop.close()

    def has_sent_request(self, client: socket.socket) -> None:
        """Do not disconnect this client for its silence: we owe it a response."""
        with self._changed:
            self._silent_since[client] = None

    def log_refused(self, lines: list[str], method: str, client: str, started: float) -> None:
        """Log what was not even HTTP, which is the client's fault, and no problem of ours."""
        try:
            is_logged = config.load(self._config_path).log == "all"
        except config.ConfigError:
            is_logged = True
        if is_logged:
            self.log(lines, method, client, started)

    def log(self, lines: list[str], method: str, client: str, started: float) -> None:
        written = cgi.log_lines(lines, method, client, started)
        self.write_log("".join([line + "\n" for line in written]))

    def _has_room(self, poll_interval: float) -> bool:
        """Wait until a client can be accepted.  Returns False if the server is stopping."""
        with self._changed:
            while len(self._silent_since) >= CONNECTIONS and not self._stopping:
                silent = [
                    (since, client)
                    for client, since in self._silent_since.items()
                    if since is not None and _is_silent(client, since)
                ]
                if silent:
                    _disconnect(min(silent, key=lambda one: one[0])[1])
                self._changed.wait(poll_interval)
        return not self._stopping

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except BlockingIOError:
            return
        except OSError:  # the client is gone, or this process is out of file descriptors
            time.sleep(0.1)
            return
        with self._changed:
            self._silent_since[client] = time.monotonic()
        try:
            threading.Thread(target=self._serve, args=(client, address), daemon=True).start()
        except RuntimeError:  # no thread can be started
            self._close(client)

    def _serve(self, client: socket.socket, address: Any) -> None:
        try:
            self.finish_request(client, address)
        except (OSError, RuntimeError):  # the client is gone, or no thread can be started
            pass
        finally:
            self._close(client)

    def _close(self, client: socket.socket) -> None:
        with self._changed:
            client.close()
            del self._silent_since[client]
            self._changed.notify_all()


def _is_silent(client: socket.socket, since: float) -> bool:
    """Whether a client has been silent for long, and not only because we have yet to read what it
    sent."""
    if time.monotonic() - since < SILENT_SECONDS:
        return False
    poll = select.poll()
    poll.register(client, select.POLLIN)
    return not poll.poll(0)


def _disconnect(client: socket.socket) -> None:
    """Make the thread of this client notice that it is closed."""
    try:
        client.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class _Handler(WSGIRequestHandler):
    """One client: its request is read, and gets a response from the application."""

    protocol_version = "HTTP/1.1"  # or `Expect` is ignored
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._received = _Received(self.connection)
        self.rfile = io.BufferedReader(self._received)
        self.command = ""

    def handle(self) -> None:
        started = time.monotonic()
        try:
            if not self._read_head():
                return
            length = self._body_length()
            body = self._read_body(length)
        except _Refused as error:
            client = self.client_address[0]
            lines = [str(error), f"http={error.status}"]
            self.server.log_refused(lines, self.command or "-", client, started)
            self._send(_plain(error))
            self._linger()
            return
        self.server.has_sent_request(self.connection)
        self._respond(length, body)
        if length > limits.DRAINED_BYTES:
            self._linger()

    def _read_head(self) -> bool:
        """Read the request line and the header fields.  Returns False if the client has left."""
        line = self.rfile.readline()
        if line in (b"\r\n", b"\n"):  # RFC 9112 section 2.2
            line = self.rfile.readline()
        if not line.endswith(b"\n"):
            return False
        self.raw_requestline = line
        if not self.parse_request():
            return False
        if self.request_version == "HTTP/0.9":
            shown = answer.printable(self.requestline, 60)
            raise _Refused(400, f"not an HTTP request line: '{shown}'")
        if self.headers.defects:  # what follows the first one has not been read
            raise _Refused(400, "a line of the header is not `Name: value`")
        if self.request_version != "HTTP/1.0" and len(self.headers.get_all("Host", [])) != 1:
            raise _Refused(400, "HTTP/1.1 requires exactly one Host field")
        self._received.head_is_read = True
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library calls for a head that it cannot parse."""
        reason = answer.printable(message or "", 100)
        raise _Refused(int(code), f"not a request of HTTP/1.0 or HTTP/1.1: {reason}")

    def handle_expect_100(self) -> bool:
        return True  # see _read_body: a body that we do not read need not be sent

    def _body_length(self) -> int:
        if "Transfer-Encoding" in self.headers:
            raise _Refused(
                411, "this server does not read chunked bodies: send the body's Content-Length"
            )
        lengths = set(self.headers.get_all("Content-Length", ["0"]))
        length = lengths.pop().strip()
        if lengths or not (length.isascii() and length.isdigit()) or len(length) > 18:
            shown = answer.printable(", ".join(sorted({length, *lengths})), 40)
            raise _Refused(400, f"not a Content-Length: '{shown}'")
        return int(length)

    def _read_body(self, length: int) -> bytes:
        """The body; of one that is longer than a request may be, so much that this can be seen."""
        if (
            self.headers.get("Expect", "").lower() == "100-continue"
            and self.request_version != "HTTP/1.0"
            and length
        ):
            self.connection.settimeout(WRITE_SECONDS)
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(min(length, limits.REQUEST_BYTES + 1))
        left = min(length, limits.DRAINED_BYTES) - len(body)
        while left > 0:
            part = self.rfile.read(min(left, 65536))
            if not part:
                break
            left -= len(part)
        return body

    def get_environ(self) -> dict[str, Any]:
        """The variables of the request, with its path as it came."""
        host, port = self.connection.getsockname()[:2]
        return {
            **super().get_environ(),
            "REQUEST_URI": self.requestline.split()[1],
            "SERVER_NAME": f"[{host}]" if ":" in host else host,
            "SERVER_PORT": str(port),
        }

    def _respond(self, length: int, body: bytes) -> None:
        started = time.monotonic()
        environ = {**self.get_environ(), "CONTENT_LENGTH": str(length)}
        request_log = answer.Log()
        result = self.server.runner.run(environ, body, request_log)
        if isinstance(result, Run):
            self.server.write_log(result.log)
            self.connection.settimeout(WRITE_SECONDS)  # of the whole of a sendall
            self.wfile.write(result.response)
            return
        self.server.log(request_log.lines(), self.command, self.client_address[0], started)
        self._send(ocsp_http.response(result, self.command))

    def _send(self, response: ocsp_http.Response) -> None:
        self.request_version = self.protocol_version  # to HTTP/0.9 no header would be sent
        self.send_response_only(response.status)
        self.send_header("Date", self.date_time_string())
        for name, value in response.headers:
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.connection.settimeout(WRITE_SECONDS)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def _linger(self) -> None:
        """Read on for a moment: if we closed while the client sends, it might lose the response
        (RFC 9112 section 9.6)."""
        self.connection.shutdown(socket.SHUT_WR)
        end = time.monotonic() + LINGER_SECONDS
        while (left := end - time.monotonic()) > 0:
            self.connection.settimeout(left)
            if not self.connection.recv(65536):
                break


class _Received(io.RawIOBase):
    """What a client sends, within READ_SECONDS in all, and HEAD_BYTES until `head_is_read`."""

    def __init__(self, connection: socket.socket):
        self.head_is_read = False
        self._connection = connection
        self._end = time.monotonic() + READ_SECONDS
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for more data.  _Refused at a limit, OSError if the client has sent nothing."""
        if self._size > HEAD_BYTES and not self.head_is_read:
            raise _Refused(431, f"request line and header have more than {HEAD_BYTES} bytes")
        left = self._end - time.monotonic()
        try:
            if left <= 0:
                raise socket.timeout
            self._connection.settimeout(left)
            count = self._connection.recv_into(buffer)
        except socket.timeout:
            if not self._size:
                raise
            raise _Refused(408, f"no whole request within {READ_SECONDS} seconds") from None
        if not self._size and buffer[:1] == b"\x16":  # a TLS client waits for us now
            raise _Refused(400, "a TLS handshake, but this server speaks http:// only")
        self._size += count
        return count


def _plain(error: _Refused) -> ocsp_http.Response:
    body = f"{error}\n".encode("ascii", "backslashreplace")
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    return ocsp_http.Response(error.status, [*headers, ("X-Content-Type-Options", "nosniff")], body)


class LocalServer:
    """A context manager: a Server in a thread of this process, on a free port of loopback.

    `url` is its address, `error_log` what it has logged.
    """

    def __init__(self, config_path: Path):
        listener = socket.create_server(("127.0.0.1", 0))
        self._log: list[str] = []
        self._server = Server([listener], config_path, self._log.append)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

    @property
    def error_log(self) -> str:
        return "".join(self._log)

    def __enter__(self) -> LocalServer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
