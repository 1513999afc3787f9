"""The installer, really run as root: on this Debian, and on one made to look like RHEL.

It runs in its own namespaces: what it writes to /etc, /opt, /usr, /var and /run is only in memory
and disappears afterwards, and its port 80 is in a network with nothing but loopback.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from clients import need_namespaces, settle
from installed import install_wheel

QUERIED = (
    "[root-ca] its signer's certificate: good, by POST, GET with %2F, GET with //, GET after //,"
    " POST by HTTP/1.0"
)
pytestmark = [pytest.mark.slow, pytest.mark.root]

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = "ocsp.example.com"
CHANGED = ("/etc", "/opt", "/usr", "/var", "/run")
LISTED = ("/etc", "/opt/ocsp-cgi", "/usr/lib/cgi-bin", "/var/www", "/var/cache", "/run/apache2")

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
            [
                "nsenter",
                "--target",
                self._pid,
                "--mount",
                "--net",
                "--pid",
                "--wdns=" + str(CHECKOUT),
                *command,
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        assert run.returncode == 0 or not check, run.stdout + run.stderr
        return run

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


def test_install_and_uninstall(new_machine, pki):
    machine = new_machine("pip and network")
    before = machine.listing

    dry = machine.install("--dry-run", "--server-name", NAME)
    assert machine.listing == before
    assert dry.stdout.startswith("This would be done:\n")
    planned = dry.stdout.splitlines()[1:]

    first = machine.install("--server-name", NAME)
    done = [line for line in first.stdout.splitlines() if line in planned]
    assert done == planned  # what was announced, and in that order
    assert (
        "cryptography " in first.stdout
        and "distribution's python3-cryptography 3" not in first.stdout
    )
    assert "The responder has not been queried yet, because this is missing:" in first.stdout
    for name in ("root-ocsp.key", "root-ocsp.crt", "root-ca.crt", "db/index"):
        assert f"  /etc/ssl/ocsp/{name}: the " in first.stdout
    assert "openssl req -new -newkey ec" in first.stdout and "-extensions ocsp_ext" in first.stdout

    machine.bring_files(pki)
    second = machine.install()
    for line in (
        "  chown root:www-data /etc/ssl/ocsp/root-ocsp.key, chmod 640 (mode was 600)",
        "  chown root:root /etc/ssl/ocsp/root-ca.crt, chmod 644 (mode was 600)",
        "  chown root:www-data /etc/ssl/ocsp/db/index, chmod 640 (mode was 600)",
        QUERIED,
    ):
        assert line in second.stdout.splitlines(), second.stdout
    installed = machine.listing

    third = machine.install()
    assert third.stdout.startswith("Nothing to change: everything is in place.\n")
    assert f"{QUERIED}\n" in third.stdout
    dry = machine.install("--dry-run").stdout
    assert dry == "Nothing would change: everything is in place.\n"
    assert [line for line in machine.listing if "/cache/" not in line] == [
        line for line in installed if "/cache/" not in line
    ]

    # as www-data, with the environment's cryptography, byte-compiled
    log = machine.sh("cat /var/log/apache2/error.log /var/log/apache2/other_vhosts_access.log")
    assert log.count(" status=good ca=root-ca nonce=16 ") == 4, log
    assert (
        machine.sh("ps -o user= -C apache2 | sort | uniq -c | sort -n | tail -1").split()[1]
        == "www-data"
    )
    assert machine.sh("head -1 /opt/ocsp-cgi/ocsp.cgi") == "#!/opt/ocsp-cgi/bin/python3 -IS\n"
    assert "/opt/ocsp-cgi/ocsp_cgi/__pycache__/cgi.cpython-" in "".join(installed)
    machine.sh(
        "/opt/ocsp-cgi/bin/python3 -c 'import cryptography; assert"
        ' int(cryptography.__version__.split(".")[0]) > 40\''
    )
    machine.sh("cd / && /opt/ocsp-cgi/bin/python3 -m ocsp_cgi --version")
    query = (
        "openssl ocsp -no_nonce -issuer root-ca.crt -CAfile root-ca.crt -cert good.crt -url"
        " http://127.0.0.1/cgi-bin/ocsp.cgi"
    )
    assert "good.crt: good" in machine.sh(f"cd {pki.home} && {query} -header Host={NAME}")
    assert ".ocsp" in machine.sh("ls -R /var/cache/ocsp-cgi")

    # who may read what
    paths = "ocsp ocsp/db ocsp/root-ocsp.key ocsp/db/index ocsp-cgi.conf /var/cache/ocsp-cgi"
    assert (
        machine.sh(f"cd /etc/ssl && stat -c '%a %U:%G %n' {paths}")
        == "750 root:www-data ocsp\n750 root:www-data ocsp/db\n640 root:www-data"
        " ocsp/root-ocsp.key\n640 root:www-data ocsp/db/index\n644 root:root ocsp-cgi.conf\n750"
        " www-data:www-data /var/cache/ocsp-cgi\n"
    )

    dry = machine.install("--uninstall", "--dry-run")
    assert "  remove the link /usr/lib/cgi-bin/ocsp.cgi\n" in dry.stdout
    assert [line for line in machine.listing if "/cache/" not in line] == [
        line for line in installed if "/cache/" not in line
    ]
    gone = machine.install("--uninstall")
    assert "/etc/ssl/ocsp/root-ocsp.key: left, with its group and mode\n" in gone.stdout
    own = ("/etc/ssl/ocsp ", "/etc/ssl/ocsp/", "/run/apache2/")
    assert [line for line in machine.listing if not line.startswith(own)] == [
        line for line in before if not line.startswith(own)
    ]
    assert {line.split()[0] for line in machine.listing if line.startswith("/etc/ssl/ocsp/")} == {
        f"/etc/ssl/ocsp/{name}"
        for name in ("db", "db/index", "root-ca.crt", "root-ocsp.crt", "root-ocsp.key")
    }
    assert machine.install("--uninstall").stdout.endswith("Nothing to undo.\n")
    assert (
        machine.run(
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "http://127.0.0.1/cgi-bin/ocsp.cgi",
        ).stdout
        == "404"
    )


def test_faults_found_by_the_probe_are_named(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    machine.install("--server-name", NAME)
    site = "/etc/apache2/sites-available/ocsp-cgi.conf"
    machine.sh(f"cp {site} /root-of-site.conf")
    for edit, message in (
        (
            "/AllowEncodedSlashes/d",
            "HTTP status 404: `AllowEncodedSlashes NoDecode` is missing in the virtual host",
        ),
        (
            "/Require all granted/s/granted/denied/",
            "HTTP status 403: `Require all denied` in <Directory /usr/lib/cgi-bin> keeps clients",
        ),
        (
            (
                "s|ScriptAlias .*|Alias /cgi-bin/ocsp.cgi /opt/ocsp-cgi/ocsp.cgi\\n<Directory"
                " /opt>\\nRequire all granted\\n</Directory>|"
            ),
            "`Alias` shows the script instead of running it: use ScriptAlias",
        ),
        (
            "s|TraceEnable off|Redirect / https://elsewhere.example/|",
            "HTTP status 302, a redirect to https://elsewhere.example/: `Redirect / https://",
        ),
        (
            's/ocsp-cgi.conf"/nowhere.conf"/',
            "internalError: ocsp.cgi says in the log: /etc/ssl/nowhere.conf: No such file",
        ),
    ):
        machine.sh(f"cp /root-of-site.conf {site}; sed -i '{edit}' {site}; apachectl restart")
        run = machine.install(check=False)
        assert run.returncode == 1 and message in run.stderr, f"{edit}: {run.stderr}"
        assert f"{site}: left as it is" in run.stdout
    machine.sh("apachectl stop; while [ -e /run/apache2/apache2.pid ]; do sleep 0.1; done")
    run = machine.install(check=False)
    assert (
        run.returncode == 1
        and "connection refused at 127.0.0.1 port 80: Apache does not run" in run.stderr
    )


@pytest.mark.parametrize(
    "has, reason", [("pip", "No matching distribution found for cryptography"), ("", "ensurepip")]
)
def test_without_pip_or_network_the_distributions_cryptography_is_used(
    new_machine, pki, has, reason
):
    machine = new_machine(has)
    machine.bring_files(pki)
    run = machine.install("--server-name", NAME)
    assert reason in run.stdout
    assert "Using the distribution's python3-cryptography 3" in run.stdout
    assert f"{QUERIED}\n" in run.stdout
    assert machine.sh("head -1 /opt/ocsp-cgi/ocsp.cgi") == "#!/usr/bin/python3 -IS\n"
    assert machine.install().stdout.startswith("Nothing to change")
    machine.sh("rm -rf /usr/lib/python3/dist-packages/cryptography*")
    run = machine.install(check=False)
    assert run.returncode == 1 and "apt-get install python3-cryptography" in run.stderr


def test_files_of_the_operator_are_neither_overwritten_nor_lost(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    machine.sh("echo '#!/bin/sh' >/usr/lib/cgi-bin/ocsp.cgi")
    for _ in range(2):
        run = machine.install("--server-name", NAME, check=False)
        assert run.returncode == 1 and "/usr/lib/cgi-bin/ocsp.cgi is another script" in run.stderr
        assert run.stderr.endswith(" -m ocsp_cgi migrate /usr/lib/cgi-bin/ocsp.cgi\n")
        assert machine.sh("cat /usr/lib/cgi-bin/ocsp.cgi") == "#!/bin/sh\n"
    machine.install("--uninstall")
    machine.sh("mv /usr/lib/cgi-bin/ocsp.cgi /root-ocsp-script")

    machine.sh("mkdir -p /opt/ocsp-cgi && echo mine >/opt/ocsp-cgi/notes")
    run = machine.install("--server-name", NAME, check=False)
    assert run.returncode == 1 and "/opt/ocsp-cgi: not empty, and not an installation" in run.stderr

    config = (
        "[mine]\ndb = ocsp/db\nca = ocsp/root-ca.crt\nrsigner = ocsp/root-ocsp.crt\nrkey ="
        " ocsp/root-ocsp.key\n"
    )
    machine.sh(
        f"printf '{config}' >/etc/ssl/ocsp-cgi.conf; echo '# mine'"
        " >/etc/apache2/sites-available/ocsp-cgi.conf"
    )
    run = machine.install("--server-name", NAME, "--prefix", "/opt/other", check=False)
    assert "/etc/ssl/ocsp-cgi.conf: the config exists, and is left as it is\n" in run.stdout
    assert "/etc/apache2/sites-available/ocsp-cgi.conf: left as it is" in run.stdout
    machine.sh("cp /etc/ssl/ocsp-cgi.conf /etc/ssl/copy.conf")
    machine.install("--uninstall", "--prefix", "/opt/other")
    paths = "/etc/ssl/ocsp-cgi.conf /etc/apache2/sites-available/ocsp-cgi.conf /opt/ocsp-cgi/notes"
    assert machine.sh(f"cat {paths}") == config + "# mine\nmine\n"

    machine.sh("rm /etc/ssl/ocsp-cgi.conf /etc/apache2/sites-available/ocsp-cgi.conf")
    machine.install("--server-name", NAME, "--prefix", "/opt/other")
    machine.sh("echo 'nmin = 30' >>/etc/ssl/ocsp-cgi.conf")
    assert machine.install("--prefix", "/opt/other").stdout.startswith("Nothing to change")
    gone = machine.install("--uninstall", "--prefix", "/opt/other").stdout
    assert "/etc/ssl/ocsp-cgi.conf: left as it is, because it has been changed\n" in gone
    assert machine.sh("tail -1 /etc/ssl/ocsp-cgi.conf; ls /opt").startswith("nmin = 30\n")


def test_a_new_version_replaces_the_old(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    machine.install("--server-name", NAME)
    machine.sh(
        "echo '# old' >>/opt/ocsp-cgi/ocsp_cgi/page.py; echo '# old' >>/opt/ocsp-cgi/ocsp.cgi"
    )
    run = machine.install()
    assert [
        line
        for line in run.stdout.splitlines()
        if line.startswith("  ") and "/" in line and "http:" not in line
    ] == [
        "  copy the package to /opt/ocsp-cgi/ocsp_cgi, byte-compiled",
        "  write /opt/ocsp-cgi/ocsp.cgi, with that Python in its first line",
    ]
    assert machine.sh("grep -r '# old' /opt/ocsp-cgi || echo none") == "none\n"
    run = machine.install("--server-name", "other.example.com")
    assert "  write /etc/apache2/sites-available/ocsp-cgi.conf\n" in run.stdout
    assert (
        "  http://other.example.com/cgi-bin/ocsp.cgi (on this machine, bypassing DNS)\n"
        in run.stdout
    )


def test_install_from_the_wheel(new_machine, workspace, pki):
    directory = workspace / "wheel-as-root"
    directory.mkdir()
    command = str(install_wheel(directory) / "bin" / "ocsp-cgi")
    machine = new_machine()
    machine.bring_files(pki)
    run = machine.run(command, "install", "--server-name", NAME)
    assert f"{QUERIED}\n" in run.stdout, run.stdout
    assert machine.sh("head -1 /opt/ocsp-cgi/ocsp.cgi") == "#!/usr/bin/python3 -IS\n"
    assert machine.run(command, "install").stdout.startswith("Nothing to change")
    machine.run(command, "install", "--uninstall")
    machine.sh("test ! -e /opt/ocsp-cgi && test ! -e /usr/lib/cgi-bin/ocsp.cgi")


def test_sync_job(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    if not shutil.which("rsync"):
        pytest.skip("rsync is not installed")
    run = machine.install(
        "--server-name", NAME, "--sync-from", "ca.example.com:/root/root-ca/db", check=False
    )
    assert run.returncode == 1 and "must name the index file on the CA's host" in run.stderr
    machine.install("--server-name", NAME, "--sync-from", f"{pki.home}/db/index")
    cron = machine.sh("grep '^[*]' /etc/cron.d/ocsp-cgi-sync")
    machine.run("sh", "-c", cron.split(" ", 6)[6].strip())
    assert (
        machine.sh("cd /etc/ssl/ocsp/db && stat -c '%a %U:%G %n' *")
        == "644 root:root heartbeat\n640 root:www-data index\n"
    )
    assert (
        machine.install("--sync-from", f"{pki.home}/db/index").stdout.count("Nothing to change")
        == 1
    )
    machine.sh(
        "mkdir -p /run/systemd/system; printf '#!/bin/sh\\necho \"$@\" >>/var/systemctl\\n'"
        " >/usr/bin/systemctl"
    )
    machine.install("--sync-from", f"{pki.home}/db/index", check=False)
    assert (
        machine.sh("cat /var/systemctl")
        == "daemon-reload\nenable --now ocsp-cgi-sync.timer\nreload-or-restart apache2\n"
    )
    assert f" {pki.home}/db/index /etc/ssl/ocsp/db/\n" in machine.sh(
        "cat /etc/systemd/system/ocsp-cgi-sync.service"
    )
    machine.install("--uninstall")
    assert (
        machine.sh("tail -n +4 /var/systemctl")
        == "disable --now ocsp-cgi-sync.timer\ndaemon-reload\nrestart apache2\n"
    )
    assert machine.sh("ls /etc/cron.d /etc/systemd/system | grep ocsp || echo none") == "none\n"


def test_layout_of_rhel(new_machine, pki):
    """RHEL's directories, users and files, but Debian's httpd; neither SELinux nor dnf's Python."""
    machine = new_machine("pip and network")
    machine.sh(RHEL)
    machine.bring_files(pki)
    before = machine.listing
    run = machine.install("--server-name", NAME)
    assert f"{QUERIED}\n" in run.stdout, run.stdout
    assert (
        machine.sh("cd /etc/ssl && stat -c '%a %U:%G' ocsp ocsp/root-ocsp.key /var/cache/ocsp-cgi")
        == "750 root:apache\n640 root:apache\n750 apache:apache\n"
    )
    assert (
        machine.sh("readlink /var/www/cgi-bin/ocsp.cgi; ls /etc/httpd/conf.d")
        == "/opt/ocsp-cgi/ocsp.cgi\nocsp-cgi.conf\n"
    )
    assert machine.install().stdout.startswith("Nothing to change")
    machine.install("--uninstall")
    own = ("/etc/ssl/ocsp",)
    assert [line for line in machine.listing if not line.startswith(own)] == [
        line for line in before if not line.startswith(own)
    ]


def test_without_apache(new_machine):
    machine = new_machine()
    machine.sh("rm -rf /etc/apache2")
    run = machine.install("--server-name", NAME, check=False)
    assert (
        run.returncode == 1
        and run.stderr.startswith("python3 -m ocsp_cgi: Apache is not installed")
        and "apt-get install apache2" in run.stderr
    )
