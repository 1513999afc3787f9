"""The commands and their options."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from . import __version__
from .commands import (
    check,
    compare,
    demo,
    explain,
    install,
    migrate,
    presign,
    query,
    renew,
    serve,
    sync,
)
from .tools import entry

_COMMANDS = {
    "demo": demo,
    "serve": serve,
    "install": install,
    "sync": sync,
    "presign": presign,
    "renew": renew,
    "check": check,
    "explain": explain,
    "compare": compare,
    "migrate": migrate,
    "query": query,
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """As argparse does, with another exit code: its own 2 means critical here."""
        self.print_usage(sys.stderr)
        self.exit(entry.UNKNOWN, f"{self.prog}: error: {message}\n")


def main() -> int:
    parser = _Parser(
        prog=entry.program(),
        description="An OCSP responder over the database of `openssl ca`.",
        epilog=entry.EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ocsp-cgi {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        help_line = (module.__doc__ or "").partition("\n")[0]
        module.add_arguments(commands.add_parser(name, help=help_line, description=help_line))
    arguments = parser.parse_args()
    status: int = _COMMANDS[arguments.command].run(arguments)
    return status
