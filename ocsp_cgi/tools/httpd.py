"""A real Apache of one's own, unprivileged and on loopback, with apache/ocsp-cgi.conf: for the
demonstration, and for the tests."""

from __future__ import annotations

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

from .openssl_ca import CHECKOUT

SITE_CONF = CHECKOUT / "apache" / "ocsp-cgi.conf"
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
<Directory "/">
    Require all denied
</Directory>
Include "{home}/site.conf"
"""


class Unavailable(Exception):
    """There is no Apache to start here, or it does not start; the text says why."""


def unprivileged() -> dict:
    """What subprocess needs so that a child of root runs as the web server's user; nothing for
    anybody else."""
    if os.geteuid() != 0:
        return {}
    for user in ("www-data", "apache", "nobody"):
        try:
            return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        except KeyError:
            continue
    raise Unavailable("this is root, and there is no user www-data, apache or nobody to run as")


def let_read(directory: Path, without: str = "") -> None:
    """Let the web server's user read everything below a directory, but no file named `without`.

    As root only; anybody else starts the web server as themselves.  What root has made stays
    root's, and only root can write to it: in another user's directory, that user could plant a
    symlink, and root's next write would overwrite its target.  What is not root's is left alone.
    """
    account = unprivileged()
    if not account:
        return
    for path in (directory, *_of_root(directory)):
        mode = path.lstat().st_mode
        if path.name == without or stat.S_ISLNK(mode):
            continue
        os.chown(path, -1, account["group"])
        path.chmod(stat.S_IMODE(mode) & ~0o020 | (mode & 0o500) >> 3)


def let_write(directory: Path) -> None:
    """Give a directory, made if it is missing, and all that is in it to the web server's user.

    As root only, who must write nothing in there from then on.
    """
    directory.mkdir(mode=0o750, exist_ok=True)
    account = unprivileged()
    if account and directory.lstat().st_uid == 0:
        user = pwd.getpwnam(account["user"]).pw_uid
        for path in (*reversed(_of_root(directory)), directory):  # a directory after what is in it
            os.chown(path, user, account["group"], follow_symlinks=False)


def _of_root(directory: Path) -> list[Path]:
    """Everything below a directory, without what is not root's and what is below that."""
    found = []
    for path in directory.iterdir():
        of = path.lstat()
        if of.st_uid == 0:
            found.append(path)
            if stat.S_ISDIR(of.st_mode):
                found += _of_root(path)
    return found


def install_cgi(directory: Path, python: str = sys.executable) -> Path:
    """Copy ocsp.cgi and its package into a directory, byte-compiled, to be run by this Python.

    The web server's user can read it.  Returns the script's path.
    """
    directory.mkdir(parents=True, exist_ok=True)
    package = directory / "ocsp_cgi"
    shutil.copytree(CHECKOUT / "ocsp_cgi", package, ignore=shutil.ignore_patterns("__pycache__"))
    # Captured, since at Ctrl-C it writes a traceback.
    subprocess.run(
        [python, "-m", "compileall", "-q", str(package)], check=True, capture_output=True
    )
    script = install_script(directory, python)
    let_read(directory)
    return script


def install_script(directory: Path, python: str = sys.executable) -> Path:
    """Copy ocsp.cgi alone into a directory, to be run by this Python.  Returns the script's path."""
    first_line, _, rest = (CHECKOUT / "ocsp.cgi").read_text().partition("\n")
    script = directory / "ocsp.cgi"
    script.write_text(f"#!{python} {first_line.split()[1]}\n{rest}")
    script.chmod(0o755)
    return script


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def check_python(python: str) -> None:
    """Unavailable if the web server's user cannot run this Python."""
    command = [python, "-I", "-c", "import cryptography"]
    try:
        run = subprocess.run(command, cwd="/", capture_output=True, text=True, **unprivileged())
        reason = run.stderr.strip().rpartition("\n")[2]
    except OSError as error:
        run, reason = None, str(error)
    if run is None or run.returncode != 0:
        raise Unavailable(
            f"Apache's user {unprivileged().get('user', '')} cannot run {python}: {reason}"
        )


class Apache:
    """One Apache.  `url` is that of the responder, `home` has its files, `error_log` what it and
    the CGI have logged.

    Used as a context manager: it runs inside the `with`.
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
        """An Apache in the empty directory `home` that runs this script with this OCSP_CGI_CONFIG.

        `site_conf` is the text to use in place of apache/ocsp-cgi.conf, `modules` what it needs
        beyond that, such as "ssl". Unavailable if there is no Apache.
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
        """As in Server: headers, such as Apache/2.4.65 (Debian)."""
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
            # at its end Apache signals its whole process group: without this we were in it
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
            "Apache does not"
            f" start:\n{(self.home / 'output').read_text(errors='replace')}{self.error_log}"
        )

    def __exit__(self, *exception) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


def _find(mpm: str, more: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Apache's binary, and the modules to load with their files."""
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
        elif name != "unixd":  # in Debian's binary, a module of its own in RHEL's
            raise Unavailable(f"this Apache has no {file}")
    return binary, modules
