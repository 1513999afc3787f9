"""Fetches the index of the CA's host, to be looked at and thrown away."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .entry import CommandError

_REMOTE = re.compile(
    r"(?!-)[\w.+~@%-]+:(?!:).+|(?!-)[\w.+~-]*@?\[[0-9A-Fa-f:.]+\]:(?!:).+", re.ASCII
)
_SECONDS = 600
_MAX_SIZE = 1024 * 1024 * 1024


def is_remote(source: str) -> bool:
    """Whether a `sync_from` names a host."""
    return ":" in source.partition("/")[0]


def fetch(source: str, target: Path, owner: int) -> None:
    """Copy HOST:PATH to `target` with rsync through ssh.

    root does so as the user with the number `owner`, whose key the CA's host knows; that user must
    be able to write there.  CommandError if it cannot be copied.
    """
    if not _REMOTE.fullmatch(source) or source.startswith("rsync:"):
        raise CommandError(f"{source}: not HOST:PATH, such as ca.example.com:root-ca/db/index")
    if shutil.which("rsync") is None:
        raise CommandError("rsync is missing: install the package rsync")
    command = ["rsync", f"--max-size={_MAX_SIZE}", "--timeout=60"]
    command += ["-e", "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ForwardAgent=no"]
    plain = _run([*command, "--", source, str(target)], owner)
    if "skipping non-regular file" in plain.stdout:  # a link: rrsync refuses this option
        plain = _run([*command, "--copy-links", "--", source, str(target)], owner)
    if plain.returncode != 0 or not target.is_file():
        said = " ".join((plain.stderr or plain.stdout).split())
        raise CommandError(f"{source}: rsync could not copy it: {said or 'it is not a file'}")


def _run(command: list[str], owner: int) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key[:6] != "RSYNC_"}
    options: dict[str, Any] = {}
    if os.geteuid() == 0 and owner != 0:
        try:
            account = pwd.getpwuid(owner)
        except KeyError:
            raise CommandError(f"no user has the number {owner}, which owns `db`") from None
        options = {"user": owner, "group": account.pw_gid, "extra_groups": []}
        environment["HOME"] = account.pw_dir
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env=environment,
            timeout=_SECONDS,
            **options,
        )
    except subprocess.TimeoutExpired:
        raise CommandError(f"rsync has not ended within {_SECONDS // 60} minutes") from None
