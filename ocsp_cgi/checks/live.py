"""The responder asked over HTTP: at the URL that a certificate names, as clients ask, or else at
this machine's virtual host, whatever its name resolves to."""

from __future__ import annotations

import contextlib
import copy
import shlex
import socket
from collections.abc import Iterator
from typing import NamedTuple

from .. import authority_info, certificate, index_file, index_row, index_search
from ..answer import OCSPError, printable
from ..certificate import Certificate, CertificateError
from ..config import CASettings
from ..issuer import Issuer
from ..tools import apache_dump, diagnosis, entry, error_log, issuer_of, probe
from ..tools.apache_config import Configuration, VirtualHost
from ..tools.cause import Cause, Server, ways_of
from ..tools.probe import Fault, Outcome, Question, Symptom, Target
from .finding import Finding, Level
from .subject import Subject

_BEGINNING_BYTES = 64 * 1024
_HERE = "on this machine, bypassing DNS"


class _Asked(NamedTuple):
    """A question about a certificate of this CA, called `name` in findings."""

    ca: CASettings
    question: Question
    name: str


def examine(subject: Subject) -> list[Finding]:
    if subject.settings is None:
        return [Finding(Level.WARN, "not asked: the config cannot be loaded", subject.config)]
    apache = apache_dump.command(subject.layout, subject.apache)
    try:
        configuration = apache_dump.read(apache)
    except apache_dump.Unreadable:
        configuration = None  # which is a finding of apache.py's
    asking = _Asking(subject, apache, configuration)
    if subject.certificate:
        return asking.at_its_url()
    return [finding for ca in subject.settings.cas for finding in asking.here(ca)]


class _Asking:
    def __init__(
        self, subject: Subject, apache: tuple[str, ...], configuration: Configuration | None
    ):
        self._subject = subject
        self._apache = apache
        self._configuration = configuration

    def at_its_url(self) -> list[Finding]:
        """Ask about the certificate that was given, at the URL in it, each address of its name."""
        file = self._subject.certificate
        try:
            about = certificate.load(file)
        except (OSError, CertificateError) as error:
            text = f"cannot be read: {getattr(error, 'strerror', None) or error}"
            return [Finding(Level.FAIL, text, file)]
        asked = self._asked_about(about, file)
        if asked is None:
            text = "not issued by any CA of the config, by the name and key of its issuer"
            return [Finding(Level.FAIL, text, file)]
        urls = authority_info.ocsp_urls(about)
        if not urls:
            text = (
                "names no OCSP responder (authorityInfoAccess), so no client asks: issue it with"
                " `ocsp_url`"
            )
            return [Finding(Level.FAIL, text, file)]
        return [finding for url in urls for finding in self._at(url, asked)]

    def _asked_about(self, about: Certificate, file: str) -> _Asked | None:
        found, _ = issuer_of.of_certificate(about, [Issuer(ca) for ca in self._cas()])
        if not found:
            return None
        ca = found[0].settings
        return _Asked(ca, self._question(found[0], about, found[0].certificates[0]), file)

    def _at(self, url: str, asked: _Asked) -> list[Finding]:
        """Ask at a URL, through DNS."""
        shown = printable(url)
        if url.lower().startswith("https:"):
            text = (
                "an OCSP URL with https: to fetch a response, a client would first have to check"
                " that server's certificate, by OCSP; use http in `ocsp_url`.  Not asked"
            )
            return [Finding(Level.WARN, text, shown)]
        try:
            whom = probe.target(url)
            addresses = _resolve(whom)
        except OSError as error:
            text = f"{printable(whom.name)} does not resolve: {error.strerror}; clients cannot ask"
            command = f"getent ahosts {shlex.quote(whom.name)}"
            return [Finding(Level.FAIL, text, shown, command)]
        except ValueError as error:  # UnicodeError is one
            return [Finding(Level.FAIL, f"clients cannot ask there: {error}", shown)]
        findings = []
        for number, address in enumerate(addresses):
            at = whom._replace(address=address)
            note = address if len(addresses) > 1 else ""
            findings += self._ask(asked, at, note, None if number == 0 else 1)
        if not any(map(_is_here, addresses)):
            text = (
                f"{printable(whom.name)} is {', '.join(addresses)}, which is not this machine: a"
                " proxy, a router or another host answers clients"
            )
            failed = any(one.level is not Level.OK for one in findings)
            findings.insert(0, Finding(Level.WARN if failed else Level.OK, text, shown))
        return findings

    def here(self, ca: CASettings) -> list[Finding]:
        """Ask about a CA's signer at every virtual host of this machine that has the responder."""
        issuer = Issuer(ca)
        try:
            own = _signer_certificate(ca, issuer, self._subject.now)
            if issuer.unreadable:
                raise issuer.unreadable
        except (OSError, CertificateError, OCSPError) as error:
            text = f"[{printable(ca.name)}] not asked: {getattr(error, 'strerror', None) or error}"
            return [Finding(Level.WARN, text, ca.rsigner)]
        newest = certificate.newest(issuer.certificates, self._subject.now)
        asked = _Asked(ca, self._question(issuer, own, newest), "its signer's certificate")
        if asked.question.expected == "unknown":
            asked = self._about_another(asked)
        targets = list(self._targets())
        if not targets:
            text = f"[{printable(ca.name)}] not asked: no virtual host leads to ocsp.cgi"
            return [Finding(Level.WARN, text, "", f"{entry.program()} install")]
        return [finding for whom in targets for finding in self._ask(asked, whom, _HERE, None)]

    def _about_another(self, asked: _Asked) -> _Asked:
        """A question about the first row of the index, where it does not have the signer: to ask
        for what was never issued would put a line for that into the log."""
        serial_number = _first_serial(asked.ca)
        if serial_number is None:
            return asked
        other = copy.copy(asked.question.certificate)
        other.serial_number = serial_number
        question = asked.question._replace(certificate=other, expected=_expected(asked.ca, other))
        return _Asked(asked.ca, question, f"serial {certificate.index_serial(serial_number)}")

    def _targets(self) -> Iterator[Target]:
        """Where the responder is on this machine."""
        layout, configuration = self._subject.layout, self._configuration
        if configuration is not None:
            seen = set()
            for script in configuration.scripts():
                host = script.virtual_host
                address, port = configuration.address_of(host)
                whom = Target(host.name or socket.getfqdn(), port, script.path, address)
                if whom not in seen and not self._is_for_tls(host):
                    seen.add(whom)
                    yield whom
        elif layout is not None and layout.server_name():
            address, port = layout.address()
            yield Target(layout.server_name(), port, "/cgi-bin/ocsp.cgi", address)

    def _is_for_tls(self, host: VirtualHost) -> bool:
        assert self._configuration is not None
        engine = self._configuration.in_force(host, "SSLEngine")
        return bool(engine and engine[0].words[0].lower() == "on")

    def _ask(self, asked: _Asked, whom: Target, note: str, ways: int | None) -> list[Finding]:
        """Ask in each way, or in the first ones, and find the cause of what is wrong."""
        server = self._server(whom)
        watch = error_log.Watch(
            server.configuration.error_logs(server.virtual_host) if server else []
        )
        outcomes = probe.ask(asked.question, whom, ways)
        if any(one.status and one.status != asked.question.expected for one in outcomes):
            # The index may have changed meanwhile.
            question = asked.question._replace(
                expected=_expected(asked.ca, asked.question.certificate)
            )
            outcomes = probe.ask(question, whom, ways)
        if server is not None:
            server.log.extend(watch.added())
        where = f"{whom.url} ({note})" if note else whom.url
        about = f"[{printable(asked.ca.name)}] {printable(asked.name)}: "
        findings = self._faults(about, outcomes, whom, where, server)
        usable = [one for one in outcomes if one.is_usable]
        if usable:
            names = ", ".join(one.way for one in usable)
            text = f"{about}{usable[0].status}, by {names}"
            findings.insert(0, Finding(Level.OK, text, where))
        return findings

    def _server(self, whom: Target) -> Server | None:
        """The Apache of this machine that is asked, None if it is another machine's."""
        configuration = self._configuration
        if configuration is None or not _is_here(whom.address):
            return None
        host = configuration.answering(whom.name, whom.address, whom.port)
        layout = self._subject.layout
        return Server(configuration, host, self._subject.user, [], self._apache, layout)

    def _faults(
        self,
        about: str,
        outcomes: list[Outcome],
        whom: Target,
        where: str,
        server: Server | None,
    ) -> list[Finding]:
        """A finding for each cause of what is wrong in these outcomes."""
        by_cause: dict[Cause, list[Fault]] = {}
        for fault in _distinct(outcomes):
            cause = diagnosis.explain(fault, outcomes, whom, server)
            by_cause.setdefault(cause, []).append(fault)
        findings = []
        for cause, faults in by_cause.items():
            seen = [f"{', '.join(ways_of(one, outcomes))}: {one.text}" for one in faults]
            text = about + "; ".join(seen)
            if cause.text:
                text += f": {cause.text}"
            if cause.where and cause.where not in cause.text:
                text += f" ({cause.where})"
            level = Level.FAIL if any(one.is_fatal for one in faults) else Level.WARN
            findings.append(Finding(level, text, where, cause.command))
        return findings

    def _question(self, issuer: Issuer, about: Certificate, its_issuer: Certificate) -> Question:
        ca = issuer.settings
        trusted: tuple[Certificate, ...] = ()
        if ca.signer_trust == "local":
            trusted = _trusted(issuer, self._subject.now)
        return Question(about, its_issuer, trusted, ca.nonce == "echo", _expected(ca, about))

    def _cas(self) -> list[CASettings]:
        return self._subject.settings.cas if self._subject.settings else []


def _signer_certificate(ca: CASettings, issuer: Issuer, now: int) -> Certificate:
    """The certificate of the signer that signs first.  OSError or CertificateError if it cannot be
    read."""
    if ca.rsigner2 and not issuer.unreadable:
        with contextlib.suppress(OCSPError):
            return issuer.signer(now).certificate
    return certificate.load(ca.rsigner)


def _trusted(issuer: Issuer, now: int) -> tuple[Certificate, ...]:
    """The certificates of the signers of a CA; of two, the second signs if the first cannot."""
    own = []
    for alone in issuer.settings.signers():
        with contextlib.suppress(OCSPError):
            own.append(certificate.newest(issuer.load_own(alone), now))
    return tuple(own)


def _expected(ca: CASettings, about: Certificate) -> str:
    """The status that the index gives a certificate, "" if it cannot be read."""
    try:
        found = index_search.find(ca.db, {about.serial_number})
    except OCSPError:
        return ""
    row = found.rows.get(about.serial_number)
    if row is not None:
        return row.cert_status.name
    return "revoked" if ca.unissued == "revoked" else "unknown"


def _first_serial(ca: CASettings) -> int | None:
    """The serial number in the first row of a CA's index, None if there is none."""
    try:
        lines = index_file.read(ca.db, lambda file: file.read(_BEGINNING_BYTES)).split(b"\n")
    except OCSPError:
        return None
    for line in lines[:-1]:
        with contextlib.suppress(ValueError, IndexError):
            if index_row.is_row(line):
                return int(line.split(b"\t")[3], 16)
    return None


def _distinct(outcomes: list[Outcome]) -> list[Fault]:
    """The faults, each kind with each text once."""
    found: dict[tuple[Symptom, str], Fault] = {}
    for one in outcomes:
        for fault in one.faults:
            found.setdefault((fault.symptom, fault.text), fault)
    return list(found.values())


def _resolve(whom: Target) -> list[str]:
    """The addresses of a name, in the order in which clients try them.  OSError if there are
    none."""
    found = socket.getaddrinfo(whom.name, whom.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _is_here(address: str) -> bool:
    """Whether an address is one of this machine's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.bind((address, 0))
        return True
    except OSError:
        return False
