"""Uses a key on a token as the responder's user, though root has typed the command.

That user has to be able to, and remembers in `cache` that the token has refused a PIN: root, who
uses no other user's `cache`, would try a wrong one each time, until the token locks.
"""

from __future__ import annotations

import os
import pwd
from typing import Callable

from .. import pin_memory
from ..config import CASettings, is_uri
from ..import_cryptography import SignerError
from . import as_user


def use(ca: CASettings, sign: Callable[[], bytes]) -> bytes:
    """What sign() returns, which uses the key of a section with one signer.

    What it imports must have been loaded: the user may be unable to read this program.  SignerError
    if sign() raises one, or takes too long.
    """
    user = _owner(ca.cache)
    if not user:
        return sign()
    try:
        signed, failed = as_user.call(user, _outcome, sign)
    except as_user.ChildFailed as error:
        raise SignerError(f"{ca.rkey}: {error}") from None
    if failed:
        raise SignerError(failed)
    return bytes.fromhex(signed)


def leave_cache(ca: CASettings) -> None:
    """Let this process do without the `cache` of a CA, and not try again a PIN that a token has
    refused, as is known only there."""
    for alone in ca.signers():
        if not is_uri(alone.rkey):
            continue
        pin = pin_memory.PIN(alone, alone.cache)
        user = _owner(alone.cache)
        if not user:
            pin.standing()  # which keeps it in memory
            continue
        try:
            standing = as_user.call(user, lambda pin=pin: pin.standing().decode())
        except as_user.ChildFailed:
            continue
        if standing:
            pin_memory.PIN(alone, None).note(standing.encode())
    ca.cache = None


def _owner(directory: str | None) -> str:
    """The owner of a `cache`, "" if this process need not, or cannot, become that user."""
    if directory is None or os.geteuid() != 0:
        return ""
    try:
        uid = os.stat(directory).st_uid
        return pwd.getpwuid(uid).pw_name if uid else ""
    except (OSError, KeyError):
        return ""


def _outcome(sign: Callable[[], bytes]) -> tuple[str, str]:
    """What sign() returns, in hex, and why it failed, "" if it did not."""
    try:
        return sign().hex(), ""
    except SignerError as error:
        return "", str(error)
