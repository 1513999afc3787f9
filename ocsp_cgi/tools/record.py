"""What an installation has created, in a JSON file, so that it can be found again and undone."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .entry import CommandError
from .files import digest, write

_KEYS = ("files", "links", "directories", "modes", "other")


class Record:
    """`files` with their SHA-256, `links` with their targets, `directories`, `modes` that were
    changed outside our own directories, as [before, after], and `other` values that the installer
    needs again."""

    def __init__(self, path: Path):
        self.path = path
        self.files: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.directories: list[str] = []
        self.modes: dict[str, list[list[int]]] = {}
        self.other: dict[str, Any] = {}
        self.exists = path.exists()
        if self.exists:
            try:
                read = {"modes": {}, **json.loads(path.read_text())}
                values = [read[key] for key in _KEYS]
                for key, value in zip(_KEYS, values):
                    if type(value) is not type(getattr(self, key)):
                        raise TypeError(key)
                    setattr(self, key, value)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise CommandError(
                    f"{path}: cannot read this record of what was installed: {error!r}; restore"
                    " it, or move it away and install with another --prefix"
                ) from None

    def save(self) -> None:
        content = {key: getattr(self, key) for key in _KEYS}
        write(self.path, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n", 0o644)

    def is_ours(self, path: Path) -> bool:
        """Whether we wrote this file and it has not changed since."""
        return self.files.get(str(path), "") == digest(path) != ""

    def wrote(self, path: Path, content: bytes) -> None:
        self.files[str(path)] = hashlib.sha256(content).hexdigest()

    def created(self, directory: Path) -> None:
        if str(directory) not in self.directories:
            self.directories.append(str(directory))


def check_trusted(path: Path) -> None:
    """CommandError unless only root can write this file, or put another in its place.

    What is recorded is deleted, and run, as root.
    """
    for place in _way_to(path):
        try:
            of = os.lstat(place)
        except FileNotFoundError:
            continue
        if of.st_uid != 0:
            raise CommandError(
                f"{place}: not owned by root, so others could change what root runs and deletes"
                f" there: chown root {place}, or choose another directory with --prefix"
            )
        if stat.S_ISLNK(of.st_mode):
            continue
        if of.st_mode & 0o002 or (of.st_mode & 0o020 and of.st_gid != 0):
            raise CommandError(
                f"{place}: others than root can write to it, and so change what root runs and"
                f" deletes there: chmod go-w {place}, or choose another directory with --prefix"
            )


def _way_to(path: Path) -> Iterator[Path]:
    """The directories above a file, and the file, as it is named and past all links."""
    for name in dict.fromkeys((path, Path(os.path.realpath(path)))):
        yield from reversed(name.parents)
        yield name
