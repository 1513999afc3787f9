"""Copy the index of a CA from its host, and what another host has signed.

`sync_from` in the config says where the index is, and it is put in place once it is verified.  On a
host without the key, `cache_from` says where the responses are.  The job that `install --sync-from`
sets up runs this every minute.  After each success it touches the heartbeat on which `stale_after`
depends.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from .. import certificate, index_file
from ..answer import printable
from ..certificate import Certificate
from ..config import CASettings, Settings
from ..import_cryptography import SignerError
from ..signer import load_certificates, load_own
from ..sync_state import OK, SyncState
from ..tools import (
    as_user,
    config_file,
    entry,
    index_contents,
    presign_run,
    remote_source,
    response_sync,
)
from ..tools.entry import CommandError
from ..tools.index_contents import Verdict
from ..tools.index_source import Copied
from ..tools.index_target import Busy, Target
from ..tools.labelled import plural
from ..tools.not_copied import Failed, NotCopied, Refused

_GIBIBYTE = 1024**3
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": _GIBIBYTE}
_PATIENCE_SECONDS = 30  # for another run to end
EXAMPLES = ("sync", "sync root-ca --force")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cas",
        nargs="*",
        metavar="CA",
        help="sections of the config (default: all with `sync_from` or `cache_from`)",
    )
    config_file.add_argument(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="use an index that has fewer rows or revocations than the one in use",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="print only problems, and do not wait for another run"
    )
    parser.add_argument(
        "--max-size",
        metavar="BYTES",
        type=_size,
        default=_GIBIBYTE,
        help="refuse a longer index; with K, M or G (default: 1G)",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="allow rsync:// and HOST::, which anyone on the way can change",
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if every index is as new as its source, 1 if one is not."""
    settings = config_file.load(arguments)
    chosen = [
        ca for ca in config_file.choose(settings, arguments.cas) if ca.sync_from or ca.cache_from
    ]
    for name in arguments.cas:
        if name not in [ca.name for ca in chosen]:
            raise CommandError(
                f"[{name}] has no `sync_from` in {config_file.path(arguments)}: add"
                f" `sync_from = HOST:PATH`, or the path of a local file{_or_responses(settings)}"
            )
    if not chosen:
        raise CommandError(
            f"no CA in {config_file.path(arguments)} has `sync_from`: add `sync_from = HOST:PATH`,"
            f" or the path of a local file, to its section{_or_responses(settings)}"
        )
    status = entry.OK
    done: set[str] = set()
    changed: list[CASettings] = []
    for ca in chosen:
        if ca.sync_from and ca.name not in done:
            one = _Sync(ca, settings, arguments)
            done.update(section.name for section in one.sections)
            before = one.fingerprint()
            status = max(status, one.run())
            if one.fingerprint() != before:
                changed += one.sections
    presign_run.start_after_change(changed, config_file.path(arguments))
    # Indexes first: a revocation must not wait for responses, of which there may be many.
    for ca in chosen:
        if ca.cache_from:
            status = max(status, response_sync.run(ca, arguments))
    return status


def _or_responses(settings: Settings) -> str:
    """What a config may lack as well if it has a CA without a key."""
    if all(ca.rkey for ca in settings.cas):
        return ""
    return "; for the responses of a CA without `rkey`, add `cache_from = HOST:PATH`"


class _Sync:
    """The copy of one index, which may be that of several `sections`."""

    def __init__(self, ca: CASettings, settings: Settings, arguments: argparse.Namespace):
        self.arguments = arguments
        self.source_setting = ca.sync_from or ""
        self.sections = [ca]
        self.target: Target | None = None
        self.problem: NotCopied | None = None
        try:
            self.target = Target(ca.db)
            self.sections += [
                other for other in settings.cas if other is not ca and self._is_target_of(other)
            ]
            self._check_sections()
        except NotCopied as error:
            self.problem = error

    def _is_target_of(self, other: CASettings) -> bool:
        try:
            return self.target is not None and Target(other.db).path == self.target.path
        except NotCopied:
            return False

    def _check_sections(self) -> None:
        for other in self.sections:
            if other.sync_from not in (None, self.source_setting):
                raise Failed(
                    f"[{self.sections[0].name}] and [{other.name}] have one `db`, and different"
                    " `sync_from`: which is right?"
                )

    @property
    def label(self) -> str:
        return " ".join(f"[{section.name}]" for section in self.sections if section.sync_from)

    def fingerprint(self) -> bytes:
        """A fingerprint of the index that is there, b"" if there is none."""
        try:
            return index_file.fingerprint(os.stat(self.target.path)) if self.target else b""
        except OSError:
            return b""

    def run(self) -> int:
        """Copy, as the owner of the index if this is root.  Returns the exit code."""
        if self.target is not None and os.geteuid() == 0 and self.target.owner != 0:
            return as_user.run(self.target.owner, self._run)
        return self._run()

    def _run(self) -> int:
        os.umask(0o077)
        try:
            if self.problem or self.target is None:
                raise self.problem or Failed("no target")
            return self._copy(self.target)
        except Busy:
            self._say("another run is copying it")
            return entry.OK
        except NotCopied as error:
            return self._report(error)
        except OSError as error:
            return self._report(Failed(f"{error.filename or self.target}: {error.strerror}"))

    def _copy(self, target: Target) -> int:
        try:
            source = remote_source.parse(self.source_setting, self.arguments.insecure)
        except CommandError as error:
            raise Failed(f"sync_from = {error}") from None
        patience = 0 if self.arguments.quiet else _PATIENCE_SECONDS
        with target.locked(patience) as place:
            copied = source.copy(target.path, place / target.path.name, self.arguments.max_size)
            verdict = None
            if copied.path:
                target.prepare(copied.path, copied.changed)
                old = str(target.path) if target.exists else None
                force, signers = self.arguments.force, self._signers()
                verdict = index_contents.verify(str(copied.path), old, signers, force)
                target.replace(copied.path)
            target.touch_heartbeat(copied.as_of)
            target.write_state(SyncState(int(time.time()), self.source_setting, OK))
            status = self._write_map(target)
        return max(status, self._report_success(verdict, copied))

    def _write_map(self, target: Target) -> int:
        """Returns 1, after a warning, if that is not possible."""
        try:
            target.write_map()
        except (OSError, NotCopied) as error:
            reason = str(error)
            if isinstance(error, OSError):
                reason = f"{error.filename2 or error.filename}: {error.strerror}"
            text = (
                "the index is searched for each request, which takes longer, since there is no map"
                f" of it: {reason}"
            )
            sys.stderr.write(f"{self.label} {printable(text, 1000)}\n")
            return entry.WARNING
        return entry.OK

    def _signers(self) -> list[tuple[str, Certificate]]:
        """The certificates that the CA issued to its responder, each with its file."""
        found = []
        for section in self.sections:
            for alone in section.signers():
                signer = _delegated_signer(alone)
                if signer:
                    found.append((alone.rsigner, signer))
        return found

    def _report_success(self, verdict: Verdict | None, copied: Copied) -> int:
        text = "unchanged" if verdict is None else f"copied: {_describe(verdict)}"
        age = int(time.time() - copied.as_of)
        limits = [section.stale_after for section in self.sections if section.stale_after]
        if limits and age > min(limits) * 60:
            text += (
                f"; but {self.source_setting} is {index_file.duration(age)} old, more than"
                f" stale_after = {min(limits)} minutes, so the responder does not answer"
            )
            sys.stderr.write(f"{self.label} {printable(text, 1000)}\n")
            return entry.WARNING
        if age >= 60:
            text += f" (the source is {index_file.duration(age)} old)"
        self._say(text)
        return entry.OK

    def _say(self, text: str) -> None:
        if not self.arguments.quiet:
            print(f"{self.label} {printable(text, 1000)}")

    def _report(self, problem: NotCopied) -> int:
        """Print why nothing was copied, and leave it beside the index.  Returns the exit code."""
        fix, end = problem.fix or self._command(), ""
        if isinstance(problem, Refused):
            end = f"{'' if problem.reason[-1] in '?.' else '.'} The index in use stays as it is"
            if problem.may_be_forced:
                fix, end = self._command("--force"), f"{end}; if the new one is right"
        reason = problem.reason
        if self.target is not None:
            state = SyncState(int(time.time()), self.source_setting, problem.result, reason, fix)
            try:
                self.target.write_state(state)
            except OSError as error:
                reason += f" (and {error.filename}: {error.strerror})"
        problem.print(self.label, reason, fix, end)
        return entry.WARNING

    def _command(self, *options: str) -> str:
        """The command that copies this index again."""
        return config_file.command(self.arguments, "sync", *options, self.sections[0].name)


def _delegated_signer(ca: CASettings) -> Certificate | None:
    """The certificate that a CA issued to its responder; None if it signs itself, if its signer is
    of another CA, or if there is none that can be read yet."""
    try:
        signer = certificate.newest(load_own(ca), int(time.time()))
        issuers = load_certificates("ca", ca.ca)
    except SignerError:
        return None
    if any(signer.is_same_holder(issuer) for issuer in issuers):
        return None
    is_issued = any(certificate.same_name(signer.issuer, one.subject) for one in issuers)
    return signer if is_issued else None


def _describe(verdict: Verdict) -> str:
    parts = [plural(verdict.rows, "row")]
    if verdict.more_rows is None or verdict.more_revoked is None:
        parts.append(f"{verdict.revoked} revoked")
    else:
        parts += [
            f"{abs(difference)} {'more' if difference > 0 else 'fewer'} {than}"
            for difference, than in (
                (verdict.more_rows, "than before"),
                (verdict.more_revoked, "revoked"),
            )
            if difference
        ]
    if verdict.malformed:
        parts.append(plural(verdict.malformed, "malformed line"))
    return ", ".join(parts)


def _size(word: str) -> int:
    number, unit = word.rstrip("KMGkmg"), word.lstrip("0123456789").upper()
    if not (number.isascii() and number.isdigit()) or unit not in _UNITS or not int(number):
        raise argparse.ArgumentTypeError(f"invalid size `{word}`: expected such as 500M or 1G")
    return int(number) * _UNITS[unit]
