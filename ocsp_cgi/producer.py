"""The producer: a request is read, and gets a new signed answer.  What to answer is decided here, and only here.

    request ─▶ what is asked?        messages
            ─▶ which CA is asked?    the issuer hashes of its CertIDs
            ─▶ which row is it?      database
            ─▶ which status?         this page, from the row
            ─▶ until when?           nmin, cut off at the end of the signer and its CA
            ─▶ signed answer         signer
            ─▶ kept for others       store
"""

from __future__ import annotations

from . import admission, database, der, errors, index, keys, limits, messages, store, times
from .keys import SignerError
from .responder import Answer, max_age
from .signer import Signer, check_validity, load_certificate

_KNOWN_EXTENSIONS = (
    messages.ID_PKIX_OCSP_NONCE,
    messages.ID_PKIX_OCSP_RESPONSE,
    messages.ID_PKIX_OCSP_SERVICE_LOCATOR,
    messages.ID_PKIX_OCSP_PREF_SIG_ALGS,
)


class Unauthorized(errors.OCSPError):
    """The request is about issuers that this responder does not serve (RFC 9919 section 3.2.3)."""

    response_status = errors.UNAUTHORIZED


def produce(answer: Answer, encoded: bytes | None, settings, now: int, deadline: float | None = None) -> None:
    """Be the answer to the DER of an OCSPRequest, by these config.Settings.  OCSPError if there can be no signed answer."""
    if encoded is None:
        raise messages.MalformedRequest(f"the request has more than {limits.REQUEST_BYTES} bytes")
    request = messages.OCSPRequest.from_der(encoded)
    answer.facts = [("serial", single.req_cert.index_serial) for single in request.request_list[: limits.LOGGED_CERT_IDS]]
    nonce = _refuse_what_no_answer_fits(request)
    # Whoever had to wait looks again: the one before may have signed the same.
    if not _be_kept(answer, request, settings, now) and not (admission.enter(settings, deadline) and _be_kept(answer, request, settings, now)):
        _sign(answer, request, settings, now)
    if nonce is not None:
        answer.facts.append(("nonce", f"{nonce}{'' if answer.has_nonce else '-ignored'}"))


def _be_kept(answer: Answer, request: messages.OCSPRequest, settings, now: int) -> bool:
    """Be the answer that was kept, if there is one, and it would be the same now by the whole database.  Returns whether there is."""
    cert_id = request.request_list[0].req_cert
    for ca in settings.cas:
        kept = store.find(cert_id.encoded, ca, settings, now) if _is_for_all(request, ca) else None
        if kept is not None:
            if ca.stale_after is not None:
                index.check_heartbeat(ca.db, ca.stale_after, now)
            found = database.find(ca.db, {cert_id.serial_number}, {kept.signer})
            row, signer_row = found.rows.get(cert_id.serial_number), found.rows.get(kept.signer)
            if row is not None and row.line == kept.line and not (signer_row and signer_row.cert_status.name == "revoked"):
                answer.remarks += found.remarks
                answer.be_kept(kept, now)
                if found.stamp:  # so that the next one need not search
                    kept.index_stamp, kept.offset = found.stamp, row.offset
                    answer.remarks += store.keep(kept, cert_id.encoded)
                return True
    return False


def _is_for_all(request: messages.OCSPRequest, ca) -> bool:
    """Whether an answer to this request by this CA (CASettings) does for everybody who asks about the same certificate."""
    return (
        ca.cache is not None
        and len(request.request_list) == 1
        and messages.ID_PKIX_OCSP_PREF_SIG_ALGS not in request.request_extensions
        and (ca.nonce == "ignore" or messages.ID_PKIX_OCSP_NONCE not in request.request_extensions)
    )


def _sign(answer: Answer, request: messages.OCSPRequest, settings, now: int) -> None:
    made_from = store.made_from(settings)
    authorities = [Authority(ca) for ca in settings.cas]
    questions = [Question(single.req_cert, authorities) for single in request.request_list]
    asked = {question.authority: None for question in questions if question.authority}
    if not asked:
        raise _served_by_none(authorities, questions[0].cert_id)
    if any(question.authority is None for question in questions):
        answer.remarks += [str(authority.unreadable) for authority in authorities if authority.unreadable]
    signing = next(iter(asked))
    signer = Signer(signing.settings, signing.certificate)
    signer.check(now)
    for authority in asked:
        check_validity(authority.certificate, authority.settings.ca, now)
        if authority.settings.stale_after is not None:
            index.check_heartbeat(authority.settings.db, authority.settings.stale_after, now)
        found = _look_up(authority, questions, answer, signer if authority is signing else None)

    responses = [question.single_response(now, signer.certificate.not_after) for question in questions]
    nonce = request.request_extensions.get(messages.ID_PKIX_OCSP_NONCE)
    answer.has_nonce = nonce is not None and signing.settings.nonce == "echo"
    extensions = [(nonce.extn_id, nonce.value)] if nonce and answer.has_nonce else []
    if any(question.unissued for question in questions):
        extensions.append((messages.ID_PKIX_OCSP_EXTENDED_REVOKE, der.ENCODED_NULL))
    tbs = messages.response_data(_responder_id(signing, signer), now, responses, extensions)
    algorithm = signer.algorithm(request.preferred_signature_algorithms)
    certs = [signer.certificate.der] if signer.delegated else []
    encoded = messages.basic_response(tbs, algorithm.identifier, signer.sign(tbs, algorithm), certs)
    next_update = min(response.next_update for response in responses)
    answer.succeed(encoded, now, next_update, now, min(question.max_age for question in questions))

    answer.facts = [fact for question in questions[: limits.LOGGED_CERT_IDS] for fact in question.facts()]
    if len(questions) > limits.LOGGED_CERT_IDS:
        answer.facts.append(("more", str(len(questions) - limits.LOGGED_CERT_IDS)))
    answer.facts += [("warning", warning) for warning in signer.warnings()]
    if not answer.has_nonce:
        answer.entity_tag = keys.digest("sha256", encoded).hex()
        if not questions[0].is_unknown and _is_for_all(request, signing.settings):
            row, tag, signer_serial = questions[0].row, answer.entity_tag, signer.certificate.serial_number
            kept = store.Kept(signing.settings, made_from, row.line, row.offset, found.stamp, signer_serial, encoded, now, next_update, tag,
                              questions[0].facts())  # fmt: skip
            answer.remarks += store.keep(kept, questions[0].cert_id.encoded)


def _refuse_what_no_answer_fits(request: messages.OCSPRequest) -> int | None:
    """MalformedRequest if no answer would fit the request.  Returns the number of octets of its nonce, None if it has none."""
    if len(request.request_list) > limits.CERT_IDS:
        raise messages.MalformedRequest(f"the request has {len(request.request_list)} CertIDs, more than {limits.CERT_IDS}")
    for extensions in [request.request_extensions] + [single.single_request_extensions for single in request.request_list]:
        for extension in extensions.values():
            if extension.critical and extension.extn_id not in _KNOWN_EXTENSIONS:
                raise messages.MalformedRequest(f"the request has an unknown critical extension, OID {extension.extn_id.hex()[:80]}")
    octets = _nonce_octets(request)
    if octets is not None and octets not in limits.NONCE_OCTETS:
        raise messages.MalformedRequest(f"the nonce has {octets} octets")
    return octets


def _nonce_octets(request: messages.OCSPRequest) -> int | None:
    """The length of the request's nonce, None if it has none.

    The extension's value is the DER of an OCTET STRING (RFC 9654 section 2.1); some clients leave out that wrapping.
    """
    extension = request.request_extensions.get(messages.ID_PKIX_OCSP_NONCE)
    if extension is None:
        return None
    try:
        return len(der.read(extension.value, der.OCTET_STRING).contents)
    except der.DERError:
        return len(extension.value)


class Authority:
    """A CA of the config, with its certificate as far as that can be read: `unreadable` is the error if it cannot."""

    __slots__ = ("settings", "certificate", "unreadable", "_hashes")

    def __init__(self, settings):
        self.settings = settings
        self.unreadable: SignerError | None = None
        self._hashes: dict[str, tuple[bytes, bytes]] = {}
        try:
            self.certificate = load_certificate("ca", settings.ca)
        except SignerError as error:
            self.certificate = None
            self.unreadable = error

    def issued(self, cert_id: messages.CertID) -> bool:
        """Whether a CertID names this CA: both its hashes have to (RFC 6960 section 4.1.1)."""
        name = cert_id.hash_name
        if name is None or self.certificate is None:
            return False
        if name not in self._hashes:
            self._hashes[name] = keys.digest(name, self.certificate.subject), keys.digest(name, self.certificate.public_key)
        return self._hashes[name] == (cert_id.issuer_name_hash, cert_id.issuer_key_hash)


def _served_by_none(authorities: list[Authority], cert_id: messages.CertID) -> errors.OCSPError:
    """Why nothing in a request is about a CA of ours; it may be about one whose certificate cannot be read."""
    for authority in authorities:
        if authority.unreadable:
            return authority.unreadable
    return Unauthorized(f"no `ca` of the config is the issuer that this request names, serial {cert_id.index_serial}")


class Question:
    """One CertID of a request, on its way to its SingleResponse.

    `authority` is None where the issuer is none of our CAs, `row` where that CA's database has none for the serial.
    OCSPError if the config has two databases for the issuer: either could be the wrong one.
    """

    __slots__ = ("cert_id", "authority", "row")

    def __init__(self, cert_id: messages.CertID, authorities: list[Authority]):
        self.cert_id = cert_id
        issuers = [authority for authority in authorities if authority.issued(cert_id)]
        self.authority = issuers[0] if issuers else None
        if len({authority.settings.db for authority in issuers}) > 1:
            names = " and ".join(f"[{authority.settings.name}]" for authority in issuers)
            raise errors.OCSPError(f"{names} of the config are one CA by the certificates in `ca`, and have different `db`")
        self.row: database.Row | None = None

    @property
    def unissued(self) -> bool:
        """Whether this is answered by `unissued = revoked` (RFC 6960 section 2.2)."""
        return self.row is None and self.authority is not None and self.authority.settings.unissued == "revoked"

    @property
    def cert_status(self) -> messages.CertStatus:
        if self.row is not None:
            return self.row.cert_status
        if self.unissued:
            return messages.CertStatus("revoked", times.EPOCH, messages.CERTIFICATE_HOLD)
        return messages.CertStatus("unknown")

    @property
    def max_age(self) -> int:
        """Seconds that HTTP caches may keep the answer; one about a certificate we do not know must not outlive its issuance."""
        limit = max_age(self.authority and self.authority.settings)
        return min(limit, limits.UNKNOWN_MAX_AGE_SECONDS) if self.is_unknown else limit

    @property
    def is_unknown(self) -> bool:
        """Whether the database has nothing to say about the certificate."""
        return self.row is None or self.row.cert_status.name == "unknown"

    def single_response(self, now: int, end: int) -> messages.SingleResponse:
        """The answer, valid from now for `nmin` minutes, but not past `end` nor past the end of the CA."""
        lifetime = limits.UNKNOWN_LIFETIME_SECONDS
        if self.authority:
            configured = self.authority.settings.nmin * 60
            lifetime = min(configured, lifetime) if self.is_unknown else configured
            end = min(end, self.authority.certificate.not_after)
        extensions = self.row.single_extensions + self._archive_cutoff(now) if self.row else []
        return messages.SingleResponse(self.cert_id, self.cert_status, now, min(now + lifetime, end), extensions)

    def _archive_cutoff(self, produced_at: int) -> list[tuple[bytes, bytes]]:
        """How far back this database knows about expired certificates (RFC 6960 section 4.4.4), if the config says so."""
        retention = self.authority.settings.archive_cutoff
        if retention is None:
            return []
        cutoff = self.authority.certificate.not_before if retention == "ca" else produced_at - retention * 24 * 60 * 60
        return [(messages.ID_PKIX_OCSP_ARCHIVE_CUTOFF, der.tlv(der.GENERALIZED_TIME, times.generalized_time(cutoff)))]

    def facts(self) -> list[tuple[str, str]]:
        """What the log says of it, the CA last."""
        facts = [("serial", self.cert_id.index_serial), ("status", self.cert_status.name)]
        if self.cert_status.revocation_reason is not None:
            facts.append(("reason", messages.REASON_NAMES[self.cert_status.revocation_reason]))
        return [*facts, ("ca", self.authority.settings.name if self.authority else "-")]


def _look_up(authority: Authority, questions: list[Question], answer: Answer, signer: Signer | None) -> database.Found:
    """Find the rows of the questions to one CA in its database, and its signer's, which must not be revoked itself."""
    own = [question for question in questions if question.authority is authority]
    signer_number = {signer.certificate.serial_number} if signer and signer.delegated else set()
    found = database.find(authority.settings.db, {question.cert_id.serial_number for question in own}, signer_number)
    answer.remarks += found.remarks
    for question in own:
        question.row = found.rows.get(question.cert_id.serial_number)
    for number in signer_number & found.rows.keys():
        if found.rows[number].cert_status.name == "revoked":
            settings = authority.settings
            raise SignerError(f"{settings.rsigner}: the database of [{settings.name}] has it as revoked: issue a new one")
    return found


def _responder_id(signing: Authority, signer: Signer) -> bytes:
    if signing.settings.responder_id == "name":
        return messages.responder_id_by_name(signer.certificate.subject)
    return messages.responder_id_by_key(keys.digest("sha1", signer.certificate.public_key))
