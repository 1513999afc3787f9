"""Print a man page, or the completion for bash.

`install` puts both where `man` and bash look for them.  This is for a checkout, and for what `pip`
has installed.  To load the completion, add to ~/.bashrc the line `. /PATH/TO/ocsp-cgi.bash`.
"""

from __future__ import annotations

import argparse
import os

from .. import config
from ..tools import completion, entry, manual

_COMPLETION = "bash-completion"
EXAMPLES = (
    "manual ocsp-cgi.conf | man -l -",
    "manual bash-completion > ocsp-cgi.bash",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "page",
        metavar="PAGE",
        choices=(*manual.PAGES, _COMPLETION),
        help=f"one of {', '.join(manual.PAGES)} and {_COMPLETION}",
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.page == _COMPLETION:
        path = os.environ.get("OCSP_CGI_CONFIG") or config.DEFAULT_PATH
        text = completion.script(arguments.parser, path)
    else:
        text = manual.PAGES[arguments.page].write(arguments.parser)
    print(text, end="")
    return entry.OK
