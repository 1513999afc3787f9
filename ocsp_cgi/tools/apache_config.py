"""Apache's configuration: which virtual host answers for a name, and which directives are in force
in it, with their files and lines."""

from __future__ import annotations

import fnmatch
import os
import re
from typing import NamedTuple

NAMES = ("ocsp.cgi", "ocsp.wsgi")  # of the responder's scripts
# In the order in which Apache looks at them: mod_alias comes before mod_wsgi.
_WSGI_ALIASES = ("WSGIScriptAlias", "WSGIScriptAliasMatch")
_ALIASES = (("ScriptAlias", "ScriptAliasMatch", "Alias", "AliasMatch"), _WSGI_ALIASES)


class Directive(NamedTuple):
    """A directive in force.

    `words` are its arguments without their quotes; `sections` are the sections around it from the
    outermost, such as ("Location", "/cgi-bin/ocsp.cgi"), but not <VirtualHost>, of which
    `virtual_host` is the place, "" for the main server; `place` is `file:line`.
    """

    name: str
    words: tuple[str, ...]
    place: str
    virtual_host: str
    sections: tuple[tuple[str, str], ...]

    def is_one_of(self, *names: str) -> bool:
        return self.name.lower() in [name.lower() for name in names]


class VirtualHost(NamedTuple):
    """A virtual host at one address; `place` is `file:line`, "" for the main server, which answers
    where no virtual host does.  `address` and `port` may be "*"; `aliases` may have wildcards."""

    address: str
    port: str
    name: str
    place: str
    aliases: tuple[str, ...] = ()
    is_default: bool = False

    def has_name(self, name: str) -> bool:
        names = [one.lower() for one in (self.name, *self.aliases)]
        return any(fnmatch.fnmatchcase(name.lower(), one) for one in names)

    def __str__(self) -> str:
        return f"{self.name} ({self.place})" if self.place else "the main server"


MAIN_SERVER = VirtualHost("*", "*", "", "")


class Script(NamedTuple):
    """A URL path that leads to ocsp.cgi or ocsp.wsgi: the `file`, and the `directive` that says so,
    which is in force in `virtual_host`."""

    path: str
    file: str
    directive: Directive
    virtual_host: VirtualHost

    @property
    def is_wsgi(self) -> bool:
        """Whether mod_wsgi runs it."""
        is_named = any(one.endswith(".wsgi") for one in (self.file, os.path.realpath(self.file)))
        return is_named or self.directive.is_one_of(*_WSGI_ALIASES)


class Configuration(NamedTuple):
    """What Apache has read.  `modules` are names such as `cgid`; `error_log`, `pid_file` and `user`
    are the main server's, "" if Apache does not say.  `is_complete` is False if what is included in
    a virtual host was not seen."""

    virtual_hosts: tuple[VirtualHost, ...]
    directives: tuple[Directive, ...]
    modules: tuple[str, ...]
    root: str
    error_log: str
    pid_file: str
    user: str
    is_complete: bool

    def answering(self, name: str, address: str, port: int) -> VirtualHost:
        """The virtual host that answers for a name, at an address and a port of this machine."""
        for place in (address, "*"):
            here = [
                one
                for one in self.virtual_hosts
                if one.address == place and one.port in (str(port), "*")
            ]
            if here:
                named = [one for one in here if one.has_name(name)]
                return (named or [one for one in here if one.is_default] or here)[0]
        return MAIN_SERVER

    def address_of(self, virtual_host: VirtualHost) -> tuple[str, int]:
        """An address and the port at which this machine reaches a virtual host."""
        listening = [
            (address.strip("[]"), port)
            for one in self.directives
            if one.is_one_of("Listen")
            for address, _, port in [one.words[0].rpartition(":")]
        ]
        port = virtual_host.port
        if port == "*":
            port = next((port for _, port in listening if port.isdigit()), "80")
        addresses = [address for address, at in listening if at == port]
        if virtual_host.address not in ("*", "0.0.0.0", "::"):
            return virtual_host.address, int(port)
        if not addresses or {"", "*", "0.0.0.0", "127.0.0.1"}.intersection(addresses):
            return "127.0.0.1", int(port)
        return addresses[0] if addresses[0] != "::" else "::1", int(port)

    def within(self, virtual_host: VirtualHost, *names: str) -> list[Directive]:
        """The directives with these names in a virtual host, those in sections included."""
        return [
            one
            for one in self.directives
            if one.virtual_host == virtual_host.place and one.is_one_of(*names)
        ]

    def in_force(self, virtual_host: VirtualHost, *names: str) -> list[Directive]:
        """The directives with these names in a virtual host, and after them the main server's,
        which most directives inherit."""
        found = self.within(virtual_host, *names)
        if virtual_host.place:
            found += self.within(MAIN_SERVER, *names)
        return found

    def in_force_at(self, virtual_host: VirtualHost, path: str, *names: str) -> list[Directive]:
        """As `in_force`, without those in sections that are not for a URL path or its file."""
        script = self.script(virtual_host, path)
        file = script.file if script else ""
        return [one for one in self.in_force(virtual_host, *names) if _applies(one, path, file)]

    def scripts(self) -> list[Script]:
        """The URL paths that lead to the responder, in the virtual hosts that are meant for it.

        What every virtual host inherits, such as Debian's /cgi-bin/, means those that have no path
        of their own, but another directive for the responder; else the first.
        """
        hosts = {one.place: one for one in reversed(self.virtual_hosts)}
        found = []
        for host in reversed(hosts.values()) if hosts else [MAIN_SERVER]:
            # A path may have one of each kind, of which Apache takes that of mod_alias.
            of_host: dict[tuple[str, bool], Script] = {}
            for directive in self._aliases(host):
                for name in NAMES:
                    script = _script(directive, host, name)
                    if script is not None:
                        of_host.setdefault((script.path, script.is_wsgi), script)
            own = [one for one in of_host.values() if one.directive.virtual_host == host.place]
            found += own or list(of_host.values())
        for is_meant in (self._is_own, self._has_own_settings):
            meant = [one for one in found if is_meant(one)]
            if meant:
                return meant
        return found[:1]

    def _is_own(self, script: Script) -> bool:
        own = self.within(script.virtual_host, "SetEnv")
        is_named = any("OCSP_CGI_CONFIG" in directive.words for directive in own)
        return is_named or script.directive.virtual_host == script.virtual_host.place

    def _has_own_settings(self, script: Script) -> bool:
        return bool(self.within(script.virtual_host, "AllowEncodedSlashes"))

    def script(self, virtual_host: VirtualHost, path: str) -> Script | None:
        """What a URL path leads to in a virtual host, None if no directive such as ScriptAlias is
        for it."""
        for directive in self._aliases(virtual_host):
            if len(directive.words) < 2:
                continue
            prefix, target = directive.words[:2]
            if directive.name.lower().endswith("match"):
                found = _search(prefix, path)
                if found is not None:
                    file = found.expand(re.sub(r"\$(\d)", r"\\\1", target))
                    return Script(path, file, directive, virtual_host)
            elif path == prefix or path.startswith(prefix.rstrip("/") + "/"):
                file = (target + path[len(prefix) :]).rstrip("/") or "/"
                return Script(path, file, directive, virtual_host)
        return None

    def _aliases(self, virtual_host: VirtualHost) -> list[Directive]:
        """What leads URL paths to files, those first that Apache looks at first."""
        return [one for names in _ALIASES for one in self.in_force(virtual_host, *names)]

    def environment(self, virtual_host: VirtualHost, path: str, variable: str) -> Directive | None:
        """The SetEnv of a variable that is in force for a URL path, None if there is none."""
        applying = [
            one
            for one in self.in_force_at(virtual_host, path, "SetEnv", "SetEnvIf", "PassEnv")
            if any(word == variable or word.startswith(f"{variable}=") for word in one.words)
        ]
        # The innermost section wins, and the virtual host over the main server.
        applying.sort(key=lambda one: (one.virtual_host != "", len(one.sections)), reverse=True)
        return applying[0] if applying else None

    def error_logs(self, virtual_host: VirtualHost) -> list[str]:
        """The main error log, where mod_cgid's scripts write, and the virtual host's own if it has
        one: paths, or what is not a file, such as `syslog` or `|command`."""
        own = self.within(virtual_host, "ErrorLog") if virtual_host.place else []
        logs = [self.error_log, *(one.words[0] for one in own if one.words)]
        return list(dict.fromkeys(self.absolute(log) for log in logs if log))

    def absolute(self, log: str) -> str:
        """An ErrorLog as a path, unless it is not a file."""
        return log if is_no_file(log) else os.path.join(self.root or "/", log)


def is_no_file(error_log: str) -> bool:
    """Whether an ErrorLog is a program, syslog or journald rather than a file."""
    return error_log.startswith("|") or error_log.partition(":")[0] in ("syslog", "journald")


def _script(directive: Directive, host: VirtualHost, name: str) -> Script | None:
    """The URL path that a ScriptAlias, Alias or WSGIScriptAlias gives to a file of this name, None
    if it does not."""
    if len(directive.words) < 2 or directive.is_one_of("AliasMatch"):
        return None
    path, target = directive.words[:2]
    if directive.is_one_of("ScriptAliasMatch", "WSGIScriptAliasMatch"):
        path = re.sub(r"^\^|\$$|\(.*|\\", "", path)  # the literal text at its beginning
    if os.path.basename(target.rstrip("/")) == name or _is_named(target, name):
        return Script(path, target.rstrip("/"), directive, host)
    is_for_it = directive.is_one_of(*_WSGI_ALIASES) == name.endswith(".wsgi")
    if is_for_it and target.endswith("/") and os.path.lexists(os.path.join(target, name)):
        return Script(path + name, target + name, directive, host)
    return None


def _is_named(target: str, name: str) -> bool:
    """Whether a script under another name is a link to one of this name."""
    return os.path.islink(target) and os.path.basename(os.path.realpath(target)) == name


def _applies(directive: Directive, path: str, file: str) -> bool:
    """Whether the sections around a directive are for a URL path and its file, "" if there is
    none, as far as can be told: those of other kinds are taken to be."""
    for name, argument in directive.sections:
        if name.lower() == "location" and not argument.startswith("~"):
            within = is_below(path, argument)
        elif name.lower() in ("location", "locationmatch"):
            within = _search(argument.lstrip("~ "), path) is not None
        elif name.lower() == "directory" and not argument.startswith("~"):
            within = is_below(file, argument) or any(one in argument for one in "*?[")
        else:
            continue
        if not within:
            return False
    return True


def is_below(path: str, directory: str) -> bool:
    """Whether a path is a directory, or in it."""
    return (path + "/").startswith(directory.rstrip("/") + "/")


def _search(pattern: str, path: str) -> re.Match[str] | None:
    try:
        return re.search(pattern, path)
    except re.error:  # Apache's are Perl's
        return None
