"""Sign responses before anyone asks, and put them into the cache.

It signs what the cache lacks, what the responder would soon stop using, and what has changed in the
index; revoked certificates come first.  Each certificate that has not expired gets two responses,
since clients ask with SHA-1 or SHA-256.  Run it again after an interruption: it goes on where it
was.
"""

from __future__ import annotations

import argparse
import os

from ..config import CASettings
from ..tools import config_file, entry, presign_run
from ..tools.entry import CommandError

EXAMPLES = ("presign", "presign root-ca --processes 4")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cas",
        nargs="*",
        metavar="CA",
        help="sections of the config (default: all that have `presign = yes`)",
    )
    config_file.add_argument(parser)
    parser.add_argument(
        "--margin",
        metavar="MINUTES",
        type=_number,
        help="sign again what the responder would stop using within this time, which has to be"
        " longer than from one run to the next (default: a quarter of `nmin`)",
    )
    parser.add_argument(
        "--processes",
        metavar="NUMBER",
        type=_number,
        default=len(os.sched_getaffinity(0)),
        help="how many processes sign (default: one for each processor)",
    )
    parser.add_argument("--quiet", action="store_true", help="print only problems")


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if there is a response for every certificate, 1 if not."""
    settings = config_file.load(arguments)
    chosen = config_file.choose(settings, arguments.cas)
    if not arguments.cas:
        chosen = [ca for ca in chosen if ca.presign == "yes"]
    file = config_file.path(arguments)
    if not chosen and arguments.quiet:
        return entry.OK  # the job of an installation where none is to be presigned any more
    if not chosen:
        raise CommandError(
            f"no CA in {file} has `presign = yes`: add it to the section of each CA whose responses"
            " are to be signed in advance, or name the CA in the command"
        )
    for ca in chosen:
        _check(ca, arguments.margin, file)
    margin = None if arguments.margin is None else arguments.margin * 60
    return presign_run.run(settings, chosen, arguments.processes, margin, arguments.quiet)


def _check(ca: CASettings, margin: int | None, file: str) -> None:
    if not ca.rkey:
        raise CommandError(f"[{ca.name}] has no `rkey` in {file}: presign on the host with the key")
    if ca.cache is None:
        raise CommandError(
            f"[{ca.name}] has no `cache` in {file}, where responses would be put: add"
            " `cache = DIRECTORY`, which the responder's user must own"
        )
    if margin is not None and margin * 2 >= ca.nmin:
        raise CommandError(
            f"--margin {margin} is too long for [{ca.name}]: the responder uses a cached response"
            f" for half of `nmin`, that is {ca.nmin / 2:g} minutes; set a longer `nmin`"
        )


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit() and 0 < int(word) < 10**6):
        raise argparse.ArgumentTypeError(f"invalid number `{word}`: expected 1 or more")
    return int(word)
