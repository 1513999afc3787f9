"""Show what the responder does: a throw-away CA, the responder over it, and `openssl ocsp` asking
it."""

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

from ..tools import environment, httpd
from ..tools.cgi_server import CGIServer
from ..tools.openssl_ca import ROOT_CA_CNF, OpenSSLError, PrivateCA

CONFIG = """\
[root-ca]
db      = db
ca      = root-ca.crt
rsigner = root-ocsp.crt
rkey    = private/root-ocsp.key
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stay", action="store_true", help="stay up afterwards, to ask it yourself, until Ctrl-C"
    )
    parser.add_argument(
        "--no-apache",
        action="store_true",
        help="run ocsp.cgi in the embedded server even if there is an Apache",
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if every answer was right."""
    if not ROOT_CA_CNF.exists():
        sys.exit(f"The demonstration needs the whole checkout, with {ROOT_CA_CNF}.")
    if shutil.which("openssl") is None:
        sys.exit("The demonstration needs the command `openssl`: install the package openssl.")
    environment.ensure("cryptography")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(
            number, lambda *_: sys.exit(1)
        )  # so that Apache is ended then too, and the directory removed
    directory = Path(tempfile.mkdtemp(prefix="ocsp-cgi-demo-"))
    try:
        return _demonstrate(directory, arguments)
    except OpenSSLError as error:
        sys.exit(f"A command of openssl's failed:\n{error}")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        shutil.rmtree(directory, ignore_errors=True)


def make_ca(home: Path) -> PrivateCA:
    """A CA with the signer root-ocsp.crt, a good and a revoked server certificate, good.crt and
    bad.crt, and ocsp-cgi.conf."""
    ca = PrivateCA(home)
    ca.issue("root-ocsp", "ocsp_ext")
    ca.issue("good")
    ca.issue("bad")
    ca.revoke("bad", "-crl_reason", "keyCompromise")
    (home / "ocsp-cgi.conf").write_text(CONFIG)
    return ca


def _demonstrate(directory: Path, arguments: argparse.Namespace) -> int:
    httpd.let_read(directory)
    _say(f"This takes place in {directory} and is gone afterwards.\n")
    _say("1. A private CA, made with `openssl ca` and apache/root-ca.cnf.  It has issued:")
    ca = make_ca(directory / "ca")
    for name, what in (
        ("root-ocsp", "the responder's own, with which it signs"),
        ("good", "a server's"),
        ("bad", "another server's, revoked because its key was stolen"),
    ):
        _say(f"   {name + '.crt':14} {ca.serial(name)}  {what}")
    _say("\n   The responder's config:\n" + textwrap.indent(CONFIG, "   "))
    httpd.let_read(ca.home, without="root-ca.key")
    script = httpd.install_cgi(directory / "cgi-bin")
    with contextlib.ExitStack() as running:
        server = _serve(running, directory, script, ca.home / "ocsp-cgi.conf", arguments.no_apache)
        right = [
            _ask(ca, server.url, "good", "good", "3. Is the first server's certificate good?"),
            _ask(ca, server.url, "bad", "revoked", "4. And the other's?"),
        ]
        _say(
            "5. Now the first one is revoked.  Nothing is restarted: every answer comes from the"
            " database as it is then."
        )
        _say("   $ openssl ca -config root-ca.cnf -revoke good.crt -crl_reason superseded")
        ca.revoke("good", "-crl_reason", "superseded")
        httpd.let_read(ca.home, without="root-ca.key")
        right.append(_ask(ca, server.url, "good", "revoked", ""))
        _say("   What the responder has written to the error log:")
        _say(
            textwrap.indent(
                "\n".join(line for line in server.error_log.splitlines() if "ocsp.cgi: " in line),
                "   ",
            )
            + "\n"
        )
        _say("Every answer was right." if all(right) else "NOT EVERY ANSWER WAS RIGHT: see above.")
        if arguments.stay:
            _say(
                f"\nThe responder stays up at {server.url} until Ctrl-C; the certificates are in"
                f" {ca.home}."
            )
            while True:
                time.sleep(3600)
    return 0 if all(right) else 1


def _serve(
    running: contextlib.ExitStack, directory: Path, script: Path, config: Path, no_apache: bool
):
    """Start the server to run the script in, to be stopped with `running`, and tell which it is."""
    try:
        if no_apache:
            raise httpd.Unavailable("as you asked for")
        httpd.check_python(sys.executable)
        server = running.enter_context(httpd.Apache(directory / "httpd", script, config))
        _say(f"2. The responder: ocsp.cgi, run by {server.version}, at")
    except httpd.Unavailable as error:
        server = running.enter_context(CGIServer(script, config))
        _say(
            "2. The responder: ocsp.cgi, run by a small server of this demonstration's own\n  "
            f" ({error}), at"
        )
    _say(f"   {server.url}\n")
    return server


def _ask(ca: PrivateCA, url: str, name: str, expected: str, question: str) -> bool:
    """Ask about NAME.crt as anybody would, and show it.  Returns whether the answer is as expected,
    and verifies."""
    command = [
        "openssl",
        "ocsp",
        "-issuer",
        "root-ca.crt",
        "-CAfile",
        "root-ca.crt",
        "-cert",
        f"{name}.crt",
        "-url",
        url,
    ]
    if question:
        _say(question)
    _say(f"   $ {shlex.join(command)}")
    answer = subprocess.run(
        command, cwd=ca.home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    _say(textwrap.indent(answer.stdout.replace("\t", "    "), "   "))
    lines = answer.stdout.splitlines()
    return "Response verify OK" in lines and f"{name}.crt: {expected}" in lines


def _say(text: str) -> None:
    print(text, flush=True)
