"""The demonstration, run as the README says."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from clients import curl, need_curl

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).resolve().parents[2]


def demo(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ocsp_cgi", "demo", *options]
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def statuses(output: str) -> list[str]:
    return re.findall(r"^   (\w+\.crt: \w+)$", output, re.MULTILINE)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="Apache, where there is one"),
        pytest.param(("--no-apache",), id="without Apache", marks=pytest.mark.slow),
    ],
)
def test_demo(options, tmp_path):
    run = demo(*options, TMPDIR="/tmp")
    assert (run.returncode, run.stderr) == (0, "")
    assert statuses(run.stdout) == ["good.crt: good", "bad.crt: revoked", "good.crt: revoked"]
    assert run.stdout.count("Response verify OK") == 3
    assert run.stdout.endswith("Every response was right.\n")
    assert len(re.findall(r"ocsp\.cgi: POST serial=.* ms=\d+", run.stdout)) == 3
    if options:
        assert "as `python3 -m ocsp_cgi serve` runs it\n   (because of --no-apache)" in run.stdout
        assert "   The responder's log:\n" in run.stdout
    directory = re.search(r"Working in (\S+), which is removed afterwards", run.stdout)[1]
    assert not os.path.exists(directory)


@pytest.mark.parametrize(
    "end, status", [(signal.SIGINT, 130), (signal.SIGTERM, 1), (signal.SIGHUP, 1)]
)
@pytest.mark.slow
def test_demo_stays_until_it_is_stopped(end, status):
    need_curl()
    command = [sys.executable, "-m", "ocsp_cgi", "demo", "--stay"]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            for line in process.stdout:
                stays = re.search(
                    r"is running at (\S+) until Ctrl-C; the certificates are in (\S+)\.$", line
                )
                if stays:
                    break
            url, directory = stays.groups()
            assert curl(url).headers["content-type"] == "text/html; charset=utf-8"
            process.send_signal(end)
            assert process.wait(30) == status
        finally:
            process.terminate()  # or leaving the `with` waits for it forever
        assert process.stderr.read() == ""
    assert not os.path.exists(directory)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(re.search(r":(\d+)/", url)[1])), 5)


def test_demo_without_openssl_says_so(tmp_path):
    (tmp_path / "python3").symlink_to(sys.executable)
    run = demo(PATH=str(tmp_path))
    assert (run.returncode, run.stdout) == (1, "")
    assert (
        run.stderr
        == "python3 -m ocsp_cgi: the command openssl is missing: install the package openssl\n"
    )
