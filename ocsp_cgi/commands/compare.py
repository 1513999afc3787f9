"""Compare the responses of the old shell script or `openssl ocsp` with those of ocsp.cgi.

Both are asked about rows of each type, and in requests of every form.  The exit code is 1 if a
response differs without a reason.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..config import is_uri
from ..tools import accounts, comparing, config_file, entry, environment
from ..tools.entry import CommandError
from ..tools.old_responder import Pipeline, Script

EXAMPLES = ("compare", "compare root-ca --script /usr/lib/cgi-bin/ocsp.cgi")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config_file.add_argument(parser)
    parser.add_argument(
        "--script",
        metavar="FILE",
        help="the old script, run as Apache runs it (default: `openssl ocsp` with the files of the"
        " config)",
    )
    comparing.add_arguments(parser)
    accounts.add_argument(parser)
    parser.add_argument(
        "ca", metavar="CA", nargs="*", help="a section of the config (default: all)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if no response is different without a reason."""
    settings = config_file.load(arguments)
    chosen = config_file.choose(settings, arguments.ca)
    for ca in chosen:
        if not ca.rkey:
            raise CommandError(
                f"[{ca.name}] has no `rkey`: compare on the host with the key, since `openssl ocsp`"
                " signs each response"
            )
    environment.require_openssl()
    account = accounts.responders(arguments.user)
    script = None
    if arguments.script:
        script = Script(Path(arguments.script), account)
        accounts.check_program(Path(arguments.script), account)
    different = 0
    for ca in chosen:
        if script is None and is_uri(ca.rkey):
            raise entry.CommandError(
                f"[{ca.name}] `rkey` is a URI, {ca.rkey}, and `openssl ocsp` signs with keys in"
                " files only: compare with --script FILE, or leave out this section",
                entry.UNKNOWN,
            )
        old = script or Pipeline(ca, account)
        different += comparing.compare(settings, ca, old, account, arguments.rows, arguments.save)
    return entry.WARNING if different else entry.OK
