"""What a host without a key answers if no response that another host has signed may be used.

tryLater, if one may come: the index has the certificate, or may be old.  unauthorized, if none ever
will: the index does not have the serial number, or the certificate has expired, which `presign`
passes over without `archive_cutoff`, or the request has several CertIDs (RFC 9919 section 3.2.3).
"""

from __future__ import annotations

import shlex

from . import reuse
from .answer import NEVER_ISSUED
from .issuer import NoKey, refuse_shared
from .lookup import Lookup, Unauthorized, never_issued_lines
from .times import http_date

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .answer import Log
    from .config import CASettings, Settings
    from .files import Files
    from .ocsp_request import OCSPRequest


def refuse(request: OCSPRequest, settings: Settings, now: int, log: Log, files: Files) -> None:
    """Raise the OCSPError for a request about CAs whose key is not on this host: NoKey, or
    Unauthorized, or what keeps the index from being read.

    Returns if the request names any other CA, or none.
    """
    issuers = files.issuers(settings)
    refuse_shared(issuers)
    lookups = [Lookup(single.req_cert, issuers) for single in request.request_list]
    named = {issuer: None for lookup in lookups for issuer in lookup.issuers}
    if not named or any(issuer.settings.rkey for issuer in named):
        return
    first, ca = lookups[0], next(iter(named)).settings
    for issuer in named:
        if issuer.refused:
            raise issuer.refused
    if len(lookups) > 1:
        raise Unauthorized(
            f"the request has {len(lookups)} CertIDs, and this host has no key to sign a response"
            f" to more than one, since [{ca.name}] has no `rkey`"
        )
    ca.check_heartbeat(now)
    first.issuer = first.issuers[0]
    found = files.find(ca, {first.cert_id.serial_number})
    first.row = found.rows.get(first.cert_id.serial_number)
    log.warn(*found.warnings)
    log.fields = [("serial", first.cert_id.index_serial), ("ca", ca.name)]
    if first.row is None:
        log.note(NEVER_ISSUED, *never_issued_lines(first.issuer, lookups, found.path))
        raise Unauthorized(
            f"serial {first.cert_id.index_serial} is not in {found.path}, and without `rkey` in"
            f" [{ca.name}] nothing can be signed about it"
        )
    expiry = first.row.expiry
    if expiry is not None and expiry <= now and ca.archive_cutoff is None:
        raise Unauthorized(
            f"the certificate with serial {first.cert_id.index_serial} expired on"
            f" {http_date(expiry)}, so no response about it is signed any more, unless [{ca.name}]"
            " has `archive_cutoff`, here and on the host with the key"
        )
    reasons: list[str] = []
    reuse.find(request, settings, now, files, reasons)
    raise NoKey(
        f"[{ca.name}] has no `rkey`, and no signed response for serial"
        f" {first.cert_id.index_serial} that may be used: {_why(reasons)}. {_fix(ca, reasons)}"
    )


def _why(reasons: list[str]) -> str:
    return " and ".join(dict.fromkeys(reasons)) if reasons else "there is none"


def _fix(ca: CASettings, reasons: list[str]) -> str:
    if set(reasons) == {reuse.signed_by_another(ca)}:
        return (
            "Copy the certificate of its signer here from the host with the key: into that file, or"
            " into another one that `rsigner2` names"
        )
    if set(reasons) == {reuse.perhaps_not_its_index(ca)}:
        return f"Copy {ca.rsigner} here again from the host with the key"
    name = shlex.quote(ca.name)
    if set(reasons) == {reuse.SIGNER_REVOKED}:
        return (
            f"On the host with the key, `ocsp-cgi renew {name}`; then copy the new certificate of"
            " its signer here"
        )
    copy = f"`ocsp-cgi sync {name}`" if ca.cache_from else f"copy its `cache` to {ca.cache}"
    return f"On the host with the key, run `ocsp-cgi presign {name}`; then, here, {copy}"
