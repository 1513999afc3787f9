"""What a host without a key has to answer with: whether it is there, and still valid."""

from __future__ import annotations

import base64
import os
import random
from typing import Any

from .. import cache, config, der, index_file, limits
from ..config import CASettings
from ..index_row import read as read_row
from ..issuer import Issuer
from ..ocsp_request import CertID
from ..tools import as_user, response_copy
from ..tools.labelled import plural
from . import commands, preload
from .finding import Finding, Level
from .subject import Subject

_SAMPLE = 300  # responses that are read
_LATE = 4  # in the last quarter of its life, a newer one should be there


def examine(subject: Subject) -> list[Finding]:
    cas = subject.settings.cas if subject.settings else []
    preload.everything()
    return [_examine(ca, subject) for ca in cas if not ca.rkey]


def _examine(ca: CASettings, subject: Subject) -> Finding:
    where = f"[{ca.name}]"
    try:
        seen = as_user.call(subject.user, _look, subject.config, ca.name, subject.now)
    except as_user.ChildFailed as error:
        return Finding(Level.WARN, f"copied responses not checked: {error}", where)
    directory = ca.copied_responses if ca.cache_from else ca.cache
    if seen["other"]:
        signers = " or ".join(alone.rsigner for alone in ca.signers())
        text = (
            f"{seen['other']} of {plural(seen['read'], 'response')} looked at in {directory} are"
            f" not signed by {signers}, so clients get tryLater. Copy the certificate of the signer"
            " here from the host with the key: into that file, or into another one that `rsigner2`"
            " names"
        )
        return Finding(Level.WARN if seen["valid"] else Level.FAIL, text, where)
    if seen["ahead"]:
        text = (
            f"{seen['ahead']} of {plural(seen['read'], 'response')} looked at in {directory} are"
            " from the future by this host's clock, so clients get tryLater: set the clock here, or"
            " on the host with the key"
        )
        return Finding(Level.WARN if seen["valid"] else Level.FAIL, text, where, "timedatectl")
    if not seen["valid"]:
        text = "without `rkey`, only copied responses can be sent, and"
        text += f" all in {directory} have expired" if seen["expired"] else f" {directory} has none"
        text += ": every client gets tryLater. Sign them on the host with the key, then copy them"
        return Finding(Level.FAIL, text, where, _command(ca))
    left = index_file.duration(seen["end"] - subject.now)
    of = plural(seen["read"], "response")
    if seen["read"] < seen["files"]:
        of += f" looked at, of {seen['files']},"
    if seen["late"] or seen["expired"]:
        text = (
            f"{seen['late'] + seen['expired']} of {of} have expired, or will soon (the next in"
            f" {left}), and no newer ones have come: does the host with the key sign them in time"
            f" (`{commands.ours('presign', ca.name)}` there), and are they copied?"
        )
        return Finding(Level.WARN, text, where, _command(ca))
    return Finding(Level.OK, f"{of} valid; the first expires in {left}", where)


def _command(ca: CASettings) -> str:
    return commands.ours("sync", ca.name) if ca.cache_from else ""


def _look(path: str, name: str, now: int) -> dict[str, Any]:
    """What the responder's user finds: the number of `files`, and of those that were `read`; of
    these, how many are `valid`, `late` (valid, in the last part of their life), `expired`, from
    `other` signers than those of the section, and too far `ahead` of this host's clock, and when
    the first of the valid ones will `end`.

    Of certificates that have expired nobody need sign anything again, so they are left out.
    """
    [ca] = [one for one in config.load(path).cas if one.name == name]
    issuer = Issuer(ca)
    if issuer.unreadable:
        raise issuer.unreadable
    paths = _newest(ca)
    random.shuffle(paths)
    found = {"files": len(paths), "read": 0, "valid": 0, "late": 0, "expired": 0, "end": 0}
    found.update(other=0, ahead=0)
    looked_at = 0
    for one in paths:
        if not _is_about(one, issuer):
            found["files"] -= 1
            continue
        if looked_at == _SAMPLE:
            break
        looked_at += 1
        cached = _read(one, ca, now)
        if cached is None or _has_expired(cached, now):
            continue
        found["read"] += 1
        end = cached.next_update
        if now >= end:
            found["expired"] += 1
        elif not any(own.der in cached.der for own in issuer.load_all_own()):
            found["other"] += 1
        elif now < cached.this_update - limits.SIGNED_AHEAD_SECONDS:
            found["ahead"] += 1
        else:
            found["valid"] += 1
            found["late"] += end - now < (end - cached.this_update) // _LATE
            found["end"] = min(found["end"] or end, end)
    return found


def _newest(ca: CASettings) -> list[str]:
    """The file of each response, the newest where there are several: those of another number of
    buckets stay until they expire."""
    directories = [ca.copied_responses, *([ca.cache] if not ca.cache_from and ca.cache else [])]
    newest: dict[str, os.DirEntry[str]] = {}
    for directory in directories:
        for entry in response_copy.files(directory):
            if entry.name.endswith(cache.SUFFIX) and not entry.name.startswith("."):
                other = newest.setdefault(entry.name, entry)
                if other is not entry and other.stat().st_mtime < entry.stat().st_mtime:
                    newest[entry.name] = entry
    return [entry.path for entry in newest.values()]


def _is_about(path: str, issuer: Issuer) -> bool:
    """Whether a response is about a certificate of this CA, by the name of its file: a `cache` may
    be that of several."""
    name = os.path.basename(path)[: -len(cache.SUFFIX)]
    try:
        encoded = base64.urlsafe_b64decode(name)
        return issuer.matches(CertID(der.read(encoded, der.SEQUENCE)))
    except ValueError:
        return False


def _read(path: str, ca: CASettings, now: int) -> cache.CachedResponse | None:
    parts = cache.read(path)
    try:
        return cache.parse(parts, ca, now) if cache.has_format(parts[0]) else None
    except ValueError:
        return None


def _has_expired(cached: cache.CachedResponse, now: int) -> bool:
    """Whether the certificate that a response is about has, by its row."""
    try:
        number = int(dict(cached.log_fields)["serial"], 16)
    except (KeyError, ValueError):
        return False
    rows, _ = read_row(cached.line, 0, {number})
    return any(row.expiry is not None and row.expiry <= now for _, row in rows)
