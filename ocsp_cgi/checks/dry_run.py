"""A response of each CA, made as the responder makes it, by its user: the last check, since it
takes everything that a response takes, except Apache."""

from __future__ import annotations

from typing import Any

from .. import config, responder
from ..answer import NEVER_ISSUED, RESPONSE_STATUS_NAMES, SUCCESSFUL, Log, OCSPError
from ..certificate import index_serial
from ..config import CASettings
from ..issuer import Issuer
from ..ocsp_request import encode_request
from ..ocsp_response import OCSPResponse
from ..signer import load_certificates
from ..tools import as_user, token_user
from . import preload
from .config_file import cert_id
from .database import without_row
from .finding import Finding, Level
from .subject import Subject


def examine(subject: Subject) -> list[Finding]:
    findings = []
    preload.everything()
    # What a host without a key sends is looked at by copied_responses.py.
    for ca in [ca for ca in subject.settings.cas if ca.rkey] if subject.settings else []:
        try:
            made = as_user.call(subject.user, ask, subject.config, ca.name, subject.now)
        except as_user.ChildFailed as error:
            text = f"no response could be made: {error}"
            findings.append(Finding(Level.FAIL, text, f"[{ca.name}]"))
            continue
        findings += _findings(ca, made, subject.user)
    return findings


def ask(config_path: str, name: str, now: int) -> dict[str, Any]:
    """The response about the signer's own certificate: `response` is its status, `status` that of
    the certificate, and `has_row` whether the index has it; `delegated` whether the CA issued the
    signer; `serial` its serial number, `signer` its file; `warnings` are lines for the log.

    The cache is neither read nor written.
    """
    try:
        settings = config.load(config_path)
        for one in settings.cas:
            token_user.leave_cache(one)
        ca = next(one for one in settings.cas if one.name == name)
        issuer = Issuer(ca)
        if issuer.unreadable:
            raise issuer.unreadable
        path = ca.rsigner
        try:
            made = issuer.signer(now)
            number, delegated = made.certificate.serial_number, made.delegated
            path = made.settings.rsigner
        except OCSPError:
            own = issuer.load_all_own() or load_certificates("rsigner", path)
            number, delegated = own[0].serial_number, True  # what the responder says is below
    except OCSPError as error:
        return {"response": "internalError", "warnings": [str(error)]}
    log = Log()
    request = encode_request([cert_id(issuer, number)])
    answered = responder.respond(request, lambda: settings, now, log)
    status = ""
    if answered.response_status == SUCCESSFUL:
        status = OCSPResponse.from_der(answered.der).responses[0].cert_status.name
    return {
        "response": RESPONSE_STATUS_NAMES[answered.response_status],
        "status": status,
        "has_row": not any(note.startswith(NEVER_ISSUED) for note in log.notes),
        "delegated": delegated,
        "signer": path,
        "serial": index_serial(number),
        "warnings": [
            note.partition(": ")[2]  # without its kind
            for note in log.notes
            if not note.startswith(NEVER_ISSUED)  # `has_row` says so
        ],
    }


def _findings(ca: CASettings, made: dict[str, Any], user: str) -> list[Finding]:
    where = f"[{ca.name}]"
    warnings = made["warnings"]
    if made["response"] != RESPONSE_STATUS_NAMES[SUCCESSFUL]:
        texts = warnings or [f"the response is {made['response']}"]
        return [Finding(Level.FAIL, text, where) for text in texts]
    findings = [Finding(Level.WARN, text, where) for text in warnings]
    if made["delegated"] and not made["has_row"]:
        number = int(made["serial"], 16)
        findings.append(Finding(Level.WARN, without_row(ca, made["signer"], number), where))
    if not findings:
        text = f"{user} makes a signed response"
        if made["delegated"]:
            text += f": good for {made['signer']} itself"
        findings.append(Finding(Level.OK, text, where))
    return findings
