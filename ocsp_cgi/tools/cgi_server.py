"""An HTTP server on loopback that runs ocsp.cgi as Apache would: for trying out without Apache."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

SCRIPT_NAME = "/cgi-bin/ocsp.cgi"


class CGIServer:
    """Runs one CGI script at `url`; `error_log` is what it has logged.

    A context manager, like Apache in httpd.py.
    """

    def __init__(self, script: Path, config: Path):
        self._log: list[str] = []
        handler = type(
            "Handler",
            (_CGIHandler,),
            {"cgi_script": script, "cgi_config": config, "cgi_log": self._log},
        )
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}{SCRIPT_NAME}"

    @property
    def error_log(self) -> str:
        return "".join(self._log)

    def __enter__(self) -> CGIServer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone away."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _CGIHandler(http.server.BaseHTTPRequestHandler):
    cgi_script: Path
    cgi_config: Path
    cgi_log: list[str]
    timeout = 30

    def do_GET(self) -> None:
        if not self.path.lstrip("/").startswith(SCRIPT_NAME[1:]):
            self.send_error(404)
            return
        length = self.headers.get("Content-Length", "0")
        body = self.rfile.read(int(length)) if length.isdigit() else b""
        environment = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "REQUEST_METHOD": self.command,
            "REQUEST_URI": self.path,
            "SCRIPT_NAME": SCRIPT_NAME,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_HOST": self.headers.get("Host", ""),
            "SERVER_NAME": f"127.0.0.1:{self.connection.getsockname()[1]}",
            "REMOTE_ADDR": self.client_address[0],
            "OCSP_CGI_CONFIG": str(self.cgi_config),
        }
        run = subprocess.run(
            [str(self.cgi_script)], input=body, env=environment, capture_output=True
        )
        self.cgi_log.append(run.stderr.decode(errors="replace"))
        if run.returncode < 0:  # Ctrl-C ends every process of the terminal
            self.close_connection = True
            return
        head, _, body = run.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n"))
        status, _, reason = headers.pop("Status", "200 OK").partition(" ")
        self.send_response(int(status), reason)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_HEAD = do_PUT = do_DELETE = do_GET

    def log_message(self, *arguments: object) -> None:
        """Log nothing: the script logs its own requests."""
