"""Calls a function as another user: to do what that user would, and to find out what that user may
do, with all groups, access control lists and mount options."""

from __future__ import annotations

import json
import os
import pwd
import select
import signal
import sys
import time
import traceback
from typing import Any, Callable, NoReturn

from .. import answer
from . import entry

SECONDS = 120


class ChildFailed(Exception):
    """The function raised an exception, or took too long; the text says why."""


def call(user: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` returns, in a child process that belongs to `user`: something JSON can carry.

    Only root can become another user.  ChildFailed if the function raises or takes longer than
    SECONDS, KeyError if there is no such user.
    """
    account = pwd.getpwnam(user)
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run(account, writer, function, arguments)
    os.close(writer)
    try:
        text = _read(reader)
    finally:
        os.close(reader)
        _end(child)
    # JSON and not pickle, since the child belongs to a user whom root need not trust.
    raised, result = json.loads(text) if text else ("the process ended without a result", None)
    if raised:
        raise ChildFailed(raised)
    return result


def run(uid: int, work: Callable[[], int]) -> int:
    """What work() returns in a child process that is this user's."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = entry.UNKNOWN
        try:
            become(uid)
            status = work()
        except KeyboardInterrupt:
            status = entry.INTERRUPTED
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    try:
        _, ended = os.waitpid(child, 0)
    except KeyboardInterrupt:
        os.waitpid(child, 0)
        raise
    status = os.waitstatus_to_exitcode(ended)
    return entry.UNKNOWN if status < 0 else status


def become(uid: int) -> None:
    """Give up root's rights for those of a user, with what belongs to a login."""
    try:
        user = pwd.getpwuid(uid)
        groups, gid = os.getgrouplist(user.pw_name, user.pw_gid), user.pw_gid
        os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
    except KeyError:  # ssh refuses to run then, but a local file can be copied
        groups, gid = [], 65534
    os.environ.pop("SSH_AUTH_SOCK", None)
    os.setgroups(groups)
    os.setgid(gid)
    os.setuid(uid)


def _run(
    account: pwd.struct_passwd, writer: int, function: Callable[..., Any], arguments: Any
) -> NoReturn:
    try:
        try:
            if account.pw_uid != os.geteuid():
                become(account.pw_uid)
            result = ["", function(*arguments)]
        except answer.OCSPError as error:  # which says what to do
            result = [str(error), None]
        except Exception as error:
            result = [answer.explain(error), None]
        with os.fdopen(writer, "w") as file:
            json.dump(result, file)
    finally:
        os._exit(0)


def _read(reader: int) -> bytes:
    """All that the child writes.  ChildFailed if it does not end in time."""
    deadline = time.monotonic() + SECONDS
    parts: list[bytes] = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            raise ChildFailed(f"no result within {SECONDS} seconds: does a file system hang?")
        part = os.read(reader, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _end(child: int) -> None:
    """End the child.  One that a file system holds up even now is left alone."""
    os.kill(child, signal.SIGKILL)
    for _ in range(100):
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.01)
