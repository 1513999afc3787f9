"""A real sshd on loopback that serves one user, the web server's, for tests with scp or rsync."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients import end, need_namespaces

from ocsp_cgi.tools import httpd

_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {home}/host_key
AuthorizedKeysFile {home}/authorized_keys
PidFile none
UsePAM {use_pam}
StrictModes no
PasswordAuthentication no
Subsystem sftp internal-sftp
"""


def _has_shell() -> bool:
    """Whether a login of this user runs commands; root arranges for one that does."""
    shell = pwd.getpwuid(os.geteuid()).pw_shell
    return os.geteuid() == 0 or os.path.basename(shell) not in ("nologin", "false")


# Of a test with `with_shell`.
NEEDS_LOGIN = pytest.mark.process if _has_shell() else pytest.mark.root


def sshd_is_installed() -> bool:
    return None not in (_binary(), shutil.which("scp"))


def _binary() -> str | None:
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Sshd:
    """Runs inside the `with`.  To copy: scp, `options`, a source, and `host`:target."""

    def __init__(self, home: Path, with_shell: bool = False):
        """`home` is made, in a directory that the web server's user can enter.

        That user's shell usually runs nothing.  rsync needs one that does, scp none: with
        `with_shell` it has one for this sshd.  Skips the test where root cannot arrange that.
        """
        self._home = home
        self._start: list[str] = []
        self._account = httpd.unprivileged()
        self.port = httpd.free_port()
        self.host = f"{httpd.unprivileged().get('user') or getpass.getuser()}@127.0.0.1"
        self.options = ["-q", "-F", "none", "-i", str(home / "user_key"), "-P", str(self.port)]
        for option in (
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
        ):
            self.options += ["-o", option]
        home.mkdir()
        for name in ("host_key", "user_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)], check=True
            )
        (home / "user_key.pub").rename(home / "authorized_keys")
        (home / "probe").touch()
        if with_shell and self._account:
            need_namespaces("--mount")
            self._start = self._in_namespace()
            self._account = {}

    def _in_namespace(self) -> list[str]:
        """What starts sshd as the web server's user, with a passwd in which that user has a
        shell."""
        user, group = self._account["user"], self._account["group"]
        passwd = self._home / "passwd"
        lines = Path("/etc/passwd").read_text()
        passwd.write_text(re.sub(rf"(?m)^({user}:.*:).*$", r"\1/bin/sh", lines))
        mount = 'mount --bind "$0" /etc/passwd && exec "$@"'
        become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        return ["unshare", "--mount", "sh", "-c", mount, str(passwd), *become]

    def __enter__(self) -> Sshd:
        """httpd.Unavailable if it does not start, or accepts no login."""
        # With libnss-systemd, sshd takes `nobody` for locked unless it asks PAM.
        for started, use_pam in enumerate(("no", "yes"), 1):
            config = self._home / "sshd_config"
            config.write_text(_CONFIG.format(port=self.port, home=self._home, use_pam=use_pam))
            # ssh refuses a key that a group can read.
            httpd.let_read(self._home, without="user_key")
            command = [*self._start, _binary(), "-D", "-e", "-f", str(config)]
            with open(self._home / "log", "ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    start_new_session=True,
                    **self._account,
                )
            try:
                if self._accepts_a_login(started):
                    return self
            except BaseException:
                self.__exit__()
                raise
            self.__exit__()
        raise httpd.Unavailable(f"sshd accepts no login here:\n{self._log()}")

    def __exit__(self, *exception) -> None:
        end(self._process)

    def _accepts_a_login(self, started: int) -> bool:
        """`started` is how many have been started, all with one log."""
        deadline = time.monotonic() + 10
        while (
            self._log().count("Server listening") < started
            and self._process.poll() is None
            and time.monotonic() < deadline
        ):
            time.sleep(0.02)
        source, target = f"{self.host}:{self._home}/probe", str(self._home / "probed")
        probe = ["scp", *self.options, source, target]
        run = subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        return run.returncode == 0

    def authorize(self, name: str, command: str) -> Path:
        """Make another key, which may only run this command, wherever it is asked for.

        Returns the file with the private key.
        """
        key = self._home / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        with open(self._home / "authorized_keys", "a") as file:
            public = key.with_name(f"{name}.pub").read_text()
            file.write(f'restrict,command="{command}" {public}')
        return key

    def ssh_config(self, alias: str, key: Path, known_hosts: Path) -> str:
        """The section of an ssh_config in which this host has another name, and a key."""
        user, _, address = self.host.partition("@")
        return (
            f"Host {alias}\n  HostName {address}\n  User {user}\n  Port {self.port}\n"
            f"  IdentityFile {key}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
        )

    def known_hosts(self) -> str:
        """The line of this host in a known_hosts."""
        kind, key, *_ = (self._home / "host_key.pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    def wait_until_idle(self) -> None:
        """Wait until no session is left: one may go on writing after its client was killed."""
        deadline = time.monotonic() + 20
        while self._sessions():
            assert time.monotonic() < deadline, "an sftp session does not end after its client has"
            time.sleep(0.01)

    def _sessions(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return ""

    def _log(self) -> str:
        return (self._home / "log").read_text(errors="replace")


@contextlib.contextmanager
def rsync_server(home: Path) -> Iterator[Sshd]:
    """An sshd on which a key can be restricted to rsync, as in apache/README.md.  Skips the test
    where there is none."""
    if shutil.which("rsync") is None or not sshd_is_installed():
        pytest.skip("rsync or sshd is not installed")
    if not os.path.exists("/usr/bin/rrsync"):
        pytest.skip("/usr/bin/rrsync is not installed: it is in the package rsync, or rsync-rrsync")
    umask = os.umask(0o022)
    try:
        with Sshd(home, with_shell=True) as sshd:
            yield sshd
    except httpd.Unavailable as error:
        pytest.skip(str(error))
    finally:
        os.umask(umask)
