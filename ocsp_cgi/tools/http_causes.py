"""Why Apache did not let ocsp.cgi answer: causes of an HTTP status, or of a response that is not
OCSP.

Each function returns the cause that it looks for, None if it is another.
"""

from __future__ import annotations

import re

from ..answer import printable
from . import apache_wsgi, error_log, script_faults
from .apache_config import Directive, Script, VirtualHost
from .cause import Case, Cause, Server
from .probe import Target

PROXY = (
    "a proxy must pass requests on as they are: for nginx `merge_slashes off` and `proxy_pass`"
    " without a path, for Apache `AllowEncodedSlashes NoDecode` and `ProxyPass ... nocanon`"
)


_REDIRECTING = ("Redirect", "RedirectMatch", "RedirectPermanent", "RedirectTemp", "RewriteRule")


def wrong_host(case: Case) -> Cause | None:
    """Another virtual host answers than the one with the responder, or none has it."""
    host = case.server.virtual_host
    scripts = case.server.configuration.scripts()
    others = [one.virtual_host for one in scripts if one.path == case.whom.path]
    if host.place in [one.place for one in others]:
        return None
    if not others and _leads_to(case.server, case.whom) is not None:
        return None
    if not others:
        text = f'`ScriptAlias "{case.whom.path}" ...` is missing in {called(host)}'
        return Cause(text, host.place, case.server.reload_edited())
    text = (
        f"{called(host)} answers for {case.whom.name} at {case.whom.address} port"
        f" {case.whom.port}, and the responder is in {others[0]}"
    )
    if not others[0].has_name(case.whom.name):
        text += f": add `ServerAlias {case.whom.name}` there"
        return Cause(text, others[0].place, case.server.reload_edited())
    text += f": both have that name or address; remove `{case.whom.name}` from the first"
    return Cause(text, host.place, case.server.reload_edited())


def _leads_to(server: Server, whom: Target) -> Script | None:
    return server.configuration.script(server.virtual_host, whom.path)


def from_log(case: Case) -> Cause | None:
    """What Apache has written into its log about the request."""
    script = _leads_to(case.server, case.whom)
    for line in case.server.log:
        line = printable(line, 600)
        if "ModSecurity: " in line and ("denied" in line or "Access" in line):
            return _mod_security(line)
        if "AH01630" in line or "AH01797" in line:
            return _denied(case) or _quoted(line)
        if "Options ExecCGI is off" in line:
            text = "`Options +ExecCGI` is missing for the script"
            text += "" if script and script.is_wsgi else ": use `ScriptAlias`, not `Alias`"
            return Cause(text, script.directive.place if script else case.server.virtual_host.place)
        if "AH00036" in line:
            continue  # of a long path; it was answered
        severe = re.match(r"\[[^]]*\] \[[\w-]+:(error|crit|alert|emerg)\]", line)
        if severe and error_log.parse(line) is None:
            found = script and script_faults.find(
                script, case.server.configuration, case.server.user
            )
            return found or _quoted(line)
    return None


def _quoted(line: str) -> Cause:
    text = re.sub(r"^(\[[^]]*\] )+", "", line)
    return Cause(f"Apache's log says: {text}")


def _mod_security(line: str) -> Cause:
    rule = re.search(r'\[id "(\d+)"\]', line)
    number = rule[1] if rule else "of the log line"
    return Cause(
        f"mod_security refused the request, by its rule {number}: in the virtual host, write"
        f" `SecRuleRemoveById {number}`",
    )


def _denied(case: Case) -> Cause | None:
    """The `Require` that keeps clients out."""
    script = _leads_to(case.server, case.whom)
    if script is None:
        return None
    requiring = script_faults.covering(case.server.configuration, script, "Require", "Deny")
    around = [
        one
        for one in case.directives("Require", "Deny")
        if any(name.lower().startswith("location") for name, _ in one.sections)
    ]
    for one in (*around, *requiring):
        if [word.lower() for word in one.words] not in (["all", "granted"], ["valid-user"]):
            section = " ".join(one.sections[-1]) if one.sections else "the server"
            return Cause(
                f"`{one.name} {' '.join(one.words)}` in <{section}> keeps clients out: write"
                f" `Require all granted` in the <Directory> of {script.file.rpartition('/')[0]}",
                one.place,
                case.server.reload_edited(),
            )
        break
    return None


def no_cgi(case: Case) -> Cause | None:
    """No module runs scripts, or the URL leads to the script as to a page."""
    modules, script = case.server.configuration.modules, _leads_to(case.server, case.whom)
    if script and script.is_wsgi:
        return _not_handled(script, case)
    if not {"cgi", "cgid"}.intersection(modules):
        module = "cgi" if "mpm_prefork" in modules else "cgid"
        text = f"the module {module} is not loaded, so Apache cannot run scripts"
        restart = case.server.control("restart")
        if case.server.layout is not None and case.server.layout.enables_sites:
            return Cause(text, "", f"a2enmod {module} && {restart}")
        return Cause(text, "", f"load mod_{module}.so with LoadModule, and {restart}")
    if script and script.directive.is_one_of("Alias", "AliasMatch"):
        text = f"`{script.directive.name}` shows the script instead of running it: use ScriptAlias"
        return Cause(text, script.directive.place, case.server.reload_edited())
    return None


def _not_handled(script: Script, case: Case) -> Cause | None:
    """The URL leads to the script of mod_wsgi as to a page."""
    if apache_wsgi.is_handled(script, case.server.configuration):
        return None
    text = f"`SetHandler wsgi-script` is missing in the <Location> of {script.path}"
    return Cause(text, script.directive.place, case.server.reload_edited())


def redirect(case: Case) -> Cause | None:
    if case.fault.reply is None or not 300 <= case.fault.reply.status < 400:
        return None
    found = case.directives(*_REDIRECTING)
    redirecting = [one for one in found if _may_redirect(one)]
    if not redirecting:
        text = (
            f"nothing in {called(case.server.virtual_host)} redirects: it is a .htaccess, or a"
            " proxy or load balancer before Apache"
        )
        return Cause(text)
    one = redirecting[0]
    text = (
        f"`{one.name} {printable(' '.join(one.words), 100)}`: OCSP needs plain HTTP; leave"
        f" {case.whom.path} out, with `RewriteRule ^{case.whom.path} - [END]` before it, or remove"
        " it"
    )
    if not one.is_one_of("RewriteRule"):
        text = (
            f"`{one.name} {printable(' '.join(one.words), 100)}`: OCSP needs plain HTTP; remove"
            " it, or let it redirect other paths only"
        )
    return Cause(text, one.place, case.server.reload_edited())


def _may_redirect(one: Directive) -> bool:
    if not one.is_one_of("RewriteRule"):
        return True
    flags = one.words[2] if len(one.words) > 2 else ""
    is_url = len(one.words) > 1 and re.match(r"https?://", one.words[1])
    return bool(is_url or re.search(r"[\[,]R(=\d+)?[,\]]", flags, re.IGNORECASE))


def encoded_slashes(case: Case) -> Cause | None:
    """Only requests with %2F fail."""
    if not all("%2F" in way or "after" in way for way in case.ways):
        return None
    host = case.server.virtual_host
    own = [
        one
        for one in case.server.configuration.within(host, "AllowEncodedSlashes")
        if not one.sections
    ]
    if own and own[-1].words[0].lower() in ("nodecode", "on"):
        text = (
            f"`AllowEncodedSlashes {own[-1].words[0]}` is in the right place, so what refuses %2F"
            f" is before Apache, or a rule such as RewriteRule: {PROXY}"
        )
        return Cause(text, own[-1].place)
    text = f"`AllowEncodedSlashes NoDecode` is missing in {called(host)}"
    elsewhere = [
        one
        for one in case.server.configuration.directives
        if one.is_one_of("AllowEncodedSlashes") and one.virtual_host != host.place
    ]
    if own:
        text = f"`AllowEncodedSlashes {own[-1].words[0]}` must be `AllowEncodedSlashes NoDecode`"
    elif elsewhere and not elsewhere[0].virtual_host:
        text += f": the one at {elsewhere[0].place} is outside of it, and is not inherited"
    return Cause(text, own[-1].place if own else host.place, case.server.reload_edited())


def script_file(case: Case) -> Cause | None:
    """The script, or the way to it."""
    script = _leads_to(case.server, case.whom)
    if script is None:
        return None
    return script_faults.find(script, case.server.configuration, case.server.user)


def status(case: Case) -> Cause | None:
    """What an HTTP status alone says."""
    number = case.fault.reply.status if case.fault.reply else 0
    if number == 401:
        return _login(case)
    if number == 413:
        limits = case.directives("LimitRequestBody")
        if limits:
            text = f"`LimitRequestBody {limits[0].words[0]}` is too small: write 65536"
            return Cause(text, limits[0].place, case.server.reload_edited())
    if number in (502, 504):
        return Cause(f"a proxy got no response from the server behind it: {PROXY}")
    return None


def unlogged(case: Case) -> Cause | None:
    """What is likely with an HTTP status of which the log says nothing, or cannot be read."""
    number = case.fault.reply.status if case.fault.reply else 0
    modules = case.server.configuration.modules
    if number == 403 and (cause := _denied(case)):
        return cause
    if number == 403 and all("POST" in way for way in case.ways) and "security2" in modules:
        return Cause(
            "mod_security is loaded, and its rule 920420 refuses POST with the Content-Type"
            " application/ocsp-request: in the virtual host, write `SecRuleRemoveById 920420`"
        )
    if number == 503 and "cgid" in modules:
        return Cause("mod_cgid's daemon does not answer", "", case.server.control("restart"))
    return None


def _login(case: Case) -> Cause | None:
    found = case.directives("Require", "AuthType")
    asking = [one for one in found if one.words[:2] not in (("all", "granted"), ("all", "denied"))]
    if not asking:
        return None
    one = asking[0]
    text = f"`{one.name} {' '.join(one.words)}`: clients cannot log in; write `Require all granted`"
    return Cause(text, one.place, case.server.reload_edited())


def called(host: VirtualHost) -> str:
    return f"the virtual host {host}" if host.place else "the main server"
