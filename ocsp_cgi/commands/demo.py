"""Show the responder at work: create a CA, serve its status, and query it with `openssl ocsp`.

It does not need root, and works in a temporary directory, which is removed afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from ..tools import data_files, entry, environment, httpd
from ..tools.openssl_ca import PrivateCA
from ..tools.wsgi_server import LocalServer

CONFIG = """\
[root-ca]
db      = db
ca      = root-ca.crt
rsigner = root-ocsp.crt
rkey    = private/root-ocsp.key
"""
EXAMPLES = ("demo", "demo --stay")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stay",
        action="store_true",
        help="keep the responder running until Ctrl-C, to query it yourself",
    )
    parser.add_argument(
        "--no-apache",
        action="store_true",
        help="run the responder as `serve` does, even if Apache is installed",
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if every response was right."""
    data_files.require()
    environment.require_openssl()
    environment.ensure("cryptography")
    for number in (signal.SIGTERM, signal.SIGHUP):
        # which also stops Apache and removes the directory
        signal.signal(number, lambda *_: sys.exit(entry.WARNING))
    directory = Path(tempfile.mkdtemp(prefix="ocsp-cgi-demo-"))
    try:
        return _demonstrate(directory, arguments)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        shutil.rmtree(directory, ignore_errors=True)


def make_ca(home: Path) -> PrivateCA:
    """A CA with the signer root-ocsp.crt, good.crt, the revoked bad.crt, and ocsp-cgi.conf."""
    ca = PrivateCA(home)
    ca.issue("root-ocsp", "ocsp_ext")
    ca.issue("good")
    ca.issue("bad")
    ca.revoke("bad", "-crl_reason", "keyCompromise")
    (home / "ocsp-cgi.conf").write_text(CONFIG)
    return ca


def _demonstrate(directory: Path, arguments: argparse.Namespace) -> int:
    httpd.let_read(directory)
    _say(f"Working in {directory}, which is removed afterwards.\n")
    _say("1. A private CA, created with `openssl ca` and apache/root-ca.cnf.  It has issued:")
    ca = make_ca(directory / "ca")
    for name, what in (
        ("root-ocsp", "for the responder, which signs with it"),
        ("good", "for a server"),
        ("bad", "for another server, revoked because its key was stolen"),
    ):
        _say(f"   {name + '.crt':14} {ca.serial(name)}  {what}")
    _say("\n   The responder's config:\n" + textwrap.indent(CONFIG, "   "))
    httpd.let_read(ca.home, without="root-ca.key")
    script = httpd.install_cgi(directory / "cgi-bin")
    with contextlib.ExitStack() as running:
        server = _serve(running, directory, script, ca.home / "ocsp-cgi.conf", arguments.no_apache)
        results = [
            _ask(ca, server.url, "good", "good", "3. Is the first server's certificate good?"),
            _ask(ca, server.url, "bad", "revoked", "4. Is the other server's?"),
        ]
        _say(
            "5. Now the first one is revoked.  Nothing is restarted: it takes effect with the next"
            " request."
        )
        _say("   $ openssl ca -config root-ca.cnf -revoke good.crt -crl_reason superseded")
        ca.revoke("good", "-crl_reason", "superseded")
        httpd.let_read(ca.home, without="root-ca.key")
        results.append(_ask(ca, server.url, "good", "revoked", ""))
        log = "lines in the error log" if isinstance(server, httpd.Apache) else "log"
        _say(f"   The responder's {log}:")
        _say(
            textwrap.indent(
                "\n".join(line for line in server.error_log.splitlines() if "ocsp.cgi: " in line),
                "   ",
            )
            + "\n"
        )
        _say(
            "Every response was right."
            if all(results)
            else "SOME RESPONSES WERE WRONG or could not be verified: see above."
        )
        if arguments.stay:
            _say(
                f"\nThe responder is running at {server.url} until Ctrl-C; the certificates are in"
                f" {ca.home}."
            )
            while True:
                time.sleep(3600)
    return entry.OK if all(results) else entry.WARNING


def _serve(
    running: contextlib.ExitStack, directory: Path, script: Path, config: Path, no_apache: bool
) -> httpd.Apache | LocalServer:
    """Start a server for the script, say which, and register it with `running` to be stopped."""
    server: httpd.Apache | LocalServer
    try:
        if no_apache:
            raise httpd.Unavailable("because of --no-apache")
        httpd.check_python(sys.executable)
        server = running.enter_context(httpd.Apache(directory / "httpd", script, config))
        _say(f"2. The responder: ocsp.cgi, run by {server.version}, at")
    except httpd.Unavailable as error:
        server = running.enter_context(LocalServer(config))
        _say(
            "2. The responder: not the CGI in Apache, but one process, as"
            f" `{entry.program()} serve` runs it\n   ({error}), at"
        )
    _say(f"   {server.url}\n")
    return server


def _ask(ca: PrivateCA, url: str, name: str, expected: str, heading: str) -> bool:
    """Query NAME.crt with openssl, visibly.  Returns whether the status is right and verified."""
    command = ["openssl", "ocsp", "-issuer", "root-ca.crt", "-CAfile", "root-ca.crt"]
    command += ["-cert", f"{name}.crt"]
    its_url = ["-url", url]
    if heading:
        _say(heading)
    _say(f"   $ {shlex.join(command)} \\\n         {shlex.join(its_url)}")
    run = subprocess.run(
        [*command, *its_url],
        cwd=ca.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    _say(textwrap.indent(run.stdout.replace("\t", "    "), "   "))
    lines = run.stdout.splitlines()
    return "Response verify OK" in lines and f"{name}.crt: {expected}" in lines


def _say(text: str) -> None:
    print(text, flush=True)
