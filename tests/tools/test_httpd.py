"""Who may write what, when root starts a web server that runs as another user."""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.openssl_ca import OpenSSLError

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).resolve().parents[2]


def run_unprivileged(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a directory as the web server's user."""
    command = ["sh", "-c", f"cd {directory} && {script}"]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", **httpd.unprivileged())


@pytest.mark.root
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002], ids="umask {:03o}".format)
def test_let_read(place, umask):
    before = os.umask(umask)
    try:
        tree = place / "tree"
        (tree / "below").mkdir(parents=True)
        (tree / "below" / "file").write_text("content")
        (tree / "secret").write_text("content")
        (tree / "secret").chmod(0o600)
        (tree / "script").write_text("#!/bin/sh\necho ran\n")
        (tree / "script").chmod(0o700)
        (place / "elsewhere").write_text("content")
        (place / "elsewhere").chmod(0o600)
        (tree / "link").symlink_to(place / "elsewhere")
    finally:
        os.umask(before)
    httpd.let_read(tree, without="secret")
    assert run_unprivileged("cat below/file", tree).stdout == "content"
    assert run_unprivileged("./script", tree).stdout == "ran\n"
    assert "Permission denied" in run_unprivileged("cat secret", tree).stderr
    assert "Permission denied" in run_unprivileged("cat link", tree).stderr
    assert "Permission denied" in run_unprivileged("echo other >below/file", tree).stderr
    assert "Permission denied" in run_unprivileged("ln -s x below/index.new", tree).stderr
    assert {path.lstat().st_uid for path in (tree, *tree.rglob("*"))} == {0}


@pytest.mark.root
def test_let_read_does_not_follow_links_of_another_user(place):
    """Nor does it enter directories of another user, where symlinks can appear at any moment."""
    (place / "elsewhere").write_text("content")
    (place / "elsewhere").chmod(0o600)
    tree = place / "tree"
    tree.mkdir()
    httpd.let_write(tree / "cache")
    plant = f"echo x >file && chmod 600 file && ln -s {place}/elsewhere link"
    assert run_unprivileged(plant, tree / "cache").returncode == 0
    httpd.let_read(tree)
    httpd.let_write(tree / "cache")
    assert stat.S_IMODE((place / "elsewhere").stat().st_mode) == 0o600
    assert stat.S_IMODE((tree / "cache" / "file").stat().st_mode) == 0o600
    assert (place / "elsewhere").stat().st_uid == 0


@pytest.mark.root
@pytest.mark.parametrize("directory", ["", "db"])
def test_openssl_is_not_run_as_root_where_another_user_can_write(ca, directory):
    ca.revoke("good")
    os.chown(ca.home / directory, pwd.getpwnam(httpd.unprivileged()["user"]).pw_uid, -1)
    with pytest.raises(OpenSSLError, match="another user can write here"):
        ca.issue("another")


@pytest.mark.root
@pytest.mark.slow
def test_in_a_demo_by_root_the_web_server_cannot_write_to_the_ca():
    command = [sys.executable, "-m", "ocsp_cgi", "demo", "--stay"]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    try:
        output = ""
        for line in process.stdout:
            output += line
            if "is running at" in line:
                break
        home = Path(re.search(r"the certificates are in (\S+)\.$", output, re.MULTILINE)[1])
        for path in (home.parent, *home.parent.glob("httpd"), home, *home.rglob("*")):
            assert path.stat().st_uid == 0 and not path.stat().st_mode & 0o022, path
        target = home.parent / "target"
        for name in ("db/index.new", "db/serial.new", "certs/x.pem", "private/x.key", "../output"):
            run = run_unprivileged(f"ln -sf {target} {name}", home)
            assert run.returncode != 0 and "Permission denied" in run.stderr, name
        assert run_unprivileged("cat private/root-ocsp.key", home).returncode == 0
        assert "Permission denied" in run_unprivileged("cat private/root-ca.key", home).stderr
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert not home.parent.exists()
