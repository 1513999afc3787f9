"""The steps of an installation: files, links, directories and modes, first planned, then carried
out, and recorded so that they can be undone.

A plan has only the steps that are still necessary, so it is empty where everything is in place.  It
never replaces anything that exists and is not in the record.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
from functools import partial
from pathlib import Path
from typing import Any, Callable, NamedTuple

from ..answer import printable
from . import files
from .entry import CommandError
from .record import Record


class Step(NamedTuple):
    """`text` says what `do` does; `by_hand` is the command with which the operator does it."""

    text: str
    do: Callable[[], Any]
    by_hand: str = ""


class Problem(NamedTuple):
    """What the operator has to do: `text` says why, `command` what to type, "" if nothing."""

    text: str
    command: str = ""


class Plan:
    """The steps; `notes` on what is left as it is; and `problems`, because of which the
    installation is not complete, with `advice` on them."""

    def __init__(self, record: Record):
        self.record = record
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self.problems: list[Problem] = []
        self.advice: list[str] = []

    def add(self, text: str, do: Callable[[], Any], by_hand: str = "") -> None:
        self.steps.append(Step(text, do, by_hand))

    def problem(self, text: str, command: str = "") -> None:
        if Problem(text, command) not in self.problems:
            self.problems.append(Problem(text, command))

    def command(self, *command: str, remember: str = "", apache: str = "") -> None:
        """Run a command; `remember` names a list in the record to which its last word is added.
        `apache` is "reload" or "restart" if Apache must do that afterwards."""

        def do() -> None:
            self.apache(apache)
            if remember:
                self.remembered(remember, command[-1], partial(run, *command))
            else:
                run(*command)

        self.add(" ".join(command), do, " ".join(command))

    def remembered(self, names: str, name: str, do: Callable[[], Any]) -> None:
        """Do what --uninstall undoes.  It is recorded first, so it is not done where the record
        cannot be written, as on a full disk."""
        recorded = self.record.other.setdefault(names, [])
        is_new = name not in recorded
        try:
            if is_new:
                recorded.append(name)
                self.save()
            do()
        except BaseException:
            if is_new:
                recorded.remove(name)
            raise

    def apache(self, how: str) -> None:
        """Record that Apache has to "reload" its configuration, or to "restart", before that
        changes: this process may be killed."""
        if how and self.record.other.get("reload") not in (how, "restart"):
            self.record.other["reload"] = how
            # A full disk must not keep --uninstall from its work.
            with contextlib.suppress(OSError):
                self.save()

    def directory(self, path: Path, mode: int, owner: str = "root", group: str = "root") -> None:
        """Create a directory if it is missing."""
        if path.is_dir():
            return
        if os.path.lexists(path):
            raise CommandError(f"{path}: exists and is not a directory; move it out of the way")

        def make() -> None:
            missing = [parent for parent in path.parents if not parent.exists()]
            for parent in (*reversed(missing), path):
                if not parent.is_dir():
                    parent.mkdir(0o755 if parent != path else mode & 0o700)
                    self.record.created(parent)
            files.give(path, mode, files.user_id(owner), files.group_id(group))

        self.add(f"create the directory {path}, {owner}:{group}, mode {mode:o}", make)

    def file(
        self,
        path: Path,
        content: bytes,
        mode: int = 0o644,
        apache: str = "",
        may_replace: Callable[[bytes], bool] = lambda _: False,
        late: Callable[[], bytes] | None = None,
    ) -> None:
        """Write a file, unless it exists and is not ours or has been changed; `may_replace` says
        whether it is nevertheless one that nobody has changed.  With `late`, the content may be
        another one by then, which this returns."""
        if os.path.lexists(path):
            if late is None and files.digest(path) == hashlib.sha256(content).hexdigest():
                if str(path) not in self.record.files:
                    # Written by a run that was killed before it could record that.
                    self.record.wrote(path, content)
                return
            if not self.record.is_ours(path) and not may_replace(files.content(path)):
                self.notes.append(
                    f"{path}: left as it is, because it existed before or has been changed since"
                    " it was written"
                )
                return

        def make() -> None:
            its_content = late() if late else content
            if late and files.content(path) == its_content:
                return
            self.apache(apache)
            files.write(path, its_content, mode)
            self.record.wrote(path, its_content)

        self.add(f"write {path}", make)

    def link(self, path: Path, target: Path, apache: str = "") -> None:
        """Create a symbolic link.  CommandError if something else is there."""
        if path.is_symlink() and os.readlink(path) == str(target):
            return
        ours = path.is_symlink() and self.record.links.get(str(path)) == os.readlink(path)
        if os.path.lexists(path) and not ours:
            raise CommandError(f"{path}: already exists, and is not ours; move it out of the way")

        def make() -> None:
            self.apache(apache)
            if ours:
                path.unlink()
            path.symlink_to(target)
            self.record.links[str(path)] = str(target)

        self.add(f"link {path} to {target}", make)

    def own(self, path: Path, mode: int, owner: str, group: str, is_recorded: bool = False) -> None:
        """Set the owner, group and mode of an existing file or directory, unless they are so.

        `is_recorded` is for what is not ours: it is set back by --uninstall.  The user need not
        exist yet.  CommandError for a link that somebody else than root may have put there.
        """
        path = files.real_path(path)
        of = path.lstat()
        before = [stat.S_IMODE(of.st_mode), of.st_uid, of.st_gid]
        names = files.owner_name(of.st_uid, of.st_gid)
        if (before[0], names) == (mode, f"{owner}:{group}"):
            return

        def do() -> None:
            after = [mode, files.user_id(owner), files.group_id(group)]
            files.give(path, *after)
            if is_recorded:
                first = self.record.modes.get(str(path), [before])[0]
                self.record.modes[str(path)] = [first, after]

        text = f"chown {owner}:{group}, chmod {mode:o}: {path} (was {names} {before[0]:o})"
        if text not in [step.text for step in self.steps]:  # by another name, past a link
            self.add(text, do, f"chown {owner}:{group} {path} && chmod {mode:o} {path}")

    def carry_out(self) -> None:
        """Carry out every step.  What was done before a failure is recorded too."""
        try:
            try:
                for step in self.steps:
                    print(f"  {step.text}", flush=True)
                    step.do()
                    self.save()  # this process may be killed
            finally:
                self.save()
        except BrokenPipeError:
            raise  # standard output is closed
        except OSError as error:
            raise CommandError(files.reason(error)) from None

    def save(self) -> None:
        """Save the record, once there is a directory for it."""
        if self.record.path.parent.is_dir():
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
