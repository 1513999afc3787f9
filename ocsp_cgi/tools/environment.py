"""The packages that a command needs: installed into .venv in the checkout if the Python at hand
does not have them."""

from __future__ import annotations

import importlib.metadata
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
    sys.exit(
        f"This needs Python's {' and '.join(missing)}, and could not install it into {_VENV}:\n "
        f" {reason}\nInstall it, on Debian or Ubuntu with\n  apt-get install {debian}\nelsewhere"
        f" with\n  python3 -m pip install {' '.join(missing)}"
    )


class _Failed(Exception):
    pass


def _make_venv() -> None:
    try:
        _run(sys.executable, "-m", "venv", "--system-site-packages", str(_VENV))
    except _Failed:
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
