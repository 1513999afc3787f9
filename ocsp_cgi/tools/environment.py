"""What a command needs: openssl, and Python packages, which are installed into .venv in the
checkout if this Python lacks them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys

from . import data_files
from .entry import CommandError

OLDEST = {"cryptography": 38, "pytest": 7}
_VENV = data_files.PACKAGE.parent / ".venv"


def ensure(*packages: str) -> None:
    """Return if these packages are installed; else install them and restart this command with them.

    CommandError, with what is missing and how to install it, if that fails.
    """
    missing = [package for package in packages if not _is_installed(package)]
    if not missing:
        return
    names = " and ".join(missing)
    if not data_files.IS_CHECKOUT:
        raise CommandError(
            f"{sys.executable} lacks {names}: {sys.executable} -m pip install {' '.join(missing)}"
        )
    python = _VENV / "bin" / "python"
    try:
        if os.path.abspath(sys.executable) != str(python):
            if not python.exists():
                print(f"Creating {_VENV} for {' and '.join(packages)}", file=sys.stderr, flush=True)
                _make_venv()
            requirements = [f"{package}>={OLDEST[package]}" for package in packages]
            _run(str(python), "-m", "pip", "install", "--quiet", *requirements)
            os.execv(python, [str(python), *_command()])
        reason = f"{python} lacks {names}"
    except (OSError, _CommandFailed) as error:
        reason = str(error)
    debian = " ".join(f"python3-{package}" for package in missing)
    raise CommandError(
        f"the Python package{'' if len(missing) == 1 else 's'} {names} could not be installed into"
        f" {_VENV}:\n  {reason}\n"
        "On Debian or Ubuntu, run\n"
        f"  apt-get install {debian}\n"
        "or install python3-venv and run this command again; elsewhere, run\n"
        f"  python3 -m pip install {' '.join(missing)}"
    )


def require_openssl() -> None:
    """CommandError if the command openssl is not installed."""
    if shutil.which("openssl") is None:
        raise CommandError("the command openssl is missing: install the package openssl")


class _CommandFailed(Exception):
    pass


def _make_venv() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        raise _CommandFailed(f"{sys.executable} cannot install pip there: it lacks ensurepip")
    try:
        _run(sys.executable, "-m", "venv", "--system-site-packages", str(_VENV))
    except BaseException:
        shutil.rmtree(_VENV, ignore_errors=True)  # or the next run would take it for a good one
        raise


def _run(*command: str) -> None:
    run = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if run.returncode != 0:
        lines = [line.strip() for line in run.stdout.splitlines() if line.strip()]
        raise _CommandFailed("\n  ".join([" ".join(command), *lines[-3:]]))


def _is_installed(package: str) -> bool:
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return int(version.partition(".")[0]) >= OLDEST[package]


def _command() -> list[str]:
    """The arguments that this Python was started with, after its own name."""
    spec = sys.modules["__main__"].__spec__
    package = spec and spec.name.rpartition(".")[0]
    return ["-m", package, *sys.argv[1:]] if package else sys.argv
