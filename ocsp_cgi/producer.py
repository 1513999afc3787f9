"""The producer: a request is read, and gets a new signed answer.  What to answer is decided here,
and only here.

request ─▶ what is asked?        messages
        ─▶ which CA is asked?    the issuer hashes of its CertIDs
        ─▶ which row is it?      index_search
        ─▶ which status?         this page, from the row
        ─▶ until when?           nmin, cut off at the end of the signer and its CA
        ─▶ signed answer         signer
        ─▶ kept for others       store
"""

from __future__ import annotations

import posix

from . import (
    admission,
    certificate,
    der,
    errors,
    index,
    index_row,
    index_search,
    keys,
    limits,
    messages,
    store,
    times,
)
from .certificate import Certificate
from .keys import SignerError
from .responder import Answer, max_age
from .signer import Signer, load_certificates

_MOST_LINKS = 40  # as the kernel
_KNOWN_EXTENSIONS = (
    messages.ID_PKIX_OCSP_NONCE,
    messages.ID_PKIX_OCSP_RESPONSE,
    messages.ID_PKIX_OCSP_SERVICE_LOCATOR,
    messages.ID_PKIX_OCSP_PREF_SIG_ALGS,
)


class Unauthorized(errors.OCSPError):
    """The request is about issuers that this responder does not serve (RFC 9919 section 3.2.3)."""

    response_status = errors.UNAUTHORIZED


def produce(
    answer: Answer, encoded: bytes | None, settings, now: int, deadline: float | None = None
) -> None:
    """Be the answer to the DER of an OCSPRequest, by these config.Settings.  OCSPError if there can
    be no signed answer."""
    if encoded is None:
        raise messages.MalformedRequest(f"the request has more than {limits.REQUEST_BYTES} bytes")
    request = messages.OCSPRequest.from_der(encoded)
    answer.facts = [
        ("serial", single.req_cert.index_serial)
        for single in request.request_list[: limits.LOGGED_CERT_IDS]
    ]
    nonce = _refuse_what_no_answer_fits(request)
    # Whoever had to wait looks again: the one before may have signed the same.
    if not _be_kept(answer, request, settings, now) and not (
        admission.enter(settings, deadline) and _be_kept(answer, request, settings, now)
    ):
        _sign(answer, request, settings, now)
    if nonce is not None:
        answer.facts.append(("nonce", f"{nonce}{'' if answer.has_nonce else '-ignored'}"))


def _be_kept(answer: Answer, request: messages.OCSPRequest, settings, now: int) -> bool:
    """Be the answer that was kept, if there is one, and it would be the same now by the whole
    database.  Returns whether there is."""
    cert_id = request.request_list[0].req_cert
    for ca in settings.cas:
        kept = store.find(cert_id.encoded, ca, settings, now) if _is_for_all(request, ca) else None
        if kept is not None and not _is_refused(ca, settings):
            if ca.stale_after is not None:
                index.check_heartbeat(ca.db, ca.stale_after, now)
            found = index_search.find(ca.db, {cert_id.serial_number}, {kept.signer})
            row, signer_row = found.rows.get(cert_id.serial_number), found.rows.get(kept.signer)
            is_same = row is not None and row.line == kept.line
            if is_same and _lets_sign(signer_row, ca, kept.signer):
                answer.remarks += found.warnings
                answer.be_kept(kept, now)
                if found.stamp:  # so that the next one need not search
                    kept.index_stamp, kept.offset = found.stamp, row.offset
                    answer.remarks += store.keep(kept, cert_id.encoded)
                return True
    return False


def _lets_sign(row: index_row.Row | None, ca, serial_number: int) -> bool:
    """Whether nothing in this row, that of the signer of a CA (CASettings), forbids what it signed.

    Where something does, the answer is signed anew, and checked.
    """
    if row is None:
        return True
    own = load_certificates("rsigner", ca.rsigner)
    ends = [None, *(one.not_after for one in own if one.serial_number == serial_number)]
    return not row.is_revoked and row.expiry in ends


def _is_for_all(request: messages.OCSPRequest, ca) -> bool:
    """Whether an answer to this request by this CA (CASettings) does for everybody who asks about
    the same certificate."""
    return (
        ca.cache is not None
        and len(request.request_list) == 1
        and messages.ID_PKIX_OCSP_PREF_SIG_ALGS not in request.request_extensions
        and (ca.nonce == "ignore" or messages.ID_PKIX_OCSP_NONCE not in request.request_extensions)
    )


def _sign(answer: Answer, request: messages.OCSPRequest, settings, now: int) -> None:
    made_from = store.made_from(settings)
    authorities = [Authority(ca) for ca in settings.cas]
    _refuse_shared(authorities)
    questions = [Question(single.req_cert, authorities) for single in request.request_list]
    if not any(question.issuers for question in questions):
        raise _served_by_none(authorities, questions[0].cert_id)
    if not all(question.issuers for question in questions):
        answer.remarks += [
            str(authority.unreadable) for authority in authorities if authority.unreadable
        ]
    signing, signer = _choose_signer(questions, now, answer)
    for question in questions:
        question.choose_authority(signing, signer, now)
    answer.remarks += _not_signed_for(questions, signing)
    signer_warnings = signer.warnings()
    for authority in {question.authority: None for question in questions if question.authority}:
        if authority.settings.stale_after is not None:
            index.check_heartbeat(authority.settings.db, authority.settings.stale_after, now)
        found, warnings = _look_up(
            authority, questions, answer, signer if authority is signing else None
        )
        signer_warnings += warnings

    responses = [
        question.single_response(now, signer.certificate.not_after) for question in questions
    ]
    nonce = request.request_extensions.get(messages.ID_PKIX_OCSP_NONCE)
    answer.has_nonce = nonce is not None and signing.settings.nonce == "echo"
    extensions = [(nonce.extn_id, nonce.value)] if nonce and answer.has_nonce else []
    if any(question.unissued for question in questions):
        extensions.append((messages.ID_PKIX_OCSP_EXTENDED_REVOKE, der.ENCODED_NULL))
    tbs = messages.response_data(_responder_id(signing, signer), now, responses, extensions)
    algorithm = signer.algorithm(request.preferred_signature_algorithms)
    # The CA's own too: many clients look for the signer in the response alone (RFC 9919 section
    # 3.2.2).
    certs = [signer.certificate.der]
    encoded = messages.basic_response(tbs, algorithm.identifier, signer.sign(tbs, algorithm), certs)
    next_update = min(response.next_update for response in responses)
    answer.succeed(encoded, now, next_update, now, min(question.max_age for question in questions))

    answer.facts = [
        fact for question in questions[: limits.LOGGED_CERT_IDS] for fact in question.facts()
    ]
    if len(questions) > limits.LOGGED_CERT_IDS:
        answer.facts.append(("more", str(len(questions) - limits.LOGGED_CERT_IDS)))
    answer.facts += [("warning", warning) for warning in signer_warnings]
    if not answer.has_nonce:
        answer.entity_tag = keys.digest("sha256", encoded).hex()
        if not questions[0].is_unknown and _is_for_all(request, signing.settings):
            row, tag, signer_serial = (
                questions[0].row,
                answer.entity_tag,
                signer.certificate.serial_number,
            )
            kept = store.Kept(
                signing.settings,
                made_from,
                row.line,
                row.offset,
                found.stamp,
                signer_serial,
                encoded,
                now,
                next_update,
                tag,
                questions[0].facts(),
            )
            answer.remarks += store.keep(kept, questions[0].cert_id.encoded)


def _refuse_what_no_answer_fits(request: messages.OCSPRequest) -> int | None:
    """MalformedRequest if no answer would fit the request.  Returns the number of octets of its
    nonce, None if it has none."""
    if len(request.request_list) > limits.CERT_IDS:
        raise messages.MalformedRequest(
            f"the request has {len(request.request_list)} CertIDs, more than {limits.CERT_IDS}"
        )
    for extensions in [request.request_extensions] + [
        single.single_request_extensions for single in request.request_list
    ]:
        for extension in extensions.values():
            if extension.critical and extension.extn_id not in _KNOWN_EXTENSIONS:
                raise messages.MalformedRequest(
                    "the request has an unknown critical extension, OID"
                    f" {extension.extn_id.hex()[:80]}"
                )
    octets = _nonce_octets(request)
    if octets is not None and octets not in limits.NONCE_OCTETS:
        raise messages.MalformedRequest(f"the nonce has {octets} octets")
    return octets


def _nonce_octets(request: messages.OCSPRequest) -> int | None:
    """The length of the request's nonce, None if it has none.

    The extension's value is the DER of an OCTET STRING (RFC 9654 section 2.1); some clients leave
    out that wrapping.
    """
    extension = request.request_extensions.get(messages.ID_PKIX_OCSP_NONCE)
    if extension is None:
        return None
    try:
        return len(der.read(extension.value, der.OCTET_STRING).contents)
    except der.DERError:
        return len(extension.value)


class Authority:
    """A CA of the config.

    `certificates` are those in its `ca` that have the name and key of its signer's issuer: one, or
    several after the CA was renewed.  `unreadable` is the error if there are none, `refused` the
    error if the section shares its database, or has no signer that may sign.
    """

    __slots__ = (
        "settings",
        "certificates",
        "unreadable",
        "refused",
        "_database",
        "_signer",
        "_own",
        "_hashes",
    )

    def __init__(self, settings):
        self.settings = settings
        self.certificates: list[Certificate] = []
        self.unreadable: SignerError | None = None
        self.refused: errors.OCSPError | None = None
        self._signer: Signer | None = None
        self._own: list[Certificate] = []
        self._database: set[tuple] | None = None
        self._hashes: dict[str, tuple[bytes, set[bytes], set[bytes]]] = {}
        try:
            self.certificates = self._choose(load_certificates("ca", settings.ca))
        except SignerError as error:
            self.unreadable = error

    def _choose(self, found: list[Certificate]) -> list[Certificate]:
        """Those of the certificates in `ca` that belong to the signer's issuer.

        SignerError if there are several CAs in the file, and none is or issued the signer.
        """
        holders = _holders(found)
        if len(holders) > 1:  # perhaps a chain with the signer's own certificate in it
            cas = [one for one in found if one.is_ca or one.issuer == one.subject]
            holders = _holders(cas) or holders
        if len(holders) == 1:
            return holders[0]
        ca, rsigner = self.settings.ca, self.settings.rsigner
        if self.settings.signer_trust == "local":
            raise SignerError(
                f"{ca}: has certificates of {len(holders)} CAs, and with `signer_trust = local` the"
                " signer does not show which of them is meant: leave only those of"
                f" [{self.settings.name}] in it"
            )
        signer = self._load_own()[0]
        own = [holder for holder in holders if holder[0].is_same_holder(signer)]
        issuers = [
            holder
            for holder in holders
            if holder not in own and certificate.same_name(holder[0].subject, signer.issuer)
        ]
        if own and not (issuers and certificate.OCSP_SIGNING in signer.extended_key_usages):
            return own[0]
        if len(issuers) > 1:  # the CA has changed its key
            issuers = self._issuers_by_signature(issuers)
        if not issuers:
            raise SignerError(
                f"{rsigner}: not issued by any of the CAs in {ca}: clients would refuse its"
                " responses"
            )
        return issuers[0]

    def _issuers_by_signature(self, holders: list[list[Certificate]]) -> list[list[Certificate]]:
        """Those CAs whose key has signed the signer's certificate.

        SignerError if none has, as far as can be verified, and of one it cannot.
        """
        issuers, unverified = [], None
        for holder in holders:
            try:
                if Signer(self.settings, self._load_own(), holder, 0).is_issued():
                    issuers.append(holder)
            except SignerError as error:
                unverified = unverified or error
        if unverified and not issuers:
            raise unverified
        return issuers

    def _load_own(self) -> list[Certificate]:
        """The certificates in `rsigner`, a delegated signer's first: a chain may be in any order.

        SignerError if there is none.
        """
        if not self._own:
            found = load_certificates("rsigner", self.settings.rsigner)
            found.sort(key=lambda one: certificate.OCSP_SIGNING not in one.extended_key_usages)
            self._own = found
        return self._own

    def signer(self, now: int) -> Signer:
        """The signer, which may sign at this time.  OCSPError if there is none."""
        if self.refused:
            raise self.refused
        if self._signer is None:
            try:
                signer = Signer(self.settings, self._load_own(), self.certificates, now)
                signer.check(now)
            except SignerError as error:
                self.refused = error
                raise
            self._signer = signer
        return self._signer

    def is_one_with(self, other: Authority) -> bool:
        """Whether both are sections of one CA, with one name and key."""
        if not self.certificates or not other.certificates:
            return False
        return self.certificates[0].is_same_holder(other.certificates[0])

    def issued(self, cert_id: messages.CertID) -> bool:
        """Whether a CertID names this CA: both its hashes have to (RFC 6960 section 4.1.1).

        The name is hashed as the certificate asked about has it in its issuer field, whose strings
        may be of other types than in today's certificate of the CA.
        """
        name = cert_id.hash_name
        if name is None or not self.certificates:
            return False
        if name not in self._hashes:
            subjects = {one.subject for one in self.certificates}
            self._hashes[name] = (
                keys.digest(name, self.certificates[0].public_key),
                {keys.digest(name, subject) for subject in subjects},
                set(),
            )
        key_hash, name_hashes, unusual = self._hashes[name]
        if key_hash != cert_id.issuer_key_hash:
            return False
        if cert_id.issuer_name_hash in name_hashes:
            return True
        if not unusual:
            for field in {
                field for one in self.certificates for field in (one.subject, one.issuer)
            }:
                if certificate.same_name(field, self.certificates[0].subject):
                    unusual.update(keys.digest(name, one) for one in certificate.encodings(field))
        return cert_id.issuer_name_hash in unusual

    def shares_database_with(self, other: Authority) -> bool:
        """Whether `db` of both means one index."""
        for authority in (self, other):
            if authority._database is None:
                authority._database = _database_identity(authority.settings.db)
        return not self._database.isdisjoint(other._database)


def _holders(certificates: list[Certificate]) -> list[list[Certificate]]:
    """Certificates, grouped by name and key."""
    holders: list[list[Certificate]] = []
    for one in certificates:
        for holder in holders:
            if holder[0].is_same_holder(one):
                holder.append(one)
                break
        else:
            holders.append([one])
    return holders


def _refuse_shared(authorities: list[Authority]) -> None:
    """Set `refused` of the sections that share a database and are not one CA.

    An index has no issuers: of another CA's certificate it says what is true of one of its own.
    Sections with the same name or the same key are one CA, renewed, rekeyed or renamed, which
    gives each serial number once.
    """
    if len(authorities) < 2:
        return
    for authority in authorities:
        sharing = [other for other in authorities if authority.shares_database_with(other)]
        if len(sharing) > 1:
            authority.refused = _refusal(sharing)


def _is_refused(ca, settings) -> bool:
    """Whether `_refuse_shared` would refuse this section (CASettings) of the config.

    Certificates are read only if it shares its database.
    """
    if len(settings.cas) < 2:
        return False
    identity = _database_identity(ca.db)
    sharing = [
        other
        for other in settings.cas
        if other is ca or not identity.isdisjoint(_database_identity(other.db))
    ]
    return len(sharing) > 1 and _refusal([Authority(other) for other in sharing]) is not None


def _refusal(sharing: list[Authority]) -> errors.OCSPError | None:
    """Why these sections, which share a database, are refused; None if they are one CA."""
    names = " and ".join(f"[{authority.settings.name}]" for authority in sharing)
    shared = f"{names} of the config have the same `db`, {sharing[0].settings.db}"
    for authority in sharing:
        if authority.unreadable:
            return errors.OCSPError(
                f"{shared}, and whether they are one CA cannot be told: {authority.unreadable}"
            )
    linked, left = sharing[:1], sharing[1:]
    for one in linked:  # which grows
        subject, public_key = one.certificates[0].subject, one.certificates[0].public_key
        for other in left[:]:
            theirs = other.certificates[0]
            if theirs.public_key == public_key or certificate.same_name(theirs.subject, subject):
                linked.append(other)
                left.remove(other)
    if not left:
        return None
    return errors.OCSPError(
        f"{shared}, but are different CAs by the certificates in `ca`, and an index does not say"
        " which of them issued a certificate: set `db` of each to the database of its own CA"
    )


def _database_identity(db: str) -> set[tuple]:
    """What two `db` settings have in common if they mean one index, however they spell it.

    That is the directory and name of the file, past all links, since `openssl ca` replaces the
    file; and the file itself, which may have several names.
    """
    path = db = db.rstrip("/") or "/"
    try:
        path = index.path_of(db)
    except (OSError, index.DatabaseUnavailable):
        pass
    for _ in range(_MOST_LINKS):
        try:
            target = posix.readlink(path)
        except OSError:
            break
        path = target if target[:1] == "/" else f"{path.rpartition('/')[0] or '.'}/{target}"
    directory, slash, name = path.rpartition("/")
    identity: set[tuple] = {(db,)}  # though a link may come to lead elsewhere meanwhile
    for place, last in ((directory + slash or ".", name), (path, "")):
        try:
            found = posix.stat(place)
            identity.add((found.st_dev, found.st_ino, last))
        except OSError:
            pass
    return identity


def _served_by_none(authorities: list[Authority], cert_id: messages.CertID) -> errors.OCSPError:
    """Why nothing in a request is about a CA of ours; it may be about one whose certificate cannot
    be read."""
    for authority in authorities:
        if authority.unreadable:
            return authority.unreadable
    return Unauthorized(
        "no `ca` of the config is the issuer that this request names, serial"
        f" {cert_id.index_serial}"
    )


def _choose_signer(questions: list[Question], now: int, answer: Answer) -> tuple[Authority, Signer]:
    """The first CA asked about whose signer may sign, and that signer.

    If there is none, OCSPError with the reason of the first.
    """
    failed: list[errors.OCSPError] = []
    for authority in dict.fromkeys(issuer for question in questions for issuer in question.issuers):
        try:
            signer = authority.signer(now)
        except errors.OCSPError as error:
            failed.append(error)
            continue
        answer.remarks += dict.fromkeys(map(str, failed))
        return authority, signer
    raise failed[0]


def _not_signed_for(questions: list[Question], signing: Authority) -> list[str]:
    """Remarks on CertIDs of other CAs of the config, for which this CA's signer cannot speak."""
    others = [
        one for one in questions if one.issuers and not one.authority and not one.issuers[0].refused
    ]
    if not others:
        return []
    names = " and ".join(
        dict.fromkeys(f"[{question.issuers[0].settings.name}]" for question in others)
    )
    serials = ", ".join(
        question.cert_id.index_serial for question in others[: limits.LOGGED_CERT_IDS]
    )
    return [
        "one request asks about certificates of several CAs, and the signer of"
        f" [{signing.settings.name}] cannot speak for {names}: unknown for serial {serials}."
        " Clients must ask about each CA in a request of its own"
    ]


class Question:
    """One CertID of a request, on its way to its SingleResponse.

    `issuers` are the sections of the CA that it names; `authority` is the one whose database is
    asked, None if the issuer is not one that the signer may speak for, `row` None where that
    database has none for the serial.  OCSPError if the config has two databases for the issuer:
    either could be the wrong one.
    """

    __slots__ = ("cert_id", "issuers", "authority", "row")

    def __init__(self, cert_id: messages.CertID, authorities: list[Authority]):
        self.cert_id = cert_id
        named = [authority for authority in authorities if authority.issued(cert_id)]
        self.issuers = [
            authority for authority in authorities if named and authority.is_one_with(named[0])
        ]
        self.authority: Authority | None = None
        others = self.issuers[1:]
        if not all(self.issuers[0].shares_database_with(other) for other in others):
            names = " and ".join(f"[{authority.settings.name}]" for authority in self.issuers)
            raise errors.OCSPError(
                f"{names} of the config are one CA by the certificates in `ca`, and have"
                " different `db`"
            )
        self.row: index_row.Row | None = None

    def choose_authority(self, signing: Authority, signer: Signer, now: int) -> None:
        """Set `authority` to the issuer's section, if the signer of this one may speak for it.

        A delegated signer may for its issuer alone (RFC 6960 section 4.2.2.2); one that clients
        trust for its own sake, for each CA that names it.
        """
        if signing in self.issuers:
            self.authority = signing
            return
        for issuer in self.issuers:
            if signing.settings.signer_trust == issuer.settings.signer_trust == "local":
                try:
                    if issuer.signer(now).certificate.der == signer.certificate.der:
                        self.authority = issuer
                        return
                except errors.OCSPError:
                    pass  # this section's own reason, which a request for it alone gets

    @property
    def unissued(self) -> bool:
        """Whether this is answered by `unissued = revoked` (RFC 6960 section 2.2)."""
        return (
            self.row is None
            and self.authority is not None
            and self.authority.settings.unissued == "revoked"
        )

    @property
    def cert_status(self) -> messages.CertStatus:
        if self.row is not None:
            return self.row.cert_status
        if self.unissued:
            return messages.CertStatus("revoked", times.EPOCH, messages.CERTIFICATE_HOLD)
        return messages.CertStatus("unknown")

    @property
    def max_age(self) -> int:
        """Seconds that HTTP caches may keep the answer; one about a certificate we do not know must
        not outlive its issuance."""
        limit = max_age(self.authority and self.authority.settings)
        return min(limit, limits.UNKNOWN_MAX_AGE_SECONDS) if self.is_unknown else limit

    @property
    def is_unknown(self) -> bool:
        """Whether the database has nothing to say about the certificate."""
        return self.row is None or self.row.cert_status.name == "unknown"

    def single_response(self, now: int, end: int) -> messages.SingleResponse:
        """The answer, valid from now for `nmin` minutes, but not past `end` nor past the end of the
        CA."""
        lifetime = limits.UNKNOWN_LIFETIME_SECONDS
        if self.authority:
            configured = self.authority.settings.nmin * 60
            lifetime = min(configured, lifetime) if self.is_unknown else configured
            end = min(end, self.authority.signer(now).ca.not_after)
        extensions = self.row.single_extensions + self._archive_cutoff(now) if self.row else []
        return messages.SingleResponse(
            self.cert_id, self.cert_status, now, min(now + lifetime, end), extensions
        )

    def _archive_cutoff(self, produced_at: int) -> list[tuple[bytes, bytes]]:
        """How far back this database knows about expired certificates (RFC 6960 section 4.4.4), if
        the config says so."""
        retention = self.authority.settings.archive_cutoff
        if retention is None:
            return []
        cutoff = (
            min(one.not_before for one in self.authority.certificates)
            if retention == "ca"
            else produced_at - retention * 24 * 60 * 60
        )
        return [
            (
                messages.ID_PKIX_OCSP_ARCHIVE_CUTOFF,
                der.tlv(der.GENERALIZED_TIME, times.generalized_time(cutoff)),
            )
        ]

    def facts(self) -> list[tuple[str, str]]:
        """What the log says of it, the CA last."""
        facts = [("serial", self.cert_id.index_serial), ("status", self.cert_status.name)]
        if self.cert_status.revocation_reason is not None:
            facts.append(("reason", messages.REASON_NAMES[self.cert_status.revocation_reason]))
        return [*facts, ("ca", self.authority.settings.name if self.authority else "-")]


def _look_up(
    authority: Authority, questions: list[Question], answer: Answer, signer: Signer | None
) -> tuple[index_search.Found, list[str]]:
    """Find the rows of the questions to one CA in its index, and check that of its signer.

    Returns what was found, and warnings about the signer.
    """
    own = [question for question in questions if question.authority is authority]
    signer_number = {signer.certificate.serial_number} if signer and signer.delegated else set()
    serial_numbers = {question.cert_id.serial_number for question in own}
    found = index_search.find(authority.settings.db, serial_numbers, signer_number)
    answer.remarks += found.warnings
    for question in own:
        question.row = found.rows.get(question.cert_id.serial_number)
    warnings = []
    for number in signer_number:
        row = found.rows.get(number)
        if row is not None:
            _check_signer_row(authority.settings, signer, row, found.is_settled)
        elif found.is_settled:
            warnings.append("rsigner-has-no-row-in-db")
    return found, warnings


def _check_signer_row(settings, signer: Signer, row: index_row.Row, is_settled: bool) -> None:
    """Check what the index of a CA says of the CA's own signer.

    SignerError if the signer has been revoked.  DatabaseUnavailable if the row is of another
    certificate with that serial number: this is the index of another CA.
    """
    is_another = row.expiry not in (None, signer.certificate.not_after)
    if row.is_revoked and not (is_settled and is_another):
        raise SignerError(
            f"{settings.rsigner}: revoked in the database of [{settings.name}]; issue a new signer"
            " certificate"
        )
    if is_settled and is_another:
        raise index.DatabaseUnavailable(
            f"{settings.db}: its row for serial {signer.certificate.serial_number:X} does not have"
            f" the expiry of {settings.rsigner}, which has this serial: it is the database of"
            f" another CA. Correct `db` or `rsigner` in [{settings.name}]"
        )


def _responder_id(signing: Authority, signer: Signer) -> bytes:
    if signing.settings.responder_id == "name":
        return messages.responder_id_by_name(signer.certificate.subject)
    return messages.responder_id_by_key(keys.digest("sha1", signer.certificate.public_key))
