"""The installed program in the directory --prefix: ocsp.cgi, its package and its data files, and
the Python environment that runs them; and the command ocsp-cgi."""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from . import data_files, entry
from .entry import CommandError
from .files import content, write
from .layout import Layout
from .plan import Plan, run
from .swap import Swap

LAUNCHER = Path("/usr/local/sbin/ocsp-cgi")

_ENVIRONMENT = ("bin", "include", "lib", "lib64", "share", "pyvenv.cfg")  # what venv creates
_BASE = "/usr/bin/python3"
_HERE, _RENAME_EXCHANGE = -100, 2  # of renameat2: paths from the working directory
_OLDEST_CRYPTOGRAPHY = 38
_VERSION_OF_CRYPTOGRAPHY = (
    "import cryptography, sys; from cryptography.hazmat.primitives import hashes;"
    " print(cryptography.__version__)"
)
_LAUNCHER_TEXT = """\
#!/bin/sh
# The command of the OCSP responder that is installed in the directory `prefix`.
#
# An upgrade of the distribution may leave the environment there without its Python, or without
# `cryptography`.  Then the distribution's Python runs this; `ocsp-cgi install` repairs it.
prefix={prefix}
python=$prefix/bin/python3
"$python" -I -c 'import cryptography' 2>/dev/null || python={base}
{config}exec "$python" -I -c '
import sys
sys.path.insert(0, sys.argv[1])
sys.argv[:2] = ["{launcher}"]
from ocsp_cgi.__main__ import main
main()
' "$prefix" "$@"
"""


class Program:
    def __init__(self, prefix: Path, layout: Layout, plan: Plan):
        if re.search(r"[^\w./+-]", str(prefix), re.ASCII) or len(str(prefix)) > 100:
            raise CommandError(
                f"--prefix {prefix}: must have only letters, digits and ./_+- in it, and at most"
                " 100 characters, because the first line of a script contains it"
            )
        self.prefix = prefix
        self.script = prefix / "ocsp.cgi"
        self.wsgi_script = prefix / "apache" / "ocsp.wsgi"
        self.is_resident = False  # whether processes have it loaded, until Apache is reloaded
        self._creates_environment = False
        self._layout = layout
        self._plan = plan

    def plan(self, upgrade: bool, config: str) -> None:
        """Plan what is missing, outdated or broken; `upgrade` also fetches the newest cryptography.
        `config` is the config that the command ocsp-cgi is to use, "" for the usual one."""
        plan, record = self._plan, self._plan.record
        if not record.exists and self.prefix.is_dir() and any(self.prefix.iterdir()):
            raise CommandError(
                f"{self.prefix}: not empty, and not an installation of ocsp.cgi; choose another"
                " directory with --prefix"
            )
        plan.directory(self.prefix, 0o755)
        python = self._python()
        if not python or not _version_of_cryptography(python, self._layout.user) or upgrade:
            plan.add(
                f"create the virtual environment {self.prefix} with the newest cryptography from"
                " pip; if that fails, use the distribution's python3-cryptography",
                self._create_environment,
            )
            python = ""
            self._creates_environment = True
        is_same = _same_files(data_files.PACKAGE, self.prefix / "ocsp_cgi")
        if not is_same:
            plan.add(
                f"copy the package to {self.prefix}/ocsp_cgi, byte-compiled", self._copy_package
            )
        elif not python or not _is_compiled(self.prefix / "ocsp_cgi", python):
            plan.add(f"byte-compile {self.prefix}/ocsp_cgi", self._compile)
        if not _same_files(data_files.APACHE, self.prefix / "apache"):
            plan.add(f"copy the files for Apache and jobs to {self.prefix}/apache", self._copy_data)
        if not python or self._script_content(python) != content(self.script):
            plan.add(f"write {self.script}, with that Python in its first line", self._write_script)
        plan.file(LAUNCHER, self._launcher(config), 0o755)

    def plan_link(self, is_wsgi: bool, apache: str = "reload") -> None:
        """Plan the link in cgi-bin, to what mod_wsgi loads or else to the CGI; `apache` as in
        Plan.link."""
        self._plan.directory(self._layout.cgi_bin, 0o755)
        self._plan.link(self.link(is_wsgi), self._target(is_wsgi), apache)

    def plan_removal_of_link(self, is_wsgi: bool) -> None:
        """Plan that the link is gone, if it is ours."""
        self._plan_removal(self.link(is_wsgi), self._target(is_wsgi))

    def plan_removal_of_migrated(self) -> None:
        """Plan that the links of other names are gone, which `migrate` made, and say where the old
        scripts are."""
        for name in self._plan.record.links:
            link, old = Path(name), Swap(Path(name), self.script)
            if link not in (self.link(False), self.link(True)):
                self._plan_removal(link, self.script)
            if old.is_done and os.path.lexists(old.kept):
                self._plan.notes.append(f"{old.kept}: your old script; to put it back: {old.back}")

    def _plan_removal(self, link: Path, target: Path) -> None:
        if os.path.islink(link) and os.readlink(link) == str(target):

            def remove() -> None:
                link.unlink()
                self._plan.record.links.pop(str(link), None)

            self._plan.add(f"remove the link {link}", remove, f"rm {link}")

    def link(self, is_wsgi: bool) -> Path:
        return self._layout.cgi_bin / self._target(is_wsgi).name

    def _target(self, is_wsgi: bool) -> Path:
        return self.wsgi_script if is_wsgi else self.script

    @property
    def home(self) -> str:
        """The virtual environment of its Python, "" if that is the distribution's."""
        return str(self.prefix) if self._python() == str(self._environments_python) else ""

    @property
    def is_home_known(self) -> bool:
        """Whether `home` will be the same when the plan has been carried out."""
        return not self._creates_environment

    def python(self) -> str:
        """The Python that it has, or will have."""
        return _base() if self._creates_environment else self._python()

    @property
    def _environments_python(self) -> Path:
        return self.prefix / "bin" / "python3"

    def remove(self) -> None:
        self._remove_environment()
        for name in ("ocsp_cgi", "apache", "ocsp.cgi"):
            for one in (self.prefix / name, *_unfinished(self.prefix / name)):
                _remove(one)
        _remove(self._plan.record.path)

    def _python(self) -> str:
        """The Python of ocsp.cgi as it was recorded, "" if there is none yet."""
        python = self._plan.record.other.get("python", "")
        return python if isinstance(python, str) and python.startswith("/") else ""

    def _launcher(self, config: str) -> bytes:
        setting = ""
        if config:
            setting = f": ${{OCSP_CGI_CONFIG:={shlex.quote(config)}}}\nexport OCSP_CGI_CONFIG\n"
        base = shlex.quote(_base())
        prefix = shlex.quote(str(self.prefix))
        text = _LAUNCHER_TEXT.format(prefix=prefix, base=base, config=setting, launcher=LAUNCHER)
        return text.encode()

    def _create_environment(self) -> None:
        python = str(self._environments_python)
        self._loaded_anew()
        try:
            if not _runs(python, "import pip"):
                self._remove_environment()
                run(_base(), "-m", "venv", str(self.prefix))
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
        version = _version_of_cryptography(_BASE, self._layout.user)
        if not version:
            raise CommandError(
                f"{error}\nSo there is no virtual environment, and {_BASE} has no cryptography"
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
        return _BASE

    def _remove_environment(self) -> None:
        for name in _ENVIRONMENT:
            _remove(self.prefix / name)

    def _copy_package(self) -> None:
        package = self.prefix / "ocsp_cgi"
        new = self._copy(data_files.PACKAGE, package)
        self._compile(new)
        self._loaded_anew()
        _replace(package, new)

    def _loaded_anew(self) -> None:
        if self.is_resident:
            self._plan.apache("reload")

    def _copy_data(self) -> None:
        directory = self.prefix / "apache"
        _replace(directory, self._copy(data_files.APACHE, directory))

    def _copy(self, source: Path, target: Path) -> Path:
        """Copy a directory to beside its target.  Returns the copy."""
        new, _ = _unfinished(target)
        _remove(new)
        shutil.copytree(source, new, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (new, *new.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return new

    def _compile(self, directory: Path | None = None) -> None:
        """Byte-compile the package, or a copy of it that is to become the package."""
        package = self.prefix / "ocsp_cgi"
        directory = directory or package
        run(
            *(self._plan.record.other["python"], "-I", "-m", "compileall", "-q", "-f"),
            *("-s", str(directory), "-p", str(package), str(directory)),
        )

    def _write_script(self) -> None:
        write(self.script, self._script_content(self._plan.record.other["python"]), 0o755)

    def _script_content(self, python: str) -> bytes:
        return data_files.script_for(python).encode()


def launched_prefix() -> str:
    """The --prefix of the installed command ocsp-cgi, "" if it is not installed."""
    text = content(LAUNCHER).decode(errors="replace")
    found = re.search(r"^prefix=(/[\w./+-]*)$", text, re.MULTILINE | re.ASCII)
    return found[1] if found and "ocsp_cgi.__main__" in text else ""


def _base() -> str:
    """The Python that environments are made with."""
    if _runs(_BASE, "import sys; sys.exit(sys.version_info < (3, 9))"):
        return _BASE
    # In an environment, this is the Python that it was made with.
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def version_of(python: str) -> str:
    """The version of a Python, such as 3.11; "" if it cannot run."""
    command = [python, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError:
        return ""
    return ran.stdout.strip()


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


def _same_files(one: Path, other: Path) -> bool:
    def contents(directory: Path) -> dict[str, bytes]:
        paths = (path for path in directory.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(directory)): path.read_bytes() for path in paths}

    return other.is_dir() and contents(one) == contents(other)


def _is_compiled(package: Path, python: str) -> bool:
    """Whether the package is byte-compiled for the version of this Python."""
    script = "import sys; print(sys.implementation.cache_tag)"
    try:
        asked = subprocess.run(
            [python, "-I", "-c", script], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    except OSError:
        return False
    return (package / "__pycache__" / f"cgi.{asked.stdout.strip()}.pyc").exists()


def _unfinished(target: Path) -> tuple[Path, Path]:
    """What is there while a directory is replaced, or after that was interrupted: new and old."""
    return target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")


def _replace(target: Path, new: Path) -> None:
    """Put a new directory in the place of an old one, from which requests may load modules."""
    _, old = _unfinished(target)
    _remove(old)
    if target.exists() and _exchange(target, new):
        new.rename(old)
    else:
        if target.exists():
            target.rename(old)
        new.rename(target)
    _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two directories, so that none is missing in between.  Returns whether
    this system can do that."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "renameat2"):
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(libc.renameat2(_HERE, paths[0], _HERE, paths[1], _RENAME_EXCHANGE) == 0)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
