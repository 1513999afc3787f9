"""Responses signed in advance: whether a job signs them, and whether they are there."""

from __future__ import annotations

import os
import time
from io import FileIO
from pathlib import Path

from .. import cache, config, index_file
from ..config import CASettings
from ..issuer import Issuer
from ..tools import as_user, index_part, sample_requests
from ..tools.index_part import Part
from . import commands, sync_job
from .finding import Finding, Level
from .subject import Subject

JOB = "ocsp-cgi-presign"
_ROWS = 20  # at the beginning, in the middle and at the end of an index
_PART_BYTES = 100 * _ROWS
_TIMER_MINUTES = 10  # from one run of the job to the next, where systemd starts it
_PATIENCE_SECONDS = 15 * 60  # after a change of the index, for the job to run to its end


def examine(subject: Subject) -> list[Finding]:
    cas = subject.settings.cas if subject.settings else []
    presigned = [ca for ca in cas if ca.presign == "yes"]
    findings = []
    for ca in presigned:
        where = f"[{ca.name}]"
        if ca.cache is None:
            text = "`presign = yes`, but there is no `cache` for the responses: add one, or remove"
            findings.append(Finding(Level.WARN, f"{text} `presign`", where))
            continue
        try:
            seen, missing, age = as_user.call(subject.user, _look, subject.config, ca.name)
        except as_user.ChildFailed as error:
            findings.append(Finding(Level.WARN, f"presigned responses not checked: {error}", where))
            continue
        findings.append(_finding(ca, seen, missing, age))
    if presigned and not _is_scheduled():
        text = "nothing signs responses in advance: `presign = yes`, but no job is installed"
        findings.append(Finding(Level.WARN, text, "", commands.ours("install")))
    return findings


def _finding(ca: CASettings, seen: int, missing: int, age: int) -> Finding:
    where = f"[{ca.name}]"
    if not missing:
        return Finding(Level.OK, f"presigned: all of {seen} certificates looked at", where)
    text = f"{missing} of {seen} certificates looked at have no presigned response"
    if age < _PATIENCE_SECONDS:
        return Finding(Level.OK, f"{text} yet, since the index has just changed", where)
    if ca.nmin < 4 * _TIMER_MINUTES and _timer().exists():
        why = (
            f": with `nmin = {ca.nmin}` the job signs one again when the responder would use it for"
            f" {ca.nmin / 4:g} more minutes, but it runs every {_TIMER_MINUTES}: set `nmin` to"
            f" {4 * _TIMER_MINUTES} or more"
        )
        return Finding(Level.WARN, text + why, where)
    return Finding(Level.WARN, text, where, commands.ours("presign", ca.name))


def _is_scheduled() -> bool:
    return _timer().exists() or (sync_job.CRON / JOB).exists()


def _timer() -> Path:
    return sync_job.UNITS / f"{JOB}.timer"


def _look(path: str, name: str) -> tuple[int, int, int]:
    """How many certificates of a CA were looked at, how many have no response that would be used,
    as the responder's user finds it, and how many seconds ago the index changed."""
    settings = config.load(path)
    [ca] = [one for one in settings.cas if one.name == name]
    issuers = [Issuer(one) for one in settings.cas]
    own = issuers[settings.cas.index(ca)]
    if own.unreadable:
        raise own.unreadable
    sections = [one.settings for one in issuers if one.settings.cache and one.is_one_with(own)]
    now = int(time.time())

    def look(file: FileIO) -> tuple[int, int, int]:
        is_there: dict[int, bool] = {}
        of = os.fstat(file.fileno())
        size, age = of.st_size, int(time.time() - of.st_ctime)
        for is_revoked in (False, True):  # which outweighs other rows
            found: dict[int, bool] = {}
            for start in (0, size // 2, max(0, size - _PART_BYTES)):
                part = Part(start, start + _PART_BYTES, is_revoked)
                for number, row in index_part.rows(file, part, index_part.asked_since(ca, now)):
                    cert_id = sample_requests.cert_id(own.certificates[0], number).encoded
                    cached = [cache.get(cert_id, one, settings, now) for one in sections]
                    # Of several rows for one serial number only one is used.
                    found[number] = found.get(number, False) or any(
                        one is not None and one.line == row.line for one in cached
                    )
            is_there.update(found)
        return len(is_there), list(is_there.values()).count(False), age

    return index_file.read(ca.db, look)
