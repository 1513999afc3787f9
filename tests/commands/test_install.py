"""The installer without root: it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--uninstall",)], ids=" ".join)
def test_it_refuses_to_run_without_root(options, place):
    command = [
        sys.executable,
        "-m",
        "ocsp_cgi",
        "install",
        "--prefix",
        str(place / "prefix"),
        *options,
    ]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
        command[4] = "/usr/bin/python3"  # which every user can run
    run = subprocess.run(
        command,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert (
        run.stderr
        == "python3 -m ocsp_cgi: install must run as root: sudo python3 -m ocsp_cgi install\n"
    )
    assert not (place / "prefix").exists()
