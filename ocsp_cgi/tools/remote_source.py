"""An index on another host, copied with rsync through ssh.

The options of rsync are those that `rrsync -ro` on the CA's host allows: a symlink is only followed
when there is one, since rrsync refuses --copy-links.  rsync writes to a directory of its own, and
compares with the index in use: what is unchanged is neither sent nor written.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import time
from calendar import timegm
from pathlib import Path

from .. import index_file
from ..config import is_remote
from . import rsync_errors
from .entry import CommandError
from .index_source import Copied, LocalSource, too_large
from .not_copied import Failed

_USER = r"(?!-)[\w.+~-]+@"
_HOST = r"(?!-)[\w.-]+|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]"
_REMOTE = re.compile(rf"((?:{_USER})?(?:{_HOST})):(.*)", re.ASCII)
_DAEMON = re.compile(rf"rsync://(?:{_USER})?(?:{_HOST})(?::\d+)?/(.*)", re.ASCII)
_PLAIN = re.compile(r"[\w./~+@%=,:-]*", re.ASCII)
SSH = "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ForwardAgent=no"
_MARK = "ocsp-cgi-copied:"
SILENCE_SECONDS = 60
_MOST_SECONDS = 9 * 60
_RENAME_SECONDS = 1  # `openssl ca` renames the index in two steps
_ESCAPES = (3, 2, 4)  # the first rsync that escapes what is special to the shell of the other host


class RemoteSource:
    """`host` is as for ssh, "" for an rsync daemon; `argument` is what rsync is told."""

    def __init__(self, host: str, path: str, argument: str):
        self.host = host
        self.path = path
        self.argument = argument

    def copy(self, target: Path, copy: Path, max_size: int) -> Copied:
        """Copy to `copy`, whose name is that of `target`, unless that has the same bytes.

        NotCopied if that cannot be done.  The copy is as old as the beginning of this call.
        """
        as_of = time.time()
        self.check_rsync()
        printed = self._rsync(target, copy, max_size)
        if "skipping non-regular file" in printed:
            printed = self._rsync(target, copy, max_size, "--copy-links")
        item, _, changed = printed.partition(_MARK)[2].partition("\n")[0].partition("|")
        if item[1:2] == "f":
            return Copied(copy if copy.exists() else None, _seconds(changed, as_of), as_of)
        if "is over max-size" in printed:
            raise too_large(self.argument, max_size)
        if "skipping directory" in printed:
            raise Failed(
                f"{self.argument} is a directory: `sync_from` must name the index in it, such as"
                f" {self.argument.rstrip('/')}/index"
            )
        if "skipping non-regular file" in printed:
            raise Failed(f"{self.argument} is not a regular file")
        raise Failed(f"rsync copied nothing from {self.argument}: {' '.join(printed.split())}")

    def check_rsync(self) -> None:
        """Failed if rsync is missing, or cannot be told this path."""
        if shutil.which("rsync") is None:
            raise Failed("rsync is not installed here", rsync_errors.install("rsync"))
        if _PLAIN.fullmatch(self.path):
            return
        output = subprocess.run(
            ["rsync", "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True
        ).stdout
        version = re.search(r"version (\d+)\.(\d+)\.(\d+)", output)
        if version is None or tuple(map(int, version.groups())) < _ESCAPES:
            raise Failed(
                f"{self.argument}: this rsync is older than"
                f" {'.'.join(map(str, _ESCAPES))}, and lets the other host's shell interpret blanks"
                " and the like: use a path without them"
            )

    def _rsync(self, target: Path, copy: Path, max_size: int, *options: str) -> str:
        """Run rsync.  Returns what it printed; Failed if it did not succeed."""
        command = ["rsync", "--checksum", f"--compare-dest={target.parent}", "-ii", *options]
        command += [f"--max-size={max_size}", f"--timeout={SILENCE_SECONDS}", "--info=skip1"]
        command += [f"--out-format={_MARK}%i|%M"]
        command += ["-e", SSH] if self.host else ["--contimeout=20"]
        command += ["--", self.argument, str(copy)]
        for attempt in (1, 2):
            status, printed, errors = run(command, max_size)
            if status == 0:
                return printed
            if attempt == 2 or "No such file" not in errors:
                break
            time.sleep(_RENAME_SECONDS)
        raise rsync_errors.explain(errors or f"rsync ended with {status}", self.host, self.argument)


def parse(sync_from: str, insecure: bool) -> LocalSource | RemoteSource:
    """The source that a `sync_from` names.  CommandError if it cannot be used."""
    if not is_remote(sync_from):
        return LocalSource(sync_from)
    daemon = _DAEMON.fullmatch(sync_from)
    remote = _REMOTE.fullmatch(sync_from)
    host, path = remote.groups() if remote else ("", "")
    if daemon or sync_from.startswith("rsync:") or path.startswith(":"):
        if not insecure:
            raise CommandError(
                f"{sync_from}: an rsync daemon is not authenticated, so anyone on the"
                " way could make revoked certificates good: use ssh (HOST:PATH), or"
                " `sync --insecure`"
            )
        host, path = "", daemon.group(1) if daemon else path[1:]
    if not (remote or daemon):
        raise CommandError(
            f"{sync_from}: not HOST:PATH, such as ca.example.com:/root/root-ca/db/index"
        )
    if not path:
        raise CommandError(f"{sync_from}: no path after the colon")
    if not path.isprintable() or re.search(r"[*?\[\]{}\\]", path):
        raise CommandError(
            f"{sync_from}: the path must be that of one file, without * ? [ ] {{ }} and \\"
        )
    argument = f"{host}:./{path}" if host and path[0] == "-" else sync_from
    return RemoteSource(host, path, argument)


class TooSlow(Failed):
    """It has not ended in time."""


def run(command: list[str], max_size: int, seconds: float = _MOST_SECONDS) -> tuple[int, str, str]:
    """(exit status, output, errors) of a command that may write no file longer than `max_size`.
    TooSlow if it has to be ended."""
    environment = {key: value for key, value in os.environ.items() if key[:6] != "RSYNC_"}
    environment.update(LC_ALL="C", TZ="UTC")
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd="/",
        env=environment,
        start_new_session=True,  # so that ssh can be ended as well
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (max_size, max_size)),
    )
    try:
        output, errors = process.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        raise TooSlow(f"rsync has not ended within {index_file.duration(int(seconds))}") from None
    return process.returncode, output, errors


def _seconds(text: str, otherwise: float) -> float:
    """The time that rsync prints as %M, 2026/11/29-03:30:55 in UTC."""
    found = re.fullmatch(r"\s*(\d+)/(\d\d)/(\d\d)-(\d\d):(\d\d):(\d\d)\s*", text, re.ASCII)
    if not found:
        return otherwise
    # strptime loads a module when called, here by a user who may be unable to read it.
    return timegm(tuple(map(int, found.groups())))
