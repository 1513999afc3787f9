"""Servers of others, started on loopback as the web server's user."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from browser import need
from clients import end

from ocsp_cgi.tools import httpd

_NGINX_CONF = """\
daemon off;
pid {home}/run/nginx.pid;
error_log {home}/run/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {home}/run/client_body;
    proxy_temp_path {home}/run/proxy;
    fastcgi_temp_path {home}/run/fastcgi;
    uwsgi_temp_path {home}/run/uwsgi;
    scgi_temp_path {home}/run/scgi;
    {block}
}}
"""


@contextlib.contextmanager
def server(home: Path, command: list[str], port: int) -> Iterator[subprocess.Popen]:
    """A server that runs inside the `with`, as the web server's user, who may write to `run` in its
    directory.  The `with` begins once it listens on the port."""
    home.mkdir(parents=True, exist_ok=True)
    httpd.let_read(home)
    httpd.let_write(home / "run")
    with open(home / "output", "wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=home / "run",
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home / "run")},
            start_new_session=True,
            **httpd.unprivileged(),
        )
    try:
        for waited in itertools.count():
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            said = (home / "output").read_text(errors="replace")
            assert process.poll() is None and waited < 2000, said
            time.sleep(0.02)
        yield process
    finally:
        end(process)


@contextlib.contextmanager
def nginx(home: Path, block: str, port: int) -> Iterator[None]:
    """An nginx with this block in its `http`, which listens on this port."""
    home.mkdir(parents=True)
    (home / "nginx.conf").write_text(_NGINX_CONF.format(home=home, block=block))
    command = [need("nginx", "nginx-light"), "-p", str(home)]
    command += ["-e", str(home / "run" / "error.log"), "-c", str(home / "nginx.conf")]
    with server(home, command, port):
        yield
