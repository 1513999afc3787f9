"""The database: whether it can be read and trusted, what its rows say, the signer's among them, and
how old it is."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from .. import certificate, config, index_file, index_search, limits
from ..answer import OCSPError, printable
from ..config import CASettings
from ..import_cryptography import SignerError
from ..issuer import Issuer
from ..tools import as_user
from ..tools.labelled import plural
from . import commands, index_survey, preload
from .finding import Finding, Level, Measure
from .signer import renewal
from .subject import Subject

_MOUNTS = "/proc/self/mountinfo"
# Longer than a serial number may be (RFC 5280 section 4.1.2.2).  Who looks for what is not there
# learns whether the index can be trusted up to its end.
_ABSENT = 1 << 160


def examine(subject: Subject) -> list[Finding]:
    """The database is read as the responder's user, who may not be able to."""
    findings = []
    preload.everything()
    for ca in subject.settings.cas if subject.settings else []:
        where = f"[{ca.name}]"
        try:
            seen = as_user.call(subject.user, look, subject.config, ca.name, subject.now)
        except as_user.ChildFailed as error:
            findings.append(Finding(Level.WARN, f"database not checked: {error}", where))
            continue
        found = [Finding(Level.FAIL, text, where) for text in seen["errors"]]
        found += [Finding(Level.WARN, text, where) for text in seen["warnings"]]
        found += _revoked(ca, seen)
        if seen["survey"]:
            found = [*_rows(ca, seen["survey"]), *found, *_mounted(ca, seen["survey"]["path"])]
        findings += [*found, *_ages(ca, seen["survey"], subject)]
    return findings


def look(config_path: str, name: str, now: int) -> dict[str, Any]:
    """What is in the database of a CA: `survey` as index_survey.survey, None if it cannot be read;
    `errors` and `warnings` of the responder about it; `revoked` is what it says of each revoked
    signer, by its suffix, of `signers` that it has."""
    ca = next(one for one in config.load(config_path).cas if one.name == name)
    errors, warnings, revoked = [], [], {}
    try:
        surveyed = index_survey.survey(ca.db)
    except OCSPError as error:
        return {"survey": None, "errors": [str(error)], "warnings": [], "revoked": {}}
    issuer, signers = Issuer(ca), []
    for alone in ca.signers() if not issuer.unreadable else []:
        with contextlib.suppress(OCSPError):  # the check of the signer reports it
            signers.append(issuer.signer_of(alone, now))
    numbers = {signer.certificate.serial_number for signer in signers}
    try:
        found = index_search.find(ca.db, {*numbers, _ABSENT})
    except OCSPError as error:
        return {"survey": surveyed, "errors": [str(error)], "warnings": [], "revoked": {}}
    warnings += found.warnings
    for signer in signers:
        number, path = signer.certificate.serial_number, signer.settings.rsigner
        row = found.rows.get(number)
        try:
            if row and signer.delegated:
                signer.check_row(row, found.is_settled)
            elif signer.delegated and signer.is_issued():
                warnings.append(without_row(ca, path, number, signer.option))
        except SignerError as error:
            revoked[signer.settings.suffix] = str(error)
        except OCSPError as error:
            errors.append(str(error))
    return {
        "survey": surveyed,
        "errors": errors,
        "warnings": warnings,
        "revoked": revoked,
        "signers": len(signers),
    }


def _revoked(ca: CASettings, seen: dict[str, Any]) -> list[Finding]:
    """While one of two signers is sound, what is wrong with the other is a warning."""
    revoked = seen["revoked"]
    level = Level.WARN if revoked and len(revoked) < seen["signers"] else Level.FAIL
    return [
        Finding(level, revoked[alone.suffix], f"[{ca.name}]", renewal(alone, ca))
        for alone in ca.signers()
        if alone.suffix in revoked
    ]


def without_row(ca: CASettings, rsigner: str, serial_number: int, option: str = "rsigner") -> str:
    """What it means that the database has no row of its CA's signer, whose certificate is in the
    file `rsigner`."""
    return (
        f"{ca.db}: no row of {rsigner}, serial {certificate.index_serial(serial_number)}:"
        " is this index older than that certificate, or another CA's?"
        f" Copy it from the host of [{ca.name}]"
        f" (warning={option}-has-no-row-in-db)"
    )


def _rows(ca: CASettings, seen: dict[str, Any]) -> list[Finding]:
    where, types, path = f"[{ca.name}]", seen["types"], seen["path"]
    names = {"V": "valid", "R": "revoked", "E": "expired"}
    counts = [f"{types.get(kind, 0)} {name}" for kind, name in names.items()]
    counts += [
        f"{count} of type {printable(kind, 10)}"
        for kind, count in sorted(types.items())
        if kind not in names
    ]
    measures = tuple(Measure(f"{ca.name} {names[kind]}", types.get(kind, 0)) for kind in names)
    findings = [Finding(Level.OK, f"{path}: {', '.join(counts)}", where, measures=measures)]
    if seen["odd_count"]:
        lines = "; ".join(f"line {number}: {text}" for number, text in seen["odd"])
        more = seen["odd_count"] - len(seen["odd"])
        text = f"{path}: {plural(seen['odd_count'], 'line')} to correct: {lines}"
        findings.append(Finding(Level.WARN, text + (f"; and {more} more" if more else ""), where))
    if seen["repeated_count"]:
        shown = "; ".join(
            f"{printable(serial, 64)} in lines {', '.join(map(str, at[:5]))}"
            for serial, at in seen["repeated"]
        )
        more = seen["repeated_count"] - len(seen["repeated"])
        text = (
            f"{path}: {plural(seen['repeated_count'], 'serial number')} with several rows, of"
            f" which a revoked one is used: {shown}"
        )
        findings.append(Finding(Level.WARN, text + (f"; and {more} more" if more else ""), where))
    return findings


def _mounted(ca: CASettings, path: str) -> list[Finding]:
    """A bind mount of the file shows the state of the day when it was mounted."""
    if os.path.realpath(path) not in _mount_points():
        return []
    text = (
        f"{path}: this file itself is a mount, which does not follow when `openssl ca` replaces it:"
        " mount the directory that holds it"
    )
    return [Finding(Level.FAIL, text, f"[{ca.name}]")]


def _mount_points() -> set[str]:
    try:
        with open(_MOUNTS, "rb") as file:
            fields = [line.split()[4] for line in file]
    except OSError:
        return set()
    return {os.fsdecode(one.decode("unicode_escape").encode("latin-1")) for one in fields}


def _ages(ca: CASettings, seen: dict[str, Any] | None, subject: Subject) -> list[Finding]:
    where, measures, texts, findings = f"[{ca.name}]", [], [], []
    heartbeat = _heartbeat(ca.db)
    written = seen["mtime"] if seen else None
    for name, moment in (("index", written), ("heartbeat", heartbeat)):
        if moment is None:
            continue
        age = subject.now - moment
        limit = f"{ca.stale_after * 60}" if name == "heartbeat" and ca.stale_after else ""
        measures.append(Measure(f"{ca.name} {name} age", age, "s", critical=limit))
        if age >= -limits.HEARTBEAT_AHEAD_SECONDS:
            verb = "written" if name == "index" else "copied"
            texts.append(f"{verb} {index_file.duration(max(0, age))} ago")
        elif name == "index":
            text = (
                f"{ca.db}: the index was written {index_file.duration(-age)} in the future: is this"
                " host's clock right, and that of the CA's host?"
            )
            findings.append(Finding(Level.WARN, text, where, "timedatectl"))
    if ca.stale_after:
        try:
            index_file.check_heartbeat(ca.db, ca.stale_after, subject.now)
        except OCSPError as error:
            findings.append(Finding(Level.FAIL, str(error), where, _copy(ca), tuple(measures)))
            return findings
        texts.append(f"stale_after = {ca.stale_after} minutes")
    elif ca.stale_after is None and (heartbeat is not None or ca.is_copied_from_host):
        text = (
            "no `stale_after`: if the job that copies the index stops, revoked certificates stay"
            " good, and nobody notices (`stale_after = never` if it is copied by hand)"
        )
        command = commands.set_setting(subject.config, ca.name, "stale_after", "10")
        findings.append(Finding(Level.WARN, text, where, command))
    if texts:
        text = f"the index was {', '.join(texts)}"
        findings.append(Finding(Level.OK, text, where, measures=tuple(measures)))
    return findings


def _heartbeat(db: str) -> int | None:
    try:
        return int(os.stat(index_file.beside(db, "heartbeat")).st_mtime)
    except OSError:
        return None


def _copy(ca: CASettings) -> str:
    return commands.ours("sync", ca.name) if ca.sync_from else ""
