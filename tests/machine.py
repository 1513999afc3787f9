"""A machine to install on, as root: this Debian, or one made to look like RHEL, in namespaces of
its own.  What is written to /etc, /opt, /usr, /var and /run is only in memory and disappears
afterwards, and port 80 is in a network with nothing but loopback.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from clients import need_namespaces, settle

NAME = "ocsp.example.com"
# Not needed for what is tested: only that the daemon is there.
CRON = "cp /bin/sleep /usr/sbin/cron; nohup cron infinity >/dev/null 2>&1 &"
WELL = "All is well, as `ocsp-cgi check` says.\n"
CHECKOUT = Path(__file__).resolve().parent.parent
CHANGED = ("/etc", "/opt", "/usr", "/var", "/run")
LISTED = (
    *("/etc", "/opt/ocsp-cgi", "/usr/lib/cgi-bin", "/usr/local/sbin", "/var/www", "/var/cache"),
    *("/var/lib/ocsp-sync", "/usr/local/share"),
)

NAMESPACES = ("--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
LOOPBACK_UP = (
    "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh',"
    " b'lo', 1))"
)

LISTING = """\
import hashlib, os, stat, sys
for top in sys.argv[1:]:
    for directory, names, files in os.walk(top):
        for name in sorted([*names, *files]):
            path = os.path.join(directory, name)
            of = os.lstat(path)
            what = os.readlink(path) if stat.S_ISLNK(of.st_mode) else ""
            if stat.S_ISREG(of.st_mode):
                what = hashlib.sha256(open(path, "rb").read()).hexdigest()
            print(path, oct(of.st_mode), of.st_uid, of.st_gid, what)
"""

RHEL = """\
set -e
rm -rf /etc/apache2 /usr/sbin/a2ensite /usr/lib/cgi-bin /usr/sbin/apache2ctl /usr/sbin/apachectl
mkdir -p /etc/httpd/conf /etc/httpd/conf.d /etc/httpd/conf.modules.d
mkdir -p /var/www/cgi-bin /var/www/html /var/log/httpd /run/httpd
ln -s /usr/lib/apache2/modules /etc/httpd/modules
ln -s /var/log/httpd /etc/httpd/logs
ln -s /run/httpd /etc/httpd/run
groupadd --system apache
useradd --system --gid apache --no-create-home --shell /usr/sbin/nologin apache
echo 'LoadModule mpm_event_module modules/mod_mpm_event.so' >/etc/httpd/conf.modules.d/00-mpm.conf
for module in alias authz_core authz_host dir env; do
    echo "LoadModule ${module}_module modules/mod_$module.so"
done >/etc/httpd/conf.modules.d/00-base.conf
echo 'LoadModule cgid_module modules/mod_cgid.so' >/etc/httpd/conf.modules.d/01-cgi.conf
cat >/etc/httpd/conf/httpd.conf <<'END'
ServerRoot "/etc/httpd"
Listen 80
Include conf.modules.d/*.conf
User apache
Group apache
PidFile run/httpd.pid
ScriptSock /run/httpd/cgisock
ErrorLog logs/error_log
<Directory />
    AllowOverride none
    Require all denied
</Directory>
DocumentRoot "/var/www/html"
ScriptAlias /cgi-bin/ "/var/www/cgi-bin/"
<Directory "/var/www/cgi-bin">
    AllowOverride None
    Options None
    Require all granted
</Directory>
IncludeOptional conf.d/*.conf
END
cat >/usr/sbin/httpd <<'END'
#!/bin/sh
exec /usr/sbin/apache2 -d /etc/httpd -f conf/httpd.conf "$@"
END
chmod 755 /usr/sbin/httpd
ln -s httpd /usr/sbin/apachectl
"""


class Machine:
    """A machine to install on: `run` runs a command there, `listing` is what is on its disk."""

    def __init__(self, place: Path, wheels: Path | None):
        self.wheels = wheels
        upper = place / "upper"
        upper.mkdir()
        command = ["unshare", *NAMESPACES, "sleep", "infinity"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        script = f"set -e\nmount -t tmpfs tmpfs {upper}\n"
        for directory in CHANGED:
            here = upper / directory[1:]
            if directory == "/run":
                script += "mount -t tmpfs -o mode=755 tmpfs /run\nmkdir -p /run/lock\n"
            else:
                script += f"mkdir -p {here}/upper {here}/work\nchmod 755 {here}/upper\n"
                script += (
                    "mount -t overlay overlay -o"
                    f" lowerdir={directory},upperdir={here}/upper,workdir={here}/work {directory}\n"
                )
        self._pid = self._child()
        self.run("sh", "-c", script)
        self.run("/usr/bin/python3", "-c", LOOPBACK_UP)
        self.sh("rm -f /var/log/apache2/*; rm -rf /etc/ssl/ocsp*")

    def _child(self) -> str:
        """The process id, seen from outside, of the first process in the namespaces."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        while not children.read_text().split():
            assert self.process.poll() is None
        child = children.read_text().split()[0]
        while (
            b"sleep" not in Path(f"/proc/{child}/cmdline").read_bytes()[:6]
        ):  # --mount-proc is done before it becomes that
            pass
        return child

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": "/dev/null",
            **({"PIP_FIND_LINKS": str(self.wheels)} if self.wheels else {}),
        }
        run = subprocess.run(
            [*self.entering(CHECKOUT), *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        assert run.returncode == 0 or not check, run.stdout + run.stderr
        return run

    def entering(self, directory: Path) -> list[str]:
        """What, before a command, runs it there in this directory."""
        namespaces = ("--mount", "--net", "--pid", f"--wdns={directory}")
        return ["nsenter", "--target", self._pid, *namespaces]

    def install(self, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "ocsp_cgi", "install", *options, check=check)

    def sh(self, script: str) -> str:
        return self.run("sh", "-c", script).stdout

    @property
    def listing(self) -> list[str]:
        return self.run("/usr/bin/python3", "-c", LISTING, *LISTED).stdout.splitlines()

    def bring_files(self, ca) -> None:
        """What the operator creates and copies according to the guide, with a strict umask."""
        self.sh(
            f"umask 077; mkdir -p /etc/ssl/ocsp; cd {ca.home} && cp root-ca.crt root-ocsp.crt"
            " private/root-ocsp.key /etc/ssl/ocsp/"
        )
        self.sh(
            f"umask 077; mkdir -p /etc/ssl/ocsp/db; cp -p {ca.home}/db/index /etc/ssl/ocsp/db/;"
            " chmod 600 /etc/ssl/ocsp/db/index"
        )

    def end(self) -> None:
        self.process.kill()  # and with it every process in the namespaces
        self.process.wait()


@pytest.fixture(scope="module")
def wheels(workspace):
    """The newest cryptography for Debian's Python: the machines have no network."""
    directory = workspace / "wheels"
    subprocess.run(
        ["/usr/bin/python3", "-m", "venv", workspace / "fetcher"], check=True, capture_output=True
    )
    pip = [
        workspace / "fetcher" / "bin" / "pip",
        "download",
        "--quiet",
        "--only-binary=:all:",
        "--dest",
        directory,
        "cryptography",
    ]
    fetched = subprocess.run(pip, capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"cryptography cannot be fetched: {fetched.stderr}")
    return directory


@pytest.fixture
def new_machine(wheels, pki):
    """new_machine(has): with "pip and network", with "pip", or with neither, as Debian is without
    python3-venv."""
    if not Path("/etc/apache2/sites-available").is_dir():
        pytest.skip("Debian's Apache is not installed")
    need_namespaces(*NAMESPACES)
    machines = []
    settle(pki.home / "db" / "index")

    def make(has: str = "") -> Machine:
        machine = Machine(
            Path(tempfile.mkdtemp(dir=wheels.parent)), wheels if has == "pip and network" else None
        )
        machines.append(machine)
        if not has:
            machine.sh("rm -rf /usr/lib/python3*/ensurepip")
        return machine

    yield make
    for machine in machines:
        machine.end()
