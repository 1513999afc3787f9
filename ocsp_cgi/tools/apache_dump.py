"""Apache asked for its configuration.

It prints its virtual hosts, directives and modules (`-t -D DUMP_VHOSTS`, `DUMP_CONFIG`, ...), with
files included, variables replaced and conditions decided.  DUMP_CONFIG needs mod_info, which is
loaded for the one command where the configuration does not have it.  Where it is not installed, the
files of the virtual hosts are read instead, and what they include is not seen.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ..answer import printable
from .apache_config import Configuration, Directive, VirtualHost
from .httpd import MODULE_DIRECTORIES
from .layout import Layout
from .plan import search_path

_SECONDS = 60
_WORD = re.compile(r'"((?:\\.|[^"\\])*)"|\'((?:\\.|[^\'\\])*)\'|(\S+)')
_CONDITIONS = ("ifmodule", "ifdefine", "iffile", "ifversion", "ifdirective", "ifsection")


class Unreadable(Exception):
    """Apache cannot be run, or refuses its configuration; the text is Apache's first error line,
    with file and line."""


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
    else:
        lines = [line for line in lines if not re.search(r"\[\w+:(warn|notice)\]", line)] or lines
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
