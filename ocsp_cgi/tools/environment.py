"""The packages that a command needs: installed into .venv in the checkout if the Python at hand
does not have them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys

from .openssl_ca import CHECKOUT

OLDEST = {"cryptography": 38, "pytest": 7}
_VENV = CHECKOUT / ".venv"


def ensure(*packages: str) -> None:
    """Return if these packages are there; else install them and start this command again with them.

    Exits with what is missing, and how to get it, if that does not work.
    """
    missing = [package for package in packages if not _is_there(package)]
    if not missing:
        return
    python = _VENV / "bin" / "python"
    try:
        if os.path.abspath(sys.executable) != str(python):
            if not python.exists():
                print(f"Making {_VENV} for {' and '.join(packages)}", file=sys.stderr, flush=True)
                _make_venv()
            _run(
                str(python),
                "-m",
                "pip",
                "install",
                "--quiet",
                *[f"{package}>={OLDEST[package]}" for package in packages],
            )
            os.execv(python, [str(python), *_command()])
        reason = f"{python} does not have it"
    except (OSError, _Failed) as error:
        reason = str(error)
    debian = " ".join(f"python3-{package}" for package in missing)
    names = " and ".join(missing)
    sys.exit(
        f"This needs {names} for Python, and could not install"
        f" {'it' if len(missing) == 1 else 'them'} into {_VENV}:\n  {reason}\n"
        "Install what is missing, on Debian or Ubuntu with\n"
        f"  apt-get install {debian}\n"
        "(or install python3-venv: then this command does the rest by itself), elsewhere with\n"
        f"  python3 -m pip install {' '.join(missing)}"
    )


class _Failed(Exception):
    pass


def _make_venv() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        raise _Failed(f"{sys.executable} cannot put pip there: it has no module ensurepip")
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
        raise _Failed("\n  ".join([" ".join(command), *lines[-3:]]))


def _is_there(package: str) -> bool:
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
