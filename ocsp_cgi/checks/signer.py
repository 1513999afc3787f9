"""The signer and its CA: whether they may sign, whether key and certificate match, and how long
they last."""

from __future__ import annotations

from .. import algorithms, certificate, limits, times
from ..answer import OCSPError
from ..certificate import Certificate
from ..config import CASettings, is_uri
from ..issuer import Issuer
from ..signer import Signer, check_validity
from ..tools.labelled import plural
from . import commands, token
from .finding import Finding, Level, Measure
from .subject import Subject

_DAY = 24 * 60 * 60

# What the warnings of Signer mean, by how they begin.
MEANINGS = {
    "rsigner-keyUsage-lacks-": "its keyUsage lacks digitalSignature: some clients refuse it",
    "rsigner-has-critical-extension-": (
        "it has a critical extension that clients need not know, and then refuse it"
    ),
    "rsigner-key-cannot-be-verified-by-Firefox": (
        "Firefox cannot verify its kind of key, and loads pages whose certificate is revoked"
    ),
    "rsigner-lacks-ocsp-nocheck": (
        "it lacks id-pkix-ocsp-nocheck: clients ask whether it is revoked itself, or refuse it"
    ),
    "rsigner-lacks-authorityKeyIdentifier": (
        "it lacks authorityKeyIdentifier, by which clients find the CA's certificate"
    ),
    "rsigner-authorityKeyIdentifier-names-an-older-": (
        "its authorityKeyIdentifier names an older certificate of the CA: clients that trust only"
        " the new one refuse it"
    ),
    "rsigner-authorityKeyIdentifier-names-another-": (
        "its authorityKeyIdentifier names a certificate that is not in `ca`: clients may refuse it"
    ),
    "rsigner-has-authorityInfoAccess": (
        "it has authorityInfoAccess: clients may ask the responder about the responder"
    ),
    "rsigner-has-crlDistributionPoints": (
        "it has crlDistributionPoints: clients may look for it in a CRL"
    ),
    "rsigner-has-other-extendedKeyUsage": (
        "it has other extended key usages than OCSPSigning: it can be used for more than responses"
    ),
    "rsigner-is-a-CA": "it is a CA: anyone who steals its key can issue certificates",
    "rsigner-is-not-the-newest-": (
        "it is not the newest certificate in `ca`: name that one with `rsigner`, if clients have it"
    ),
}
_SHORT_KEY = "its key is shorter than it should be"


def examine(subject: Subject) -> list[Finding]:
    cas = subject.settings.cas if subject.settings else []
    return [finding for ca in cas for finding in _examine_all(ca, subject)]


def _examine_all(ca: CASettings, subject: Subject) -> list[Finding]:
    """The signers of a CA.  While one of two is sound, a failure of the other is a warning."""
    issuer = Issuer(ca)
    by_signer = [_examine(alone, issuer, subject) for alone in ca.signers()]
    worst = Level.FAIL
    if any(all(one.level < Level.FAIL for one in findings) for findings in by_signer):
        worst = Level.WARN
    of_signers = [
        one._replace(level=min(one.level, worst)) for findings in by_signer for one in findings
    ]
    return of_signers + _end_of_ca(ca, issuer, subject)


def _examine(ca: CASettings, issuer: Issuer, subject: Subject) -> list[Finding]:
    """One signer: `ca` is the section with that signer alone."""
    where = f"[{ca.name}]"
    try:
        if issuer.unreadable:
            raise issuer.unreadable
        signer = issuer.signer_of(ca, subject.now)
        if is_uri(ca.rkey):
            token.check_key(ca, subject)
        elif ca.rkey:
            signer.sign(b"check", signer.algorithm([]))
    except OCSPError as error:
        return [Finding(Level.FAIL, str(error), where), *_end_of_signer(ca, issuer, subject)]
    findings = []
    renew = renewal(ca, issuer.settings) if signer.delegated else ""
    for warning in signer.warnings():
        if "-expires-in-" not in warning:  # below, in days
            is_own = warning.startswith(signer.option)
            text = f"{ca.rsigner if is_own else ca.ca}: {meaning(warning)} (warning={warning})"
            findings.append(Finding(Level.WARN, text, where, renew if is_own else ""))
    kind, bits = algorithms.key_size(signer.certificate)
    issued = "issued by this CA, " if signer.delegated else ""
    matches = "matches" if ca.rkey else "is on another host"
    fits = f"{ca.rsigner}: {issued}its key ({kind}, {bits} bits) {matches}"
    findings += token.without_cache(ca)
    return [Finding(Level.OK, fits, where), *findings, *_end_of_signer(ca, issuer, subject)]


def renewal(ca: CASettings, section: CASettings) -> str:
    """The command that renews a signer of a section, "" if that is done on another host."""
    if not ca.rkey:
        return ""
    which = ["--signer", ca.suffix or "1"] if section.rsigner2 else []
    return commands.ours("renew", ca.name, *which)


def meaning(warning: str) -> str:
    """What a warning of Signer means, in the operator's words."""
    if "-key-has-" in warning:
        return _SHORT_KEY
    named = warning.replace("rsigner2-", "rsigner-", 1)
    return next((text for begin, text in MEANINGS.items() if named.startswith(begin)), warning)


def _end_of_signer(ca: CASettings, issuer: Issuer, subject: Subject) -> list[Finding]:
    """How long a signer lasts, unless the CA signs itself."""
    try:
        signer = Signer(ca, issuer.load_own(ca), issuer.certificates, subject.now)
    except (OCSPError, IndexError, ValueError):
        return []
    own = signer.certificate
    if own.is_same_holder(signer.ca):
        return []
    return [_end(ca, f"signer{ca.suffix}", ca.rsigner, own, renewal(ca, issuer.settings), subject)]


def _end_of_ca(ca: CASettings, issuer: Issuer, subject: Subject) -> list[Finding]:
    if not issuer.certificates:
        return []
    of_ca = certificate.newest(issuer.certificates, subject.now)
    return [_end(ca, "ca", ca.ca, of_ca, "", subject)]


def _end(
    ca: CASettings, kind: str, path: str, holder: Certificate, command: str, subject: Subject
) -> Finding:
    """How long a certificate lasts; `kind` is `signer`, `signer2` or `ca`."""
    left = holder.not_after - subject.now
    warning, critical = thresholds(holder, subject)
    level = Level.FAIL if left < critical else Level.WARN if left < warning else Level.OK
    date = times.log_time(holder.not_after)[:10]
    text = f"{path}: expires in {_days(left)}, on {date}"
    try:
        check_validity(holder, path, subject.now)
    except OCSPError as error:
        level, text = Level.FAIL, str(error)
    if level and kind == "ca":
        text += (
            ": renew it on the CA's host, with the same key, and append the new one to this file"
        )
    measure = Measure(
        f"{ca.name} {kind} days",
        left // _DAY,
        warning=f"{warning // _DAY}:",
        critical=f"{critical // _DAY}:",
    )
    if level and kind != "ca" and not ca.rkey:
        text += ": renew it on the host with the key, and copy the new one here"
    where = f"[{ca.name}]"
    return Finding(level, text, where, command if level else "", (measure,))


def thresholds(holder: Certificate, subject: Subject) -> tuple[int, int]:
    """How many seconds before its end a certificate gives a warning, and is critical.

    Of a short life both are a smaller part, unless the operator says otherwise.
    """
    critical = subject.critical_days * _DAY
    if subject.warning_days is not None:
        return subject.warning_days * _DAY, critical
    warning = holder.not_after - holder.warned_from
    return warning, min(critical, warning * subject.critical_days // limits.EXPIRY_WARNING_DAYS)


def _days(seconds: int) -> str:
    days = seconds // _DAY
    if days < 2:
        return plural(seconds // 3600, "hour")
    return f"{days} days"
