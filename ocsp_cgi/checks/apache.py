"""Apache: whether it runs, accepts its configuration, and leads clients to ocsp.cgi with the config
that is being checked."""

from __future__ import annotations

import os
import re
import shlex
import urllib.parse
from collections.abc import Iterator

from .. import authority_info, certificate, config
from ..answer import printable
from ..certificate import CertificateError
from ..tools import (
    apache_config,
    apache_dump,
    apache_process,
    apache_wsgi,
    entry,
    script_faults,
)
from ..tools.apache_config import Script
from ..tools.cause import Server
from ..tools.http_causes import called
from ..tools.layout import Layout
from . import wsgi
from .finding import Finding, Level
from .subject import Subject

_NEEDED = ("alias", "env")


def examine(subject: Subject) -> list[Finding]:
    if subject.layout is None and not subject.apache:
        text = "Apache is not installed, as far as is known here"
        return [Finding(Level.FAIL, text, "", "apt-get install apache2 (RHEL: dnf install httpd)")]
    apache = apache_dump.command(subject.layout, subject.apache)
    shown = " ".join(map(shlex.quote, apache))
    try:
        configuration = apache_dump.read(apache)
    except apache_dump.Unreadable as error:
        return [_refused(str(error), f"{shown} -t", subject.layout)]
    # What is of the server as a whole; no virtual host is meant.
    main = apache_config.MAIN_SERVER
    server = Server(configuration, main, subject.user, [], apache, subject.layout)
    findings = [Finding(Level.OK, f"Apache accepts its configuration (`{shown} -t`)")]
    findings += _process(server)
    scripts = configuration.scripts()
    findings += _modules(server, scripts)
    if not scripts:
        text = (
            "no ScriptAlias leads to ocsp.cgi in any virtual host"
            if configuration.is_complete
            else "no ScriptAlias for ocsp.cgi was seen; what virtual hosts include was not looked"
            " at, because mod_info is not installed"
        )
        level = Level.FAIL if configuration.is_complete else Level.WARN
        findings.append(Finding(level, text, "", f"{entry.program()} install"))
    for script in scripts:
        findings += _script(script, server, subject)
    findings += _name_in_certificate(subject, server)
    return findings


def _install_wsgi(layout: Layout | None) -> str:
    if layout is None:
        return "apt-get install libapache2-mod-wsgi-py3 (RHEL: dnf install python3-mod_wsgi)"
    return f"{layout.packages} {layout.mod_wsgi}"


def _refused(error: str, command: str, layout: Layout | None) -> Finding:
    """Apache's configuration cannot be read: only root may know why."""
    found = re.match(r"(\S+:\d+): (.*)", error)
    where, reason = (found[1], found[2]) if found else ("", error)
    if "Invalid command 'WSGI" in reason:
        reason = f"the module mod_wsgi is not loaded: {reason}"
        command = "a2enmod wsgi" if apache_wsgi.module() else _install_wsgi(layout)
    elif "bad user name" in reason or "bad group name" in reason:
        command = f"{entry.program()} install"
    if os.geteuid() != 0:
        text = (
            f"not checked: this user cannot test Apache's configuration, which may be right all"
            f" the same: {reason}"
        )
        return Finding(Level.WARN, text, where, f"sudo {command}")
    text = f"Apache refuses its configuration, and will not start again: {reason}"
    return Finding(Level.FAIL, text, where, command)


def _process(server: Server) -> list[Finding]:
    configuration = server.configuration
    is_running = apache_process.is_running(configuration)
    if is_running is None:
        text = "not checked: whether Apache runs; this user may not read its PidFile"
        return [Finding(Level.OK, text, configuration.pid_file)]
    if not is_running:
        text = "Apache does not run"
        return [Finding(Level.FAIL, text, configuration.pid_file, server.control("start"))]
    changed = apache_process.changed_file(configuration)
    if changed:
        text = "changed after Apache read it, so what it says is not in force yet"
        return [Finding(Level.WARN, text, changed, server.control("reload"))]
    return [Finding(Level.OK, "Apache runs")]


def _modules(server: Server, scripts: list[Script]) -> list[Finding]:
    modules = server.configuration.modules
    runner = "cgi" if "mpm_prefork" in modules else "cgid"
    missing = [name for name in _NEEDED if name not in modules]
    needs_cgi = not scripts or not all(script.is_wsgi for script in scripts)
    if needs_cgi and not {"cgi", "cgid"}.intersection(modules):
        missing.append(runner)
    if not missing and not needs_cgi:
        return [Finding(Level.OK, "mod_wsgi runs the responder")]
    if not missing:
        used = "cgid" if "cgid" in modules else "cgi"
        return [Finding(Level.OK, f"mod_{used} runs scripts")]
    command = f"a2enmod {' '.join(missing)} && {server.control('restart')}"
    if server.layout is not None and not server.layout.enables_sites:
        command = server.control("restart")
    text = f"Apache lacks the modules it needs: {', '.join(missing)}"
    return [Finding(Level.FAIL, text, "", command)]


def _script(script: Script, server: Server, subject: Subject) -> list[Finding]:
    configuration, host = server.configuration, script.virtual_host
    fault = script_faults.find(script, configuration, subject.user)
    if fault is not None:
        findings = [Finding(Level.FAIL, fault.text, fault.where, fault.command)]
    else:
        text = f"{called(host)} has {script.path}, which runs {script.file}"
        findings = [Finding(Level.OK, text, script.directive.place)]
    findings += _shadowed(script, server)
    findings += _config(script, server, subject)
    if script.is_wsgi:
        return findings + wsgi.examine(script, server)
    if configuration.environment(host, script.path, "ap_trust_cgilike_cl") is None:
        text = (
            f"`SetEnv ap_trust_cgilike_cl yes` is missing in the <Location> of {script.path} in"
            f" {called(host)}, so Apache drops Content-Length from some responses"
        )
        findings.append(Finding(Level.WARN, text, host.place, server.reload_edited()))
    logs = configuration.error_logs(host)
    if "cgid" in configuration.modules and len(logs) > 1:
        text = (
            f"ocsp.cgi logs to {printable(logs[0])}: under mod_cgid, scripts write to the main"
            f" server's ErrorLog; Apache's own errors are in {printable(logs[-1])}"
        )
    else:
        text = f"ocsp.cgi logs to {printable(logs[-1] if logs else 'an unknown place')}"
    findings.append(Finding(Level.OK, text, host.place))
    return findings


def _shadowed(script: Script, server: Server) -> Iterator[Finding]:
    """Another virtual host may answer for the name of this one."""
    host = script.virtual_host
    if not host.place:
        return
    address, port = server.configuration.address_of(host)
    answering = server.configuration.answering(host.name, address, port)
    if answering.place == host.place or any(
        one.virtual_host.place == answering.place and one.path == script.path
        for one in server.configuration.scripts()
    ):
        return
    text = (
        f"{called(answering)} answers for {host.name}, and not {called(host)}, where the"
        " responder is: both have that name"
    )
    yield Finding(Level.FAIL, text, answering.place, server.reload_edited())


def _config(script: Script, server: Server, subject: Subject) -> list[Finding]:
    """Whether the responder reads the config that is being checked."""
    configuration, host = server.configuration, script.virtual_host
    named = configuration.environment(host, script.path, "OCSP_CGI_CONFIG")
    path, place = config.DEFAULT_PATH, script.directive.place
    if named is not None:
        path, place = named.words[-1].rpartition("=")[2], named.place
    suexec = configuration.in_force(host, "SuexecUserGroup")
    if suexec and path != config.DEFAULT_PATH:
        text = (
            "`SuexecUserGroup` runs the script without OCSP_CGI_CONFIG, so the responder reads"
            f" {config.DEFAULT_PATH}"
        )
        path, place = config.DEFAULT_PATH, suexec[0].place
    else:
        text = f"the responder at {called(host)} reads {path}"
    if os.path.realpath(path) == os.path.realpath(subject.config):
        return [Finding(Level.OK, text, place)]
    text += f", and {subject.config} was checked"
    command = f"{entry.program()} check --config {shlex.quote(path)}"
    return [Finding(Level.WARN, text, place, command)]


def _name_in_certificate(subject: Subject, server: Server) -> Iterator[Finding]:
    """Which virtual host answers for the URL in the certificate that was given."""
    if not subject.certificate:
        return
    try:
        urls = authority_info.ocsp_urls(certificate.load(subject.certificate))
    except (OSError, CertificateError):
        return  # which is a finding of live.py's
    for url in urls:
        try:
            parts = urllib.parse.urlsplit(url)
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            continue
        host = server.configuration.answering(name, "127.0.0.1", port)
        script = server.configuration.script(host, parts.path or "/")
        text = f"{called(host)} answers for {printable(name)}"
        if script is not None:
            yield Finding(Level.OK, text, printable(url))
            continue
        text += f", and has no ScriptAlias for {printable(parts.path)}"
        responders = [one.virtual_host for one in server.configuration.scripts()]
        if responders:
            text += f"; the responder is in {called(responders[0])}: `ServerAlias` is missing there"
        yield Finding(Level.WARN, text, host.place or printable(url), server.reload_edited())
