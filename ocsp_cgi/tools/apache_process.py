"""The running Apache: whether there is one, and whether it has read its configuration as it is
now."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from .apache_config import Configuration

_TICK_SECONDS = 0.02  # in which the times of processes are counted
_CLOCK_SECONDS = 2  # by which times of files and of processes may differ


def is_running(configuration: Configuration) -> bool | None:
    """Whether Apache runs; None if its PidFile cannot be read."""
    path = _pid_path(configuration)
    try:
        return Path("/proc", path.read_text().strip()).is_dir() if configuration.pid_file else None
    except FileNotFoundError:
        return False
    except OSError:
        return None


def changed_file(configuration: Configuration) -> str:
    """A file of the configuration that was changed after Apache read it, "" if there is none, or
    that cannot be told.

    Apache starts all its children anew when it reads its configuration.  So if a file is newer than
    each of them, it has not been read.
    """
    started = _last_child_started(configuration)
    places = [one.place for one in configuration.directives]
    places += [one.place for one in configuration.virtual_hosts]
    for file in dict.fromkeys(place.rpartition(":")[0] for place in places):
        try:
            modified = max(os.stat(file).st_mtime, os.lstat(file).st_mtime)
        except OSError:
            continue
        if started and modified > started + _CLOCK_SECONDS:
            return file
    return ""


def _last_child_started(configuration: Configuration) -> float:
    """When the newest child of Apache was started, in seconds since 1970; 0 if it has none, or
    they cannot be seen."""
    try:
        parent = _pid_path(configuration).read_text().strip()
        return max((started for _, started in _children(parent)), default=0.0)
    except (OSError, ValueError):
        return 0.0


def generation(configuration: Configuration) -> float:
    """When Apache has last read its configuration, in seconds since 1970; 0 if it does not run.

    Each time it writes its PidFile, and then starts its children.
    """
    try:
        return _pid_path(configuration).stat().st_mtime
    except OSError:
        return 0.0


def has_earlier_children(configuration: Configuration) -> bool:
    """Whether there still are children of Apache's that were started with an earlier configuration:
    they end when they have answered what they have begun."""
    began = generation(configuration)
    try:
        parent = _pid_path(configuration).read_text().strip()
        program = os.readlink(f"/proc/{parent}/exe")
    except OSError:
        return False
    # Programs that log do not end.
    return any(
        started < began - _TICK_SECONDS
        for process, started in _children(parent)
        if _program(process) == program
    )


def _children(parent: str) -> Iterator[tuple[Path, float]]:
    """The children of a process, and when each was started, in seconds since 1970."""
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    ticks = os.sysconf("SC_CLK_TCK")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue  # it has ended
        if fields[1] == parent:
            yield process, boot + int(fields[19]) / ticks


def _program(process: Path) -> str:
    try:
        return os.readlink(process / "exe")
    except OSError:
        return ""


def _pid_path(configuration: Configuration) -> Path:
    return Path(configuration.root or "/", configuration.pid_file)
