"""The commands and their options."""

from __future__ import annotations

import inspect

from . import __version__
from .commands import (
    check,
    compare,
    demo,
    explain,
    install,
    manual,
    migrate,
    presign,
    query,
    renew,
    serve,
    sync,
)
from .tools import entry
from .tools.parser import Parser

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
    "manual": manual,
}
_EXAMPLES = ("demo", "check --help")


def main() -> int:
    arguments = parser().parse_args()
    status: int = _COMMANDS[arguments.command].run(arguments)
    return status


def parser() -> Parser:
    """The parser of all commands.  What it returns has `command`, the name of one, and `parser`,
    which is this parser."""
    program = entry.program()
    parser = Parser(
        prog=program, description="An OCSP responder over the database of `openssl ca`."
    )
    parser.describe(program, entry.EXIT_CODES, _EXAMPLES)
    parser.set_defaults(parser=parser)
    parser.add_argument("--version", action="version", version=f"ocsp-cgi {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        text = inspect.cleandoc(module.__doc__ or "")
        its_parser = commands.add_parser(name, help=text.partition("\n")[0], description=text)
        its_parser.describe(program, getattr(module, "NOTES", ""), module.EXAMPLES)
        module.add_arguments(its_parser)
    return parser
