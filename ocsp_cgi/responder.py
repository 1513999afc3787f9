"""The responder: the DER of a request in, the DER of an answer out.  What to answer is decided here, and only here.

    request ─▶ which CA is asked?    the issuer hashes of its CertIDs
            ─▶ which row is it?      database
            ─▶ which status?         this page, from the row
            ─▶ until when?           nmin, cut off at the end of the signer and its CA
            ─▶ signed answer         signer

Whatever stands in the way is raised as an OCSPError with its reason and becomes the error the client gets in `respond`,
nowhere else.  Time is a parameter: the clock is read before the database, so that thisUpdate never claims too much.
"""

from __future__ import annotations

from . import database, der, limits, messages, times
from .signer import Signer, SignerError, check_validity, load_certificate


class Unauthorized(messages.OCSPError):
    """The request is about issuers that this responder does not serve (RFC 9919 section 3.2.3)."""

    response_status = messages.UNAUTHORIZED


_KNOWN_EXTENSIONS = (
    messages.ID_PKIX_OCSP_NONCE,
    messages.ID_PKIX_OCSP_RESPONSE,
    messages.ID_PKIX_OCSP_SERVICE_LOCATOR,
    messages.ID_PKIX_OCSP_PREF_SIG_ALGS,
)
_MOST_LOGGED = 10  # CertIDs of one request


class Answer:
    """An OCSPResponse, and what a door has to know of it.

    `der` and `response_status`: the DER of the OCSPResponse, and the OCSPResponseStatus in it.
    `this_update`, `next_update`: seconds since 1970; `max_age`: seconds it may be kept in HTTP caches; `has_nonce`: whether
    it is for one client alone.  These four of a successful answer only.
    `facts`: (name, value) pairs for the log.  `remarks`: lines for the log on what the operator should look at.
    """

    __slots__ = ("der", "response_status", "this_update", "next_update", "max_age", "has_nonce", "facts", "remarks")

    der: bytes
    response_status: int
    this_update: int
    next_update: int
    max_age: int
    has_nonce: bool

    def __init__(self) -> None:
        self.facts: list[tuple[str, str]] = []
        self.remarks: list[str] = []


def respond(encoded: bytes | None, load_settings, now: int) -> Answer:
    """Answer the DER of an OCSPRequest (None for one that was too long to read) at a time in seconds since 1970.

    `load_settings` returns the config.Settings to answer by; it is called here so that an error in the config becomes
    an answer like any other.  Never raises: the worst answer is internalError.
    """
    answer = Answer()
    try:
        _sign_answer(answer, encoded, load_settings, now)
        answer.response_status = messages.SUCCESSFUL
    except messages.OCSPError as error:
        _refuse(answer, error.response_status, str(error))
    except Exception as error:
        place = error.__traceback__
        while place.tb_next:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
        _refuse(answer, messages.INTERNAL_ERROR, f"please report this: {error!r} at {where}")
    return answer


def refusal(response_status: int, reason: str) -> Answer:
    """The answer of one who cannot answer."""
    answer = Answer()
    _refuse(answer, response_status, reason)
    return answer


def _refuse(answer: Answer, response_status: int, reason: str) -> None:
    answer.response_status = response_status
    answer.der = messages.error_response(response_status)
    answer.facts.append(("response", messages.RESPONSE_STATUS_NAMES[response_status]))
    answer.remarks.append(reason)


def _sign_answer(answer: Answer, encoded: bytes | None, load_settings, now: int) -> None:
    if encoded is None:
        raise messages.MalformedRequest(f"the request has more than {limits.REQUEST_BYTES} bytes")
    request = messages.OCSPRequest.from_der(encoded)
    answer.facts = [("serial", _hex(single.req_cert)) for single in request.request_list[:_MOST_LOGGED]]
    _refuse_what_no_answer_fits(request)

    authorities = [Authority(ca) for ca in load_settings().cas]
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
            database.check_heartbeat(authority.settings.db, authority.settings.stale_after, now)
        _look_up(authority, questions, answer, signer if authority is signing else None)

    responses = [question.single_response(now, signer.certificate.not_after) for question in questions]
    nonce = request.request_extensions.get(messages.ID_PKIX_OCSP_NONCE)
    answer.has_nonce = nonce is not None and signing.settings.nonce == "echo"
    extensions = [(nonce.extn_id, nonce.value)] if nonce and answer.has_nonce else []
    if any(question.unissued for question in questions):
        extensions.append((messages.ID_PKIX_OCSP_EXTENDED_REVOKE, der.ENCODED_NULL))
    tbs = messages.response_data(_responder_id(signing, signer), now, responses, extensions)
    algorithm = signer.algorithm(request.preferred_signature_algorithms)
    certs = [signer.certificate.der] if signer.delegated else []
    answer.der = messages.basic_response(tbs, algorithm.identifier, signer.sign(tbs, algorithm), certs)

    answer.this_update = now
    answer.next_update = min(response.next_update for response in responses)
    left = answer.next_update - now
    # Half of its life, so that a cache asks again well before the end (BR 4.9.9), and never in the last second.
    answer.max_age = max(0, min([left // 2, left - 1] + [question.max_age for question in questions]))
    answer.facts = [fact for question in questions[:_MOST_LOGGED] for fact in question.facts()]
    if len(questions) > _MOST_LOGGED:
        answer.facts.append(("more", str(len(questions) - _MOST_LOGGED)))
    if nonce:
        answer.facts.append(("nonce", f"{_nonce_octets(request)}{'' if answer.has_nonce else '-ignored'}"))
    answer.facts += [("warning", warning) for warning in signer.warnings()]


def _refuse_what_no_answer_fits(request: messages.OCSPRequest) -> None:
    if len(request.request_list) > limits.CERT_IDS:
        raise messages.MalformedRequest(f"the request has {len(request.request_list)} CertIDs, more than {limits.CERT_IDS}")
    for extensions in [request.request_extensions] + [single.single_request_extensions for single in request.request_list]:
        for extension in extensions.values():
            if extension.critical and extension.extn_id not in _KNOWN_EXTENSIONS:
                raise messages.MalformedRequest(f"the request has an unknown critical extension, OID {extension.extn_id.hex()[:80]}")
    octets = _nonce_octets(request)
    if octets is not None and octets not in limits.NONCE_OCTETS:
        raise messages.MalformedRequest(f"the nonce has {octets} octets")


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
            self._hashes[name] = digest(name, self.certificate.subject), digest(name, self.certificate.public_key)
        return self._hashes[name] == (cert_id.issuer_name_hash, cert_id.issuer_key_hash)


def _served_by_none(authorities: list[Authority], cert_id: messages.CertID) -> messages.OCSPError:
    """Why nothing in a request is about a CA of ours; it may be about one whose certificate cannot be read."""
    for authority in authorities:
        if authority.unreadable:
            return authority.unreadable
    return Unauthorized(f"no `ca` of the config is the issuer that this request names, serial {_hex(cert_id)}")


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
            raise messages.OCSPError(f"{names} of the config are one CA by the certificates in `ca`, and have different `db`")
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
        limit = limits.UNKNOWN_MAX_AGE_SECONDS if self._is_unknown else limits.MAX_AGE_SECONDS
        configured = self.authority and self.authority.settings.max_age
        return limit if configured is None else min(limit, configured * 60)

    @property
    def _is_unknown(self) -> bool:
        return self.row is None or self.row.cert_status.name == "unknown"

    def single_response(self, now: int, end: int) -> messages.SingleResponse:
        """The answer, valid from now for `nmin` minutes, but not past `end` nor past the end of the CA."""
        lifetime = limits.UNKNOWN_LIFETIME_SECONDS
        if self.authority:
            configured = self.authority.settings.nmin * 60
            lifetime = min(configured, lifetime) if self._is_unknown else configured
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
        status = self.cert_status
        facts = [("serial", _hex(self.cert_id)), ("status", status.name)]
        if status.revocation_reason is not None:
            facts.append(("reason", messages.REASON_NAMES[status.revocation_reason]))
        facts.append(("ca", self.authority.settings.name if self.authority else "-"))
        return facts


def _look_up(authority: Authority, questions: list[Question], answer: Answer, signer: Signer | None) -> None:
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


def _responder_id(signing: Authority, signer: Signer) -> bytes:
    if signing.settings.responder_id == "name":
        return messages.responder_id_by_name(signer.certificate.subject)
    return messages.responder_id_by_key(digest("sha1", signer.certificate.public_key))


def _hex(cert_id: messages.CertID) -> str:
    """The serial number as the index of `openssl ca` has it."""
    digits = f"{abs(cert_id.serial_number):X}"
    if len(digits) > 64:
        return f"{digits[:64]}..."
    return ("-" if cert_id.serial_number < 0 else "") + "0" * (len(digits) % 2) + digits


def digest(name: str, data: bytes) -> bytes:
    """A hash by hashlib's name.  SHA-1 identifies here and protects nothing."""
    import hashlib  # 3 ms, so not before it is needed

    return hashlib.new(name, data, usedforsecurity=False).digest()
