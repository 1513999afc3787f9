"""The config, as commands need it: which file it is, which of its CAs are meant, and how a setting
in it is changed while all else in it stays."""

from __future__ import annotations

import argparse
import os
import stat
from pathlib import Path

from .. import config
from ..config import CASettings, Settings
from .entry import CommandError
from .files import write


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"the config (default: $OCSP_CGI_CONFIG, or {config.DEFAULT_PATH})",
    )


def path(arguments: argparse.Namespace) -> str:
    """The config that the options of `add_argument` name."""
    return arguments.config or os.environ.get("OCSP_CGI_CONFIG") or config.DEFAULT_PATH


def load(arguments: argparse.Namespace) -> Settings:
    """The config that the options of `add_argument` name.  CommandError if it cannot be used."""
    try:
        return config.load(path(arguments))
    except config.ConfigError as error:
        raise CommandError(str(error)) from None


def parse(text: str, file: str) -> Settings:
    """The settings in the text of this config.  CommandError if it cannot be used."""
    try:
        return config.parse(text, file)
    except config.ConfigError as error:
        raise CommandError(str(error)) from None


def choose(settings: Settings, names: list[str]) -> list[CASettings]:
    """The CAs with these names, all if there are none.  CommandError if there is no such CA."""
    known = {ca.name: ca for ca in settings.cas}
    for name in names:
        if name not in known:
            sections = ", ".join(f"[{section}]" for section in known)
            raise CommandError(f"no [{name}] in the config; its CAs are {sections}")
    return [known[name] for name in dict.fromkeys(names)] if names else settings.cas


def edit(file: str, changes: dict[tuple[str, str], str | None]) -> bool:
    """Change settings, given as (section, setting) -> value, in a config; None removes one.

    Comments, the order of lines, and the owner and mode stay as they are; a new setting goes
    behind the last one of its section.  One rename replaces the file, and only if the result can be
    loaded.  Returns whether anything changed; CommandError if the config cannot be used or written.
    """
    target = Path(os.path.realpath(file))
    try:
        config.load(str(target))
        before = target.read_bytes().decode()
        after = _edited(before, changes)
        if after == before:
            return False
        config.parse(after, str(target))
        of = target.stat()
        write(target, after.encode(), stat.S_IMODE(of.st_mode), (of.st_uid, of.st_gid))
    except config.ConfigError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"{error.filename or target}: {error.strerror}") from None
    return True


def _edited(text: str, changes: dict[tuple[str, str], str | None]) -> str:
    lines = text.split("\n")
    end = "\r" if "\r\n" in text else ""
    for (section, setting), value in changes.items():
        here, last, found = "", -1, -1
        for number, line in enumerate(lines):
            stripped = line.lstrip("\ufeff").strip()
            if not stripped or stripped[0] in "#;":
                continue
            if stripped[0] == "[" and stripped[-1] == "]":
                here = stripped[1:-1].strip()
            elif here == section and stripped.partition("=")[0].strip() == setting:
                found = number
            if here == section:
                last = number
        if last < 0:
            raise CommandError(f"no [{section}] in the config")
        if found >= 0 and value is None:
            del lines[found]
        elif found >= 0:
            name, equals, old = lines[found].partition("=")
            blanks = old[: len(old) - len(old.lstrip())]
            if old.strip() != value:
                lines[found] = f"{name}{equals}{blanks}{value}{end}"
        elif value is not None:
            lines[last] = lines[last].rstrip("\r") + end
            lines.insert(last + 1, f"{setting} = {value}{end}")
            if last + 2 == len(lines):  # the last line had no newline
                lines.append("")
    return "\n".join(lines)
