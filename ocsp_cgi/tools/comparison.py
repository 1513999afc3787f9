"""Whether two responders say the same, and where they do not, why ours is meant to.

Every intended difference from `openssl ocsp` has a reason here.  It is told from the request, the
row in the index and what both responses say, not from our own code's opinion alone: a difference
that no reason explains is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from .. import ocsp_request, ocsp_response
from ..answer import MALFORMED_REQUEST, RESPONSE_STATUS_NAMES, SUCCESSFUL, UNAUTHORIZED
from ..config import CASettings
from ..index_row import Row
from ..limits import CERT_IDS, NONCE_BYTES
from ..ocsp_request import ID_PKIX_OCSP_NONCE, CertID, Extension, OCSPRequest
from ..ocsp_response import (
    ID_PKIX_OCSP_ARCHIVE_CUTOFF,
    ID_PKIX_OCSP_EXTENDED_REVOKE,
    OCSPResponse,
    SingleResponse,
)
from ..producer import check_request, nonce_length

REASONS = {
    "unreadable request": "malformedRequest; before, there was no response, or one to the rest of"
    " the request",
    "unknown critical extension": "malformedRequest, as RFC 6960 asks; before, it was ignored",
    "nonce length": "malformedRequest for a nonce of another length than 1 to 128 bytes; before, it"
    " was sent back",
    "too many": f"malformedRequest for more than {CERT_IDS} certificates in one request; before,"
    " each cost you a response",
    "nonce critical": "the nonce comes back as an extension that is not critical",
    "foreign": "unauthorized for a certificate of another CA, without a signature; before, it was a"
    " signed unknown",
    "unknown hash": "a hash that nobody knows makes a certificate foreign; before, it was"
    " internalError for the whole request",
    "E": "good for a row E, which `openssl ca -updatedb` writes; before, the response had no status"
    " for it",
    "type": "a status for a row that is neither V, R nor E; before, the response had none",
    "spelling": "the row is found although its serial number is spelled in another way; before, it"
    " was unknown",
    "last line": "the last row of an index without a newline at its end is found; before, it was"
    " unknown",
    "no reason": "no reason for unspecified and removeFromCRL, as RFC 5280 asks",
    "reason": "the reason in the index is sent; before, it was lost",
    "date of a reason": "the reason comes without the date or instruction that cannot be read, or"
    " with a date in the form that RFC 5280 asks for",
    "date": "revoked; before, a revocation date that openssl cannot read was internalError, which"
    " browsers ignore",
    "index": "a response, although openssl cannot read the index",
    "text behind": "an error response alone; before, text followed it",
    "GET": "a response to GET; before, it was a web page",
    "content type": "a response whatever the case and parameters of Content-Type; before, it was a"
    " web page",
    "method": "405 for a method that is not OCSP's; before, it was answered",
    "next update": "a nextUpdate, which many clients need; before, there was none (-nmin)",
    "nonce = ignore": "no nonce comes back, because of `nonce = ignore` in the config",
    "unissued = revoked": "revoked for a serial number that was never issued, because of"
    " `unissued = revoked` in the config",
}
_SERIAL = re.compile(rb"-?([0-9A-F]{2})+")
_UTC_TIME = re.compile(rb"\d{10}(\d\d)?(Z|[+-]\d{4})")
_TEXT_BEHIND = b"Responder Error: "


class Verdict(NamedTuple):
    """`reasons` are keys of REASONS; without any, and with is_different false, both say the same.

    `ours` and `theirs` are what each says, for people.
    """

    is_different: bool
    reasons: frozenset[str]
    ours: str
    theirs: str


class Judge:
    """Compares responses about certificates of one CA.

    `row_of` gives the row of a serial number, None if there is none; `matches` whether a CertID
    names the CA.  `cut_line` is the offset of a last line without its newline, -1 if there is
    none; `index_is_refused` whether openssl cannot read the index.
    """

    def __init__(
        self,
        ca: CASettings,
        row_of: Callable[[int], Row | None],
        matches: Callable[[CertID], bool],
        cut_line: int = -1,
        index_is_refused: bool = False,
    ):
        self._ca = ca
        self._row_of = row_of
        self._matches = matches
        self._cut_line = cut_line
        self._index_is_refused = index_is_refused

    def compare(self, encoded: bytes, ours: bytes, theirs: bytes) -> Verdict:
        """Compare two responses to an OCSPRequest; `theirs` may be anything, b"" if there is
        none."""
        reasons: set[str] = set()
        behind = theirs.find(_TEXT_BEHIND)
        if behind > 0:
            theirs = theirs[:behind]
            reasons.add("text behind")
        try:
            found = self._reasons(encoded, ours, theirs)
        except (ValueError, StopIteration):  # one of them is not an OCSPResponse
            found = None
        texts = describe(ours), describe(theirs)
        if found is None:
            return Verdict(True, frozenset(), *texts)
        return Verdict(False, frozenset(found | reasons), *texts)

    def _reasons(self, encoded: bytes, ours: bytes, theirs: bytes) -> set[str] | None:
        """Why ours is another response; None if there is no good reason."""
        our_response = OCSPResponse.from_der(ours)
        why_malformed = _why_malformed(encoded)
        if why_malformed:
            if our_response.response_status != MALFORMED_REQUEST:
                return None
            return set() if ours == theirs else {why_malformed}
        request = OCSPRequest.from_der(encoded)
        asked = [one.req_cert for one in request.request_list]
        if not any(self._matches(one) for one in asked):
            if our_response.response_status != UNAUTHORIZED:
                return None
            return set() if ours == theirs else {"foreign"}
        if our_response.response_status != SUCCESSFUL:
            return None
        if [one.cert_id.encoded for one in our_response.responses] != [
            one.encoded for one in asked
        ]:
            return None
        if not theirs:
            return {"index"} if self._index_is_refused and self._is_right(our_response) else None
        their_response = OCSPResponse.from_der(theirs)
        if their_response.response_status != SUCCESSFUL:
            return self._instead_of_an_error(our_response, asked)
        reasons = self._extensions(request, our_response, their_response)
        if reasons is not None and any(one.next_update is None for one in their_response.responses):
            reasons.add("next update")
        rest = list(their_response.responses)
        for single in our_response.responses:
            why = self._single(single, rest)
            if why is None or reasons is None:
                return None
            reasons |= why
        return None if rest else reasons

    def _is_right(self, response: OCSPResponse) -> bool:
        """Whether a response says what the rows say."""
        for single in response.responses:
            row = self._row(single.cert_id)
            expected = row.cert_status if row else ocsp_response.CertStatus("unknown")
            unissued = row is None and self._ca.unissued == "revoked"
            if not unissued and single.cert_status.encode() != expected.encode():
                return False
        return True

    def _row(self, cert_id: CertID) -> Row | None:
        return self._row_of(cert_id.serial_number) if self._matches(cert_id) else None

    def _instead_of_an_error(self, ours: OCSPResponse, asked: list[CertID]) -> set[str] | None:
        """Why ours is successful and theirs is an error for the whole request."""
        reasons = {"unknown hash"} if any(one.hash_name is None for one in asked) else set()
        for one in asked:
            row = self._row(one)
            if row and row.is_revoked and not _UTC_TIME.fullmatch(_revocation(row)[0]):
                reasons.add("date")
        return reasons if reasons and self._is_right(ours) else None

    def _extensions(
        self, request: OCSPRequest, ours: OCSPResponse, theirs: OCSPResponse
    ) -> set[str] | None:
        """Why the responseExtensions differ."""
        mine, other = dict(ours.response_extensions), dict(theirs.response_extensions)
        reasons: set[str] = set()
        if self._ca.unissued == "revoked":
            mine.pop(ocsp_response.ID_PKIX_OCSP_EXTENDED_REVOKE, None)
            other.pop(ID_PKIX_OCSP_EXTENDED_REVOKE, None)
        if _encoded(mine) == _encoded(other):
            return reasons
        nonce = request.request_extensions.get(ID_PKIX_OCSP_NONCE)
        echo = mine.pop(ID_PKIX_OCSP_NONCE, None)
        other.pop(ID_PKIX_OCSP_NONCE, None)
        if nonce is None or _encoded(mine) != _encoded(other):
            return None
        if echo is None and self._ca.nonce == "ignore":
            reasons.add("nonce = ignore")
        elif echo and nonce.critical and not echo.critical and echo.value == nonce.value:
            reasons.add("nonce critical")
        else:
            return None
        return reasons

    def _single(self, ours: SingleResponse, theirs: list[SingleResponse]) -> set[str] | None:
        """Why this SingleResponse is not the first of theirs, which is removed if it is about the
        same certificate."""
        row = self._row(ours.cert_id)
        if not theirs or theirs[0].cert_id.encoded != ours.cert_id.encoded:
            if row is None or row.type in (b"V", b"R") or not self._says(ours, row):
                return None
            return {"E" if row.type == b"E" else "type"}
        other = theirs.pop(0)
        extensions = dict(ours.single_extensions)
        if self._ca.archive_cutoff is not None:
            extensions.pop(ID_PKIX_OCSP_ARCHIVE_CUTOFF, None)
        same_status = ours.cert_status.encode() == other.cert_status.encode()
        if same_status and _encoded(extensions) == _encoded(other.single_extensions):
            return set()
        if row is None:
            is_ours = self._matches(ours.cert_id)
            is_revoked = self._ca.unissued == "revoked" and ours.cert_status.name == "revoked"
            return {"unissued = revoked"} if is_ours and is_revoked else None
        if not self._says(ours, row):
            return None
        if other.cert_status.name == "unknown":
            return self._why_found(row)
        return _why_another_reason(ours, other, row)

    def _says(self, single: SingleResponse, row: Row) -> bool:
        return single.cert_status.encode() == row.cert_status.encode()

    def _why_found(self, row: Row) -> set[str] | None:
        fields = row.line.split(b"\t")
        if row.offset == self._cut_line:
            return {"last line"}
        is_spelled_otherwise = len(fields) >= 4 and not _SERIAL.fullmatch(fields[3])
        return {"spelling"} if is_spelled_otherwise else None


def _why_malformed(encoded: bytes) -> str:
    """The reason for which a request has to be refused; "" if it has not."""
    try:
        request = OCSPRequest.from_der(encoded)
    except ocsp_request.MalformedRequest:
        return "unreadable request"
    try:
        check_request(request)
    except ocsp_request.MalformedRequest:
        if len(request.request_list) > CERT_IDS:
            return "too many"
        length = nonce_length(request)
        if length is not None and length not in NONCE_BYTES:
            return "nonce length"
        return "unknown critical extension"
    return ""


def _why_another_reason(ours: SingleResponse, theirs: SingleResponse, row: Row) -> set[str] | None:
    """Why two responses about a revoked certificate differ in the reason or its extensions."""
    one, other = ours.cert_status, theirs.cert_status
    if not one.name == other.name == "revoked":
        return None
    _, word, argument = _revocation(row)
    if one.revocation_time != other.revocation_time:
        return None
    if argument and word.lower() in (b"keytime", b"cakeytime", b"holdinstruction"):
        return {"date of a reason"}
    if one.revocation_reason is None and other.revocation_reason in (0, 8):
        return {"no reason"}
    return {"reason"} if one.revocation_reason and other.revocation_reason is None else None


def _revocation(row: Row) -> tuple[bytes, bytes, bytes]:
    """Date, reason and argument in the row's third field."""
    fields = row.line.split(b"\t")
    date, _, rest = (fields[2] if len(fields) > 2 else b"").partition(b",")
    word, _, argument = rest.partition(b",")
    return date, word.strip(), argument


def _encoded(extensions: dict[bytes, Extension]) -> list[bytes]:
    return sorted(one.encode() for one in extensions.values())


def minutes_valid(response: bytes) -> int | None:
    """How long a response about a known certificate is valid; None if it does not say."""
    try:
        singles = OCSPResponse.from_der(response).responses
    except (ValueError, AttributeError):  # responses: only a successful one has them
        return None
    for one in singles:
        if one.cert_status.name != "unknown" and one.next_update is not None:
            return (one.next_update - one.this_update + 30) // 60
    return None


def describe(response: bytes) -> str:
    """What a response says, for people: `revoked, keyCompromise`, `malformedRequest`."""
    if not response:
        return "no response"
    try:
        read = OCSPResponse.from_der(response)
    except ValueError:
        return f"{len(response)} bytes that are not an OCSP response"
    if read.response_status != SUCCESSFUL:
        return RESPONSE_STATUS_NAMES[read.response_status]
    texts = []
    for single in read.responses[:3]:
        status = single.cert_status
        text = status.name
        if status.revocation_reason is not None:
            text += f", {ocsp_response.reason_name(status.revocation_reason)}"
        texts.append(text)
    more = f" and {len(read.responses) - 3} more" if len(read.responses) > 3 else ""
    return ("; ".join(texts) or "a response without a status") + more
