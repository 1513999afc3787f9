"""The running Apache: whether there is one, and whether it has read its configuration as it is
now."""

from __future__ import annotations

import os
from pathlib import Path

from .apache_config import Configuration

_CLOCK_SECONDS = 2  # by which times of files and of processes may differ


def is_running(configuration: Configuration) -> bool | None:
    """Whether Apache runs; None if its PidFile cannot be read."""
    path = Path(configuration.root or "/", configuration.pid_file)
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
        path = Path(configuration.root or "/", configuration.pid_file)
        pid = path.read_text().strip()
        boot = next(
            int(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime ")
        )
        ticks = os.sysconf("SC_CLK_TCK")
        newest = 0.0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(") ")[2].split()
            except OSError:
                continue  # it has ended
            if fields[1] == pid:
                newest = max(newest, boot + int(fields[19]) / ticks)
        return newest
    except (OSError, StopIteration, ValueError):
        return 0.0


def children(configuration: Configuration) -> frozenset[str]:
    """The children of the running Apache that are copies of it: those that answer requests, and
    the processes of modules.  Each is told from a later one with its number."""
    try:
        path = Path(configuration.root or "/", configuration.pid_file)
        parent = path.read_text().strip()
        program = os.readlink(f"/proc/{parent}/exe")
    except OSError:
        return frozenset()
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(") ")[2].split()
            if fields[1] == parent and os.readlink(process / "exe") == program:
                found.add(f"{process.name}-{fields[19]}")
        except OSError:
            continue  # it has ended
    return frozenset(found)
