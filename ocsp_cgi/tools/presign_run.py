"""A run of `presign`: the caches of the chosen CAs one after another, each as its owner."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from ..answer import OCSPError, printable
from ..config import CASettings, Settings
from . import as_user, entry, presign_room, presigning
from .entry import CommandError
from .labelled import plural
from .presigner import Done
from .presigning import Presigning, estimate
from .progress import Progress, duration, stream


def run(
    settings: Settings, cas: list[CASettings], processes: int, margin: int | None, quiet: bool
) -> int:
    """Presign for these CAs of the config, which have a `cache`.  Returns the exit code.

    `margin` is as in a Presigner, None for a quarter of `nmin`.  CommandError if a cache cannot be
    used.
    """
    status = entry.OK
    for directory in dict.fromkeys(ca.cache or "" for ca in cas):
        sharing = [ca for ca in cas if ca.cache == directory]
        work = partial(_run, directory, settings, sharing, processes, margin, quiet)
        owner = _owner(directory, sharing[0])
        if os.geteuid() == owner:
            status = max(status, work())
        else:
            status = max(status, as_user.run(owner, partial(_reported, work)))
    return status


def start_after_change(cas: list[CASettings], config: str) -> None:
    """Start a run for those of these CAs that have `presign = yes`, and do not wait for it.

    Only root and the owner of a `cache` can.  The job that copies is neither, and need not: there
    the job that presigns looks at the index itself.
    """
    names = [ca.name for ca in cas if ca.presign == "yes" and ca.cache and _may_run(ca.cache)]
    if names:
        words = [sys.executable, "-m", "ocsp_cgi", "presign", "--quiet", *names]
        subprocess.Popen(
            [*words, "--config", os.path.abspath(config)],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.DEVNULL,
            # A reader of the output of `sync` would wait for its end.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def _may_run(directory: str) -> bool:
    try:
        return os.geteuid() in (0, os.stat(directory).st_uid)
    except OSError:
        return False


def _owner(directory: str, ca: CASettings) -> int:
    """The owner of a `cache`, as whom this process can run.  CommandError if it cannot."""
    try:
        uid = os.stat(directory).st_uid
    except OSError as error:
        raise CommandError(
            f"[{ca.name}] {directory}: {error.strerror}: `cache` names it; `{entry.program()}"
            " check` says how to make it"
        ) from None
    if os.geteuid() not in (0, uid):
        name = _user(uid)
        raise CommandError(
            f"{directory} belongs to {name}, so this must run as {name} or root:\n"
            f"    sudo {shlex.join([entry.program(), *sys.argv[1:]])}"
        )
    return uid


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user {uid}"


def _reported(work: partial[int]) -> int:
    """What work() returns, in a process of its own, which has to report an error itself."""
    try:
        return work()
    except CommandError as error:
        return entry.report("presign", error)


def _run(
    directory: str,
    settings: Settings,
    cas: list[CASettings],
    processes: int,
    margin: int | None,
    quiet: bool,
) -> int:
    with presigning.lock(directory) as is_locked:
        if not is_locked:
            if not quiet:
                print(
                    f"{directory}: another run is at work. It sees what changes in the indexes of"
                    " its CAs; after a change of the config, or for another CA, run this again"
                    " when it has ended"
                )
            return entry.OK
        status, begun = entry.OK, []
        for ca in cas:
            life = ca.nmin * 60 // 4 if margin is None else margin
            try:
                begun.append((ca, Presigning(ca, settings, processes, life)))
            except OCSPError as error:
                status = _report(ca, str(error))
        if begun:
            number = sum(one.number for _, one in begun)
            number += sum(
                estimate(ca)
                for ca in settings.cas
                if ca.cache == directory and ca.presign == "yes" and ca not in cas
            )
            presign_room.check(begun[0][0], number)
        while begun:
            ended = [(_presign(ca, one, quiet), ca, one) for ca, one in begun]
            status = max(status, *(its for its, _, _ in ended))
            # While the others were signed for, and no other run could begin.
            begun = [(ca, one) for its, ca, one in ended if its == entry.OK and one.has_changed()]
    return status


def _presign(ca: CASettings, presigning: Presigning, quiet: bool) -> int:
    label = f"[{ca.name}]"
    progress = Progress(label, presigning.number, stream(quiet))
    began = time.monotonic()
    try:
        done = presigning.run(progress)
    except OCSPError as error:
        return _report(ca, str(error))
    finally:
        progress.end()
    if not quiet:
        print(f"{label} {_describe(done, time.monotonic() - began)}")
    if done.stop:
        return _report(ca, f"stopped: {done.stop}")
    for reason in done.reasons:
        _report(ca, reason)
    if done.failed:
        text = f"{plural(done.failed, 'response')} could not be signed, for the reasons above"
        return _report(ca, text)
    return entry.OK


def _describe(done: Done, seconds: float) -> str:
    text = f"{plural(done.signed, 'response')} signed"
    if done.signed:
        text += (
            f" in {duration(seconds)} ({done.signed / max(seconds, 0.001):.0f} per second,"
            f" {done.bytes // done.signed} bytes each)"
        )
    return f"{text}, {done.fresh} still fresh"


def _report(ca: CASettings, reason: str) -> int:
    sys.stderr.write(f"[{ca.name}] {printable(reason, 2000)}\n")
    return entry.WARNING
