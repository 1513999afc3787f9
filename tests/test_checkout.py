"""A checkout with core.autocrlf, as on Windows, runs like any other."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from clients import run_cgi

CHECKOUT = Path(__file__).resolve().parent.parent
SCRIPTS = (".ci/run", "tests/bare_debian", "ocsp.cgi")


@pytest.fixture
def with_autocrlf(place) -> Path:
    """A clone, with core.autocrlf, of what is in this checkout."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed (Debian: apt-get install git)")
    origin, clone = place / "origin", place / "clone"
    for name in (".gitattributes", "README.md", *SCRIPTS, "ocsp_cgi", "apache"):
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        if (CHECKOUT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(CHECKOUT / name, origin / name, ignore=ignored)
        else:
            shutil.copy(CHECKOUT / name, origin / name)
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "GIT_CONFIG_NOSYSTEM": "1"}
    in_origin = ["-C", str(origin), "-c", "user.name=x", "-c", "user.email=x"]
    for command in (
        ["init", "--quiet", str(origin)],
        [*in_origin, "add", "."],
        [*in_origin, "commit", "--quiet", "-m", "x"],
        ["-c", "core.autocrlf=true", "clone", "--quiet", str(origin), str(clone)],
    ):
        subprocess.run(["git", *command], check=True, env=environment)
    assert b"\r\n" in (clone / "README.md").read_bytes()
    return clone


def test_a_checkout_with_autocrlf_runs(with_autocrlf, pki):
    for name in (*SCRIPTS, "apache/ocsp-cgi-sync.service", "apache/ocsp-cgi-sync.cron"):
        assert b"\r" not in (with_autocrlf / name).read_bytes(), name
    for name in (".ci/run", "tests/bare_debian"):
        subprocess.run(["bash", "-n", name], cwd=with_autocrlf, check=True)
    if not os.path.exists("/usr/bin/python3"):
        pytest.skip("ocsp.cgi is for /usr/bin/python3, which is not there")
    response = run_cgi(with_autocrlf / "ocsp.cgi", pki.home / "ocsp-cgi.conf", "GET")
    assert response.status == 200 and response.headers["content-type"].startswith("text/html")
