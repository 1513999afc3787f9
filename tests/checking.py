"""What the tests of `check` share: its subject, and what is found, as text."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path
from types import ModuleType

from ocsp_cgi import config
from ocsp_cgi.checks.finding import Finding
from ocsp_cgi.checks.subject import Subject

MYSELF = pwd.getpwuid(os.geteuid()).pw_name
CONFIG = {
    "db": "db",
    "ca": "root-ca.crt",
    "rsigner": "root-ocsp.crt",
    "rkey": "private/root-ocsp.key",
}


def write_config(home: Path, **changes: str) -> Path:
    """The config of the one CA in this directory, with these settings too."""
    path = home / "ocsp-cgi.conf"
    lines = [f"{name} = {value}\n" for name, value in {**CONFIG, **changes}.items()]
    path.write_text("".join(["[root-ca]\n", *lines]))
    return path


def subject_of(path: Path, user: str = MYSELF, later: int = 0, **fields: object) -> Subject:
    """The subject of a check of this config, `later` seconds from now."""
    settings = config.load(str(path))
    subject = Subject(str(path), settings, user, None, int(time.time()) + later)
    return subject._replace(**fields)


def problems(module: ModuleType, subject: Subject) -> list[Finding]:
    """What a check finds besides OK."""
    return [finding for finding in module.examine(subject) if finding.level]


def problem(module: ModuleType, subject: Subject) -> Finding:
    """The one problem that a check finds."""
    [found] = problems(module, subject)
    return found
