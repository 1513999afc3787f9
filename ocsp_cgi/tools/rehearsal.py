"""What the responder would answer now, found out with the responder itself: nothing is written, and
without the right to read the key everything but the signature is as it would be."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

from .. import cache, producer, responder, reuse
from ..algorithms import SignatureAlgorithm
from ..answer import INTERNAL_ERROR, SUCCESSFUL, Answer, Log, OCSPError
from ..config import CASettings, Settings
from ..files import Files
from ..issuer import Issuer
from ..ocsp_request import OCSPRequest
from ..signer import Signer
from . import token_user

if TYPE_CHECKING:
    from ..algorithms import Preference


class Rehearsed(NamedTuple):
    """`notes` are the lines of the log before that of the request; `cached_until` is when the
    cached response `answer` is replaced, None if it is a new one; `unsigned` is why its signature
    could not be made here, "" if it was."""

    answer: Answer
    notes: list[str]
    cached_until: int | None
    unsigned: str


def rehearse(encoded: bytes | None, settings: Settings, now: int) -> Rehearsed:
    """The answer to the DER of an OCSPRequest at a time in seconds since 1970."""
    cached = _cached(encoded, settings, now)
    if cached is not None:
        until = cached.next_update
        if cached.ca.rkey:
            until = cache.used_until(cached.this_update, cached.next_update)
        return Rehearsed(cached.answer(now), [], until, "")
    settings = _without_cache(settings)
    answer, notes = _respond(encoded, settings, now, Files())
    if (answer.response_status == INTERNAL_ERROR or notes) and _has_unreadable_key(settings):
        unsigned, unsigned_notes = _respond(encoded, settings, now, _Unsigned())
        reasons = [note for note in notes if note not in unsigned_notes]
        if unsigned.response_status == SUCCESSFUL and reasons:
            return Rehearsed(unsigned, unsigned_notes, None, reasons[-1])
        if answer.response_status == INTERNAL_ERROR:
            return Rehearsed(unsigned, unsigned_notes, None, "")
    return Rehearsed(answer, notes, None, "")


def _respond(
    encoded: bytes | None, settings: Settings, now: int, files: Files
) -> tuple[Answer, list[str]]:
    log = Log()
    answer = responder.respond(encoded, lambda: settings, now, log, files=files)
    return answer, log.lines()[:-1]


def _cached(encoded: bytes | None, settings: Settings, now: int) -> cache.CachedResponse | None:
    if encoded is None:
        return None
    try:
        request = OCSPRequest.from_der(encoded)
        producer.check_request(request)
        usable = reuse.find(request, settings, now, Files())
    except (OCSPError, OSError):  # as will be seen when a new response is made
        return None
    return usable[0] if usable else None


def _without_cache(settings: Settings) -> Settings:
    changed = copy.copy(settings)
    changed.cas = [copy.copy(ca) for ca in settings.cas]
    for ca in changed.cas:
        token_user.leave_cache(ca)
    return changed


def _has_unreadable_key(settings: Settings) -> bool:
    """Whether this user may not read a key, or its pass phrase."""
    for path in [path for ca in settings.cas for _, path in ca.private_files]:
        try:
            with open(path, "rb"):
                pass
        except PermissionError:
            return True
        except OSError:
            pass  # something is wrong with it, which the responder will say
    return False


class _Unsigned(Files):
    """As Files, with signers that check everything, and need no key."""

    def issuer(self, ca: CASettings) -> Issuer:
        return _IssuerWithoutKey(ca)


class _IssuerWithoutKey(Issuer):
    __slots__ = ()

    def signer(self, now: int, preferred: list[Preference] | None = None) -> Signer:
        return _SignerWithoutKey(super().signer(now, preferred))


class _SignerWithoutKey(Signer):
    __slots__ = ()

    def __init__(self, signer: Signer):
        for name in Signer.__slots__:
            setattr(self, name, getattr(signer, name))

    def sign(self, tbs: bytes, algorithm: SignatureAlgorithm) -> bytes:
        return b""
