"""A missing package is installed into .venv in the checkout, or the operator is told what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from ocsp_cgi.tools import data_files, environment
from ocsp_cgi.tools.entry import CommandError

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fresh_machine(place):
    """A checkout, and a bare Python without any package."""
    checkout = place / "checkout"
    for name in ("ocsp_cgi", "tests", "apache"):
        shutil.copytree(
            CHECKOUT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("ocsp.cgi", "setup.cfg"):
        shutil.copy(CHECKOUT / name, checkout / name)
    venv.create(place / "bare", with_pip=False)
    return checkout, str(place / "bare" / "bin" / "python")


def run(checkout: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin", "HOME": str(checkout), **environment}
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
def test_a_fresh_machine_runs_both_commands(fresh_machine):
    """Everything that is missing is installed into .venv in the checkout."""
    checkout, python = fresh_machine
    first = run(checkout, python, "-m", "ocsp_cgi", "demo")
    if "could not be installed" in first.stderr:
        pytest.skip(first.stderr)
    assert (first.returncode, first.stderr) == (0, f"Creating {checkout}/.venv for cryptography\n")
    assert first.stdout.endswith("Every response was right.\n")
    second = run(checkout, python, "tests", "tests/test_der.py")
    assert second.returncode == 0 and " passed in " in second.stdout, second.stdout + second.stderr
    assert second.stderr == ""


def test_the_operator_is_told_how_to_install_what_is_missing(fresh_machine):
    checkout, python = fresh_machine
    (checkout / ".venv").write_text("in the way")
    failed = run(checkout, python, "-m", "ocsp_cgi", "demo")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert f"package cryptography could not be installed into {checkout}/.venv" in failed.stderr
    assert "On Debian or Ubuntu, run\n  apt-get install python3-cryptography\n" in failed.stderr
    assert failed.stderr.count("apt-get") == 1
    assert "Traceback" not in failed.stderr


def test_tests_without_openssl_say_so(fresh_machine, place):
    checkout, _ = fresh_machine
    failed = run(checkout, sys.executable, "tests", "tests/test_der.py", PATH=str(place))
    assert failed.returncode == 2
    assert (
        "the tests need the command openssl: install the package openssl"
        in failed.stdout + failed.stderr
    )


def test_nothing_is_installed_beside_an_installed_package(monkeypatch):
    monkeypatch.setattr(data_files, "IS_CHECKOUT", False)
    with pytest.raises(CommandError, match=r"lacks no-such-package: \S+ -m pip install no-such-p"):
        environment.ensure("no-such-package")
