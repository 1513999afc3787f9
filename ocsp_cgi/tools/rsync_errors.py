"""What rsync and ssh print when they fail, in the operator's words, with the command to run."""

from __future__ import annotations

import os
import pwd
import re
import shlex
from pathlib import Path

from . import layout
from .entry import CommandError
from .not_copied import Failed

_USERS_OF_PEOPLE = range(1000, 60000)  # as adduser numbers them
# Lines that say nothing, or only that an earlier one matters.
_NOISE = re.compile(
    r"rsync error: |rsync: connection unexpectedly closed|Warning: Permanently added|@@@|\s*$|\*\* "
)


def install(package: str) -> str:
    """The command that installs a package here."""
    try:
        return f"{layout.find().packages} {package}"
    except CommandError:
        return f"apt-get install {package}"


def as_me(command: str) -> str:
    """A command, to be typed by root, that the user of this process should run."""
    if os.geteuid() == 0 or os.geteuid() in _USERS_OF_PEOPLE:
        return command
    return f"runuser -u {_user()} -- {command}"


def explain(errors: str, host: str, argument: str) -> Failed:
    """What went wrong: `errors` is what rsync printed, `host` is as for ssh, "" without ssh."""
    bare = host.rpartition("@")[2].strip("[]")
    address = f"{host.rpartition('@')[0]}@{bare}" if "@" in host else bare
    login = as_me(f"ssh {shlex.quote(address)} true") if host else ""
    path = argument[len(host) + 1 :] if host else argument

    def says(*texts: str) -> bool:
        return any(text in errors for text in texts)

    if says("REMOTE HOST IDENTIFICATION HAS CHANGED"):
        forget = re.search(r"ssh-keygen -f .*", errors)
        return Failed(
            f"{bare} has another key than the one in known_hosts: unless it was installed anew,"
            " somebody is in between; compare the fingerprint before you remove the old key",
            as_me(forget.group() if forget else f"ssh-keygen -R {bare}"),
        )
    if says("Host key verification failed"):
        return Failed(
            f"the key of {bare} is not in the known_hosts of {_user()}: log in once, and compare"
            " the fingerprint",
            login,
        )
    if re.search(r"Permission denied \([a-z,-]+\)", errors):
        return _no_login(bare, login)
    if says("Failed to exec ssh"):
        return Failed("ssh is not installed here", install("openssh-client"))
    if says("Could not resolve hostname"):
        return Failed(
            f"there is no host {bare}: is its name right?", f"getent hosts {shlex.quote(bare)}"
        )
    if says("Connection refused", "timed out", "No route to host", "Network is unreachable"):
        return Failed(f"{bare} cannot be reached: {_lines(errors)}", login)
    if says("rsync: command not found", "rsync: not found", "rsync: No such file"):
        return Failed(f"rsync is not installed on {bare}", login)
    if says("has been disabled on this server", "unsafe arg"):
        return Failed(
            f"{argument} is a symlink, which rrsync does not follow: name the file that it leads to"
            " and let the key read the directory of that",
            login,
        )
    if says("rrsync error", "rrsync: error") or (says("rrsync") and says("No such file")):
        return Failed(
            f"the key of {_user()} may only run rrsync on {bare}, which says:"
            f" {_lines(errors)}.  With it, a path starts from the directory in authorized_keys:"
            f" sync_from = {host}:{os.path.basename(path)}",
            login,
        )
    if says("No such file or directory (2)"):
        return Failed(f"{argument}: no such file", login)
    if says("Permission denied (13)") and says("[sender]"):
        return Failed(f"{argument}: the user that logs in there may not read it", login)
    if says("is your shell clean"):
        return Failed(
            f"the login on {bare} prints something, which confuses rsync: its .bashrc, or the"
            " command in authorized_keys, must print nothing",
            login,
        )
    if says("No space left on device"):
        return Failed("this host's disk is full", "df -h")
    return Failed(f"{argument}: {_lines(errors)}", login)


def _no_login(bare: str, login: str) -> Failed:
    """The other host accepts no key of this user."""
    home = Path(os.environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir)
    try:
        keys = sorted((home / ".ssh").glob("id_*.pub"))
    except OSError:
        keys = []
    if keys:
        return Failed(
            f"{bare} does not accept the key of {_user()}: put {keys[0]} into authorized_keys"
            " there",
            login,
        )
    key = f"ssh-keygen -t ed25519 -N '' -f {shlex.quote(str(home / '.ssh' / 'id_ed25519'))}"
    return Failed(
        f"{bare} does not let {_user()} log in, and there is no key in {home}/.ssh: make one, and"
        " put it into authorized_keys there",
        as_me(key),
    )


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _lines(errors: str) -> str:
    """The lines that say something, joined."""
    lines = [line.strip() for line in errors.splitlines()]
    return "; ".join([line for line in lines if not _NOISE.match(line)][:3] or lines[-1:])
