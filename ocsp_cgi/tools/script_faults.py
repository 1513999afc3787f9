"""Why Apache cannot run a script: the file, the directories above it, a link, its interpreter; or
mod_wsgi cannot load one."""

from __future__ import annotations

import os
import shlex
import stat

from . import accounts, entry
from .apache_config import Configuration, Directive, Script, is_below
from .cause import Cause


def find(script: Script, configuration: Configuration, user: str) -> Cause | None:
    """Why a script cannot be run as this user, None if there seems to be no reason.

    Apache looks for the script of mod_wsgi as its own user, too.
    """
    file = script.file
    if not os.path.lexists(file) and accounts.may(user, "-e", file) is not True:
        blocked = _blocked(file, user)
        if "${" in file:  # as in our own site, which looks where the script is
            text = (
                f"{script.directive.name} leads to {file}, but there is no"
                f" {os.path.basename(file)} in Apache's cgi-bin, so that variable is not defined"
            )
            return Cause(text, script.directive.place, f"{entry.program()} install")
        return blocked or Cause(
            f"{script.directive.name} leads to {file}, which does not exist",
            script.directive.place,
            f"ls -l {shlex.quote(os.path.dirname(file))}",
        )
    target = os.path.realpath(file)
    if not os.path.exists(target):
        return Cause(f"{file} is a link to {target}, which does not exist", file)
    apaches = configuration.user if script.is_wsgi and configuration.user else user
    users = dict.fromkeys((user, apaches))
    blocked = next(
        filter(None, (_blocked(one, by) for by in users for one in (file, target))), None
    )
    if blocked:
        return blocked
    if os.path.islink(file):
        refused = _link_refused(script, target, configuration)
        if refused:
            return refused
    if script.is_wsgi:
        if accounts.may(user, "-r", target) is False:
            command = f"chmod a+r {shlex.quote(target)}"
            return Cause(f"{user} may not read {target}", target, command)
        return None
    if accounts.may(user, "-x", target) is False:
        command = f"chmod 755 {shlex.quote(target)}"
        return Cause(f"{user} may not run {target}", target, command)
    return _interpreter(target, user)


def _blocked(file: str, user: str) -> Cause | None:
    """The first directory above a file that this user may not enter."""
    parts = os.path.dirname(file).split("/")
    for number in range(1, len(parts) + 1):
        directory = "/".join(parts[:number]) or "/"
        if os.path.isdir(directory) and accounts.may(user, "-x", directory) is False:
            mode = stat.S_IMODE(os.stat(directory).st_mode)
            text = f"{user} may not enter {directory} (mode {mode:o}), in which {file} is"
            return Cause(text, directory, f"chmod o+x {shlex.quote(directory)}")
    return None


def _link_refused(script: Script, target: str, configuration: Configuration) -> Cause | None:
    """Why Apache does not follow a link to the script."""
    file, options = script.file, _options(script, configuration)
    place = os.path.dirname(file)
    if "symlinksifownermatch" not in options:
        if options.intersection(("followsymlinks", "all")):
            return None
        text = (
            f"{file} is a link, and `Options +SymLinksIfOwnerMatch` is missing in the <Directory>"
            f" of {place}"
        )
        return Cause(text, place)
    owners = os.lstat(file).st_uid, os.stat(target).st_uid
    if owners[0] != owners[1]:  # with FollowSymLinks too
        text = (
            f"the link {file} and its target {target} have different owners, and"
            " `Options +SymLinksIfOwnerMatch` follows only links of the target's owner"
        )
        command = f"chown -h --reference={shlex.quote(target)} {shlex.quote(file)}"
        return Cause(text, file, command)
    return None


def _options(script: Script, configuration: Configuration) -> set[str]:
    """The words of `Options` that are in force for a script, in lower case."""
    options = {"followsymlinks"}  # Apache's default
    for directive in reversed(covering(configuration, script, "Options")):
        words = [word.lower() for word in directive.words]
        if any(word[0] not in "+-" for word in words):
            options = set()
        options |= {word.lstrip("+") for word in words if word[0] != "-"}
        options -= {word[1:] for word in words if word[0] == "-"}
    return options


def _interpreter(target: str, user: str) -> Cause | None:
    try:
        with open(target, "rb") as opened:
            first = opened.readline(200).decode(errors="replace")
    except OSError:
        return None
    if not first.startswith("#!"):
        return Cause(f"the first line of {target} does not name a Python", target)
    if first.endswith("\r\n"):
        text = f"the first line of {target} ends as on Windows, so its Python is not found"
        return Cause(text, target, f"sed -i 's/\\r$//' {shlex.quote(target)}")
    python = (first[2:].split() or [""])[0]
    if not os.path.exists(python) or accounts.may(user, "-x", python) is False:
        missing = "does not exist" if not os.path.exists(python) else f"{user} may not run"
        return Cause(f"the first line of {target} names {python}, which {missing}", target)
    return None


def covering(configuration: Configuration, script: Script, *names: str) -> list[Directive]:
    """The directives with these names in a <Directory> that the script is in, those that win
    first: of a longer path before a shorter one, of the virtual host before the main server, a
    later one before an earlier one."""
    found = [
        ((len(argument), one.virtual_host != "", number), one)
        for number, one in enumerate(configuration.directives)
        if one.is_one_of(*names) and one.virtual_host in ("", script.virtual_host.place)
        for name, argument in one.sections[-1:]
        if name.lower() == "directory" and is_below(script.file, argument)
    ]
    return [one for _, one in sorted(found, key=lambda each: each[0], reverse=True)]
