"""The config that says what a shell script said."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from .. import config, index_file
from ..config import CASettings, is_uri
from . import accounts
from .entry import CommandError
from .files import content
from .layout import CACHE
from .record import Record

_FILES = ("db", "ca", "rsigner", "rkey", "passin")


def config_text(settings: dict[str, str], cache: Path | None) -> str:
    """A config with these settings; the section has the name of the CA's certificate."""
    name = re.sub(r"[^\w.-]", "-", Path(settings["ca"]).stem)
    lines = []
    if "hyperlink" in settings:
        lines += ["[responder]", f"hyperlink = {settings['hyperlink']}", ""]
    lines.append(f"[{'ca' if name == 'responder' else name}]")
    chosen = {key: settings[key] for key in (*_FILES, "nmin") if key in settings}
    if cache:
        chosen["cache"] = str(cache)
    return "\n".join([*lines, *(f"{key:7} = {value}" for key, value in chosen.items()), ""])


def cache_for(account: dict[str, Any]) -> Path | None:
    """The cache that `install` has made, if it is the web server's user's."""
    user = account.get("user", os.geteuid())
    return CACHE if CACHE.is_dir() and CACHE.stat().st_uid == user else None


def existing(path: Path, settings: dict[str, str], record: Record, text: str) -> bool:
    """Whether a config is there that has this CA; False if it is to be written.

    What `install` has written, naming files that have never been there, may be replaced.
    CommandError if there is another config.
    """
    if not os.path.lexists(path):
        return False
    try:
        loaded = config.load(str(path))
    except config.ConfigError as error:
        raise CommandError(str(error)) from None
    if any(is_section(ca, settings) for ca in loaded.cas):
        return True
    if record.is_ours(path) and not any(os.path.exists(ca.rsigner) for ca in loaded.cas):
        return False
    section = text[text.index("\n\n") + 2 :] if text.startswith("[responder]") else text
    raise CommandError(
        f"{path}: exists, and has no section with these files.  Add this one to it and run this"
        f" command again, or write another with --config FILE:\n\n{section}"
    )


def is_section(ca: CASettings, settings: dict[str, str]) -> bool:
    """Whether a section of a config has these files."""
    try:
        index = index_file.path_of(ca.db)
    except (OSError, index_file.DatabaseUnavailable):
        index = ca.db
    names = (key for key in _FILES if key != "db")
    return index == settings["db"] and all(
        (getattr(ca, key) or "") == settings.get(key, "") for key in names
    )


def unreadable(ca: CASettings, account: dict[str, Any]) -> list[str]:
    """The files of a CA that the web server's user cannot read, each with what stops it."""
    user = accounts.name(account)
    lines = []
    for key in _FILES:
        path = getattr(ca, key)
        if not path or (key == "rkey" and is_uri(path)) or accounts.can(account, "-r", path):
            continue
        if not os.path.lexists(path):
            lines.append(f"{path} ({key}): no such file")
            continue
        parents = list(reversed(Path(path).parents))
        closed = next((one for one in parents if not accounts.can(account, "-x", str(one))), None)
        if closed:
            lines.append(
                f"{path} ({key}): {user} cannot enter {closed}: setfacl -m u:{user}:x {closed}, or"
                " move the file to another directory, such as /etc/ssl/ocsp"
            )
        else:
            lines.append(
                f"{path} ({key}): {user} cannot read it: chgrp {user} {path} && chmod 640 {path}"
            )
    return lines


def is_responder(script: Path) -> bool:
    """Whether the file is ocsp.cgi already, or a copy of it."""
    head = content(script)[:4096]
    return head.startswith(b"#!") and b"What Apache runs.  The package ocsp_cgi" in head
