"""The part of `sync` that copies responses, which is the same for each CA without a key."""

from __future__ import annotations

import argparse
import os
import shlex

from ..config import CASettings
from . import as_user, config_file, entry, response_copy
from .entry import CommandError
from .index_target import Target
from .labelled import plural
from .not_copied import Failed, NotCopied


def run(ca: CASettings, arguments: argparse.Namespace) -> int:
    """Copy responses, as the owner of the index if this is root.  Returns the exit code.

    `arguments` are those of the command: `quiet`, `insecure` and `config`.
    """
    again = config_file.command(arguments, "sync", ca.name)
    try:
        owner = Target(ca.db).owner
    except NotCopied as error:
        return _report(ca, error, again)
    if os.geteuid() == 0 and owner != 0:
        return as_user.run(owner, lambda: _run(ca, arguments, again))
    return _run(ca, arguments, again)


def _run(ca: CASettings, arguments: argparse.Namespace, again: str) -> int:
    quiet = arguments.quiet
    try:
        copied = response_copy.copy(ca, ca.cache_from or "", arguments.insecure)
    except response_copy.BeingCopied:
        return _say(ca, quiet, "another run is copying responses")
    except NotCopied as error:
        return _report(ca, error, again)
    except CommandError as error:
        return _report(ca, Failed(f"cache_from = {error}"), again)
    except OSError as error:
        return _report(ca, Failed(f"{error.filename}: {error.strerror}"), again)
    if copied.total is None:
        return _say(
            ca,
            quiet,
            f"not all responses copied in {response_copy.SECONDS} seconds: the next run goes on",
        )
    if copied.total == 0:
        return _report(
            ca,
            Failed(
                f"there is no response in {ca.cache_from}: it must be the `cache` of the host with"
                " the key, which has to be filled there",
                f"ocsp-cgi presign {shlex.quote(ca.name)}",
            ),
            again,
        )
    new = plural(copied.new or 0, "new response")
    return _say(ca, quiet, f"{new} copied, of {copied.total}")


def _say(ca: CASettings, quiet: bool, text: str) -> int:
    if not quiet:
        print(f"[{ca.name}] {text}")
    return entry.OK


def _report(ca: CASettings, problem: NotCopied, again: str) -> int:
    """Print why no response was copied.  Returns the exit code."""
    problem.print(f"[{ca.name}]", problem.reason, problem.fix or again)
    return entry.WARNING
