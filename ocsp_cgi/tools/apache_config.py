"""Apache's configuration as Apache itself reads it: which virtual hosts there are, which of them
answers for a name, and which directives are in force, with their files and lines.

Apache prints all of that (`-t -D DUMP_VHOSTS`, `DUMP_CONFIG`, ...), with files included, variables
replaced and conditions decided.  DUMP_CONFIG needs mod_info, which is loaded for the one command
where the configuration does not have it.  Where it is not installed, the files of the virtual hosts
are read instead, and what they include is not seen.
"""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..answer import printable
from .httpd import MODULE_DIRECTORIES
from .layout import Layout
from .plan import search_path

_SECONDS = 60
_WORD = re.compile(r'"((?:\\.|[^"\\])*)"|\'((?:\\.|[^\'\\])*)\'|(\S+)')
_CONDITIONS = ("ifmodule", "ifdefine", "iffile", "ifversion", "ifdirective", "ifsection")


class Unreadable(Exception):
    """Apache cannot be run, or refuses its configuration; the text is Apache's first error line,
    with file and line."""


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
    """A URL path that leads to ocsp.cgi: the `file`, and the `directive` that says so, which is in
    force in `virtual_host`."""

    path: str
    file: str
    directive: Directive
    virtual_host: VirtualHost


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

    def scripts(self, name: str = "ocsp.cgi") -> list[Script]:
        """Every URL path of every virtual host that leads to a file of this name."""
        places = {one.place: one for one in reversed(self.virtual_hosts)}
        hosts = [*reversed(list(places.values()))] or [MAIN_SERVER]
        found = []
        for host in hosts:
            seen = set()
            for directive in self.in_force(host, "ScriptAlias", "ScriptAliasMatch", "Alias"):
                script = _script(directive, host, name)
                if script is not None and script.path not in seen:
                    seen.add(script.path)
                    found.append(script)
        return found

    def script(self, virtual_host: VirtualHost, path: str) -> Script | None:
        """What a URL path leads to in a virtual host, None if no ScriptAlias or Alias is for it."""
        for directive in self.in_force(
            virtual_host, "ScriptAlias", "ScriptAliasMatch", "Alias", "AliasMatch"
        ):
            if len(directive.words) < 2:
                continue
            prefix, target = directive.words[:2]
            if directive.name.lower().endswith("match"):
                found = _search(prefix, path)
                if found is not None:
                    file = found.expand(re.sub(r"\$(\d)", r"\\\1", target))
                    return Script(path, file, directive, virtual_host)
            elif path == prefix or path.startswith(prefix.rstrip("/") + "/"):
                return Script(path, target + path[len(prefix) :], directive, virtual_host)
        return None

    def environment(self, virtual_host: VirtualHost, path: str, variable: str) -> Directive | None:
        """The SetEnv of a variable that is in force for a URL path, None if there is none."""
        applying = [
            one
            for one in self.in_force(
                virtual_host, "SetEnv", "SetEnvIf", "SetEnvIfNoCase", "PassEnv"
            )
            if any(word == variable or word.startswith(f"{variable}=") for word in one.words)
            and _applies(one, path)
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


def command(layout: Layout | None, given: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The command that runs Apache with its configuration: `given`, or the distribution's."""
    if given:
        return given
    # Debian's binary needs the variables that apache2ctl sets.
    return ("apache2ctl",) if layout is None or layout.enables_sites else ("httpd",)


def test(apache: tuple[str, ...]) -> str:
    """Apache's own test of its configuration.  Returns its first error line, "" if there is
    none.  Unreadable if Apache cannot be run."""
    run = _run(*apache, "-t")
    return "" if run.returncode == 0 else _first_error(run.stderr + run.stdout)


def read(apache: tuple[str, ...], modules: Iterable[str] = MODULE_DIRECTORIES) -> Configuration:
    """The configuration of an Apache, which is run as `apache`, such as ("apache2ctl",).

    `modules` are directories in which mod_info may be.  Unreadable if Apache refuses it.
    """
    output = _dump(apache, "VHOSTS", "MODULES", "RUN_CFG")
    virtual_hosts = _virtual_hosts(output.splitlines())
    info = [path for one in modules if (path := Path(one, "mod_info.so")).exists()]
    if info:
        loading = ("-C", f"LoadModule info_module {info[0]}")
        directives = _directives(_dumped(_dump((*apache, *loading), "CONFIG").splitlines()))
    else:
        variables = dict(re.findall(r"^Define: (\w+)=(.*)", output, re.MULTILINE))
        files = dict.fromkeys(one.place.rpartition(":")[0] for one in virtual_hosts)
        lines = (line for file in files for line in _lines_of(file, variables))
        directives = _directives(lines)
    return Configuration(
        tuple(virtual_hosts),
        tuple(directives),
        tuple(re.findall(r"^ (\w+)_module \(", output, re.MULTILINE)),
        _setting(output, "ServerRoot"),
        _setting(output, "Main ErrorLog"),
        _setting(output, "PidFile"),
        _setting(output, "User: name", ""),
        bool(info),
    )


def _dump(apache: tuple[str, ...], *names: str) -> str:
    """The output of these DUMP_... of Apache's."""
    run = _run(*apache, "-t", *(word for name in names for word in ("-D", f"DUMP_{name}")))
    if run.returncode != 0:
        raise Unreadable(_first_error(run.stderr + run.stdout))
    return run.stdout


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": search_path(), "LC_ALL": "C"}
    try:
        return subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            timeout=_SECONDS,
        )
    except OSError as error:
        raise Unreadable(f"{words[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Unreadable(f"{' '.join(words)}: nothing within {_SECONDS} seconds") from None


def _first_error(output: str) -> str:
    """The first error of a configuration test: its place, and the line that says what is wrong."""
    lines = [
        line
        for line in map(str.strip, output.splitlines())
        if line and "AH00558" not in line and not line.startswith(("Action '", "The Apache error"))
    ]
    errors = [number for number, line in enumerate(lines) if "Syntax error on line" in line]
    if errors:
        lines = lines[errors[0] :]
        lines[0] = re.sub(r"^.*Syntax error on line (\d+) of ([^:]+):", r"\2:\1:", lines[0])
    return printable(" ".join(lines[:2]), 500) or "Apache failed without a message"


def _setting(output: str, name: str, colon: str = ":") -> str:
    found = re.search(rf'^{name}{colon}[ =]"?([^"\n]*)', output, re.MULTILINE)
    return found[1] if found else ""


def _virtual_hosts(lines: list[str]) -> list[VirtualHost]:
    """Those in the output of DUMP_VHOSTS, in Apache's order."""
    found: list[VirtualHost] = []
    address, port, default = "*", "80", ""
    for line in lines:
        if single := re.fullmatch(r"(\S+):(\d+|\*)\s+(\S+) \((.+:\d+)\)", line):
            address, port = single[1].strip("[]"), single[2]
            found.append(VirtualHost(address, port, single[3], single[4], (), True))
        elif several := re.fullmatch(r"(\S+):(\d+|\*)\s+is a NameVirtualHost", line):
            address, port = several[1].strip("[]"), several[2]
        elif first := re.fullmatch(r"\s+default server \S+ \((.+:\d+)\)", line):
            default = first[1]
        elif named := re.fullmatch(r"\s+port \S+ namevhost (\S+) \((.+:\d+)\)", line):
            is_default = named[2] == default
            found.append(VirtualHost(address, port, named[1], named[2], (), is_default))
        elif found and (alias := re.fullmatch(r"\s+(?:wild )?alias (\S+)", line)):
            found[-1] = found[-1]._replace(aliases=(*found[-1].aliases, alias[1]))
    return found


def _dumped(lines: list[str]) -> Iterable[tuple[str, str]]:
    """(place, text) of each line of the output of DUMP_CONFIG."""
    file, place = "", ""
    for line in lines:
        if line.startswith("# In file: "):
            file = line[len("# In file: ") :]
        elif number := re.fullmatch(r" *# *(\d+):", line):
            place = f"{file}:{number[1]}"
        elif place and line.strip():
            yield place, line.strip()


def _lines_of(file: str, variables: dict[str, str]) -> Iterable[tuple[str, str]]:
    """(place, text) of each line of a file without comments, continued lines joined."""
    try:
        content = Path(file).read_text(errors="replace")
    except OSError:
        return
    joined, first = "", 0
    for number, line in enumerate(content.splitlines(), 1):
        first = first if joined else number
        joined += line
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        if joined.strip() and not joined.lstrip().startswith("#"):
            text = re.sub(r"\$\{(\w+)\}", lambda it: variables.get(it[1], it[0]), joined)
            yield f"{file}:{first}", text.strip()
        joined = ""


def _directives(lines: Iterable[tuple[str, str]]) -> list[Directive]:
    found: list[Directive] = []
    around: list[tuple[str, str]] = []
    virtual_host = ""
    for place, text in lines:
        if text.startswith("</"):
            name = text[2:].rstrip("> ").lower()
            if name == "virtualhost":
                virtual_host = ""
            elif around and name not in _CONDITIONS:
                around.pop()
        elif text.startswith("<"):
            name, _, argument = text[1:].rstrip("> ").partition(" ")
            if name.lower() == "virtualhost":
                virtual_host = place
            elif name.lower() not in _CONDITIONS:
                around.append((name, " ".join(_words(argument))))
        else:
            name, _, argument = text.partition(" ")
            words = tuple(_words(argument))
            found.append(Directive(name, words, place, virtual_host, tuple(around)))
    return found


def _words(text: str) -> list[str]:
    return [
        re.sub(r"\\([\"'\\])", r"\1", double or single) or bare
        for double, single, bare in _WORD.findall(text)
    ]


def _script(directive: Directive, host: VirtualHost, name: str) -> Script | None:
    """The URL path that a ScriptAlias or Alias gives to a file of this name, None if it does
    not."""
    if len(directive.words) < 2:
        return None
    path, target = directive.words[:2]
    if directive.is_one_of("ScriptAliasMatch"):
        path = re.sub(r"^\^|\$$|\(.*|\\", "", path)  # the literal text at its beginning
    if os.path.basename(target.rstrip("/")) == name or _is_named(target, name):
        return Script(path, target, directive, host)
    if target.endswith("/") and os.path.lexists(os.path.join(target, name)):
        return Script(path + name, target + name, directive, host)
    return None


def _is_named(target: str, name: str) -> bool:
    """Whether a script under another name is a link to one of this name."""
    return os.path.islink(target) and os.path.basename(os.path.realpath(target)) == name


def _applies(directive: Directive, path: str) -> bool:
    """Whether the sections around a directive are about a URL path, as far as can be told:
    <Directory> and <Files> are taken to be."""
    for name, argument in directive.sections:
        if name.lower() == "location" and not argument.startswith("~"):
            within = (path + "/").startswith(argument.rstrip("/") + "/")
        elif name.lower() in ("location", "locationmatch"):
            within = _search(argument.lstrip("~ "), path) is not None
        else:
            continue
        if not within:
            return False
    return True


def _search(pattern: str, path: str) -> re.Match[str] | None:
    try:
        return re.search(pattern, path)
    except re.error:  # Apache's are Perl's
        return None
