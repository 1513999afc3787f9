"""Python, `cryptography`, the installed program, and the clock."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from .. import __version__, import_cryptography, times
from ..tools import apache_dump, apache_wsgi, as_user, environment, program
from . import commands
from .finding import Finding, Level
from .subject import Subject

_BUILT = 1767225600  # 2026-01-01: no right clock shows an earlier time
_LATEST = 4102444800  # 2100-01-01
_SECONDS = 60
_IMPORT = (
    "import sys, cryptography; from cryptography.hazmat.primitives import hashes;"
    " print('%d.%d.%d' % sys.version_info[:3], cryptography.__version__)"
)


def examine(subject: Subject) -> list[Finding]:
    return [_this_python(), *_program(subject), _clock(subject.now)]


def _this_python() -> Finding:
    """The Python that runs this command, and so these checks."""
    version = ".".join(map(str, sys.version_info[:3]))
    library = import_cryptography.crypto_library()
    if not library:
        try:
            import_cryptography.require_cryptography()
            text = "the package `cryptography` is damaged"
        except import_cryptography.SignerError as error:
            text = str(error)
        return Finding(Level.FAIL, text, sys.executable, commands.ours("install", "--upgrade"))
    oldest = environment.OLDEST["cryptography"]
    if import_cryptography.major_version() < oldest:
        text = f"{library} is older than {oldest}"
        return Finding(Level.FAIL, text, sys.executable, commands.ours("install", "--upgrade"))
    return Finding(Level.OK, f"Python {version}, {library}", sys.executable)


def _program(subject: Subject) -> list[Finding]:
    """The installed ocsp.cgi: its Python must run, and have `cryptography`, for the web server's
    user.  A distribution upgrade may remove the Python that a virtual environment was made with."""
    if subject.layout is None:
        return []
    script = subject.layout.cgi_bin / "ocsp.cgi"
    if not os.path.lexists(script) or os.path.lexists(script.with_name("ocsp.wsgi")):
        found = _wsgi_program(subject)
        if found:
            return found
    if not os.path.lexists(script):
        text = "not installed in Apache's cgi-bin"
        return [Finding(Level.WARN, text, str(script), commands.ours("install"))]
    upgrade = commands.ours("install", "--upgrade")
    try:
        with open(script, "rb") as file:
            first_line = file.readline(1024).decode(errors="replace").strip()
            rest = file.read(65536)
    except OSError as error:
        text = f"ocsp.cgi cannot be read: {error.strerror}"
        return [Finding(Level.FAIL, text, str(script), commands.ours("install"))]
    if not first_line.startswith("#!") or b"ocsp_cgi" not in rest:
        text = "this is not our ocsp.cgi, but another program, perhaps your old script"
        move = commands.ours("migrate", str(script))
        return [Finding(Level.WARN, text, str(script), move)]
    python = first_line[2:].split()[0] if first_line[2:].split() else ""
    return [*_its_python(python, subject.user, upgrade, "ocsp.cgi"), *_its_version(script)]


def _wsgi_program(subject: Subject) -> list[Finding]:
    """What mod_wsgi loads, and the Python that it is, [] if it does not run the responder."""
    try:
        apache = apache_dump.command(subject.layout, subject.apache)
        configuration = apache_dump.read(apache)
    except apache_dump.Unreadable:
        return []  # which is a finding of apache.py's
    script = next((one for one in configuration.scripts() if one.is_wsgi), None)
    if script is None:
        return []
    daemon = apache_wsgi.daemon_of(script, configuration)
    theirs = apache_wsgi.python_version()
    python = apache_wsgi.python_of(daemon) if daemon else ""
    upgrade = commands.ours("install", "--upgrade")
    if python and os.path.exists(python) and theirs:
        version = program.version_of(python)
        if version != theirs:
            text = (
                f"`python-home` has Python {version or 'that does not run'}, and mod_wsgi runs"
                f" Python {theirs}: its processes cannot start"
            )
            where = daemon.directive.place if daemon else python
            return [Finding(Level.FAIL, text, where, upgrade), *_its_version(Path(script.file))]
    if not python:
        usual = f"/usr/bin/python{theirs}"
        python = usual if os.path.exists(usual) else "/usr/bin/python3"
    findings = _its_python(python, subject.user, upgrade, "ocsp.wsgi")
    return [*findings, *_its_version(Path(script.file))]


def _its_python(python: str, user: str, upgrade: str, name: str) -> list[Finding]:
    target = os.path.realpath(python)
    if not os.path.exists(python):
        gone = f", a link to {target}," if os.path.islink(python) else ""
        text = (
            f"the Python of {name}{gone} does not exist: every request gets an error from Apache."
            " Perhaps a distribution upgrade has replaced it"
        )
        return [Finding(Level.FAIL, text, python, upgrade)]
    try:
        status, output = as_user.call(user, _import, python)
    except as_user.ChildFailed as error:
        text = f"{user} cannot run the Python of {name}: {error}"
        return [Finding(Level.FAIL, text, python, upgrade)]
    if status != 0:
        text = f"the Python of {name} cannot use `cryptography` as {user}: {output}"
        return [Finding(Level.FAIL, text, python, upgrade)]
    version, library = output.split()
    oldest = environment.OLDEST["cryptography"]
    text = f"{name} runs with Python {version} and cryptography {library}"
    if int(library.partition(".")[0]) < oldest:
        return [Finding(Level.FAIL, f"{text}, which is older than {oldest}", python, upgrade)]
    return [Finding(Level.OK, text, python)]


def _its_version(script: Path) -> list[Finding]:
    """Whether this command and the installed program are of one version."""
    file = Path(os.path.realpath(script)).parent / "ocsp_cgi" / "__init__.py"
    try:
        found = re.search(r'__version__ = "([^"]+)"', file.read_text())
    except OSError:
        return []  # a package that pip installed
    if found and found[1] != __version__:
        text = f"version {found[1]} is installed, and this is {__version__}"
        return [Finding(Level.WARN, text, str(file.parent), commands.ours("install"))]
    return []


def _import(python: str) -> tuple[int, str]:
    """The exit code of this Python when it imports what a response needs, and its last line."""
    ran = subprocess.run(
        [python, "-I", "-c", _IMPORT],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        cwd="/",
    )
    lines = ran.stdout.strip().splitlines()
    return ran.returncode, lines[-1] if lines else f"exit code {ran.returncode}"


def _clock(now: int) -> Finding:
    text = f"the clock says {times.log_time(now)}"
    if not _BUILT <= now < _LATEST:
        text += ", which is wrong: clients refuse every response"
        return Finding(Level.FAIL, text, "", "timedatectl set-ntp true")
    return Finding(Level.OK, text)
