"""The config, as commands need it: which file it is, which of its CAs are meant, and how a setting
in it is changed while all else in it stays."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from .. import config
from ..config import CASettings, Settings
from .entry import CommandError, program
from .files import write

_REMEMBERED = re.compile(r"[#;]\s*(\w+) before \S+ = (.*)")


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"the config (default: $OCSP_CGI_CONFIG, or {config.DEFAULT_PATH})",
    )


def path(arguments: argparse.Namespace) -> str:
    """The config that the options of `add_argument` name."""
    return arguments.config or os.environ.get("OCSP_CGI_CONFIG") or config.DEFAULT_PATH


def command(arguments: argparse.Namespace, *words: str) -> str:
    """A command of ours to type, from any directory, about the config that these options name."""
    if arguments.config:
        words += ("--config", os.path.abspath(arguments.config))
    return f"{program()} {shlex.join(words)}"


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


def value(file: str, section: str, setting: str) -> str:
    """A setting as it is written in a config, "" if it is not there.  CommandError if the config
    cannot be read."""
    return _look_up(_read(file).split("\n"), section, setting).value


def remembered(file: str, section: str, setting: str) -> str:
    """The value that `edit` left in a comment, "" if there is none."""
    return _look_up(_read(file).split("\n"), section, setting).remembered


def path_in(file: str, value: str) -> str:
    """A path as it is written in a config, from whose directory it starts; a URI and "" stay."""
    directory = file.rpartition("/")[0]
    if value[:1] in ("", "/") or not directory or config.is_uri(value):
        return value
    return f"{directory}/{value}"


def former_keys(file: str, section: str) -> list[tuple[str, str]]:
    """(setting, path) of each key that `renew` has replaced, and that signs until its certificate
    expires."""
    if not os.path.exists(file):
        return []
    found = [(setting, remembered(file, section, setting)) for setting in ("rkey", "rkey2")]
    return [
        (setting, path_in(file, value))
        for setting, value in found
        if value and not config.is_uri(value)
    ]


def edit(file: str, changes: dict[tuple[str, str], str | None], date: str = "") -> bool:
    """Change settings, given as (section, setting) -> value, in a config; None removes one.

    Comments, the order of lines, and the owner and mode stay as they are; a new setting goes
    behind the last one of its section.  With `date` the old value of each changed setting stays in
    a comment above it, `# rkey before 2026-11-29 = old.key`, which replaces an older such comment.
    One rename replaces the file, and only if the result can be loaded; of several processes, each
    changes what the one before has left.  Returns whether anything changed; CommandError if the
    config cannot be used or written.
    """
    target = Path(os.path.realpath(file))
    try:
        with _alone_with(target) as opened:
            before = _decoded(opened.read(), file)
            parse(before, str(target))
            after = _edited(before, changes, date)
            if after == before:
                return False
            parse(after, str(target))
            of = os.fstat(opened.fileno())
            write(target, after.encode(), stat.S_IMODE(of.st_mode), (of.st_uid, of.st_gid))
    except OSError as error:
        forbidden = isinstance(error, PermissionError) and os.geteuid() != 0
        hint = "; this command must run as root" if forbidden else ""
        raise CommandError(f"{target}: cannot be changed: {error.strerror}{hint}") from None
    return True


@contextlib.contextmanager
def _alone_with(target: Path) -> Iterator[IO[bytes]]:
    """The config, opened, which no other process edits inside the `with`.

    A lock that needs the right to write to the file, so that nobody else can keep it; it ends when
    this process closes any descriptor of the file.
    """
    while True:
        with open(target, "r+b") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.lockf(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), target.stat()):
                yield file
                return


def _read(file: str) -> str:
    try:
        return _decoded(Path(file).read_bytes(), file)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from None


def _decoded(content: bytes, file: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CommandError(f"{file}: not UTF-8, so it is not a config") from None


class _Place(NamedTuple):
    """Where a setting is in a config: `number` and `comment` are the lines of it and of its
    remembered value, `last` is the last line of its section with a setting; -1 if there is none."""

    number: int
    value: str
    comment: int
    remembered: str
    last: int


def _look_up(lines: list[str], section: str, setting: str) -> _Place:
    here, number, comment, last = "", -1, -1, -1
    for at, line in enumerate(lines):
        stripped = line.lstrip("\ufeff").strip()
        if not stripped:
            continue
        if stripped[0] in "#;":
            found = _REMEMBERED.fullmatch(stripped)
            if here == section and found and found[1] == setting:
                comment = at
            continue
        if stripped[0] == "[" and stripped[-1] == "]":
            here = stripped[1:-1].strip()
        elif here == section and stripped.partition("=")[0].strip() == setting:
            number = at
        if here == section:
            last = at
    old = lines[number].partition("=")[2].strip() if number >= 0 else ""
    found = _REMEMBERED.fullmatch(lines[comment].strip()) if comment >= 0 else None
    return _Place(number, old, comment, found[2].strip() if found else "", last)


def _edited(text: str, changes: dict[tuple[str, str], str | None], date: str) -> str:
    lines = text.split("\n")
    end = "\r" if "\r\n" in text else ""
    for (section, setting), new in changes.items():
        place = _look_up(lines, section, setting)
        if place.last < 0:
            raise CommandError(f"no [{section}] in the config")
        if place.number >= 0 and place.value == new:
            continue
        if place.number >= 0 and new is None:
            del lines[place.number]
        elif place.number >= 0:
            name, equals, old = lines[place.number].partition("=")
            blanks = old[: len(old) - len(old.lstrip())]
            lines[place.number] = f"{name}{equals}{blanks}{new}{end}"
        elif new is not None:
            lines[place.last] = lines[place.last].rstrip("\r") + end
            lines.insert(place.last + 1, f"{setting} = {new}{end}")
            if place.last + 2 == len(lines):  # the last line had no newline
                lines.append("")
        if date and place.number >= 0:
            lines.insert(place.number, f"# {setting} before {date} = {place.value}{end}")
            if place.comment >= 0:
                del lines[place.comment + (place.comment > place.number)]
    return "\n".join(lines)
