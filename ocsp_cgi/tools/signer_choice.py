"""Which of a CA's signers a renewal is about."""

from __future__ import annotations

from .. import algorithms
from ..certificate import Certificate, load, newest
from ..config import CASettings, is_uri
from ..import_cryptography import SignerError
from ..signer import load_own
from . import config_file, signer_candidate, signer_files, signer_request
from .entry import UNKNOWN, CommandError, program


def of_option(ca: CASettings, number: str, now: int) -> CASettings:
    """The section with the signer of `--signer` alone.  A second one that the config does not have
    yet is named after the first.  CommandError if that cannot be read."""
    signers = ca.signers()
    if number == "1":
        return signers[0]
    if len(signers) > 1:
        return signers[1]
    if is_uri(ca.rkey):
        raise CommandError(
            f"[{ca.name}] `rkey` is on a token, so the files of a second signer cannot be named"
            " after it: make a key and a certificate as in steps 2 and 3 of `Install it` in the"
            " README, and name them with `rkey2` and `rsigner2`"
        )
    first = _certificate(ca, now)
    if first is None:
        raise CommandError(
            f"{ca.rsigner}: cannot be read, and the second signer takes its subject and name from"
            f" it: {program()} check {ca.name}"
        )
    kind = signer_request.other_kind(first)
    second = signer_candidate.with_signer(ca, *signer_files.added(ca, kind.name.split()[0].lower()))
    second.suffix = "2"
    return second


def to_renew(ca: CASettings, now: int) -> CASettings:
    """The section with the signer alone that expires first.  CommandError if the certificate of one
    of two cannot be read."""
    found = [(one, _certificate(one, now)) for one in ca.signers()]
    ends = [(one, own.not_after) for one, own in found if own]
    if len(ends) == 1 < len(found):
        [lost] = [one for one, own in found if own is None]
        other = ends[0][0].suffix or "1"
        raise CommandError(
            f"{lost.rsigner}: cannot be read, so which signer expires first is not known:"
            f" {program()} check {ca.name}.  To renew the other one, add --signer {other}",
            UNKNOWN,
        )
    return min(ends, key=lambda end: end[1])[0] if ends else ca.signers()[0]


def for_certificate(ca: CASettings, path: str, now: int) -> CASettings:
    """The section with the signer alone that the certificate in a file is to follow: the one with
    the same kind of key; if that is not one of two, the one whose own cannot be read, or that
    expires first."""
    signers = ca.signers()
    try:
        kind = algorithms.key_kind(load(path))
        found = [(one, _certificate(one, now)) for one in signers]
        same = [one for one, own in found if own and algorithms.key_kind(own) == kind]
    except (OSError, ValueError):
        return signers[0]  # the certificate is verified later
    lost = [one for one, own in found if own is None]
    if len(same) == 1 or len(lost) == 1:
        return (same or lost)[0]
    return to_renew(ca, now)


def with_previous(ca: CASettings, file: str) -> CASettings:
    """The section with the signer alone of which the config remembers the previous one.
    CommandError if it remembers that of both."""
    signers = ca.signers()
    found = [
        one for one in signers if config_file.remembered(file, ca.name, f"rsigner{one.suffix}")
    ]
    if len(found) > 1:
        raise CommandError(
            f"[{ca.name}] has a previous certificate of each signer: which is meant?  Add --signer"
            " 1 or --signer 2",
            UNKNOWN,
        )
    return found[0] if found else signers[0]


def refuse_without_key(ca: CASettings) -> None:
    """CommandError if another host signs for this CA."""
    if not ca.rkey:
        raise CommandError(
            f"[{ca.name}] has no `rkey`: renew its signer on the host with the key, and copy the"
            f" new certificate to {ca.rsigner}"
        )


def _certificate(ca: CASettings, now: int) -> Certificate | None:
    try:
        return newest(load_own(ca), now)
    except SignerError:
        return None
