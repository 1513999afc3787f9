"""A response in plain words: what it says, who signs it, and how long it is kept."""

from __future__ import annotations

import os

from .. import index_file, ocsp_http, reuse, times
from ..answer import RESPONSE_STATUS_NAMES, SUCCESSFUL
from ..config import CASettings
from ..ocsp_request import MalformedRequest, OCSPRequest
from ..ocsp_response import OCSPResponse
from .explanation import status
from .labelled import line
from .openssl_text import distinguished_name
from .rehearsal import Rehearsed


def of(
    rehearsed: Rehearsed, encoded: bytes | None, ca: CASettings | None, said: list[str], now: int
) -> list[str]:
    """The response to the DER of an OCSPRequest.

    `ca` is the CA that is asked first, None if no CA of the config is; `said` are warnings that
    have been printed.
    """
    answer = rehearsed.answer
    notes = [note for note in rehearsed.notes if note.removeprefix("warning: ") not in said]
    if answer.response_status != SUCCESSFUL:
        lines = _error(rehearsed)
        notes = [note for note in notes if note != rehearsed.notes[-1]]
    else:
        response = OCSPResponse.from_der(answer.der)
        lines = []
        for number, single in enumerate(response.responses, 1):
            label = "Response" if len(response.responses) == 1 else f"Response {number}"
            lines.append(line(label, status(single.cert_status, now)))
        lines.append(line("Signed by", _signed_by(rehearsed, response)))
        lines.append(line("thisUpdate", times.log_time(answer.this_update)))
        left = index_file.duration(answer.next_update - now)
        lines.append(line("nextUpdate", f"{times.log_time(answer.next_update)}, in {left}"))
        lines += [line("Clients", _kept(rehearsed)), line("Cache", _cache(rehearsed, encoded, ca))]
    return lines + [line("Log", note) for note in dict.fromkeys(notes)]


def _may_enter(directory: str) -> bool:
    return os.access(directory, os.R_OK | os.X_OK, effective_ids=True)


def _error(rehearsed: Rehearsed) -> list[str]:
    name = RESPONSE_STATUS_NAMES[rehearsed.answer.response_status]
    reason = rehearsed.notes[-1] if rehearsed.notes else ""
    return [
        line("Response", f"{name}, an error without a signature"),
        line("Why", reason.removeprefix("error: ")),
        line(
            "Clients",
            "keep nothing (Cache-Control: no-cache, no-store); many accept the certificate when"
            " they get an error",
        ),
    ]


def _signed_by(rehearsed: Rehearsed, response: OCSPResponse) -> str:
    names = [
        f"{distinguished_name(one.subject)}, valid until {times.log_time(one.not_after)}"
        for one in response.certificates()[:1]
    ]
    if rehearsed.unsigned:
        names.append("not signed here: this user may not read the key; root may")
    return "; ".join(names)


def _kept(rehearsed: Rehearsed) -> str:
    headers = dict(ocsp_http.response(rehearsed.answer, "GET").headers)
    control = f"Cache-Control: {headers['Cache-Control'].partition(', public')[0]}"
    if not rehearsed.answer.entity_tag:
        return f"may keep it; HTTP caches must not, since it repeats the nonce ({control})"
    seconds = index_file.duration(rehearsed.answer.max_age)
    return f"may keep it until nextUpdate, HTTP caches for {seconds} ({control})"


def _cache(rehearsed: Rehearsed, encoded: bytes | None, ca: CASettings | None) -> str:
    if rehearsed.cached_until is not None:
        until = times.log_time(rehearsed.cached_until)
        return f"cached, and sent until {until} if nothing changes before"
    if ca is None or ca.cache is None:
        return "new for each request" + (f": [{ca.name}] has no `cache`" if ca else "")
    try:
        request = OCSPRequest.from_der(encoded or b"")
        if not reuse.is_cachable(request, ca):
            return (
                "new: a request with a nonce, several CertIDs or preferred algorithms is not"
                " answered from the cache"
            )
    except MalformedRequest:
        pass
    single = OCSPResponse.from_der(rehearsed.answer.der).responses[0]
    if single.cert_status.name == "unknown":
        return "new: `unknown` is not cached"
    if os.path.isdir(ca.cache) and not _may_enter(ca.cache):
        return f"new, or cached: this user may not look into {ca.cache}; root may"
    return f"new: nothing in {ca.cache} that can still be used"
