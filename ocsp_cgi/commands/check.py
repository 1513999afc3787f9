"""Find everything that can be wrong with the responder, and say what to type.

The first line is that of a Nagios plug-in.  The exit code is 0 if all is well, 1 for a warning, 2
for a failure, and 3 if nothing could be checked.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import os
import pwd
import sys
import time
import traceback

from .. import answer, config
from ..checks import report
from ..checks.finding import Finding, Level
from ..checks.subject import Subject
from ..tools import apache_dump, apache_wsgi, config_file, layout
from ..tools.entry import UNKNOWN, CommandError, program
from ..tools.files import has_user
from ..tools.layout import Layout

# The modules of `checks` with an `examine`, in the order of their findings.  They are imported one
# by one, so that a damaged one hides no other.
CHECKS = (
    "config_file",
    "paths",
    "signer",
    "database",
    "sync_job",
    "cache",
    "presigned",
    "copied_responses",
    "dry_run",
    "machine",
    "apache",
    "error_log",
    "live",
)

_ABOUT_THE_USER = ("paths", "cache")  # what these print to type gives files to the user

EXAMPLES = ("check", "check root-ca --warning 60 --quiet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ca", metavar="CA", nargs="*", help="a section of the config (default: all of them)"
    )
    config_file.add_argument(parser)
    parser.add_argument(
        "--user",
        metavar="USER",
        help="the account that the responder runs as (default: the web server's, or that of"
        " mod_wsgi's processes)",
    )
    parser.add_argument(
        "--cert",
        metavar="FILE",
        default="",
        help="a certificate whose responder to query, at the URL that is in it",
    )
    parser.add_argument(
        "--warning",
        metavar="DAYS",
        type=_days,
        help="warn so many days before a certificate expires (default: 30, or a third of its life"
        " if that is less)",
    )
    parser.add_argument(
        "--critical",
        metavar="DAYS",
        type=_days,
        default=7,
        help="fail so many days before a certificate expires (default: 7)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--quiet", action="store_true", help="print only problems, and nothing if there is none"
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns the level of the worst finding.  CommandError with status 3 if nothing can be
    checked."""
    if arguments.warning is not None and arguments.warning < arguments.critical:
        raise CommandError(
            f"--warning {arguments.warning} must not be less than --critical {arguments.critical}",
            UNKNOWN,
        )
    if arguments.cert and not os.path.isfile(arguments.cert):
        raise CommandError(f"--cert {arguments.cert}: no such file", UNKNOWN)
    found_layout = _layout()
    user, findings = _user(arguments.user, found_layout)
    web = found_layout.user if found_layout and os.geteuid() == 0 else user
    path = os.path.abspath(config_file.path(arguments))
    subject = Subject(
        path,
        _settings(path, arguments.ca),
        user,
        found_layout,
        int(time.time()),
        arguments.warning,
        arguments.critical,
        arguments.cert,
        web="" if web == user or not has_user(web) else web,
    )
    is_other = os.geteuid() != 0 and findings[0].level is Level.WARN
    findings = report.without_repeats(findings + examine(subject, is_other))
    if arguments.json:
        report.write_json(findings, subject, arguments.quiet, sys.stdout)
    else:
        report.write(findings, arguments.quiet, sys.stdout)
    return int(report.worst(findings))


def examine(subject: Subject, is_other: bool = False) -> list[Finding]:
    """What all checks find.  If the user is another than the responder's, what this one cannot read
    is as it should be, and no command to change that is given."""
    findings = []
    for name in CHECKS:
        found = _examine(name, subject)
        if is_other and name in _ABOUT_THE_USER:
            found = [finding._replace(command="") for finding in found]
        findings += found
    return findings


def _examine(name: str, subject: Subject) -> list[Finding]:
    """What one check finds.  One that fails itself is reported, and hides no other."""
    try:
        module = importlib.import_module(f"..checks.{name}", __package__)
        found: list[Finding] = module.examine(subject)
        return found
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(last.filename)}:{last.lineno}"
        text = f"not checked: {name.replace('_', ' ')}: {answer.explain(error)} ({place})"
        return [Finding(Level.WARN, text)]


def _layout() -> Layout | None:
    try:
        return layout.find()
    except CommandError:
        return None


def _settings(path: str, names: list[str]) -> config.Settings | None:
    """The config, with only the CAs that are named, if any are; None if it cannot be loaded, which
    is a finding."""
    try:
        settings = config.load(path)
    except config.ConfigError:
        return None
    try:
        chosen = config_file.choose(settings, names)
    except CommandError as error:
        raise CommandError(str(error), UNKNOWN) from None
    settings = copy.copy(settings)
    settings.cas = chosen
    return settings


def _user(name: str | None, found: Layout | None) -> tuple[str, list[Finding]]:
    """The account that the responder runs as, and what is to be said about that."""
    current = _name_of(os.geteuid())
    if name is None and os.geteuid() == 0 and found is not None:
        name = _responder_user(found)
    if name is None:
        return current, [_checked_as_current(current, found)]
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        raise CommandError(f"there is no user {name}: name another with --user", UNKNOWN) from None
    if os.geteuid() not in (0, uid):
        raise CommandError(
            f"only root can check what {name} may do: sudo {program()} check --user {name}", UNKNOWN
        )
    return name, [Finding(Level.OK, f"checked as {name}")]


def _responder_user(found: Layout) -> str:
    """Whom Apache runs the responder as."""
    try:
        configuration = apache_dump.read(apache_dump.command(found))
    except apache_dump.Unreadable:
        user = found.responder_user()
        return user if has_user(user) else found.user
    users = [apache_wsgi.user_of(one, configuration) for one in configuration.scripts()]
    return users[0] if users and users[0] and has_user(users[0]) else found.user


def _checked_as_current(current: str, found: Layout | None) -> Finding:
    if found is None:
        if os.geteuid() != 0:
            return Finding(Level.OK, f"checked as {current}")
        text = "checked as root, who may read everything, since there is no Apache here"
        return Finding(Level.WARN, text, "", f"{program()} check --user USER")
    user = found.responder_user()
    if current == user:
        return Finding(Level.OK, f"checked as {current}")
    text = f"checked as {current}, and not as the responder's user {user}: only root can"
    return Finding(Level.WARN, text, "", f"sudo {program()} check")


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise CommandError(f"uid {uid} has no name: name a user with --user", UNKNOWN) from None


def _days(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 6):
        raise argparse.ArgumentTypeError(f"invalid number of days `{word}`: expected 0 or more")
    return int(word)
