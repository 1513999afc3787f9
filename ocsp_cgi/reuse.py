"""Which cached response may be used when its fingerprints, which `cache.get` compares, do not show
that.

It was made on another host; or a file that it was made from has been written or replaced.  Then
what the files say is compared.  A response may be used while

- its CertID is that of the request, and names the CA of the section: a signer that clients trust
  for its own sake (`signer_trust = local`) signs for several, which may have the same row;
- the row of the serial number is, byte for byte, the line it was made from, and says the same as
  the response: so a revocation in the index takes effect at once, whatever lies in the cache;
- the response has the certificate of the section's signer in it, and no row revokes that;
- the time is right: for half of its life on a host that can sign a new one, else to its end;
- on a host that signs, the settings that shape a response, and the CA's certificates, are those it
  was made with (of a host without a key, they shape nothing).

Its signature is not verified: clients do that.  What may be used is put into `cache` with the
fingerprints of this host's files, so that the next request need not compare.

A host without a key has nothing else to answer with.  It looks into `cache`, and into the
directory `responses` beside the index, where `ocsp-cgi sync` puts what it copies.
"""

from __future__ import annotations

import binascii
import posix

from . import cache, certificate, limits
from .answer import SUCCESSFUL
from .import_cryptography import SignerError
from .issuer import is_refused
from .ocsp_request import (
    ID_PKIX_OCSP_NONCE,
    ID_PKIX_OCSP_PREF_SIG_ALGS,
    CertID,
    OCSPRequest,
)
from .ocsp_response import OCSPResponse
from .times import http_date

SIGNER_REVOKED = "the index revokes its signer"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .answer import Answer, Log
    from .cache import CachedResponse
    from .certificate import Certificate
    from .config import CASettings, Settings
    from .files import Files
    from .index_row import Row
    from .index_search import Found
    from .issuer import Issuer
    from .ocsp_response import SingleResponse

    Usable = tuple[CachedResponse, Found, Row]


def is_cachable(request: OCSPRequest, ca: CASettings) -> bool:
    """Whether a response of this CA would be the same for every client that asks about the
    certificate."""
    return (
        (ca.cache is not None or not ca.rkey)
        and len(request.request_list) == 1
        and (not ca.rkey or ID_PKIX_OCSP_PREF_SIG_ALGS not in request.request_extensions)
        and (ca.nonce == "ignore" or ID_PKIX_OCSP_NONCE not in request.request_extensions)
    )


def get(
    request: OCSPRequest, settings: Settings, now: int, log: Log, files: Files
) -> Answer | None:
    """The Answer for a cached response, if there is one that may be used."""
    sources = cache.fingerprints(settings)
    usable = find(request, settings, now, files)
    if usable is None:
        return None
    cached, found, row = usable
    log.warn(*found.warnings)
    is_to_be_replaced = now >= cache.used_until(cached.this_update, cached.next_update)
    if found.fingerprint and cached.ca.cache and not is_to_be_replaced:
        # so that the next request need not search
        cached.sources = sources
        cached.index_fingerprint, cached.offset = found.fingerprint, row.offset
        log.warn(*cache.put(cached, request.request_list[0].req_cert.encoded))
    log.fields = cached.log_fields
    return cached.answer(now)


def find(
    request: OCSPRequest,
    settings: Settings,
    now: int,
    files: Files,
    reasons: list[str] | None = None,
) -> Usable | None:
    """The cached response to a request, if there is one and the whole database still says the same;
    with what was found there, and the row.  Nothing is written.

    `reasons` gets why what another host has signed may not be used.
    """
    cert_id = request.request_list[0].req_cert
    for ca in settings.cas:
        if not is_cachable(request, ca):
            continue
        cached = cache.get(cert_id.encoded, ca, settings, now) if ca.cache else None
        fitting = [cached] if cached else []
        usable = _first_usable(cert_id, ca, fitting, settings, now, files, reasons)
        if usable is None and not (cached and ca.rkey):
            fitting = _fitting(cert_id, ca, now, files, reasons)
            usable = _first_usable(cert_id, ca, fitting, settings, now, files, reasons)
        if usable is not None:
            return usable
    return None


def made_with(issuer: Issuer) -> bytes:
    """A checksum of what a response of this CA depends on besides its row and its signer."""
    ca = issuer.settings
    shape = f"{ca.nmin} {ca.responder_id} {ca.signer_trust} {ca.archive_cutoff}".encode()
    return b"%08x" % binascii.crc32(shape + b"".join([one.der for one in issuer.certificates]))


def signed_by_another(ca: CASettings) -> str:
    """Why what neither signer of a section has signed may not be used."""
    return f"it is not signed by {' or '.join(alone.rsigner for alone in ca.signers())}"


def perhaps_not_its_index(ca: CASettings) -> str:
    """Why what a section's second signer has signed may not be used: see Issuer.needs_row."""
    return (
        f"with several CAs in {ca.ca}, and {ca.rsigner} out of use, only a row of its signer would"
        " show whose index this is"
    )


def _first_usable(
    cert_id: CertID,
    ca: CASettings,
    fitting: list[CachedResponse],
    settings: Settings,
    now: int,
    files: Files,
    reasons: list[str] | None,
) -> Usable | None:
    """The first of these responses that the index of a CA allows; `reasons` gets why one may not be
    used."""
    if not fitting or is_refused(ca, settings, files.issuer):
        return None
    ca.check_heartbeat(now)
    number = cert_id.serial_number
    found = files.find(ca, {number}, {cached.signer for cached in fitting})
    row = found.rows.get(number)
    for cached in fitting:
        signer_row = found.rows.get(cached.signer)
        reason = "the index says something else by now"
        if row is not None and row.line == cached.line and _says(cached, row):
            if signer_row is None:
                if not files.issuer(ca).needs_row:
                    return cached, found, row
                reason = perhaps_not_its_index(ca)
            elif _lets_sign(signer_row, files.signer_certificates(ca), cached.signer):
                return cached, found, row
            elif signer_row.is_revoked:
                reason = SIGNER_REVOKED
        if reasons is not None:
            reasons.append(reason)
    return None


def _lets_sign(row: Row, own: list[Certificate], serial_number: int) -> bool:
    """Whether the row of a CA's signer, which has this serial number and is one of `own`, allows
    what it signed.  If not, a new response is made, for which the signer is checked."""
    ends = [None, *(one.not_after for one in own if one.serial_number == serial_number)]
    return not row.is_revoked and row.expiry in ends


def _says(cached: CachedResponse, row: Row) -> bool:
    """Whether a response says of its certificate what the row does."""
    said, status = single_response(cached.der).cert_status, row.cert_status
    return (said.name, said.revocation_time, said.revocation_reason) == (
        status.name,
        status.revocation_time,
        status.revocation_reason,
    )


def single_response(encoded: bytes) -> SingleResponse:
    """The one SingleResponse in an OCSPResponse.  ValueError if there is not one."""
    response = OCSPResponse.from_der(encoded)
    if response.response_status != SUCCESSFUL:
        raise ValueError("an error response")
    (single,) = response.responses
    return single


def _fitting(
    cert_id: CertID, ca: CASettings, now: int, files: Files, reasons: list[str] | None
) -> list[CachedResponse]:
    """The cached responses to a CertID in which everything but the row is right, the newest
    first.

    None of a CA with two signers and their keys: whether the first can sign again is not in its
    response, but in the fingerprint of its key.
    """
    if ca.rkey and ca.rsigner2:
        return []
    # `_was_made_so` compares the certificates of the CA, but on a host with the key alone.
    if not ca.rkey and not files.issuer(ca).matches(cert_id):
        return []
    found = []
    own = None
    for path in _paths(cert_id.encoded, ca):
        cached = _read(path, cert_id.encoded, ca, now)
        if cached is None:
            continue
        reason = _why_not_now(cached, ca, now)
        if not reason:
            own = files.signer_certificates(ca) if own is None else own
            signer = next((one for one in own if one.der in cached.der), None)
            if signer is None:
                reason = signed_by_another(ca)
            elif ca.rkey and not _was_made_so(cached, signer, ca, files):
                reason = "it was made with other settings"
            else:
                cached.signer = signer.serial_number
                found.append(cached)
        if reason and reasons is not None:
            reasons.append(reason)
    return sorted(found, key=lambda cached: -cached.this_update)


def _paths(cert_id: bytes, ca: CASettings) -> list[str]:
    """The files in which there may be a response to a CertID.

    A directory that was filled on another host may have another number of buckets.
    """
    is_usable = ca.cache and not cache.is_writable_for_all(ca.cache)
    paths = [cache.path_of(ca, cert_id)] if is_usable else []
    if not ca.rkey:
        directories = [ca.cache, ca.copied_responses] if ca.cache else [ca.copied_responses]
        for directory in directories:
            paths += [
                cache.path_in(directory, count, cert_id) for count in bucket_counts(directory)
            ]
    return list(dict.fromkeys(paths))


def bucket_counts(directory: str) -> list[int]:
    """The numbers of buckets with which this directory has been filled; none if everybody may
    write in it."""
    if cache.is_writable_for_all(directory):
        return []
    try:
        names = [name for name in posix.listdir(directory) if name.startswith(cache.BUCKETS)]
    except OSError:
        return []
    counts = [name[len(cache.BUCKETS) :] for name in names]
    return [int(one) for one in counts if one.isdecimal() and 0 < int(one) <= limits.BUCKETS]


def _read(path: str, cert_id: bytes, ca: CASettings, now: int) -> CachedResponse | None:
    """The response in a file, if it is one to this CertID, whatever host has written it."""
    parts = cache.read(path)
    if not cache.has_format(parts[0]):
        return None
    try:
        cached = cache.parse(parts, ca, now)
        single = single_response(cached.der)
    except ValueError:
        return None
    times = single.this_update, single.next_update
    if single.cert_id.encoded != cert_id or times != (cached.this_update, cached.next_update):
        return None
    return cached


def _why_not_now(cached: CachedResponse, ca: CASettings, now: int) -> str:
    """Why it is not the time for a response; "" if it is."""
    if ca.rkey:
        end = cache.used_until(cached.this_update, cached.next_update)
        return "" if cached.this_update <= now < end else "it is old"
    if now >= cached.next_update - 1:
        return f"it expired on {http_date(cached.next_update)}"
    if now < cached.this_update - limits.SIGNED_AHEAD_SECONDS:
        return f"it is from the future, {http_date(cached.this_update)}: set this host's clock"
    return ""


def _was_made_so(cached: CachedResponse, signer: Certificate, ca: CASettings, files: Files) -> bool:
    """Whether this host would make a response in the same way: with the same certificate of its
    signer, the same settings, and the same certificates of the CA."""
    issuer = files.issuer(ca)
    try:
        own = issuer.load_own(ca)
    except SignerError:
        return False
    newest = certificate.newest(own, cached.this_update)
    return newest.der == signer.der and cached.made_with == made_with(issuer)
