"""The files that are not Python: found in a checkout, and after `pip install`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from installed import install_wheel

import ocsp_cgi
from ocsp_cgi.tools import data_files

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).resolve().parents[2]


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": os.environ["PATH"], "TMPDIR": "/tmp"},
    )


def test_in_a_checkout():
    assert data_files.IS_CHECKOUT
    assert (data_files.SCRIPT, data_files.APACHE) == (CHECKOUT / "ocsp.cgi", CHECKOUT / "apache")
    data_files.require()
    assert data_files.script_for("/opt/python3").startswith('#!/opt/python3 -EsS\n"""')


def test_without_them_the_demonstration_says_what_is_missing(place):
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "ocsp_cgi", place / "ocsp_cgi", ignore=ignored)
    ended = run(sys.executable, "-m", "ocsp_cgi", "demo", cwd=place)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(
        f"python3 -m ocsp_cgi: ocsp.cgi and apache/ are not in {place}, beside the"
    )


@pytest.fixture(scope="module")
def environment(workspace) -> Path:
    """A virtual environment into which the wheel has been installed."""
    directory = workspace / "wheel"
    directory.mkdir()
    return install_wheel(directory)


@pytest.mark.slow
def test_the_command_of_the_wheel(environment, place):
    command = environment / "bin" / "ocsp-cgi"
    version = run(command, "--version", cwd=place)
    assert (version.returncode, version.stdout) == (0, f"ocsp-cgi {ocsp_cgi.__version__}\n")
    module = run(environment / "bin" / "python", "-m", "ocsp_cgi", "--version", cwd=place)
    assert module.stdout == version.stdout
    wrong = run(command, "nonsense", cwd=place)
    assert wrong.returncode == 3 and wrong.stderr.startswith("usage: ocsp-cgi ")
    missing = run(command, "query", "--issuer", "none", "--cert", "none", cwd=place)
    assert missing.stderr == "ocsp-cgi: none: No such file or directory\n"


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--no-apache",)], ids=" ".join)
def test_the_demonstration_of_the_wheel(environment, place, options):
    demo = run(environment / "bin" / "ocsp-cgi", "demo", *options, cwd=place)
    assert (demo.returncode, demo.stderr) == (0, "")
    assert demo.stdout.endswith("Every response was right.\n")


@pytest.mark.slow
def test_the_files_of_the_wheel(environment):
    """The same as in the checkout: pip has not rewritten the first line of ocsp.cgi."""
    installed = environment / "share" / "ocsp-cgi"
    names = [f"apache/{path.name}" for path in (CHECKOUT / "apache").iterdir()]
    names.append("ocsp.cgi")
    for name in names:
        assert (installed / name).read_bytes() == (CHECKOUT / name).read_bytes(), name
    assert len(list(installed.rglob("*"))) == len(names) + 1
    [package] = environment.glob("lib/python3*/site-packages/ocsp_cgi")
    assert (package / "py.typed").exists()


@pytest.mark.slow
def test_install_names_the_command_for_sudo(environment, place):
    path = environment / "bin" / "ocsp-cgi"
    unprivileged = []
    if os.geteuid() == 0:
        unprivileged = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if run(*unprivileged, path, "--version", cwd=place).returncode != 0:
        pytest.skip(f"nobody cannot run {sys.executable}")
    refused = run(*unprivileged, path, "install", cwd=place)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"ocsp-cgi: install must run as root: sudo {path} install\n"
