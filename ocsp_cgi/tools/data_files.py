"""Where ocsp.cgi and apache/ are: beside the package in a checkout and where `install`
has put it, in share/ocsp-cgi after `pip install`."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from .entry import CommandError

PACKAGE = Path(__file__).resolve().parents[1]


def _is_complete(directory: Path) -> bool:
    return all((directory / name).is_file() for name in ("ocsp.cgi", "apache/ocsp.wsgi"))


def _installed() -> Path | None:
    """The directory into which pip has put them: only its record of the installation knows it."""
    try:
        files = importlib.metadata.files("ocsp-cgi") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    scripts = (Path(str(file.locate())) for file in files if file.name == "ocsp.cgi")
    return next((path.resolve().parent for path in scripts if _is_complete(path.parent)), None)


RECORD = "installed.json"  # which `install` writes beside the package it has installed
IS_INSTALLED = (PACKAGE.parent / RECORD).is_file()
_IS_BESIDE = _is_complete(PACKAGE.parent)
IS_CHECKOUT = _IS_BESIDE and not IS_INSTALLED
DIRECTORY = PACKAGE.parent if _IS_BESIDE else _installed() or PACKAGE.parent
SCRIPT = DIRECTORY / "ocsp.cgi"
APACHE = DIRECTORY / "apache"
WSGI_SCRIPT = APACHE / "ocsp.wsgi"


def require() -> None:
    """CommandError if ocsp.cgi or apache/ is missing."""
    if not _is_complete(DIRECTORY):
        if IS_INSTALLED:
            raise CommandError(
                f"ocsp.cgi or apache/ is missing in {DIRECTORY}: run"
                " `python3 -m ocsp_cgi install` in a checkout"
            )
        raise CommandError(
            f"ocsp.cgi and apache/ are not in {DIRECTORY}, beside the package ocsp_cgi:"
            " run this in a complete checkout, or install the package with pip"
        )


def script_for(python: str) -> str:
    """The text of ocsp.cgi with this Python in its first line."""
    first_line, _, rest = SCRIPT.read_text().partition("\n")
    return f"#!{python} {first_line.split()[1]}\n{rest}"
