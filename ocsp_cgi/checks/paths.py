"""The files and directories that the config names: whether the responder's user can read them, and
whether somebody else can replace them, or read the private key."""

from __future__ import annotations

import os
import pwd
import shlex
from functools import partial
from typing import Callable, NamedTuple

from .. import config, index_file, keys
from ..answer import OCSPError
from ..config import CASettings
from ..signer import load_certificates
from ..tools import as_user, config_file
from . import commands, owners, preload
from .finding import Finding, Level
from .subject import Subject

_CERTIFICATES = ("ca", "rsigner", "rsigner2")
_PRIVATE = ("rkey", "passin", "rkey2", "passin2")
_HOMES = ("/root", "/home")
_DIRECTORY = "/etc/ssl/ocsp"  # for what is in a home


class _Unreadable(NamedTuple):
    """`section` is a CA of the config, "" for the config itself; `text` is the responder's own
    message; `place` is the file, or the directory above it, that permissions close to the user, ""
    if it is not that."""

    section: str
    setting: str
    path: str
    text: str
    place: str


def examine(subject: Subject) -> list[Finding]:
    if subject.settings is None:
        return []
    preload.everything()
    names = [ca.name for ca in subject.settings.cas]
    unreadable = [
        _Unreadable(*one) for one in as_user.call(subject.user, _unreadable, subject.config, names)
    ]
    findings = [
        Finding(_level(one, unreadable, subject), one.text, one.path, _open_command(one, subject))
        for one in unreadable
    ]
    findings += _replaceable(subject)
    for ca in subject.settings.cas:
        findings += _key_readers(ca, subject)
    count = sum(len(_paths_of(ca)) for ca in subject.settings.cas) + 1
    if not findings:
        text = (
            f"{subject.user} can read all {count} files of the config, and nobody can replace them"
            " who should not"
        )
        findings.append(Finding(Level.OK, text))
    return findings


def _level(one: _Unreadable, unreadable: list[_Unreadable], subject: Subject) -> Level:
    """What keeps one of two signers from signing is a warning: the other does."""
    assert subject.settings
    cas = [ca for ca in subject.settings.cas if ca.name == one.section]
    if one.setting in ("ca", "db") or not any(ca.rsigner2 for ca in cas):
        return Level.FAIL
    failed = {
        other.setting.endswith("2")
        for other in unreadable
        if other.section == one.section and other.setting not in ("ca", "db")
    }
    return Level.FAIL if len(failed) == 2 else Level.WARN


# What the user can read: this runs as that user.


def _unreadable(config_path: str, names: list[str]) -> list[_Unreadable]:
    found = []

    def attempt(section: str, setting: str, path: str, read: Callable[[], object]) -> None:
        try:
            read()
        except OCSPError as error:
            found.append(_Unreadable(section, setting, path, str(error), owners.closed(path)))

    attempt("", "config", config_path, partial(config.load, config_path))
    if found:
        return found
    for ca in config.load(config_path).cas:
        if ca.name not in names:
            continue
        for setting in _CERTIFICATES:
            path = getattr(ca, setting)
            if path:
                attempt(ca.name, setting, path, partial(load_certificates, setting, path))
        for setting, path in ca.private_files:
            attempt(ca.name, setting, path, partial(keys.read_private, path, setting))
        attempt(ca.name, "db", _index(ca), partial(index_file.read, ca.db, bool))
    return found


def _index(ca: CASettings) -> str:
    try:
        return index_file.path_of(ca.db)
    except (OSError, index_file.DatabaseUnavailable):
        return f"{ca.db}/index" if os.path.isdir(ca.db) else ca.db


def _open_command(one: _Unreadable, subject: Subject) -> str:
    """What lets the user read a file that he cannot read."""
    if not one.place:
        if os.path.lexists(one.path) or one.setting == "config":
            return ""
        return commands.ours("install")  # which says how to create what is missing
    account, path = pwd.getpwnam(subject.user), one.path
    quoted = shlex.quote(path)
    steps = []
    if os.path.isdir(one.place) and one.place != path:
        is_home = any(f"{one.place}/".startswith(f"{home}/") for home in _HOMES)
        if is_home and one.setting != "db":
            moved = shlex.quote(f"{_DIRECTORY}/{os.path.basename(path)}")
            if one.setting == "config":
                return f"mv {quoted} {shlex.quote(config.DEFAULT_PATH)}"
            edit = shlex.quote(f"s|{path}|{_DIRECTORY}/{os.path.basename(path)}|")
            return f"mv {quoted} {moved} && sed -i {edit} {shlex.quote(subject.config)}"
        steps.append(f"chmod o+x {shlex.quote(one.place)}")
    try:
        of = os.stat(path)
    except OSError:
        return steps[0] if steps else ""
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    bit = 0o400 if of.st_uid == account.pw_uid else 0o040 if of.st_gid in groups else 0o004
    if not of.st_mode & bit:
        if bit == 0o400:
            steps.append(f"chmod u+r {quoted}")
        elif one.setting in ("config", *_CERTIFICATES):
            steps.append(f"chmod a+r {quoted}")
        else:
            steps.append(f"chgrp {owners.group_name(account.pw_gid)} {quoted}")
            steps.append(f"chmod 640 {quoted}")
    return " && ".join(steps)


# Who can replace them


def _paths_of(ca: CASettings) -> dict[str, str]:
    """The files and directories that a section names, by setting."""
    paths = {name: getattr(ca, name) for name in (*_CERTIFICATES, "cache")}
    paths.update(ca.private_files)
    return {**{name: path for name, path in paths.items() if path}, "db": _index(ca)}


def _replaceable(subject: Subject) -> list[Finding]:
    assert subject.settings
    web = pwd.getpwnam(subject.user).pw_uid
    administrators = {0, os.geteuid()}
    risks: dict[owners.Access, list[str]] = {}

    def look(path: str, what: str, also: set[int]) -> None:
        for access in owners.writers(path, administrators | also):
            risks.setdefault(access, []).append(what)

    look(subject.config, "the config", set())
    for ca in subject.settings.cas:
        for setting, path in _paths_of(ca).items():
            also = {web} if setting in (*_PRIVATE, "cache") else set()
            if setting == "db":
                also = owners.database_users(ca.db, web)
            look(path, f"`{setting}` of [{ca.name}]", also)
    findings = []
    for access, what in risks.items():
        # Who has taken over the web server's user has the key, but should not keep it.
        level = Level.WARN if access.uids == {web} else Level.FAIL
        first = dict.fromkeys(what)
        names = ", ".join(list(first)[:3]) + (" and more" if len(first) > 3 else "")
        text = f"{access.who} can replace {names}"
        findings.append(Finding(level, text, access.place, access.command))
    return findings


def _key_readers(ca: CASettings, subject: Subject) -> list[Finding]:
    """The web server's user, if the responder is another's, and members of the key's group who are
    not the responder's user; for others, the key is refused by the responder itself."""
    user = subject.user
    account = pwd.getpwnam(user)
    findings = []
    private = [(f"`{setting}` of [{ca.name}]", path) for setting, path in ca.private_files]
    private += [
        (f"the former `{setting}` of [{ca.name}]", path)
        for setting, path in config_file.former_keys(subject.config, ca.name)
    ]
    for what, path in private:
        try:
            of = os.stat(path)
        except OSError:
            continue
        others = {0, os.geteuid(), account.pw_uid, of.st_uid}
        if subject.web and as_user.call(subject.web, os.access, path, os.R_OK):
            others.add(pwd.getpwnam(subject.web).pw_uid)
            group, quoted = owners.group_name(account.pw_gid), shlex.quote(path)
            text = (
                f"{subject.web} can read {what}, so anyone with the web server's privileges has"
                f" it: only {user} need be able to"
            )
            command = f"chown root:{group} {quoted} && chmod 640 {quoted}"
            findings.append(Finding(Level.WARN, text, path, command))
        if not of.st_mode & 0o040:
            continue
        readers = owners.members(of.st_gid) - others
        if readers:
            group = owners.group_name(account.pw_gid)
            command = f"chgrp {group} {shlex.quote(path)}"
            if of.st_gid == account.pw_gid:
                command = f"chown {user} {shlex.quote(path)} && chmod 400 {shlex.quote(path)}"
            findings.append(
                Finding(
                    Level.WARN,
                    f"{owners.names(readers)} can read {what}, by the group"
                    f" {owners.group_name(of.st_gid)}",
                    path,
                    command,
                )
            )
    return findings
