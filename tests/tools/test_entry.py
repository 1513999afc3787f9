"""How commands end: their exit codes, too old a Python, Ctrl-C, and a closed pipe."""

from __future__ import annotations

import glob
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ocsp_cgi.tools import entry

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).resolve().parents[2]
OLD_PYTHONS = [
    python
    for version in ("2.7", "3.6", "3.7", "3.8")
    for python in glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python"))
]
COMMANDS = {"python3 -m ocsp_cgi": ["-m", "ocsp_cgi", "demo"], "python3 tests": ["tests"]}
PRETEND = """\
import runpy, sys
sys.version_info = (3, 8, 18)
_, how, *sys.argv = sys.argv
(runpy.run_module if how == "module" else runpy.run_path)(sys.argv[0], run_name="__main__")
"""


def run(*command: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, **options
    )


@pytest.mark.parametrize("name, arguments", COMMANDS.items(), ids=COMMANDS)
def test_too_old_a_python(name, arguments):
    """A pretended one, and the real ones that are installed."""
    how = ["module", *arguments[1:]] if arguments[0] == "-m" else ["path", *arguments]
    pretended = run(sys.executable, "-c", PRETEND, *how)
    assert (pretended.returncode, pretended.stdout) == (entry.UNKNOWN, "")
    needs = f"{name} needs Python 3.9 or newer"
    assert pretended.stderr == f"{needs}; {sys.executable} is Python 3.8.18\n"
    for python in OLD_PYTHONS:
        version = Path(python).parents[1].name
        ended = run(python, "-B", *arguments)
        assert (ended.returncode, ended.stdout) == (entry.UNKNOWN, "")
        assert ended.stderr == f"{needs}; {python} is Python {version}\n"


def test_too_old_a_python_for_the_cgi():
    """Clients get internalError, as after any other failure to start."""
    pretended = [sys.executable, "-c", PRETEND, "path"]
    for command in (pretended, *([python, "-B", "-S"] for python in OLD_PYTHONS)):
        command.append("ocsp.cgi")
        ended = subprocess.run(command, cwd=CHECKOUT, input=b"x", capture_output=True)
        assert ended.returncode == 0  # Apache has its response
        assert ended.stdout.startswith(b"Content-Type: application/ocsp-response\r\n")
        assert ended.stdout.endswith(b"\r\n\r\n\x30\x03\x0a\x01\x02")
        needs = f"ocsp.cgi: error: needs Python 3.9 or newer; {command[0]}, which"
        assert re.match(rf"\S+Z {re.escape(needs)}", ended.stderr.decode())
        assert ended.stderr.count(b"\n") == 1


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=CHECKOUT, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def working_directory(line: str) -> str:
    """The directory named in the first line of the demonstration."""
    return line.split()[2].rstrip(",")


@pytest.mark.slow
def test_ctrl_c_in_the_demo():
    """At any moment: all processes of the terminal get it, openssl too."""
    for seconds in (0.3, 0.7, 1.1):
        process = start("-m", "ocsp_cgi", "demo")
        try:
            directory = working_directory(process.stdout.readline())
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
        assert not os.path.exists(directory)
        assert process.returncode in (130, 0, -signal.SIGINT) and error == ""
        if process.returncode == 0:
            break  # a fast machine
    assert seconds > 0.3


def test_ctrl_c_in_a_query(pki):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        files = ["--issuer", f"{pki.home}/root-ca.crt", "--cert", f"{pki.home}/good.crt"]
        process = start("-m", "ocsp_cgi", "query", *files, "--url", url)
        try:
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)
                os.killpg(process.pid, signal.SIGINT)
                output, error = process.communicate(timeout=60)
        finally:
            process.kill()
        assert (process.returncode, output, error) == (130, "", "")


def test_what_ctrl_c_left_half_made_does_not_complain():
    program = (
        "from ocsp_cgi.tools import entry\n"
        "class Half:\n"
        "    def __init__(self): raise KeyboardInterrupt\n"
        "    def __del__(self): self.missing\n"
        "entry.run('x', lambda: Half)"
    )
    ended = run(sys.executable, "-c", program)
    assert (ended.returncode, ended.stderr) == (130, "")


def test_ctrl_c_in_the_tests(place):
    # In short sleeps: Python finishes one that begins just after the signal has arrived.
    (place / "test_slow.py").write_text(
        "import time\ndef test_it():\n    print('begun', flush=True)\n"
        "    for _ in range(600):\n        time.sleep(0.1)\n"
    )
    process = start("tests", "-s", str(place / "test_slow.py"))
    try:
        for line in process.stdout:
            if "begun" in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        output, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and error == ""
    assert "KeyboardInterrupt" in output and "INTERNALERROR" not in output


@pytest.mark.parametrize(
    "arguments", [("-m", "ocsp_cgi", "demo"), ("tests", "-v", "tests/test_der.py")], ids=" ".join
)
@pytest.mark.slow
def test_a_reader_that_closes_the_pipe_after_a_line(arguments):
    process = start(*arguments)
    try:
        first = process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read()
        assert (process.wait(60), error) == (141, "")
    finally:
        process.kill()
    if "demo" in arguments:
        assert not os.path.exists(working_directory(first))


def test_another_closed_pipe_is_not_hidden():
    program = (
        "from ocsp_cgi.tools import entry\n"
        "def fail(): raise BrokenPipeError('another')\n"
        "entry.run('x', lambda: fail)"
    )
    ended = run(sys.executable, "-c", program)
    assert ended.returncode == entry.UNKNOWN and "BrokenPipeError: another" in ended.stderr


FAIL = """\
from ocsp_cgi.tools import entry
def fail(): {statement}
entry.run('python3 x', lambda: fail)
"""


@pytest.mark.parametrize(
    "statement, status, message",
    [
        ("raise entry.CommandError('no file')", entry.WARNING, "python3 x: no file\n"),
        ("raise entry.CommandError('bad', entry.CRITICAL)", entry.CRITICAL, "python3 x: bad\n"),
        ("raise entry.CommandError('a\\x1b[2J\\n  b')", entry.WARNING, "a\\x1b[2J\n  b\n"),
        ("raise RuntimeError('a bug')", entry.UNKNOWN, "RuntimeError: a bug\n"),
        ("return entry.CRITICAL", entry.CRITICAL, ""),
        ("return entry.OK", entry.OK, ""),
    ],
)
def test_exit_codes(statement, status, message):
    ended = run(sys.executable, "-c", FAIL.format(statement=statement))
    assert (ended.returncode, ended.stdout) == (status, "")
    assert ended.stderr.endswith(message) and bool(ended.stderr) == bool(message)


@pytest.mark.parametrize(
    "arguments",
    [(), ("nonsense",), ("demo", "--nonsense"), ("query",), ("query", "--timeout", "soon")],
    ids=" ".join,
)
def test_a_usage_error_is_not_critical(arguments):
    ended = run(sys.executable, "-m", "ocsp_cgi", *arguments)
    assert (ended.returncode, ended.stdout) == (entry.UNKNOWN, "")
    assert ended.stderr.startswith("usage: python3 -m ocsp_cgi") and ": error: " in ended.stderr
