"""The producer: reads a request and makes a signed response.

    request ─▶ authorize   which CA is asked, and may its signer sign?   issuer, signer
            ─▶ look up     which row has the serial number?              index_search
            ─▶ build       status, validity, extensions
            ─▶ sign                                                      signer, keys
            ─▶ cache       for the next client that asks the same        cache

What a response says is decided here, and only here.
"""

from __future__ import annotations

from . import admission, cache, der, index_file, index_search, keys, limits, reuse
from . import ocsp_response as response
from .answer import (
    CLIENT_FAULT,
    NEVER_ISSUED,
    Answer,
    Log,
    OCSPError,
    expiry_warnings,
    successful,
)
from .files import Files
from .import_cryptography import SignerError
from .issuer import NoKey, refuse_shared
from .lookup import Lookup, Unauthorized, never_issued_lines
from .ocsp_request import (
    ID_PKIX_OCSP_NONCE,
    ID_PKIX_OCSP_PREF_SIG_ALGS,
    ID_PKIX_OCSP_RESPONSE,
    ID_PKIX_OCSP_SERVICE_LOCATOR,
    CertID,
    Extension,
    MalformedRequest,
    OCSPRequest,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import CASettings, Settings
    from .issuer import Issuer
    from .signer import Signer

_KNOWN_EXTENSIONS = (
    ID_PKIX_OCSP_NONCE,
    ID_PKIX_OCSP_RESPONSE,
    ID_PKIX_OCSP_SERVICE_LOCATOR,
    ID_PKIX_OCSP_PREF_SIG_ALGS,
)


def produce(
    encoded: bytes | None,
    settings: Settings,
    now: int,
    log: Log,
    deadline: float | None = None,
    files: Files | None = None,
) -> Answer:
    """Answer the DER of an OCSPRequest, None if it was too long to read.

    `now` is seconds since 1970; `deadline` and `files` are as in responder.respond.  OCSPError if
    there can be no signed response.
    """
    files = files or Files()
    if encoded is None:
        raise MalformedRequest(f"the request has more than {limits.REQUEST_BYTES} bytes")
    request = OCSPRequest.from_der(encoded)
    asked = request.request_list[: limits.LOGGED_CERT_IDS]
    log.fields = [("serial", single.req_cert.index_serial) for single in asked]
    check_request(request)
    answer = reuse.get(request, settings, now, log, files)
    if answer is None and not all(ca.rkey for ca in settings.cas):
        from . import without_key

        without_key.refuse(request, settings, now, log, files)
    if answer is None and admission.enter(settings, deadline):
        # Another process may have signed the same meanwhile.
        answer = reuse.get(request, settings, now, log, files)
    if answer is None:
        answer = produce_anew(request, settings, now, log, files)
    length = nonce_length(request)
    if length is not None:
        ignored = "-ignored" if answer.entity_tag else ""
        log.fields.append(("nonce", f"{length}{ignored}"))
    return answer


def check_request(request: OCSPRequest) -> None:
    """MalformedRequest if no response could be right: too many CertIDs, a nonce of another length
    than RFC 9654 section 2.1 allows, or an unknown critical extension."""
    if len(request.request_list) > limits.CERT_IDS:
        raise MalformedRequest(
            f"the request has {len(request.request_list)} CertIDs, more than {limits.CERT_IDS}"
        )
    singles = [single.single_request_extensions for single in request.request_list]
    for extensions in [request.request_extensions, *singles]:
        for extension in extensions.values():
            if extension.critical and extension.extn_id not in _KNOWN_EXTENSIONS:
                raise MalformedRequest(
                    "the request has an unknown critical extension, OID"
                    f" {extension.extn_id.hex()[:80]}"
                )
    length = nonce_length(request)
    if length is not None and length not in limits.NONCE_BYTES:
        raise MalformedRequest(f"the nonce has {length} bytes")


def nonce_length(request: OCSPRequest) -> int | None:
    """The length of the request's nonce in bytes, None if it has none.

    The extension's value is the DER of an OCTET STRING (RFC 9654 section 2.1); some clients leave
    out that wrapping.
    """
    extension = request.request_extensions.get(ID_PKIX_OCSP_NONCE)
    if extension is None:
        return None
    try:
        return len(der.read(extension.value, der.OCTET_STRING).contents)
    except der.DERError:
        return len(extension.value)


def produce_anew(
    request: OCSPRequest, settings: Settings, now: int, log: Log, files: Files
) -> Answer:
    """A new signed response, whatever is cached.  OCSPError if there can be none.

    What is found out about a signer only while it signs, such as that it has been revoked, lets the
    next one sign.
    """
    sources = cache.fingerprints(settings)
    lookups, signing = _authorize(request, files.issuers(settings), now, log)
    preferred = request.preferred_signature_algorithms
    try:
        signer = signing.signer(now, preferred)
        while True:
            noted = len(log.notes)
            try:
                return _sign(request, sources, lookups, signing, signer, now, log, files)
            except SignerError as error:
                signing.do_without(signer, error)
                signer = signing.signer(now, preferred)
                del log.notes[noted:]
    finally:
        log.warn(*signing.signer_warnings())


def _sign(
    request: OCSPRequest,
    sources: bytes,
    lookups: list[Lookup],
    signing: Issuer,
    signer: Signer,
    now: int,
    log: Log,
    files: Files,
) -> Answer:
    """A new response by this signer of the section `signing`; `sources` as in a CachedResponse.
    SignerError if it cannot sign."""
    for lookup in lookups:
        lookup.choose_issuer(signing, signer, now)
    log.note(CLIENT_FAULT, *_not_signed_for(lookups, signing))
    warnings = signer.warnings()
    never_issued = []
    found = None
    for issuer in {lookup.issuer: None for lookup in lookups if lookup.issuer}:
        issuer.settings.check_heartbeat(now)
        found, about_signer = _look_up(
            issuer, lookups, signer if issuer is signing else None, files
        )
        log.warn(*found.warnings)
        warnings += about_signer
        never_issued += never_issued_lines(issuer, lookups, found.path)
    log.note(NEVER_ISSUED, *never_issued[: limits.LOGGED_CERT_IDS])

    ends = [lookup.next_update(now, signer) for lookup in lookups]
    singles = [lookup.single_response(now, end) for lookup, end in zip(lookups, ends)]
    extensions = _response_extensions(request, lookups, signing.settings)
    tbs = response.response_data(_responder_id(signing, signer), now, singles, extensions)
    algorithm = signer.algorithm(request.preferred_signature_algorithms)
    # The CA's own certificate too: many clients look for the signer's only in the response
    # (RFC 9919 section 3.2.2).
    encoded = response.basic_response(
        tbs, algorithm.identifier, signer.sign(tbs, algorithm), [signer.certificate.der]
    )

    next_update = min(ends)
    max_age = min(lookup.max_age for lookup in lookups)
    has_nonce = any(one.extn_id == ID_PKIX_OCSP_NONCE for one in extensions)
    entity_tag = "" if has_nonce else keys.digest("sha256", encoded).hex()
    _log(lookups, warnings, log)
    log.fields += expiry_warnings(signer.expiries, now)
    row = None if lookups[0].is_unknown else lookups[0].row
    if row and found and entity_tag and reuse.is_cachable(request, signing.settings):
        cached = cache.CachedResponse(
            signing.settings,
            sources,
            row.line,
            row.offset,
            found.fingerprint,
            signer.certificate.serial_number,
            reuse.made_with(signing),
            encoded,
            now,
            next_update,
            entity_tag,
            lookups[0].log_fields() + signing.failures(),
            signer.expiries,
        )
        log.warn(*cache.put(cached, lookups[0].cert_id.encoded))
    return successful(encoded, now, next_update, now, max_age, entity_tag)


def _authorize(
    request: OCSPRequest, issuers: list[Issuer], now: int, log: Log
) -> tuple[list[Lookup], Issuer]:
    """The lookups of a request, and the CA that signs.

    Unauthorized if no CertID is for a CA of the config, another OCSPError if none of those CAs has
    a signer that may sign.
    """
    refuse_shared(issuers)
    lookups = [Lookup(single.req_cert, issuers) for single in request.request_list]
    if not any(lookup.issuers for lookup in lookups):
        raise _served_by_none(issuers, lookups[0].cert_id)
    if not all(lookup.issuers for lookup in lookups):
        log.warn(*[str(issuer.unreadable) for issuer in issuers if issuer.unreadable])
    signing = _choose_issuer(lookups, now, log)
    return lookups, signing


def _served_by_none(issuers: list[Issuer], cert_id: CertID) -> OCSPError:
    """Why nothing in a request is about a CA of the config.

    It may be about one whose certificate cannot be read.
    """
    for issuer in issuers:
        if issuer.unreadable:
            return issuer.unreadable
    return Unauthorized(
        "no `ca` of the config is the issuer that this request names, serial"
        f" {cert_id.index_serial}"
    )


def _choose_issuer(lookups: list[Lookup], now: int, log: Log) -> Issuer:
    """The first CA asked about whose signer may sign.

    If there is none, OCSPError with the reason of the first that has a key.
    """
    failed: list[OCSPError] = []
    for issuer in dict.fromkeys(issuer for lookup in lookups for issuer in lookup.issuers):
        try:
            issuer.signer(now)
        except OCSPError as error:
            failed.append(error)
            log.warn(*issuer.signer_warnings())
            continue
        log.warn(*dict.fromkeys(map(str, failed)))
        return issuer
    raise next((error for error in failed if not isinstance(error, NoKey)), failed[0])


def _not_signed_for(lookups: list[Lookup], signing: Issuer) -> list[str]:
    """Log lines about CertIDs of other CAs of the config, for which the signer cannot speak."""
    others = [one for one in lookups if one.issuers and not one.issuer]
    others = [one for one in others if not one.issuers[0].refused]
    if not others:
        return []
    names = dict.fromkeys(f"[{lookup.issuers[0].settings.name}]" for lookup in others)
    serials = [lookup.cert_id.index_serial for lookup in others[: limits.LOGGED_CERT_IDS]]
    return [
        "one request asks about certificates of several CAs, and the signer of"
        f" [{signing.settings.name}] cannot speak for {' and '.join(names)}: unknown for serial"
        f" {', '.join(serials)}. Clients must ask about each CA in a separate request"
    ]


def _look_up(
    issuer: Issuer, lookups: list[Lookup], signer: Signer | None, files: Files
) -> tuple[index_search.Found, list[str]]:
    """Set the rows of the lookups in the index of one CA, and check that of its signer.

    Returns what was found, and warnings about the signer.
    """
    own = [lookup for lookup in lookups if lookup.issuer is issuer]
    signer_number = signer.certificate.serial_number if signer and signer.delegated else None
    also = set() if signer_number is None else {signer_number}
    memory = signer.memory if signer and also else None
    known_in = memory.index_fingerprint if memory and not issuer.needs_row else b""
    numbers = {lookup.cert_id.serial_number for lookup in own}
    found = files.find(issuer.settings, numbers, also, known_in)
    for lookup in own:
        lookup.row = found.rows.get(lookup.cert_id.serial_number)
    if signer and issuer.needs_row and signer_number not in found.rows:
        raise index_file.DatabaseUnavailable(
            f"{found.path}: no row of {signer.settings.rsigner}, and with several CAs in"
            f" {issuer.settings.ca} and {issuer.settings.rsigner} out of use, only that would show"
            " whose database this is. See to the first signer"
        )
    if signer is None or signer_number is None:
        return found, []
    if memory and found.has_known:
        return found, memory.warnings[:]
    row, warnings = found.rows.get(signer_number), []
    if row is not None:
        signer.check_row(row, found.is_settled)
    elif found.is_settled:
        warnings = [f"{signer.option}-has-no-row-in-db"]
    if memory:
        # What was odd about a line is to be logged each time.
        is_plain = found.is_settled and not found.warnings
        memory.remember(found.fingerprint if is_plain else b"", warnings)
    return found, warnings


def _response_extensions(
    request: OCSPRequest, lookups: list[Lookup], ca: CASettings
) -> list[Extension]:
    """Extensions of the response as a whole."""
    extensions = []
    nonce = request.request_extensions.get(ID_PKIX_OCSP_NONCE)
    if nonce is not None and ca.nonce == "echo":
        extensions.append(Extension(nonce.extn_id, nonce.value))
    if any(lookup.is_unissued for lookup in lookups):
        extensions.append(Extension(response.ID_PKIX_OCSP_EXTENDED_REVOKE, der.ENCODED_NULL))
    return extensions


def _responder_id(signing: Issuer, signer: Signer) -> bytes:
    if signing.settings.responder_id == "name":
        return response.responder_id_by_name(signer.certificate.subject)
    return response.responder_id_by_key(signer.key_hash())


def _log(lookups: list[Lookup], signer_warnings: list[str], log: Log) -> None:
    shown = lookups[: limits.LOGGED_CERT_IDS]
    log.fields = [field for lookup in shown for field in lookup.log_fields()]
    if len(lookups) > len(shown):
        log.fields.append(("more", str(len(lookups) - len(shown))))
    log.fields += [("warning", warning) for warning in signer_warnings]
