"""The package as pip installs it: source distribution, wheel, virtual environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
FILES = (
    *("LICENSE", "README.md", "apache", "ocsp.cgi", "ocsp_cgi"),
    *("pyproject.toml", "setup.cfg"),
)
BUILD_SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def install_wheel(directory: Path) -> Path:
    """Install the wheel into a new environment in this directory.  Returns the environment.

    The wheel is built from the source distribution, so a file missing from either is noticed.
    """
    source, unpacked, builder = (directory / name for name in ("source", "unpacked", "builder"))
    source.mkdir()
    for name in FILES:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, source / name, ignore=ignored)
        else:
            shutil.copy(CHECKOUT / name, source / name)
    python = _environment(builder)
    _pip(python, "install", "setuptools>=61", "wheel")
    _run(python, "-c", BUILD_SDIST, str(directory), cwd=source)
    [archive] = directory.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extraction_filter = tarfile.data_filter
        tar.extractall(unpacked)
    [sources] = unpacked.iterdir()
    _pip(python, "wheel", "--no-build-isolation", "--no-deps", "-w", str(directory), str(sources))
    [wheel] = directory.glob("*.whl")
    environment = directory / "environment"
    _pip(_environment(environment), "install", "--no-deps", str(wheel))
    return environment


def _environment(directory: Path) -> Path:
    """A new environment that has the packages of this Python.  Returns its Python."""
    venv.create(directory, system_site_packages=True, with_pip=True)
    python = directory / "bin" / "python"
    # If this Python is in a virtual environment, its packages are not those of the system.
    packages = next((path for path in sys.path if path.endswith("-packages")), None)
    if packages and sys.prefix != sys.base_prefix:
        [site_packages] = directory.glob("lib/python3*/site-packages")
        (site_packages / "tests.pth").write_text(f"{packages}\n")
    return python


def _pip(python: Path, *arguments: str) -> None:
    command = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd="/")
    if run.returncode != 0:
        reason = (run.stderr or run.stdout).strip().splitlines()[-1]
        pytest.skip(
            f"pip {arguments[0]} failed: {reason} (without a network: apt-get install"
            " python3-setuptools python3-wheel)"
        )


def _run(*command: object, cwd: Path) -> None:
    run = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
