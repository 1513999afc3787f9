"""What a command does when a package is missing: install it beside the checkout, or say in plain
words what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def newcomer(place):
    """A checkout, and a bare Python without any package, as on a fresh machine."""
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
def test_a_fresh_machine_runs_both_commands(newcomer):
    """Everything that is missing is installed into the checkout's own .venv."""
    checkout, python = newcomer
    first = run(checkout, python, "-m", "ocsp_cgi", "demo")
    if "could not install" in first.stderr:
        pytest.skip(first.stderr)
    assert (first.returncode, first.stderr) == (0, f"Making {checkout}/.venv for cryptography\n")
    assert first.stdout.endswith("Every answer was right.\n")
    second = run(checkout, python, "tests", "tests/test_der.py")
    assert second.returncode == 0 and " passed in " in second.stdout, second.stdout + second.stderr
    assert second.stderr == ""


def test_what_cannot_be_installed_is_said_in_plain_words(newcomer):
    checkout, python = newcomer
    (checkout / ".venv").write_text("in the way")
    failed = run(checkout, python, "-m", "ocsp_cgi", "demo")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "This needs cryptography for Python, and could not install it into" in failed.stderr
    assert "on Debian or Ubuntu with\n  apt-get install python3-cryptography\n" in failed.stderr
    assert failed.stderr.count("apt-get") == 1
    assert "Traceback" not in failed.stderr


def test_tests_without_openssl_say_so(newcomer, place):
    checkout, _ = newcomer
    failed = run(checkout, sys.executable, "tests", "tests/test_der.py", PATH=str(place))
    assert failed.returncode == 2
    assert (
        "the tests need the command openssl: install the package openssl"
        in failed.stdout + failed.stderr
    )
