"""Why a certificate has the status it has: which CA, which row of its index, and which rule."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .. import index_file, index_row, sync_state, times
from ..config import CASettings, Settings
from ..index_row import Row
from ..issuer import Issuer
from ..lookup import Lookup
from ..ocsp_request import CertID
from ..ocsp_response import CertStatus, reason_name
from . import as_user, entry, remote_source, survey
from .entry import CommandError
from .index_source import LocalSource
from .labelled import line
from .not_copied import NotCopied
from .openssl_text import distinguished_name

_RULES = {
    b"V": "V is answered as good",
    b"E": "E (expired) is answered as good, as V is: good says that it was not revoked, no more",
    b"R": "R is answered as revoked, and beats every other row of its serial",
    b"S": "S (suspended) is answered as revoked, certificateHold",
}
_MOST_BYTES = 1024 * 1024 * 1024
_EXPIRED = ", also past its expiry: good says that it was not revoked, no more"


class Indexes:
    """The indexes of a config, each searched once for the same serial numbers.  `now` is in seconds
    since 1970."""

    def __init__(self, settings: Settings, serial_numbers: set[int], now: int):
        self.settings = settings
        self.now = now
        self._serial_numbers = serial_numbers
        self._surveys: dict[str, survey.Survey] = {}

    def of(self, ca: CASettings) -> survey.Survey:
        if ca.db not in self._surveys:
            self._surveys[ca.db] = survey.of(ca.db, self._serial_numbers)
        return self._surveys[ca.db]

    def has(self, ca: CASettings, number: int) -> bool:
        return number in self.of(ca).rows

    def explain(self, issuer: Issuer, cert_id: CertID | None, number: int) -> list[str]:
        """What the index of a CA says of a serial number, and which rule applies.

        `cert_id` names the certificate as a client does; None if that cannot be, because the
        certificate of the CA cannot be read.
        """
        ca = issuer.settings
        found = self.of(ca)
        lines = [line("Index", self._index(ca, found))]
        if found.problem:
            return [*lines, *_elsewhere(self._others(ca, number))]
        if number in found.rows:
            row, row_number = found.rows[number]
            lines += _row("Row", f"line {row_number}: ", row)
            lines.append(line("Says", _says(row, self.now)))
            rule = row.doubt or _rule(row, self.now)
        else:
            lines.append(line("Row", "none: this serial is not in the index"))
            lines += _elsewhere(self._others(ca, number))
            rule = _rule_of_the_absent(issuer, cert_id)
        if rule:
            lines.append(line("Rule", rule))
        has_doubt = number in found.rows and found.rows[number][0].doubt
        if not found.is_settled and not has_doubt:
            lines.append(
                line(
                    "",
                    "in an index that may be half of an old and half of a new one,"
                    " only R rows are trusted",
                )
            )
        return lines + [
            line("Odd", one) for one in found.warnings if not one.endswith(rule or "\n")
        ]

    def _index(self, ca: CASettings, found: survey.Survey) -> str:
        if found.problem:
            return f"cannot be read: {found.problem}"
        said = [found.path]
        if found.changed is not None:
            said.append(f"changed {_ago(found.changed, self.now)}")
        try:
            copied = int(os.stat(index_file.beside(ca.db, "heartbeat")).st_mtime)
            said.append(f"copied {_ago(copied, self.now)}")
        except OSError:
            pass
        return ", ".join(said)

    def _others(self, ca: CASettings, number: int) -> list[tuple[CASettings, survey.Survey, int]]:
        """The other CAs whose index has a row with this serial number, and its line."""
        others = {other.db: other for other in self.settings.cas if other.db != ca.db}
        surveys = [(other, self.of(other)) for other in others.values()]
        return [
            (other, found, found.rows[number][1])
            for other, found in surveys
            if number in found.rows
        ]

    def compare(self, ca: CASettings, number: int, source: str) -> tuple[list[str], bool]:
        """What the index of the CA's host says of a serial number.  Also returns whether the index
        here says the same."""
        source = source or ca.sync_from or ""
        if not source:
            raise CommandError(
                f"[{ca.name}] has no `sync_from`: name the index of the CA's host with"
                " --from=HOST:PATH"
            )
        here = self.of(ca).rows.get(number)
        there = _rows_of(source, self.of(ca).path, number)
        if there is None:
            said = "no row there either" if here is None else "no row there: is it this CA's index?"
            return [line("CA host", f"{source}: {said}")], here is None
        row, row_number = there
        if here is not None and here[0].line == row.line:
            return [line("CA host", f"{source} line {row_number}: the same row")], True
        lines = _row("CA host", f"{source} line {row_number}: ", row)
        lines.append(line("", _says(row, self.now)))
        fix = f"not what is here, by which the responder answers: {entry.program()} sync {ca.name}"
        return [*lines, line("", fix)], False


def sync_problem(ca: CASettings, now: int) -> list[str]:
    """Why the last copy of the index of a CA was not put in place; nothing if it was."""
    state = sync_state.read(ca.db)
    if state is None or state.result == sync_state.OK:
        return []
    fix = f": {state.fix}" if state.fix else ""
    said = f"{state.result} {_ago(state.ended, now)}: {state.reason}{fix}"
    return [line("Last sync", said)]


def name_of(issuer: Issuer) -> str:
    """The subject of a CA, or why it is unknown."""
    if issuer.certificates:
        return distinguished_name(issuer.certificates[0].subject)
    return str(issuer.unreadable)


def list_of(issuers: Iterable[Issuer]) -> list[str]:
    """The CAs of the config, one a line."""
    labels = ["CAs"]
    return [
        line(labels.pop() if labels else "", f"[{one.settings.name}] {name_of(one)}")
        for one in issuers
    ]


def status(of: CertStatus, now: int) -> str:
    """A CertStatus in words."""
    if of.revocation_time is None:
        return of.name
    reason = of.revocation_reason
    because = "without a reason" if reason is None else f"because of {reason_name(reason)}"
    when = f"{times.log_time(of.revocation_time)}, {_ago(of.revocation_time, now)}"
    return f"revoked on {when}, {because}"


def _row(label: str, place: str, row: Row) -> list[str]:
    """The row as it stands in the file: blanks for its TABs, unless it is odd."""
    text = row.line.decode("utf-8", "backslashreplace").rstrip("\r")
    if index_row.is_row(row.line) and not row.warning:
        text = "  ".join(field or "-" for field in text.split("\t"))
    return [line(label, place + text, may_break=True)]


def _says(row: Row, now: int) -> str:
    if row.expiry is None:
        end = "an expiry that cannot be read"
    elif row.expiry <= now:
        end = f"expired on {times.log_time(row.expiry)}, {_ago(row.expiry, now)}"
    else:
        end = f"valid until {times.log_time(row.expiry)}, {_ago(row.expiry, now)}"
    if row.is_revoked:
        return f"{status(row.cert_status, now)}; otherwise {end}"
    return end


def _rule(row: Row, now: int) -> str:
    rule = _RULES.get(row.type, "")  # another type has a warning
    is_expired = row.expiry is not None and row.expiry <= now
    return rule + _EXPIRED if row.type == b"V" and is_expired else rule


def _rule_of_the_absent(issuer: Issuer, cert_id: CertID | None) -> str:
    setting = f"`unissued = {issuer.settings.unissued}`"
    if cert_id is None:
        return f"{setting} says how such a serial is answered"
    lookup = Lookup(cert_id, [])
    lookup.issuer = issuer
    answered = lookup.cert_status.name
    if lookup.is_unissued:
        answered += (
            f" on {times.log_time(times.EPOCH)[:10]}, certificateHold (RFC 6960 section 2.2)"
        )
    return f"such a serial is answered as {answered}: {setting}"


def _elsewhere(others: list[tuple[CASettings, survey.Survey, int]]) -> list[str]:
    return [
        line(
            "Elsewhere",
            f"in line {number} of [{ca.name}]'s index, {found.path}, which is not asked"
            " about certificates of this CA",
        )
        for ca, found, number in others
    ]


def _rows_of(source: str, target: str, number: int) -> tuple[Row, int] | None:
    """The row of a serial number in the index of a source, fetched if it is on another host.

    `target` is the index here: its directory belongs to the user who copies.
    """
    try:
        fetched_from = remote_source.parse(source, insecure=False)
    except CommandError as error:
        raise CommandError(str(error)) from None
    if isinstance(fetched_from, LocalSource):
        found = survey.of(source, {number})
        if found.problem:
            raise CommandError(found.problem)
        return found.rows.get(number)
    directory = tempfile.mkdtemp(prefix="ocsp-cgi-explain-")
    try:
        owner = os.stat(os.path.dirname(target) or ".").st_uid
        copy, nothing = Path(directory, "index"), Path(directory, "empty", "index")
        nothing.parent.mkdir()

        def fetch() -> str:
            """Why it cannot be fetched."""
            try:
                fetched_from.copy(nothing, copy, _MOST_BYTES)
            except NotCopied as error:
                return error.reason
            return ""

        if os.geteuid() == 0 and owner != 0:
            os.chown(directory, owner, -1)
            problem = as_user.call(pwd.getpwuid(owner).pw_name, fetch)
        else:
            problem = fetch()
        if problem:
            raise CommandError(problem if source in problem else f"{source}: {problem}")
        found = survey.of(str(copy), {number})
        if found.problem:
            raise CommandError(found.problem.replace(str(copy), source))
        return found.rows.get(number)
    except KeyError:
        raise CommandError(f"no user has the number {owner}, which owns `db`") from None
    except as_user.ChildFailed as error:
        raise CommandError(f"{source}: {error}") from None
    except OSError as error:
        raise CommandError(f"{error.filename or source}: {error.strerror}") from None
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _ago(moment: int, now: int) -> str:
    if abs(moment - now) < 2:
        return "just now"
    if moment > now:
        return f"in {index_file.duration(moment - now)}"
    return f"{index_file.duration(now - moment)} ago"
