"""What the tests share: a workspace that the web server's user can enter, and private CAs made with
the real openssl."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
_LEFT_OUT = pytest.StashKey[dict[str, int]]()
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests")]

from clients import settle

from ocsp_cgi.commands import demo
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.openssl_ca import PrivateCA


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also run what is marked as slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out: dict[str, list[pytest.Item]] = {"slow": [], "root": []}
    run = []
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--all"):
            left_out["slow"].append(item)
        elif item.get_closest_marker("root") and os.geteuid() != 0:
            left_out["root"].append(item)
        else:
            run.append(item)
    items[:] = run
    config.stash[_LEFT_OUT] = {why: len(which) for why, which in left_out.items()}
    config.hook.pytest_deselected(items=left_out["slow"] + left_out["root"])


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    left_out = config.stash.get(_LEFT_OUT, {})
    if left_out.get("slow"):
        terminalreporter.write_line(
            f"{left_out['slow']} slow tests were left out (real browsers, trials, benchmarks, the"
            " installer, much of Apache); to run them too: python3 tests --all"
        )
    if left_out.get("root"):
        terminalreporter.write_line(
            f"{left_out['root']} tests that only root can run were left out"
        )


def pytest_configure() -> None:
    # Where the product is installed, no test may read its config.
    os.environ["OCSP_CGI_CONFIG"] = "/nowhere/ocsp-cgi.conf"
    if shutil.which("openssl") is None:
        pytest.exit("the tests need the command openssl: install the package openssl", 2)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """On CI a skipped test is a failed one: what is to be tested there was not."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped"):
        reporter.write_line("CI is set, and tests were skipped: that counts as a failure", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def workspace():
    """A directory of the whole session that everybody can enter, which pytest's own are not."""
    directory = Path(tempfile.mkdtemp(prefix="ocsp-cgi-tests-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def place(workspace):
    """A directory of one test, as `workspace` is."""
    directory = Path(tempfile.mkdtemp(dir=workspace))
    directory.chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def pki(workspace) -> PrivateCA:
    """A CA with a signer, and good.crt, held.crt and bad.crt, of which the last two are revoked.
    Nobody changes it."""
    ca = demo.make_ca(workspace / "pki")
    ca.issue("held")
    ca.revoke("held", "-crl_hold", "holdInstructionCallIssuer")
    settle(ca.home / "db" / "index")
    with open(ca.home / "ocsp-cgi.conf", "a") as config:
        config.write("[responder]\nhyperlink = https://pki.example.com/ocsp\n")
    return ca


@pytest.fixture
def ca(pki, place) -> PrivateCA:
    """A copy of `pki` that a test may change, in a directory of its own."""
    return pki.copy(place / "ca")


@pytest.fixture(scope="session")
def cgi(workspace) -> Path:
    """ocsp.cgi beside its package, to be run by the Python of these tests."""
    return httpd.install_cgi(workspace / "ocsp-cgi")
