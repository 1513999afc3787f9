"""HTTP caches in front of the responder, each a real one on loopback: Apache's on disk, Apache's in
memcached and Redis that two Apaches share, nginx's and Varnish."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import loopback
import pages
from browser import need
from clients import HTTPResponse, parse_http, read_all, started, started_wsgi
from cryptography.x509 import ocsp

from ocsp_cgi.tools import data_files, httpd

KINDS = (
    "disk, cgi",
    "disk, wsgi",
    "memcache, cgi",
    "memcache, wsgi",
    "redis, cgi",
    "redis, wsgi",
    "nginx, cgi",
    "varnish, wsgi",
)
_MODULES = {
    "disk": ("cache", "cache_disk"),
    "memcache": ("cache", "cache_socache", "rewrite", "socache_memcache"),
    "redis": ("cache", "cache_socache", "rewrite", "socache_redis"),
}


class Cached(NamedTuple):
    """A responder behind a cache.

    `ports` are those that clients ask, on loopback, all of one cache; `apaches` are what runs the
    responder; `stop` ends what is behind the cache, or what it is kept in.
    """

    kind: str
    ports: list[int]
    apaches: list[httpd.Apache]
    stop: Callable[[], None]

    def ask(
        self, path: str, *headers: str, server: int = 0, **options: str | bytes
    ) -> HTTPResponse:
        """A request for this path behind the responder's address; options as in `ask`."""
        return ask(self.ports[server], f"/cgi-bin/ocsp.cgi{path}", *headers, **options)

    @property
    def is_rewritten(self) -> bool:
        """Whether a rule gives the path that the responder is asked at another name."""
        return self.kind.startswith(("memcache", "redis"))

    def asked(self) -> list[str]:
        """The responder's log lines, one for each request that reached it."""
        return [
            line
            for apache in self.apaches
            for line in re.findall(r"ocsp\.cgi: ((?:GET|HEAD|POST) .*)", apache.error_log)
        ]


def ask(
    port: int,
    target: str,
    *headers: str,
    method: str = "GET",
    host: str = "ocsp.example.com",
    version: str = "1.1",
    body: bytes = b"",
) -> HTTPResponse:
    """A request, sent as it is to a server on loopback."""
    lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", "Connection: close", *headers]
    if body:
        lines += ["Content-Type: application/ocsp-request", f"Content-Length: {len(body)}"]
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        return parse_http(read_all(connection))


def seen(response: HTTPResponse) -> tuple:
    """What a client learns: HTTP's status, OCSP's, and the certificate's with its serial."""
    if response.headers.get("content-type") != "application/ocsp-response":
        return (response.status,)
    read = ocsp.load_der_ocsp_response(response.body)
    if read.response_status != ocsp.OCSPResponseStatus.SUCCESSFUL:
        return response.status, read.response_status.name
    return response.status, "SUCCESSFUL", read.certificate_status.name, read.serial_number


@contextlib.contextmanager
def cached(kind: str, home: Path, script: Path, config: Path) -> Iterator[Cached]:
    """A responder behind a cache of one of KINDS, in an empty directory.  Skips the test where a
    program for it is not installed."""
    cache, _, way = kind.partition(", ")
    with contextlib.ExitStack() as stack:
        if cache in ("nginx", "varnish"):
            behind = stack.enter_context(apache(home / "httpd", way, script, config))
            front = _nginx if cache == "nginx" else _varnish
            port = stack.enter_context(front(home, behind.port))
            yield Cached(kind, [port], [behind], behind.__exit__)
            return
        if cache == "disk":
            text = configuration("disk").replace(
                "/var/cache/apache2/mod_cache_disk", str(home / "0" / "run")
            )
            stop = None
        else:
            text, process = stack.enter_context(store(cache, home))
            stop = process.kill
        apaches = [
            stack.enter_context(apache(home / str(number), way, script, config, text, cache))
            for number in range(1 if cache == "disk" else 2)
        ]
        stop = stop or apaches[0].__exit__
        yield Cached(kind, [apache.port for apache in apaches], apaches, stop)


def uncached(is_rewritten: bool, home: Path, script: Path, config: Path) -> httpd.Apache:
    """An Apache without a cache, with the rules of the shared one if it is `is_rewritten`."""
    text = re.sub(r"(?m)^Cache(Enable|Socache) ", r"# \g<0>", configuration("shared"))
    return apache(home, "cgi", script, config, *((text, "memcache") if is_rewritten else ()))


def configuration(name: str) -> str:
    """The text of apache/ocsp-cgi-cache-NAME.conf."""
    return (data_files.APACHE / f"ocsp-cgi-cache-{name}.conf").read_text()


def apache(
    home: Path, way: str, script: Path, config: Path, cache_conf: str = "", cache: str = ""
) -> httpd.Apache:
    """An Apache that runs the responder in one way, "cgi" or "wsgi".

    Its virtual host includes a file with this configuration, as /etc/ocsp-cgi/cache.conf is
    included, for a cache of one kind.
    """
    modules = _MODULES.get(cache, ())
    home.mkdir(parents=True)
    if cache_conf:
        (home / "cache.conf").write_text(cache_conf)
    if way == "wsgi":
        return started_wsgi(home, script, config, modules=modules)
    return started(home, script, config, modules=modules)


@contextlib.contextmanager
def _memcached(home: Path) -> Iterator[tuple[int, subprocess.Popen]]:
    port = httpd.free_port()
    command = [need("memcached", "memcached"), "-l", "127.0.0.1", "-p", str(port), "-U", "0"]
    with loopback.server(home / "memcached", command, port) as process:
        yield port, process


@contextlib.contextmanager
def _redis(home: Path) -> Iterator[tuple[int, subprocess.Popen]]:
    port = httpd.free_port()
    command = [need("redis-server", "redis-server"), "--bind", "127.0.0.1", "--port", str(port)]
    with loopback.server(
        home / "redis", [*command, "--save", "", "--appendonly", "no"], port
    ) as process:
        yield port, process


@contextlib.contextmanager
def store(kind: str, home: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """What Apaches share, "memcache" or "redis": their configuration for it, and its process."""
    start = {"memcache": _memcached, "redis": _redis}[kind]
    with start(home) as (port, process):
        text = re.sub("(?m)^(# )?CacheSocache ", "# CacheSocache ", configuration("shared"))
        pattern = rf'(?m)^# (CacheSocache "{kind}:)cache\.example\.com:\d+'
        yield re.sub(pattern, rf"\g<1>127.0.0.1:{port}", text), process


@contextlib.contextmanager
def _nginx(home: Path, backend: int) -> Iterator[int]:
    """An nginx with the block in apache/README.md."""
    home, port = home / "nginx", httpd.free_port()
    block = _edited(
        pages.fenced(pages.APACHE, "nginx"),
        ("/var/cache/nginx-ocsp", f"{home}/run/cache"),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("http://responder.example.com;", f"http://127.0.0.1:{backend};"),
    )
    with loopback.nginx(home, block, port):
        yield port


@contextlib.contextmanager
def _varnish(home: Path, backend: int) -> Iterator[int]:
    """A Varnish with the block in apache/README.md."""
    home, port = home / "varnish", httpd.free_port()
    home.mkdir(parents=True)
    block = _edited(
        pages.fenced(pages.APACHE, "vcl"),
        ('.host = "responder.example.com";', f'.host = "127.0.0.1"; .port = "{backend}";'),
    )
    (home / "ocsp.vcl").write_text(block)
    command = [need("varnishd", "varnish"), "-F", "-j", "none", "-n", f"{home}/run"]
    command += ["-a", f"127.0.0.1:{port}", "-f", f"{home}/ocsp.vcl", "-s", "malloc,64m"]
    with loopback.server(home, command, port):
        yield port


def _edited(text: str, *edits: tuple[str, str]) -> str:
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return text
