"""From what is wrong with a response to its cause, and what to do.

A directive is blamed only if Apache's configuration really lacks it.  What Apache itself wrote into
its log about the request comes before any guess, and where the cause is not known, the text says
how to find it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence

from .. import config
from ..answer import printable
from . import apache_process, error_log, http_causes
from .apache_config import Configuration
from .cause import Case, Cause, Server
from .http_causes import PROXY, called
from .probe import Fault, Outcome, Symptom, Target

_CHANGING = (
    *("SetOutputFilter", "AddOutputFilter", "AddOutputFilterByType", "FilterProvider"),
    *("Header", "ForceType", "AddType", "AddCharset", "ProxyPass", "ProxyPassMatch"),
)


def explain(
    fault: Fault, outcomes: Sequence[Outcome], whom: Target, server: Server | None
) -> Cause:
    """The cause of a fault, among the `outcomes` of all ways.

    `server` is None if it is not an Apache of this machine, or its configuration cannot be read.
    """
    if fault.symptom is Symptom.UNVERIFIED:
        return Cause("")
    if server is None:
        return _from_afar(fault, whom)
    named = fault.reply.server if fault.reply else ""
    if named and not named.lower().startswith("apache"):
        text = f"it was {named} that answered at {whom.address} port {whom.port}, not Apache"
        return Cause(f"{text}: {PROXY}")
    if not _listens(server.configuration, whom.port):
        return _not_listening(fault, whom, server)
    changed = apache_process.changed_file(server.configuration)
    if changed:
        text = "the file was changed after Apache read it, so what it says is not in force yet"
        return Cause(text, changed, server.control("reload"))
    for look in _LOOKS[fault.symptom]:
        cause = look(Case(fault, outcomes, whom, server))
        if cause is not None:
            return cause
    return _elsewhere(server)


def _from_afar(fault: Fault, whom: Target) -> Cause:
    if fault.symptom is Symptom.CONNECTION_REFUSED:
        return Cause("nothing listens there: does Apache run, and is the port open?")
    if fault.symptom is Symptom.ERROR_RESPONSE:
        return Cause("a line with `ocsp.cgi: error: ` in that machine's error log says why")
    return Cause(f"on {whom.address}, `check` finds the cause, as root")


def _listens(configuration: Configuration, port: int) -> bool:
    """Whether Apache listens on a port, as far as is known."""
    listening = [one.words[0] for one in configuration.directives if one.is_one_of("Listen")]
    return not listening or any(word.rpartition(":")[2] == str(port) for word in listening)


def _not_listening(fault: Fault, whom: Target, server: Server) -> Cause:
    if fault.symptom is Symptom.CONNECTION_REFUSED:
        text = f"nothing listens there: `Listen {whom.port}` is missing in Apache's configuration"
        return Cause(text, "", server.reload_edited())
    text = f"Apache does not listen on port {whom.port}, so another program answered: {PROXY}"
    return Cause(text, "", f"ss -ltnp 'sport = :{whom.port}'")


def _refused(case: Case) -> Cause | None:
    if apache_process.is_running(case.server.configuration) is False:
        return Cause("Apache does not run", "", case.server.control("start"))
    text = f"Apache runs, and listens on port {case.whom.port}, but not on {case.whom.address}"
    return Cause(text, "", f"ss -ltnp 'sport = :{case.whom.port}'")


def _content_length(case: Case) -> Cause | None:
    configuration, host = case.server.configuration, case.server.virtual_host
    variable = "ap_trust_cgilike_cl"
    script = configuration.script(host, case.whom.path)
    if script is not None and script.is_wsgi:
        return None
    if configuration.environment(host, case.whom.path, variable) is not None:
        return None
    text = f"`SetEnv {variable} yes` is missing in the <Location> of {case.whom.path} in"
    for one in configuration.within(host, "SetEnv"):
        if variable in one.words:
            section = " ".join(one.sections[-1]) if one.sections else "VirtualHost"
            text = f"`SetEnv {variable}` is in <{section}>, which is not for {case.whom.path}"
            return Cause(text, one.place, case.server.reload_edited())
    return Cause(f"{text} {called(host)}", host.place, case.server.reload_edited())


def _filter(case: Case) -> Cause | None:
    """A directive that changes responses."""
    found = case.directives(*_CHANGING)
    for one in found:
        words = " ".join(one.words).lower()
        is_for_some = one.name.lower().startswith("add")
        if is_for_some and "ocsp" not in words and ".cgi" not in words:
            continue
        if one.is_one_of("Header") and not re.search(r"content-|cache-control|etag|date", words):
            continue
        text = f"`{one.name} {printable(' '.join(one.words), 100)}` may change it: leave OCSP out"
        return Cause(text, one.place, case.server.reload_edited())
    return None


def _suexec(case: Case) -> Cause | None:
    """Scripts that run as another user lose their environment."""
    found = case.directives("SuexecUserGroup")
    named = case.server.configuration.environment(
        case.server.virtual_host, case.whom.path, "OCSP_CGI_CONFIG"
    )
    if not found or named is None or named.words[-1] == config.DEFAULT_PATH:
        return None
    text = (
        "`SuexecUserGroup` runs the script without OCSP_CGI_CONFIG, so it reads"
        f" {config.DEFAULT_PATH}: put the config there, or remove the directive"
    )
    return Cause(text, found[0].place, case.server.reload_edited())


def _own_line(case: Case) -> Cause | None:
    """What ocsp.cgi itself has written into the log."""
    ours = [line for line in map(error_log.parse, case.server.log) if line is not None]
    told = [line for line in ours if line.kind in ("error", "warning")]
    if told:
        return Cause(f"ocsp.cgi says in the log: {printable(told[-1].text, 500)}")
    plain = [line for line in ours if not line.kind and " response=" not in line.text]
    if plain and " status=" not in plain[-1].text:
        return Cause(f"ocsp.cgi says in the log: {printable(plain[-1].text, 500)}")
    return None


def _merged_slashes(case: Case) -> Cause | None:
    is_malformed = case.fault.text == "malformedRequest"
    if is_malformed and "GET with //" in case.ways and "POST" not in case.ways:
        found = case.directives("RewriteRule", "ProxyPass")
        where = found[0].place if found else ""
        return Cause(f"something merges the slashes in the path of a GET: {PROXY}", where)
    return None


def _another_config(case: Case) -> Cause | None:
    named = case.server.configuration.environment(
        case.server.virtual_host, case.whom.path, "OCSP_CGI_CONFIG"
    )
    file = named.words[-1] if named else config.DEFAULT_PATH
    if case.fault.reply and "age" in case.fault.reply.headers:
        return Cause("the response comes from an HTTP cache before Apache: empty it")
    return Cause(
        f"the responder reads {file}: is that the config, with this CA in it?",
        named.place if named else "",
    )


def _see_log(case: Case) -> Cause | None:
    logs = case.server.configuration.error_logs(case.server.virtual_host)
    files = " ".join(shlex.quote(log) for log in logs) or "Apache's error log"
    return Cause("Apache's error log says why", "", f"tail {files}")


def _clock(case: Case) -> Cause | None:
    return Cause("a proxy or a cache before Apache, or a clock that is being set", "", "date -u")


_Look = Callable[[Case], "Cause | None"]
_LOOKS: dict[Symptom, tuple[_Look, ...]] = {
    Symptom.CONNECTION_REFUSED: (_refused,),
    Symptom.NO_RESPONSE: (http_causes.from_log, _see_log),
    Symptom.CUT_OFF: (http_causes.from_log, _see_log),
    Symptom.HTTP_STATUS: (
        http_causes.redirect,
        http_causes.wrong_host,
        http_causes.no_cgi,
        http_causes.encoded_slashes,
        http_causes.script_file,
        http_causes.status,
        http_causes.from_log,
        http_causes.unlogged,
    ),
    Symptom.SOURCE: (http_causes.wrong_host, http_causes.no_cgi),
    Symptom.NOT_OCSP: (
        http_causes.wrong_host,
        http_causes.script_file,
        _filter,
        http_causes.from_log,
    ),
    Symptom.ERROR_RESPONSE: (_merged_slashes, _suexec, _own_line, _another_config),
    Symptom.UNTRUSTED: (_suexec, _another_config),
    Symptom.WRONG_STATUS: (_suexec, _another_config),
    Symptom.CONTENT_TYPE: (_filter,),
    Symptom.NO_CONTENT_LENGTH: (_content_length, _filter),
    Symptom.CACHING: (_filter,),
    Symptom.CLOCK: (_clock,),
}


def _elsewhere(server: Server) -> Cause:
    """All that can be said if the configuration has no cause of it."""
    text = (
        f"nothing in {called(server.virtual_host)} explains it: look for a .htaccess, for"
        f" modules such as mod_security, and for a proxy or firewall before Apache; {PROXY}"
    )
    if not server.configuration.is_complete:
        text += " (what its files include was not seen, because mod_info is not installed)"
    return Cause(text, server.virtual_host.place)
