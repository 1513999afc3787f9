"""The steps of an installation: files, links, directories and modes, first planned, then carried
out, and recorded so that they can be undone.

A plan has only the steps that are still necessary, so it is empty where everything is in place.  It
never replaces anything that exists and is not in the record.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import stat
import subprocess
from pathlib import Path
from typing import Any, Callable, NamedTuple

from ..answer import printable
from .entry import CommandError


class Step(NamedTuple):
    """`text` says what `do` does."""

    text: str
    do: Callable[[], Any]


class Record:
    """What an installation has created, in a JSON file: `files` with their SHA-256, `links` with
    their targets, `directories`, and `other` values that the installer needs again."""

    def __init__(self, path: Path):
        self.path = path
        self.files: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.directories: list[str] = []
        self.other: dict[str, Any] = {}
        self.exists = path.exists()
        if self.exists:
            try:
                read = json.loads(path.read_text())
                self.files, self.links, self.directories, self.other = (
                    read[key] for key in ("files", "links", "directories", "other")
                )
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise CommandError(
                    f"{path}: cannot read this record of what was installed: {error!r}; restore"
                    " it, or move it away and install with another --prefix"
                ) from None

    def save(self) -> None:
        content = {
            "files": self.files,
            "links": self.links,
            "directories": self.directories,
            "other": self.other,
        }
        write(self.path, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n", 0o644)

    def is_ours(self, path: Path) -> bool:
        """Whether we wrote this file and it has not changed since."""
        return self.files.get(str(path)) == _digest(path)


class Plan:
    """The steps, and `notes` on what is left as it is."""

    def __init__(self, record: Record):
        self.record = record
        self.steps: list[Step] = []
        self.notes: list[str] = []

    def add(self, text: str, do: Callable[[], Any]) -> None:
        self.steps.append(Step(text, do))

    def command(self, *command: str, remember: str = "") -> None:
        """Run a command; `remember` names a list in the record to which its last word is added."""

        def do() -> None:
            run(*command)
            if remember:
                self.record.other.setdefault(remember, []).append(command[-1])

        self.add(" ".join(command), do)

    def directory(self, path: Path, mode: int, owner: str = "root", group: str = "root") -> None:
        """Create a directory if it is missing."""
        if path.is_dir():
            return
        if os.path.lexists(path):
            raise CommandError(f"{path}: exists and is not a directory; move it out of the way")

        def make() -> None:
            missing = [parent for parent in path.parents if not parent.exists()]
            for parent in (*reversed(missing), path):
                parent.mkdir(0o755)
                if str(parent) not in self.record.directories:
                    self.record.directories.append(str(parent))
            _give(path, mode, owner, group)

        self.add(f"create the directory {path}, {owner}:{group}, mode {mode:o}", make)

    def file(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        """Write a file, unless it exists and is not ours or has been changed."""
        if os.path.lexists(path):
            if _digest(path) == hashlib.sha256(content).hexdigest():
                return
            if not self.record.is_ours(path):
                self.notes.append(
                    f"{path}: left as it is, because it existed before or has been changed since"
                    " it was written"
                )
                return

        def make() -> None:
            write(path, content, mode)
            self.record.files[str(path)] = hashlib.sha256(content).hexdigest()

        self.add(f"write {path}", make)

    def link(self, path: Path, target: Path) -> None:
        """Create a symbolic link, unless something else is there."""
        if path.is_symlink() and os.readlink(path) == str(target):
            return
        ours = path.is_symlink() and self.record.links.get(str(path)) == os.readlink(path)
        if os.path.lexists(path) and not ours:
            self.notes.append(f"{path}: left as it is, because it existed before")
            return

        def make() -> None:
            if ours:
                path.unlink()
            path.symlink_to(target)
            self.record.links[str(path)] = str(target)

        self.add(f"link {path} to {target}", make)

    def mode(self, path: Path, mode: int, owner: str, group: str, user: str) -> None:
        """Set owner and mode of an existing file or directory, if `user` cannot read it or others
        have more access than `mode` allows."""
        if not path.exists():
            return
        of = path.stat()
        wanted = 0o5 if path.is_dir() else 0o4
        account = pwd.getpwnam(user)
        shift = 6 if of.st_uid == account.pw_uid else 3 if of.st_gid == account.pw_gid else 0
        readable = of.st_mode >> shift & wanted == wanted
        if readable and not of.st_mode & 0o777 & ~mode & 0o027:
            return
        before = stat.S_IMODE(of.st_mode)
        self.add(
            f"chown {owner}:{group} {path}, chmod {mode:o} (mode was {before:o})",
            lambda: _give(path, mode, owner, group),
        )

    def carry_out(self, is_recorded: bool = True) -> None:
        """Carry out every step.  What was done before a failure is recorded too."""
        try:
            for step in self.steps:
                print(f"  {step.text}", flush=True)
                step.do()
        except BrokenPipeError:
            raise  # standard output is closed
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}") from None
        finally:
            if is_recorded and self.record.path.parent.is_dir():
                self.record.save()


def run(*command: str) -> str:
    """Run a command.  Returns its output; CommandError, with the output, if it fails."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PATH": search_path()},
            cwd="/",
        )
    except OSError as error:
        raise CommandError(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        lines = [printable(line.strip()) for line in done.stdout.splitlines() if line.strip()]
        output = "\n  ".join(lines[-8:])
        raise CommandError(
            f"{' '.join(command)}\n  {output or f'failed with status {done.returncode}'}"
        )
    return done.stdout


def search_path() -> str:
    """PATH, and where administrators' commands are."""
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


def content(path: Path) -> bytes:
    """What is in a file, b"" if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def write(path: Path, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Write a file so that it is never seen half-written, not even after a crash.

    `owner` is a user and a group, by default those of this process.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if owner:
            os.chown(unfinished, *owner)
        unfinished.chmod(mode)
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _give(path: Path, mode: int, owner: str, group: str) -> None:
    os.chown(path, pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid)
    path.chmod(mode)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
