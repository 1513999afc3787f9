"""A private Apache, unprivileged and on loopback, with apache/ocsp-cgi.conf: for the demonstration
and the tests."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import data_files
from .entry import CommandError

SITE_CONF = data_files.APACHE / "ocsp-cgi.conf"
MODULE_DIRECTORIES = (
    "/usr/lib/apache2/modules",
    "/usr/lib64/httpd/modules",
    "/usr/lib/httpd/modules",
)
CGI_MODULES = {"event": "cgid", "prefork": "cgi"}

_HTTPD_CONF = """\
ServerRoot "{home}"
{modules}
Listen 127.0.0.1:{port}
ServerName 127.0.0.1
PidFile "{home}/run/httpd.pid"
ErrorLog "{home}/run/error.log"
<IfModule cgid_module>
    ScriptSock "{home}/run/cgid.sock"
</IfModule>
<IfModule wsgi_module>
    WSGISocketPrefix "{home}/run/wsgi"
</IfModule>
<Directory "/">
    Require all denied
</Directory>
Include "{home}/site.conf"
"""


class Unavailable(CommandError):
    """Apache is not installed, or does not start; the text says why."""


def unprivileged() -> dict[str, Any]:
    """Arguments for subprocess with which a child of root runs as the web server's user; none for
    other users."""
    if os.geteuid() != 0:
        return {}
    for user in ("www-data", "apache", "nobody"):
        try:
            return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        except KeyError:
            continue
    raise Unavailable(
        "running as root, and none of the users www-data, apache and nobody exists to run Apache as"
    )


def let_read(directory: Path, without: str = "") -> None:
    """Let the web server's user read everything below a directory but files named `without`.

    Does nothing unless root calls it: other users start the web server as themselves.  Root's files
    stay root's, and only root can write to them: in another user's directory, that user could plant
    a symlink, and root's next write would overwrite its target.  Files of others are left alone.
    """
    account = unprivileged()
    if not account:
        return
    for path in (directory, *_files_of_root(directory)):
        mode = path.lstat().st_mode
        if path.name == without or stat.S_ISLNK(mode):
            continue
        os.chown(path, -1, account["group"])
        path.chmod(stat.S_IMODE(mode) & ~0o020 | (mode & 0o500) >> 3)


def let_write(directory: Path) -> None:
    """Give a directory, created if missing, and everything in it to the web server's user.

    Only if root calls it, who must not write in there from then on.
    """
    directory.mkdir(mode=0o750, exist_ok=True)
    account = unprivileged()
    if account and directory.lstat().st_uid == 0:
        user = pwd.getpwnam(account["user"]).pw_uid
        # a directory after its contents
        for path in (*reversed(_files_of_root(directory)), directory):
            os.chown(path, user, account["group"], follow_symlinks=False)


def _files_of_root(directory: Path) -> list[Path]:
    """Everything of root's below a directory; directories of others are not entered."""
    found = []
    for path in directory.iterdir():
        of = path.lstat()
        if of.st_uid == 0:
            found.append(path)
            if stat.S_ISDIR(of.st_mode):
                found += _files_of_root(path)
    return found


def install_cgi(directory: Path, python: str = sys.executable) -> Path:
    """Copy ocsp.cgi, ocsp.wsgi and their package, byte-compiled, into a directory, for this Python
    to run.

    The web server's user can read them.  Returns the script's path.
    """
    directory.mkdir(parents=True, exist_ok=True)
    package = directory / "ocsp_cgi"
    shutil.copytree(data_files.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    # Captured, since it writes a traceback at Ctrl-C.
    subprocess.run(
        [python, "-m", "compileall", "-q", str(package)], check=True, capture_output=True
    )
    script = install_script(directory, python)
    (directory / "apache").mkdir(exist_ok=True)
    shutil.copy(data_files.WSGI_SCRIPT, directory / "apache")
    script.with_suffix(".wsgi").symlink_to("apache/ocsp.wsgi")
    let_read(directory)
    return script


def install_script(directory: Path, python: str = sys.executable) -> Path:
    """Copy ocsp.cgi alone into a directory, for this Python to run.  Returns the script's path."""
    script = directory / "ocsp.cgi"
    script.write_text(data_files.script_for(python))
    script.chmod(0o755)
    return script


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def check_python(python: str) -> None:
    """Unavailable if the web server's user cannot run this Python."""
    command = [python, "-I", "-c", "import cryptography"]
    try:
        run = subprocess.run(command, cwd="/", capture_output=True, text=True, **unprivileged())
        reason = run.stderr.strip().rpartition("\n")[2]
    except OSError as error:
        run, reason = None, error.strerror or str(error)
    if run is None or run.returncode != 0:
        raise Unavailable(
            f"Apache's user {unprivileged().get('user', '')} cannot run {python}: {reason}"
        )


class Apache:
    """A context manager: Apache runs inside the `with`.

    `url` is the responder's, `home` has Apache's files, `error_log` is what Apache and the CGI
    logged.
    """

    def __init__(
        self,
        home: Path,
        script: Path,
        config: Path,
        mpm: str = "event",
        site_conf: str | None = None,
        modules: tuple[str, ...] = (),
    ):
        """Prepare Apache in the empty directory `home`, with this script and OCSP_CGI_CONFIG.

        `site_conf` is text to use in place of apache/ocsp-cgi.conf, `modules` are additional ones,
        such as "ssl".  Unavailable if Apache is not installed.
        """
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/cgi-bin/ocsp.cgi"
        self._binary, files = _find(mpm, modules)
        home.mkdir(parents=True, exist_ok=True)
        site_conf = SITE_CONF.read_text() if site_conf is None else site_conf
        for old, new in (
            ("/usr/lib/cgi-bin", str(script.parent)),
            ("*:80", f"127.0.0.1:{self.port}"),
            ("/etc/ssl/ocsp-cgi.conf", str(config)),
            ("/etc/ocsp-cgi/", f"{home}/"),
        ):
            site_conf = site_conf.replace(old, new)
        (home / "site.conf").write_text(site_conf)
        load = "\n".join(f'LoadModule {name}_module "{path}"' for name, path in files.items())
        (home / "httpd.conf").write_text(
            _HTTPD_CONF.format(home=home, modules=load, port=self.port)
        )
        let_read(home)
        let_write(home / "run")

    @property
    def version(self) -> str:
        """As in a Server field, such as Apache/2.4.65 (Debian)."""
        run = subprocess.run([self._binary, "-v"], capture_output=True, text=True)
        return run.stdout.partition("\n")[0].rpartition(": ")[2]

    @property
    def error_log(self) -> str:
        path = self.home / "run" / "error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Apache:
        command = [self._binary, "-f", str(self.home / "httpd.conf"), "-DFOREGROUND"]
        self._output = open(self.home / "output", "wb")
        self._process = subprocess.Popen(
            command,
            stdout=self._output,
            stderr=self._output,
            cwd="/",
            # when it exits, Apache signals its process group, which must not be ours
            start_new_session=True,
            **unprivileged(),
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        self.__exit__()
        raise Unavailable(
            "Apache does not start:\n"
            f"{(self.home / 'output').read_text(errors='replace')}{self.error_log}"
        )

    def __exit__(self, *exception: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Whatever it has started, and not ended: processes of modules.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._output.close()


def _find(mpm: str, more: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Apache's binary, and the file of each module to load."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    binary = shutil.which("apache2", path=path) or shutil.which("httpd", path=path)
    if binary is None:
        raise Unavailable(
            "Apache is not installed (Debian: apt-get install apache2; RHEL: dnf install httpd)"
        )
    directory = next(
        (directory for directory in MODULE_DIRECTORIES if Path(directory).is_dir()), ""
    )
    modules = {}
    for name in (f"mpm_{mpm}", "unixd", "authz_core", "alias", "env", CGI_MODULES[mpm], *more):
        file = Path(directory, f"mod_{name}.so")
        if file.exists():
            modules[name] = str(file)
        elif name != "unixd":  # built into Debian's binary, a module on RHEL
            raise Unavailable(f"{file} is missing: {binary} needs this module")
    return binary, modules
