"""mod_wsgi: the module's Python, the processes it starts, and which of them a script runs in."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from .apache_config import Configuration, Directive, Script
from .httpd import MODULE_DIRECTORIES

GLOBAL = "%{GLOBAL}"  # the application group of a process's first interpreter


class Daemon(NamedTuple):
    """The processes of one WSGIDaemonProcess: its `name`, its `options`, and the `directive`."""

    name: str
    options: dict[str, str]
    directive: Directive


class Groups(NamedTuple):
    """Where a script runs: `process` is the name of a WSGIDaemonProcess, "" for Apache's own
    processes, `application` that of an interpreter in them.  `places` are the `file:line` that say
    so, "" if nothing does."""

    process: str
    application: str
    places: tuple[str, str]


def module() -> Path | None:
    """The file of mod_wsgi, None if it is not installed."""
    for directory in MODULE_DIRECTORIES:
        for name in ("mod_wsgi.so", "mod_wsgi_python3.so"):
            if Path(directory, name).exists():
                return Path(directory, name)
    return None


def python_version() -> str:
    """The version of the Python that mod_wsgi is linked with, such as 3.11; "" if that cannot be
    told."""
    file = module()
    if file is None:
        return ""
    try:
        found = re.search(rb"libpython(3\.\d+)", file.read_bytes())
    except OSError:
        return ""
    return found[1].decode() if found else ""


def daemons(configuration: Configuration) -> dict[str, Daemon]:
    """All processes that mod_wsgi starts, by name."""
    found = {}
    for directive in configuration.directives:
        if directive.is_one_of("WSGIDaemonProcess") and directive.words:
            name, *words = directive.words
            options = dict(word.split("=", 1) for word in words if "=" in word)
            found[name] = Daemon(name, options, directive)
    return found


def groups(script: Script, configuration: Configuration) -> Groups:
    """The groups that the script's own directive names, or else those in force for it."""
    given = dict(word.split("=", 1) for word in script.directive.words[2:] if "=" in word)
    names, places = [], []
    for option, directive in (
        ("process-group", "WSGIProcessGroup"),
        ("application-group", "WSGIApplicationGroup"),
    ):
        place = script.directive.place
        name = given.get(option)
        if name is None:
            found = configuration.in_force_at(script.virtual_host, script.path, directive)
            # The innermost section wins, and the virtual host over the main server.
            found.sort(key=lambda one: (one.virtual_host != "", len(one.sections)), reverse=True)
            name = found[0].words[0] if found and found[0].words else ""
            place = found[0].place if found else ""
        names.append(name)
        places.append(place)
    if names[0] == GLOBAL:
        names[0] = ""
    return Groups(names[0], names[1], (places[0], places[1]))


def daemon_of(script: Script, configuration: Configuration) -> Daemon | None:
    """The processes that a script runs in, None if they are Apache's own."""
    return daemons(configuration).get(groups(script, configuration).process)


def is_handled(script: Script, configuration: Configuration) -> bool:
    """Whether mod_wsgi runs a script, and Apache does not send it as a page."""
    if script.directive.name.lower().startswith("wsgi"):
        return True
    handlers = configuration.in_force_at(
        script.virtual_host, script.path, "SetHandler", "AddHandler"
    )
    return any(one.words[:1] == ("wsgi-script",) for one in handlers)


def user_of(script: Script, configuration: Configuration) -> str:
    """The user that a script runs as: Apache's, unless a WSGIDaemonProcess names another; "" if
    Apache does not say."""
    daemon = daemon_of(script, configuration) if script.is_wsgi else None
    return (daemon and daemon.options.get("user")) or configuration.user


def python_of(daemon: Daemon) -> str:
    """The Python of the virtual environment of these processes, "" if they have none."""
    home = daemon.options.get("python-home", "")
    return os.path.join(home, "bin", "python3") if home else ""
