"""Answers per second over HTTP: of ocsp.cgi and the shell script, which Apache starts for each
request, of the WSGI application and `openssl ocsp -port`, which stay, and of Apache's cache."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import load
from clients import base64_of, end, nonce
from load import Load
from setting import SIGNERS, Setting

from ocsp_cgi import limits
from ocsp_cgi.tools import apache_wsgi, data_files, httpd

SHORT, LONG = 1_000, 1_000_000
CLIENTS = (1, 8, 64)
_CONFIGS = {"RSA": (SHORT, "RSA"), "P-256": (SHORT, "P-256"), "long": (LONG, "P-256")}
_REPLACED_EVERY = 10  # seconds
_RESPONSE_BYTES = 500  # at least; an error has 5
_STARTING_SECONDS = 60

_SITE = """\
<VirtualHost *:80>
{responders}
    WSGIScriptAlias "/constant" "{home}/constant.wsgi" \\
        process-group=RSA application-group=%{{GLOBAL}}
    <Directory "{home}">
        Require all granted
    </Directory>
</VirtualHost>
"""
_RESPONDER = """\
    WSGIDaemonProcess {name} {options}
    WSGIScriptAlias "/wsgi-{name}" "{wsgi}" \\
        process-group={name} application-group=%{{GLOBAL}}
    ScriptAlias "/cgi-{name}" "{script}"
    <LocationMatch "-{name}$">
        SetEnv OCSP_CGI_CONFIG "{config}"
    </LocationMatch>
"""
_CACHED = """\
    AllowEncodedSlashes NoDecode
    ScriptAlias "/cache-{name}" "{script}"
    <Location "/cache-{name}">
        SetEnv OCSP_CGI_CONFIG "{config}"
        SetEnv ap_trust_cgilike_cl yes
    </Location>
"""
_CONSTANT = """\
def application(environ, start_response):
    environ["wsgi.input"].read(65536)
    start_response("200 OK", [("Content-Type", "application/ocsp-response")])
    return [bytes(1500)]
"""


class Servers:
    """All that is measured, running inside the `with`."""

    def __init__(self, setting: Setting, pythons: dict[str, str]):
        """Everything runs under one of the Pythons: see _choose."""
        if shutil.which("ab") is None:
            raise httpd.Unavailable("`ab` is not there (Debian: apt-get install apache2-utils)")
        python = _choose(pythons)
        self._setting = setting
        self._caches = []
        (setting.home / "constant.wsgi").write_text(_CONSTANT)
        self._new = setting.home / "nonce.der"
        self._new.write_bytes(setting.encoded_request(nonce(os.urandom(32))))
        script = setting.pythons[python]
        responders = "".join(
            [
                f'    ScriptAlias "/script-{signer}" "{setting.reference(SHORT, signer)}"\n'
                for signer in SIGNERS
            ]
        )
        for name, (rows, signer) in _CONFIGS.items():
            config = setting.config(rows, signer, cache=True)
            self._caches.append(config.with_suffix(".cache"))
            responders += _RESPONDER.format(
                name=name,
                options=_daemon_options(python),
                wsgi=script.with_suffix(".wsgi"),
                script=script,
                config=config,
            )
            if name == "P-256":
                responders += _CACHED.format(name=name, script=script, config=config)
                responders += _cache_conf(f"/cache-{name}", setting.home / "httpd" / "run")
        self._apache = httpd.Apache(
            setting.home / "httpd",
            script,
            Path("/"),
            site_conf=_SITE.format(home=setting.home, responders=responders),
            modules=("wsgi", "cache", "cache_disk"),
        )

    def __enter__(self) -> Servers:
        httpd.let_read(self._setting.home)
        for directory in self._caches:
            httpd.let_write(directory)
        time.sleep(limits.DATABASE_SETTLING_SECONDS)
        self._apache.__enter__()
        deadline = time.monotonic() + _STARTING_SECONDS
        while not any(list(directory.glob("*.map")) for directory in self._caches):
            for name in _CONFIGS:
                self.put(f"wsgi-{name}", "new", 8, 200)
            assert time.monotonic() < deadline, self._apache.error_log[-2000:]
        return self

    def __exit__(self, *exception: object) -> None:
        self._apache.__exit__()

    def put(self, server: str, response: str, clients: int, number: int) -> Load:
        """Let clients ask a server so many times, each time for a `new` response or for the one
        that is `cached`; Apache's cache with GET, all others with POST."""
        body = self._new if response == "new" else self._setting.request
        kind, _, signer = server.partition("-")
        if kind == "openssl":
            with _openssl(self._setting, signer) as url:
                return load.put(url, body, clients, number, _RESPONSE_BYTES)
        url = f"{self._apache.url.rpartition('/cgi-bin/')[0]}/{server}"
        if kind == "cache":
            url += "/" + urllib.parse.quote(base64_of(body.read_bytes()), safe="")
            return load.get(url, clients, number, _RESPONSE_BYTES)
        return load.put(url, body, clients, number, _RESPONSE_BYTES)

    def memory(self, name: str) -> float:
        """The MiB that a process of the WSGI application takes; what processes share is divided
        among them."""
        sizes = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (
                    process.joinpath("cmdline")
                    .read_bytes()
                    .startswith(b"(wsgi:%b)" % name.encode())
                ):
                    rollup = process.joinpath("smaps_rollup").read_text()
                    sizes.append(int(rollup.partition("\nPss:")[2].split()[0]) / 1024)
        return statistics.mean(sizes)

    @contextlib.contextmanager
    def replacing_the_index(self) -> Iterator[None]:
        """Replace the long index again and again, as a copy from the CA's host would."""
        index = self._setting.index(LONG) / "index"
        rows = index.read_bytes()
        copies = []
        for number in range(2):
            copies.append(index.with_name(f"copy{number}"))
            copies[-1].write_bytes(rows.replace(b"www000000001", b"www%09d" % number, 1))
        httpd.let_read(index.parent)
        ended = threading.Event()

        def replace() -> None:
            number = 0
            while not ended.wait(_REPLACED_EVERY if number else 0):
                new = index.with_name("index.new")
                os.link(copies[number % 2], new)
                os.rename(new, index)
                number += 1

        thread = threading.Thread(target=replace)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _choose(pythons: dict[str, str]) -> str:
    """The first of the Pythons, given with their versions, that mod_wsgi was built for and Apache's
    user can run.  Unavailable if there is none."""
    if apache_wsgi.module() is None:
        raise httpd.Unavailable(
            "mod_wsgi is not installed (Debian: apt-get install libapache2-mod-wsgi-py3)"
        )
    built_for = apache_wsgi.python_version()
    reason = httpd.Unavailable(f"mod_wsgi is for Python {built_for}, and none here is one")
    for python, version in pythons.items():
        if version.startswith(f"Python {built_for}"):
            try:
                httpd.check_python(python)
                return python
            except httpd.Unavailable as error:
                reason = error
    raise reason


def _daemon_options(python: str) -> str:
    """What apache/ocsp-cgi-wsgi.conf says of its processes, for this Python's packages."""
    text = (data_files.APACHE / "ocsp-cgi-wsgi.conf").read_text()
    found = re.search(r"^WSGIDaemonProcess \S+ (.*)$", text, re.MULTILINE)
    assert found
    prefix = subprocess.run(
        [python, "-c", "import sys; print(sys.prefix if sys.prefix != sys.base_prefix else '')"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return found[1] + f" python-home={prefix}" * bool(prefix)


def _cache_conf(path: str, root: Path) -> str:
    """apache/ocsp-cgi-cache-disk.conf for a responder at this path."""
    text = (data_files.APACHE / "ocsp-cgi-cache-disk.conf").read_text()
    for old, new in (
        ("/var/cache/apache2/mod_cache_disk", str(root)),
        ("/cgi-bin/ocsp.cgi", path),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def _openssl(setting: Setting, signer: str) -> Iterator[str]:
    """The URL of an `openssl ocsp -port`.

    A new one for each time: if a client connects and leaves, as `ab` does at its end, it answers
    nobody from then on, and keeps a processor busy.
    """
    port, ca = httpd.free_port(), setting.ca.home
    command = ["openssl", "ocsp", "-port", str(port), "-index", str(setting.index(SHORT) / "index")]
    command += ["-CA", str(ca / "root-ca.crt"), "-rsigner", str(ca / f"{signer}.crt")]
    command += ["-rkey", str(ca / "private" / f"{signer}.key"), "-nmin", "5"]
    said = setting.home / f"openssl-{signer}"
    with open(said, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + _STARTING_SECONDS
        while b"waiting for" not in said.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        end(process)
