"""What the tests share: a workspace that the web server's user can enter, private CAs made with the
real openssl, and the choice of the tests that run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import transcripts
from clients import settle
from machine import new_machine, wheels  # noqa: F401  fixtures
from tokens import token, token_of_all  # noqa: F401  fixtures

from ocsp_cgi.commands import demo
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.openssl_ca import PrivateCA

# Markers of tests that only `python3 tests --all` runs, or an -m that names one of them.
_ONLY_ALL = ("apache", "browser", "root", "slow")
# Fixtures that run a program.
_STARTING = {"pki", "cgi", "token"}
# Programs that need a marker of their own.
_MARKER_OF = {
    **dict.fromkeys(("apache2", "httpd"), "apache"),
    **dict.fromkeys(("firefox-esr", "chromium"), "browser"),
}
_LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all", action="store_true", help="also run what needs Apache, a browser or root, or long"
    )
    parser.addoption(
        "--update-transcripts",
        action="store_true",
        help="run what the README's transcripts show, nothing else, and write what came into it",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    named = set(re.findall(r"\w+", config.getoption("markexpr")))
    left_out, run, counts = [], [], {"not asked for": 0, "not root": 0}
    for item in items:
        if _STARTING.intersection(item.fixturenames) or any(
            map(item.get_closest_marker, ("apache", "browser"))
        ):
            item.add_marker("process")
        only_all = {marker for marker in _ONLY_ALL if item.get_closest_marker(marker)}
        is_asked_for = not only_all or only_all & named or config.getoption("--all")
        if config.getoption("--update-transcripts"):
            is_asked_for = "transcript" in item.fixturenames
        if not is_asked_for:
            why = "not asked for"
        elif item.get_closest_marker("root") and os.geteuid() != 0:
            why = "not root"
        else:
            run.append(item)
            continue
        counts[why] += 1
        left_out.append(item)
    items[:] = run
    config.stash[_LEFT_OUT] = counts
    config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    left_out = config.stash.get(_LEFT_OUT, {})
    if left_out.get("not asked for"):
        terminalreporter.write_line(
            f"{left_out['not asked for']} tests were left out (Apache, browsers, root, trials,"
            " benchmarks, and what else takes long); to run them too: python3 tests --all"
        )
    if left_out.get("not root"):
        terminalreporter.write_line(
            f"{left_out['not root']} tests that only root can run were left out"
        )


class _Markers:
    """Sees to it that a test that starts a program is marked for it: without that marker it runs
    where there is no such program."""

    def __init__(self) -> None:
        self.item: pytest.Item | None = None

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.item is None or event not in ("subprocess.Popen", "os.posix_spawn", "os.forkpty"):
            return
        program = os.path.basename(os.fsdecode(arguments[0])) if arguments else "another process"
        for marker in ("process", _MARKER_OF.get(program, "process")):
            if not self.item.get_closest_marker(marker):
                raise AssertionError(
                    f"{self.item.nodeid} starts {program}: mark it with pytest.mark.{marker}"
                )


_MARKERS = _Markers()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    _MARKERS.item = item
    yield
    _MARKERS.item = None


def pytest_configure() -> None:
    # A shell that starts this with `&` ignores Ctrl-C for it, and for every program it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Where the product is installed, no test may read its config.
    os.environ["OCSP_CGI_CONFIG"] = "/nowhere/ocsp-cgi.conf"
    if shutil.which("openssl") is None:
        pytest.exit("the tests need the command openssl: install the package openssl", 2)
    sys.addaudithook(_MARKERS)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """On CI a skipped test is a failed one: it has not tested what it should."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped"):
        reporter.write_line("CI is set, and tests were skipped: this is a failure", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def workspace():
    """A directory for the whole session that everybody can enter, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp(prefix="ocsp-cgi-tests-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def place(workspace):
    """A directory for one test, in `workspace`."""
    directory = Path(tempfile.mkdtemp(dir=workspace))
    directory.chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def pki(workspace) -> PrivateCA:
    """A CA with a signer, and good.crt, held.crt and bad.crt, of which the last two are revoked.
    No test may change it."""
    ca = demo.make_ca(workspace / "pki")
    ca.issue("held")
    ca.revoke("held", "-crl_hold", "holdInstructionCallIssuer")
    settle(ca.home / "db" / "index")
    with open(ca.home / "ocsp-cgi.conf", "a") as config:
        config.write("[responder]\nhyperlink = https://pki.example.com/ocsp\n")
    return ca


@pytest.fixture
def ca(pki, place) -> PrivateCA:
    """A copy of `pki` that a test may change, in its own directory."""
    return pki.copy(place / "ca")


@pytest.fixture
def transcript(request):
    """transcript(name, came) compares this transcript of the README with what came, see
    transcripts.py."""
    update = request.config.getoption("--update-transcripts")
    return lambda name, came: transcripts.compare(name, came, update)


@pytest.fixture(scope="session")
def cgi(workspace) -> Path:
    """ocsp.cgi beside its package, to be run by the Python of these tests."""
    return httpd.install_cgi(workspace / "ocsp-cgi")
