"""The installed program: ocsp.cgi, its package, and the Python environment that runs them, in the
directory --prefix."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from . import data_files, entry
from .entry import CommandError
from .layout import Layout
from .plan import Plan, content, run, write

_ENVIRONMENT = ("bin", "include", "lib", "lib64", "share", "pyvenv.cfg")  # what venv creates
_OLDEST_CRYPTOGRAPHY = 38
_VERSION_OF_CRYPTOGRAPHY = (
    "import cryptography, sys; from cryptography.hazmat.primitives import hashes;"
    " print(cryptography.__version__)"
)


class Program:
    def __init__(self, prefix: Path, layout: Layout, plan: Plan):
        if re.search(r"\s", str(prefix)) or len(str(prefix)) > 100:
            raise CommandError(
                f"--prefix {prefix}: must have no blanks and at most 100 characters, because the"
                " first line of a script contains it"
            )
        self.prefix = prefix
        self.script = prefix / "ocsp.cgi"
        self._layout = layout
        self._plan = plan

    def plan(self, upgrade: bool) -> None:
        """Plan what is missing or outdated; `upgrade` also fetches the newest cryptography."""
        plan, record = self._plan, self._plan.record
        if not record.exists and self.prefix.is_dir() and any(self.prefix.iterdir()):
            raise CommandError(
                f"{self.prefix}: not empty, and not an installation of ocsp.cgi; choose another"
                " directory with --prefix"
            )
        plan.directory(self.prefix, 0o755)
        python = record.other.get("python", "")
        if not python or not _version_of_cryptography(python, self._layout.user) or upgrade:
            plan.add(
                f"create the virtual environment {self.prefix} with the newest cryptography from"
                " pip; if that fails, use the distribution's python3-cryptography",
                self._create_environment,
            )
        if not _same_package(data_files.PACKAGE, self.prefix / "ocsp_cgi"):
            plan.add(
                f"copy the package to {self.prefix}/ocsp_cgi, byte-compiled", self._copy_package
            )
        if not python or upgrade or self._script_content(python) != content(self.script):
            plan.add(f"write {self.script}, with that Python in its first line", self._write_script)
        plan.directory(self._layout.cgi_bin, 0o755)
        plan.link(self._layout.cgi_bin / "ocsp.cgi", self.script)

    def remove(self) -> None:
        self._remove_environment()
        for path in (self.prefix / "ocsp_cgi", self.script, self._plan.record.path):
            _remove(path)

    def _create_environment(self) -> None:
        python = str(self.prefix / "bin" / "python3")
        try:
            if not _runs(python, "import pip"):
                self._remove_environment()
                base = "/usr/bin/python3"
                if not _runs(base, "import sys; sys.exit(sys.version_info < (3, 9))"):
                    base = sys.executable
                run(base, "-m", "venv", str(self.prefix))
            options = ("--quiet", "--disable-pip-version-check", "--retries=2")
            run(
                *(python, "-m", "pip", "install", *options),
                *("--only-binary=:all:", "--upgrade", "cryptography"),
            )
        except CommandError as error:
            if _version_of_cryptography(python, self._layout.user):
                raise CommandError(
                    f"{error}\nThe cryptography that was installed before is still in use."
                ) from None
            python = self._fall_back_on_distribution(error)
        else:
            version = _version_of_cryptography(python, self._layout.user)
            if not version:
                raise CommandError(
                    f"{python}: {self._layout.user} cannot run it: can that user enter every"
                    f" directory above {self.prefix}?"
                )
            print(f"    cryptography {version}")
        self._plan.record.other["python"] = python
        site_packages = next(self.prefix.glob("lib/python3*/site-packages"), None)
        if site_packages is not None:  # so that `bin/python3 -m ocsp_cgi` finds the package
            write(site_packages / "ocsp-cgi.pth", f"{self.prefix}\n".encode(), 0o644)

    def _fall_back_on_distribution(self, error: CommandError) -> str:
        """Use the distribution's Python and cryptography after this error.  Returns that Python."""
        self._remove_environment()
        python = "/usr/bin/python3"
        version = _version_of_cryptography(python, self._layout.user)
        if not version:
            raise CommandError(
                f"{error}\nSo there is no virtual environment, and {python} has no cryptography"
                f" {_OLDEST_CRYPTOGRAPHY} or newer either.  Fix one of the two and run this again:"
                f" {self._layout.packages} python3-cryptography"
            )
        print(f"    {error}")
        print(
            f"    Using the distribution's python3-cryptography {version} instead: a response"
            " takes some milliseconds longer."
        )
        print(
            "    To retry once python3-venv and the network are available:"
            f" {entry.program()} install --upgrade"
        )
        return python

    def _remove_environment(self) -> None:
        for name in _ENVIRONMENT:
            _remove(self.prefix / name)

    def _copy_package(self) -> None:
        new, old, package = (
            self.prefix / name for name in (".ocsp_cgi.new", ".ocsp_cgi.old", "ocsp_cgi")
        )
        for path in (new, old):
            _remove(path)
        shutil.copytree(data_files.PACKAGE, new, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (new, *new.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        run(
            *(self._plan.record.other["python"], "-I", "-m", "compileall", "-q"),
            *("-s", str(new), "-p", str(package), str(new)),
        )
        if package.exists():
            package.rename(old)
        new.rename(package)
        _remove(old)

    def _write_script(self) -> None:
        write(self.script, self._script_content(self._plan.record.other["python"]), 0o755)

    def _script_content(self, python: str) -> bytes:
        return data_files.script_for(python).encode()


def _runs(python: str, program: str) -> bool:
    command = [python, "-I", "-c", program]
    try:
        run = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, cwd="/")
    except OSError:
        return False
    return run.returncode == 0


def _version_of_cryptography(python: str, user: str) -> str:
    """The version that this Python has for the web server's user; "" if none or too old."""
    try:
        run = subprocess.run(
            [python, "-I", "-c", _VERSION_OF_CRYPTOGRAPHY],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd="/",
            user=user,
            group=user,
            extra_groups=[],
        )
    except OSError:
        return ""
    version = run.stdout.strip()
    if run.returncode != 0 or int(version.partition(".")[0]) < _OLDEST_CRYPTOGRAPHY:
        return ""
    return version


def _same_package(one: Path, other: Path) -> bool:
    def contents(package: Path) -> dict[str, bytes]:
        files = (path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(package)): path.read_bytes() for path in files}

    return other.is_dir() and contents(one) == contents(other)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
