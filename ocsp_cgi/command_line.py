"""The commands and their options."""

from __future__ import annotations

import argparse

from . import __version__
from .commands import demo, install, query, serve

_COMMANDS = {"demo": demo, "serve": serve, "install": install, "query": query}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m ocsp_cgi",
        description="An OCSP responder over the database of `openssl ca`.",
    )
    parser.add_argument("--version", action="version", version=f"ocsp-cgi {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        help_line = module.__doc__.partition("\n")[0]
        module.add_arguments(commands.add_parser(name, help=help_line, description=help_line))
    arguments = parser.parse_args()
    return _COMMANDS[arguments.command].run(arguments)
