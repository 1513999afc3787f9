"""Calls a function as another user: the only way to find out what that user may do, with all
groups, access control lists and mount options."""

from __future__ import annotations

import json
import os
import pwd
import select
import signal
import sys
import time
from typing import Any, Callable, NoReturn

from .. import answer

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


def _run(
    account: pwd.struct_passwd, writer: int, function: Callable[..., Any], arguments: Any
) -> NoReturn:
    try:
        try:
            if account.pw_uid != os.geteuid():
                os.initgroups(account.pw_name, account.pw_gid)
                os.setgid(account.pw_gid)
                os.setuid(account.pw_uid)
            result = ["", function(*arguments)]
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
