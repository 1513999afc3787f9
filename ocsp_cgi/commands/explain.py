"""Explain a certificate's status: its row, the rule, and the response."""

from __future__ import annotations

import argparse
import time

from .. import producer, times
from ..answer import INTERNAL_ERROR, TRY_LATER, OCSPError
from ..certificate import index_serial
from ..config import CASettings, Settings
from ..files import Files
from ..issuer import Issuer, refuse_shared
from ..ocsp_request import ID_PKIX_OCSP_NONCE, CertID, Extension, OCSPRequest, encode_request
from ..tools import (
    asked,
    config_file,
    entry,
    explanation,
    issuer_of,
    labelled,
    rehearsal,
    response_lines,
)
from ..tools.asked import CertificateFile, RequestBytes, SerialNumber
from ..tools.entry import CommandError
from ..tools.explanation import Indexes
from ..tools.labelled import line
from ..tools.openssl_text import distinguished_name, extension_name

NOTES = """\
exit codes:
  0  explained, whatever the status is
  1  not found: no index has a row for it, or no CA of the config is
     asked; also if the request is malformed, WHAT cannot be read, or
     --from shows another row
  2  the responder would answer tryLater or internalError

Nothing is written, and the responder is not asked: this shows what it
would answer now.
"""
EXAMPLES = (
    "explain 4F7822BFC9D94F5857C1BED046ACD521",
    "explain server.crt --ca root-ca",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="WHAT",
        nargs="+",
        help=(
            "one serial number in hexadecimal, one file of a certificate or of an OCSP request, one"
            " request in base64, the words of a line of a log, or - for standard input"
        ),
    )
    parser.add_argument(
        "--ca",
        metavar="CA",
        action="append",
        default=[],
        help="look in the index of this CA only; repeatable",
    )
    config_file.add_argument(parser)
    parser.add_argument(
        "--from",
        dest="source",
        metavar="SOURCE",
        nargs="?",
        const="",
        help=(
            "compare with the index of the CA's host: HOST:PATH, or the path of a copy (default:"
            " `sync_from` of the CA); put it behind WHAT"
        ),
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if there is a row for everything asked about, 1 if not, 2 if the responder is out
    of order."""
    settings = config_file.load(arguments)
    chosen = config_file.choose(settings, arguments.ca)
    what = asked.read(arguments.what)
    explainer = _Explainer(settings, chosen, arguments.source)
    if isinstance(what, SerialNumber):
        explainer.explain_serial_number(what)
        for number in what.others:
            explainer.lines.append("")
            explainer.explain_serial_number(SerialNumber(number, None))
    elif isinstance(what, CertificateFile):
        explainer.explain_certificate(what)
    elif arguments.ca:
        raise CommandError("a request says itself which CA it is about: leave out --ca")
    else:
        explainer.explain_request(what)
    labelled.write(explainer.lines)
    return explainer.status


class _Explainer:
    """Fills `lines`, and `status` with the exit code.

    `chosen` are the CAs that --ca names, all if it is absent; `source` is as --from has it.
    """

    def __init__(self, settings: Settings, chosen: list[CASettings], source: str | None):
        self.lines: list[str] = []
        self.status = entry.OK
        self._settings = settings
        self._source = source
        self._now = int(time.time())
        self._issuers = Files().issuers(settings)
        refuse_shared(self._issuers)
        names = [ca.name for ca in chosen]
        self._chosen = [one for one in self._issuers if one.settings.name in names]

    def explain_serial_number(self, what: SerialNumber) -> None:
        number, shown = what.number, index_serial(what.number)
        readings = {what.number} if what.decimal is None else {what.number, what.decimal}
        indexes = Indexes(self._settings, readings, self._now)
        found = _distinct([one for one in self._chosen if indexes.has(one.settings, number)])
        if what.decimal is not None:
            as_decimal = [one for one in self._chosen if indexes.has(one.settings, what.decimal)]
            names = " and ".join(f"[{one.settings.name}]" for one in as_decimal)
            if as_decimal and not found:
                number, found = what.decimal, _distinct(as_decimal)
                shown = (
                    f"{index_serial(number)}, which is {what.decimal} in decimal: no index has"
                    f" {index_serial(what.number)} in hexadecimal"
                )
            elif as_decimal:
                shown += f"; read as decimal it is {index_serial(what.decimal)}, also of {names}"
        self.lines.append(line("Serial", shown))
        targets = found or _distinct(self._chosen)
        for issuer in targets:
            if len(targets) > 1:
                self.lines.append("")
            self.lines.append(line("CA", f"[{issuer.settings.name}], {self._how(found)}"))
            cert_id = issuer_of.cert_id_of_serial(issuer, number) if issuer.certificates else None
            self._explain(indexes, issuer, cert_id, number)

    def _how(self, found: list[Issuer]) -> str:
        """How the CA of a bare serial number was chosen."""
        if len(self._issuers) == 1:
            return "the only CA of the config"
        if len(self._chosen) < len(self._issuers):
            return "as --ca says"
        searched = f"searched in all {len(self._issuers)} CAs"
        if len(found) > 1:
            return f"{searched}: {len(found)} have this serial, and a certificate would say which"
        return searched if found else f"{searched}: none has this serial"

    def explain_certificate(self, what: CertificateFile) -> None:
        holder = what.certificate
        which = f", the first of {what.certificates} certificates" if what.certificates > 1 else ""
        self.lines += [
            line("Certificate", f"{what.name}{which}"),
            line("Subject", distinguished_name(holder.subject)),
            line(
                "Valid",
                f"from {times.log_time(holder.not_before)} to {times.log_time(holder.not_after)}",
            ),
            line("Serial", index_serial(holder.serial_number)),
        ]
        issuers, how = issuer_of.of_certificate(holder, self._issuers)
        if not issuers:
            self.status = entry.WARNING
            name = distinguished_name(holder.issuer)
            self.lines += [line("Issuer", f"{name}: {how}"), *explanation.list_of(self._issuers)]
            cert_id = issuer_of.cert_id_of_certificate(None, holder)
            self._respond(encode_request([cert_id]), None, [])
            return
        if not any(issuer in self._chosen for issuer in issuers):
            raise CommandError(
                f"{what.name}: issued by [{issuers[0].settings.name}], not by the CA of --ca"
            )
        issuer = next(issuer for issuer in issuers if issuer in self._chosen)
        self.lines.append(line("CA", f"[{issuer.settings.name}], {how}"))
        indexes = Indexes(self._settings, {holder.serial_number}, self._now)
        cert_id = issuer_of.cert_id_of_certificate(issuer, holder)
        self._explain(indexes, issuer, cert_id, holder.serial_number, holder.not_after)

    def _explain(
        self,
        indexes: Indexes,
        issuer: Issuer,
        cert_id: CertID | None,
        number: int,
        not_after: int | None = None,
    ) -> None:
        """Explain one certificate; `not_after` is its end, None if only its serial is known."""
        warnings = self._explain_row(indexes, issuer, cert_id, number, not_after)
        if cert_id is None:
            self.status = entry.CRITICAL
            reason = str(issuer.unreadable)
            self.lines += [line("Response", "internalError"), line("Why", reason)]
        else:
            self._respond(encode_request([cert_id]), issuer.settings, warnings)

    def _explain_row(
        self,
        indexes: Indexes,
        issuer: Issuer,
        cert_id: CertID | None,
        number: int,
        not_after: int | None = None,
    ) -> list[str]:
        """Explain what the index says.  Returns the warnings about it that were printed."""
        ca = issuer.settings
        self.lines += indexes.explain(issuer, cert_id, number)
        self.lines += explanation.sync_problem(ca, self._now)
        found = indexes.of(ca)
        if number not in found.rows:
            self._worse(entry.WARNING)
        elif not_after is not None and found.rows[number][0].expiry not in (None, not_after):
            self.lines.append(
                line(
                    "But",
                    "the row has another expiry than the certificate: it is another certificate's,"
                    " or this is the index of another CA",
                )
            )
        if self._source is not None:
            try:
                compared, is_same = indexes.compare(ca, number, self._source)
            except CommandError as error:
                compared, is_same = [line("CA host", str(error))], False
            self.lines += compared
            if not is_same:
                self._worse(entry.WARNING)
        return found.warnings

    def explain_request(self, what: RequestBytes) -> None:
        length = "too long" if what.encoded is None else f"{len(what.encoded)} bytes"
        self.lines.append(line("Request", f"{what.name}, {length}"))
        try:
            if what.encoded is None:
                request = None
            else:
                request = OCSPRequest.from_der(what.encoded)
                producer.check_request(request)
        except OCSPError:  # the response has the reason
            request = None
        if request is None:
            self._worse(entry.WARNING)
            self._respond(what.encoded, None, [])
            if what.hint:
                self.lines.append(line("Perhaps", what.hint))
            return
        self.lines += _extensions(request.request_extensions, producer.nonce_length(request))
        cert_ids = [single.req_cert for single in request.request_list]
        indexes = Indexes(self._settings, {one.serial_number for one in cert_ids}, self._now)
        warnings: list[str] = []
        asked_first = None
        for number, single in enumerate(request.request_list, 1):
            cert_id = single.req_cert
            if len(cert_ids) > 1:
                self.lines.append("")
            label = f"CertID {number}" if len(cert_ids) > 1 else "CertID"
            hashed = cert_id.hash_name or "an unknown hash"
            self.lines.append(line(label, f"serial {cert_id.index_serial}, {hashed}"))
            self.lines += _extensions(single.single_request_extensions)
            issuer = next((one for one in self._issuers if one.matches(cert_id)), None)
            if issuer is None:
                self._worse(entry.WARNING)
                self.lines += self._foreign(cert_id)
                continue
            asked_first = asked_first or issuer.settings
            how = "by the hashes of its name and key"
            self.lines.append(line("CA", f"[{issuer.settings.name}], {how}"))
            warnings += self._explain_row(indexes, issuer, cert_id, cert_id.serial_number)
        if len(cert_ids) > 1:
            self.lines.append("")
        self._respond(what.encoded, asked_first, warnings)

    def _foreign(self, cert_id: CertID) -> list[str]:
        """About a CertID that names no CA of the config."""
        return [
            line("CA", "no `ca` of the config has these hashes:"),
            line("Name hash", cert_id.issuer_name_hash.hex().upper() or "empty", may_break=True),
            line("Key hash", cert_id.issuer_key_hash.hex().upper() or "empty", may_break=True),
            *[line("But", one) for one in issuer_of.half_matches(cert_id, self._issuers)],
            *explanation.list_of(self._issuers),
        ]

    def _respond(self, encoded: bytes | None, ca: CASettings | None, said: list[str]) -> None:
        rehearsed = rehearsal.rehearse(encoded, self._settings, self._now)
        if rehearsed.answer.response_status in (TRY_LATER, INTERNAL_ERROR):
            self._worse(entry.CRITICAL)
        self.lines += response_lines.of(rehearsed, encoded, ca, said, self._now)

    def _worse(self, status: int) -> None:
        self.status = max(self.status, status)


def _distinct(issuers: list[Issuer]) -> list[Issuer]:
    """The first section of each CA."""
    distinct: list[Issuer] = []
    for issuer in issuers:
        if not any(issuer.is_one_with(other) for other in distinct):
            distinct.append(issuer)
    return distinct


def _extensions(extensions: dict[bytes, Extension], nonce_length: int | None = None) -> list[str]:
    lines = []
    for extension in extensions.values():
        critical = ", critical" if extension.critical else ""
        name = extension_name(extension.extn_id)
        is_nonce = extension.extn_id == ID_PKIX_OCSP_NONCE
        length = nonce_length if is_nonce else len(extension.value)
        lines.append(line("Extension", f"{name}, {length} bytes{critical}"))
    return lines
