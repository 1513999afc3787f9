"""mod_wsgi: in which processes and in which interpreter the responder runs."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator

from ..answer import printable
from ..tools import apache_wsgi
from ..tools.apache_config import Script
from ..tools.apache_wsgi import GLOBAL
from ..tools.cause import Server
from ..tools.http_causes import called
from .finding import Finding, Level


def examine(script: Script, server: Server) -> list[Finding]:
    """What is wrong with how mod_wsgi runs a script."""
    findings = [
        *_not_reached(script, server),
        *_processes(script, server),
        *_interpreter(script, server),
    ]
    host = script.virtual_host
    logs = server.configuration.error_logs(host)
    text = f"ocsp.wsgi logs to {printable(logs[-1] if logs else 'an unknown place')}"
    return [*findings, Finding(Level.OK, text, host.place)]


def _not_reached(script: Script, server: Server) -> Iterator[Finding]:
    """Apache looks at ScriptAlias and Alias first."""
    reload, place = server.reload_edited(), script.directive.place
    first = server.configuration.script(script.virtual_host, script.path)
    if first is not None and not first.is_wsgi:
        text = (
            f"`{first.directive.name} {first.directive.words[0]}` takes the requests for"
            f" {script.path} before `{script.directive.name}` sees them: write"
            f' `Alias "{script.path}" "{script.file}"` in {called(script.virtual_host)}, and'
            " `SetHandler wsgi-script` in a <Location> of it"
        )
        yield Finding(Level.FAIL, text, first.directive.place, reload)
    if not apache_wsgi.is_handled(script, server.configuration):
        text = (
            f"`SetHandler wsgi-script` is missing in the <Location> of {script.path}, so Apache"
            " shows the script instead of running it"
        )
        yield Finding(Level.FAIL, text, place, reload)


def _processes(script: Script, server: Server) -> Iterator[Finding]:
    configuration, reload = server.configuration, server.reload_edited()
    groups = apache_wsgi.groups(script, configuration)
    place = groups.places[0] or script.directive.place
    if not groups.process:
        text = (
            f"the responder runs in Apache's own processes, as {configuration.user or 'its user'}:"
            " without `WSGIProcessGroup ocsp-cgi`, and a WSGIDaemonProcess of that name, whatever"
            " else runs there can read the key"
        )
        yield Finding(Level.WARN, text, place, reload)
        return
    daemon = apache_wsgi.daemon_of(script, configuration)
    if daemon is None:
        if "%{" in groups.process:
            return  # which a request decides
        defined = ", ".join(apache_wsgi.daemons(configuration))
        text = f"there is no `WSGIDaemonProcess {groups.process}`: every request gets HTTP 500"
        text += f"; there is {defined}" if defined else ""
        yield Finding(Level.FAIL, text, place, reload)
        return
    user = daemon.options.get("user")
    where = daemon.directive.place
    if user is None:
        as_whom = f" as {configuration.user}, the web server's user" if configuration.user else ""
        text = f"the responder runs in processes of mod_wsgi's{as_whom}, who can read the key"
        yield Finding(Level.OK, text, where)
        return
    try:
        home = daemon.options.get("home") or pwd.getpwnam(user).pw_dir
    except KeyError:
        return  # then Apache refuses its configuration
    if not os.path.isdir(home):
        text = (
            f"mod_wsgi's processes cannot start, since there is no directory {home}: add `home=/`"
        )
        yield Finding(Level.FAIL, text, where, reload)
        return
    text = f"the responder runs in processes of mod_wsgi's, as {user}"
    yield Finding(Level.OK, text, where)


def _interpreter(script: Script, server: Server) -> Iterator[Finding]:
    groups = apache_wsgi.groups(script, server.configuration)
    if groups.application == GLOBAL:
        return
    text = (
        f"`WSGIApplicationGroup {GLOBAL}` is missing for {script.path}: `cryptography` works only"
        " in the first interpreter of a process"
    )
    if groups.application:
        text = (
            f"the application group is `{groups.application}`, and must be {GLOBAL}: `cryptography`"
            " works only in the first interpreter of a process"
        )
    place = groups.places[1] or script.directive.place
    yield Finding(Level.FAIL, text, place, server.reload_edited())
