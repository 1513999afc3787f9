"""Python, the installed program and the clock, as `check` sees them."""

from __future__ import annotations

import sys

import pytest
from checking import problem, problems, subject_of

from ocsp_cgi import __version__
from ocsp_cgi.checks import machine
from ocsp_cgi.checks.finding import Level
from ocsp_cgi.tools import data_files, layout


@pytest.fixture
def cgi_bin(place):
    """A cgi-bin with ocsp.cgi and its package."""
    (place / "ocsp_cgi").symlink_to(data_files.PACKAGE)
    return place


def write_script(cgi_bin, python: str) -> None:
    (cgi_bin / "ocsp.cgi").write_text(data_files.script_for(python))


@pytest.fixture
def subject(pki, cgi_bin):
    subject = subject_of(pki.home / "ocsp-cgi.conf")
    return subject._replace(layout=layout.LAYOUTS[0]._replace(cgi_bin=cgi_bin))


def test_all_is_well(subject, cgi_bin):
    write_script(cgi_bin, sys.executable)
    found = machine.examine(subject)
    assert {finding.level for finding in found} == {Level.OK}
    texts = "\n".join(finding.what for finding in found)
    assert "cryptography" in texts and "ocsp.cgi runs with Python 3." in texts


def test_not_installed(subject):
    found = problem(machine, subject)
    assert (found.level, found.command.endswith(" install")) == (Level.WARN, True)


def test_a_virtual_environment_whose_python_is_gone(subject, cgi_bin):
    """As after a distribution upgrade."""
    (cgi_bin / "python3").symlink_to("/usr/bin/python3.1")
    write_script(cgi_bin, str(cgi_bin / "python3"))
    found = problem(machine, subject)
    assert (found.level, found.where) == (Level.FAIL, str(cgi_bin / "python3"))
    assert "a link to /usr/bin/python3.1, does not exist" in found.what
    assert found.command.endswith(" install --upgrade")


def test_a_virtual_environment_without_cryptography(subject, cgi_bin):
    """As after an upgrade to a Python that looks for packages elsewhere."""
    import subprocess

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", cgi_bin / "env"], check=True)
    write_script(cgi_bin, str(cgi_bin / "env" / "bin" / "python3"))
    found = problem(machine, subject)
    assert found.level == Level.FAIL
    assert "No module named 'cryptography'" in found.what
    assert found.command.endswith(" install --upgrade")


def test_something_else_in_its_place(subject, cgi_bin):
    (cgi_bin / "ocsp.cgi").write_text("#!/bin/sh\ncat | openssl ocsp -index db/index\n")
    found = problem(machine, subject)
    assert found.command.endswith(f" migrate {cgi_bin}/ocsp.cgi")


def test_another_version(subject, cgi_bin):
    write_script(cgi_bin, sys.executable)
    (cgi_bin / "ocsp_cgi").unlink()
    (cgi_bin / "ocsp_cgi").mkdir()
    (cgi_bin / "ocsp_cgi" / "__init__.py").write_text('__version__ = "0.1.0"\n')
    found = problem(machine, subject)
    assert f"version 0.1.0 is installed, and this is {__version__}" in found.what


@pytest.mark.root
def test_a_python_that_the_user_cannot_reach(subject, cgi_bin):
    (cgi_bin / "private").mkdir(mode=0o700)
    (cgi_bin / "private" / "python3").symlink_to(sys.executable)
    write_script(cgi_bin, str(cgi_bin / "private" / "python3"))
    found = problem(machine, subject._replace(user="daemon"))
    assert "daemon cannot run the Python of ocsp.cgi" in found.what


@pytest.mark.parametrize("now", [0, 1_700_000_000, 5_000_000_000])
def test_the_clock(subject, cgi_bin, now):
    write_script(cgi_bin, sys.executable)
    assert "which is wrong" in problem(machine, subject._replace(now=now)).what
    assert problems(machine, subject) == []
