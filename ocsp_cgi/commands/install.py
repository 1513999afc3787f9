"""Install the responder into Apache, as root, on Debian, Ubuntu, RHEL or Fedora; and take it off
again.

What is to be done is found out first, from what is there: `--dry-run` prints it, and a second run
has nothing to do.  What was made is recorded in installed.json below --prefix, which is what
`--uninstall` goes by.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from .. import admission, cache, certificate, config, index_file
from ..import_cryptography import SignerError
from ..issuer import Issuer
from ..tools import probe
from ..tools.openssl_ca import CHECKOUT
from ..tools.plan import Plan, Record, Refused, write
from ..tools.plan import run as run_command

PREFIX = "/opt/ocsp-cgi"
CONFIG = Path(config.DEFAULT_PATH)
FILES = Path("/etc/ssl/ocsp")
CACHE = Path("/var/cache/ocsp-cgi")
SYNC_SOURCE = "ca.example.com:/root/root-ca/db/index"
SYNC_UNITS = ("ocsp-cgi-sync.service", "ocsp-cgi-sync.timer")
_ENVIRONMENT = ("bin", "include", "lib", "lib64", "share", "pyvenv.cfg")  # what venv makes
_OLDEST_CRYPTOGRAPHY = 38
_VERSION_OF_CRYPTOGRAPHY = (
    "import cryptography, sys; from cryptography.hazmat.primitives import hashes;"
    " print(cryptography.__version__)"
)

_CONFIG = f"""\
[root-ca]
db      = {FILES}/db
ca      = {FILES}/root-ca.crt
rsigner = {FILES}/root-ocsp.crt
rkey    = {FILES}/root-ocsp.key
cache   = {CACHE}
"""


class Layout(NamedTuple):
    """Where a distribution's Apache has what: its user, whose group has the same name, the service,
    and the packages' installer."""

    name: str
    user: str
    cgi_bin: Path
    site: Path
    service: str
    error_log: str
    packages: str


LAYOUTS = (
    Layout(
        "Debian",
        "www-data",
        Path("/usr/lib/cgi-bin"),
        Path("/etc/apache2/sites-available/ocsp-cgi.conf"),
        "apache2",
        "/var/log/apache2/error.log",
        "apt-get install",
    ),
    Layout(
        "RHEL",
        "apache",
        Path("/var/www/cgi-bin"),
        Path("/etc/httpd/conf.d/ocsp-cgi.conf"),
        "httpd",
        "/var/log/httpd/error_log",
        "dnf install",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server-name",
        metavar="NAME",
        help="the name in ocsp_url, under which clients ask (default: this host's)",
    )
    parser.add_argument(
        "--prefix",
        metavar="DIR",
        default=PREFIX,
        help=f"where the program goes (default: {PREFIX})",
    )
    parser.add_argument(
        "--sync-from",
        metavar="HOST:PATH",
        help=f"copy the index from there every minute, such as {SYNC_SOURCE}",
    )
    parser.add_argument(
        "--upgrade", action="store_true", help="fetch the newest cryptography even if there is one"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be done, and change nothing"
    )
    parser.add_argument(
        "--uninstall",
        action="store_true",
        help="take off what was installed; keys, certificates and db stay",
    )
    parser.add_argument(
        "--no-reload", action="store_true", help="neither reload Apache nor ask the responder"
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if all is as it should be."""
    if os.geteuid() != 0:
        sys.exit("ocsp_cgi install: this has to be run as root: sudo python3 -m ocsp_cgi install")
    os.umask(0o022)
    try:
        installation = Installation(arguments)
        return installation.uninstall() if arguments.uninstall else installation.install()
    except (Refused, probe.Wrong) as refusal:
        sys.exit(f"ocsp_cgi install: {refusal}")


class Installation:
    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.prefix = Path(os.path.abspath(arguments.prefix))
        if re.search(r"\s", str(self.prefix)) or len(str(self.prefix)) > 100:
            raise Refused(
                f"--prefix {self.prefix}: no blank may be in it, nor more than 100 characters: a"
                " script's first line has it"
            )
        self.layout = _layout()
        self.record = Record(self.prefix / "installed.json")
        self.plan = Plan(self.record)
        self.script = self.prefix / "ocsp.cgi"
        self.site_is_linked = self.layout.name == "Debian"

    # Installing

    def install(self) -> int:
        if (
            not (CHECKOUT / "ocsp.cgi").exists()
            or not (CHECKOUT / "apache" / "ocsp-cgi.conf").exists()
        ):
            raise Refused(
                f"{CHECKOUT}: this is not the whole checkout, with ocsp.cgi and apache/: run it in"
                " there"
            )
        if not self.record.exists and self.prefix.is_dir() and any(self.prefix.iterdir()):
            raise Refused(
                f"{self.prefix}: something else is there; give another directory with --prefix"
            )
        self._plan_program()
        self._plan_files()
        self._plan_apache()
        if self.arguments.sync_from:
            self._plan_sync(self.arguments.sync_from)
        self._plan_labels()
        return self._reload_and_ask() if self._carry_out() else 0

    def _carry_out(self, is_recorded: bool = True) -> bool:
        """Do what is planned, or print it.  Returns whether to go on: not so with --dry-run."""
        for remark in self.plan.remarks:
            print(remark)
        if self.arguments.dry_run:
            print(
                "This would be done:"
                if self.plan.steps
                else "Nothing would be changed: all is as it should be."
            )
            for step in self.plan.steps:
                print(f"  {step.text}")
            return False
        if not self.plan.steps:
            print("Nothing to change: all is as it should be.")
            return True
        print("Changed:")
        has_other_modules = any(
            step.text.startswith(("a2enmod", "a2dismod")) for step in self.plan.steps
        )
        self.record.other["reload"] = (
            "restart" if has_other_modules else self.record.other.get("reload") or "reload"
        )
        self.plan.carry_out(is_recorded)
        return True

    def _plan_program(self) -> None:
        plan, other = self.plan, self.record.other
        plan.directory(self.prefix, 0o755)
        python = other.get("python", "")
        if (
            not python
            or not _version_of_cryptography(python, self.layout.user)
            or self.arguments.upgrade
        ):
            plan.add(
                f"make the virtual environment {self.prefix} with the newest cryptography, by pip;"
                " where that fails, take the distribution's python3-cryptography",
                self._make_environment,
            )
        if not _same_package(CHECKOUT / "ocsp_cgi", self.prefix / "ocsp_cgi"):
            plan.add(
                f"copy the package to {self.prefix}/ocsp_cgi, byte-compiled", self._copy_package
            )
        if (
            not python
            or self.arguments.upgrade
            or self._script_content(python) != _content(self.script)
        ):
            plan.add(f"write {self.script}, with that Python in its first line", self._write_script)
        plan.directory(self.layout.cgi_bin, 0o755)
        plan.link(self.layout.cgi_bin / "ocsp.cgi", self.script)

    def _make_environment(self) -> None:
        base = (
            "/usr/bin/python3"
            if _runs("/usr/bin/python3", "import sys; sys.exit(sys.version_info < (3, 9))")
            else sys.executable
        )
        python = str(self.prefix / "bin" / "python3")
        pip = (
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--retries=2",
            "--only-binary=:all:",
            "--upgrade",
        )
        try:
            if not _runs(python, "import pip"):
                self._remove_environment()
                run_command(base, "-m", "venv", str(self.prefix))
            run_command(*pip, "cryptography")
        except Refused as refusal:
            if _version_of_cryptography(python, self.layout.user):
                raise Refused(
                    f"{refusal}\nThe cryptography that was there before is still in use."
                ) from None
            self._remove_environment()
            python = "/usr/bin/python3"
            version = _version_of_cryptography(python, self.layout.user)
            packages = f"{self.layout.packages} python3-cryptography"
            if not version:
                raise Refused(
                    f"{refusal}\nSo there is no virtual environment; nor has the distribution a"
                    f" python3-cryptography of version {_OLDEST_CRYPTOGRAPHY} or newer here. Mend"
                    f" the one or the other, and start again: {packages}"
                ) from None
            print(f"    {refusal}")
            print(
                f"    So the distribution's python3-cryptography {version} is taken: an answer"
                " takes some milliseconds longer."
            )
            print(
                "    To try the virtual environment again, with python3-venv and the network:"
                " python3 -m ocsp_cgi install --upgrade"
            )
        else:
            version = _version_of_cryptography(python, self.layout.user)
            if not version:
                raise Refused(
                    f"{python}: {self.layout.user} cannot run it: can it enter every directory"
                    f" above {self.prefix}?"
                )
            print(f"    cryptography {version}")
        self.record.other["python"] = python
        site_packages = next(self.prefix.glob("lib/python3*/site-packages"), None)
        if site_packages is not None:  # so that this Python finds the package for `-m ocsp_cgi`
            write(site_packages / "ocsp-cgi.pth", f"{self.prefix}\n".encode(), 0o644)

    def _remove_environment(self) -> None:
        for name in _ENVIRONMENT:
            _remove(self.prefix / name)

    def _copy_package(self) -> None:
        new, old, package = (
            self.prefix / name for name in (".ocsp_cgi.new", ".ocsp_cgi.old", "ocsp_cgi")
        )
        for path in (new, old):
            _remove(path)
        shutil.copytree(CHECKOUT / "ocsp_cgi", new, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (new, *new.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        run_command(
            self.record.other["python"],
            "-I",
            "-m",
            "compileall",
            "-q",
            "-s",
            str(new),
            "-p",
            str(package),
            str(new),
        )
        if package.exists():
            package.rename(old)
        new.rename(package)
        _remove(old)

    def _write_script(self) -> None:
        write(self.script, self._script_content(self.record.other["python"]), 0o755)

    def _script_content(self, python: str) -> bytes:
        first_line, _, rest = (CHECKOUT / "ocsp.cgi").read_text().partition("\n")
        return f"#!{python} {first_line.split()[1]}\n{rest}".encode()

    def _plan_files(self) -> None:
        """The config, and what it names, so that the web server's user can read it, and others
        cannot."""
        plan, user = self.plan, self.layout.user
        for directory in (FILES, FILES / "db"):
            plan.directory(directory, 0o750, "root", user)
            plan.mode(directory, 0o750, "root", user, user)
        for name in ("root-ca.crt", "root-ocsp.crt"):
            plan.mode(FILES / name, 0o644, "root", "root", user)
        for name in ("root-ocsp.key", "db/index", "db/index.txt"):
            plan.mode(FILES / name, 0o640, "root", user, user)
        plan.directory(CACHE, 0o750, user, user)
        if not os.path.lexists(CONFIG):
            plan.file(CONFIG, _CONFIG.encode())
        elif str(CONFIG) not in self.record.files:
            plan.remarks.append(f"{CONFIG}: the config is there already, and stays as it is")

    def _plan_apache(self) -> None:
        plan, site = self.plan, self.layout.site
        name = self.arguments.server_name or self._server_name() or socket.getfqdn()
        if "." not in name and not self.arguments.server_name:
            raise Refused(
                "--server-name is missing: the name of this host in ocsp_url, such as --server-name"
                " ocsp.example.com"
            )
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", name):
            raise Refused(f"--server-name {name}: no host name")
        text = (CHECKOUT / "apache" / "ocsp-cgi.conf").read_text()
        plan.file(site, text.replace("ServerName ocsp.example.com", f"ServerName {name}").encode())
        if self.site_is_linked:
            enabled = Path("/etc/apache2/mods-enabled")
            prefork = (enabled / "mpm_prefork.load").exists()
            has_cgi = any((enabled / f"{module}.load").exists() for module in ("cgi", "cgid"))
            modules = [] if has_cgi else ["cgi" if prefork else "cgid"]
            modules += [
                module for module in ("alias", "env") if not (enabled / f"{module}.load").exists()
            ]
            for module in modules:
                plan.command("a2enmod", "--quiet", module, remember="modules")
            if not Path("/etc/apache2/sites-enabled/ocsp-cgi.conf").exists():
                plan.command("a2ensite", "--quiet", "ocsp-cgi", remember="sites")

    def _plan_sync(self, source: str) -> None:
        if not re.fullmatch(r"(?!-)([\w.@:/~+-]*/|[\w.@+-]+:)index(\.txt)?", source):
            raise Refused(
                f"--sync-from {source}: it names the index itself on the CA's host, such as"
                f" {SYNC_SOURCE}"
            )
        if shutil.which("rsync") is None:
            raise Refused(
                f"--sync-from: the command rsync is not installed: {self.layout.packages} rsync"
            )
        self.record.other["sync"] = source

        def edited(name: str) -> bytes:
            text = (CHECKOUT / "apache" / name).read_text()
            return (
                text.replace(f" {SYNC_SOURCE} ", f" {source} ")
                .replace("root:www-data", f"root:{self.layout.user}")
                .encode()
            )

        if _systemd_runs():
            before = len(self.plan.steps)
            for name in SYNC_UNITS:
                self.plan.file(Path("/etc/systemd/system", name), edited(name))
            if len(self.plan.steps) > before:
                self.plan.command("systemctl", "daemon-reload")
                self.plan.command("systemctl", "enable", "--now", SYNC_UNITS[1])
        else:
            self.plan.directory(Path("/etc/cron.d"), 0o755)
            self.plan.file(Path("/etc/cron.d/ocsp-cgi-sync"), edited("ocsp-cgi-sync.cron"))
        self.plan.remarks.append(
            "The index is fetched by root, over ssh: root's key must open the CA's host, and that"
            " be in root's known_hosts. Then add `stale_after = 10` to the config, so that answers"
            " end when the copies do."
        )

    def _plan_labels(self) -> None:
        """What SELinux has to be told, where it is on: that the script is a CGI, and that it may
        write to its cache."""
        if (
            self.plan.steps
            and shutil.which("selinuxenabled", path=_path())
            and subprocess.run(["selinuxenabled"]).returncode == 0
        ):
            self.plan.command("chcon", "-t", "httpd_sys_script_exec_t", str(self.script))
            self.plan.command("chcon", "-R", "-t", "httpd_sys_rw_content_t", str(CACHE))

    # Apache

    def _reload(self) -> bool:
        """Make Apache read what was changed.  Returns whether it was told to."""
        if not self.record.other.get("reload"):
            return False
        if self.arguments.no_reload:
            print(
                "Apache has not been reloaded, as you asked for: systemctl restart"
                f" {self.layout.service}"
            )
            return False
        control = next(
            (
                name
                for name in ("apache2ctl", "apachectl", "httpd")
                if shutil.which(name, path=_path())
            ),
            "",
        )
        if not control:
            raise Refused(
                f"no apachectl here, so Apache could not be reloaded: is {self.layout.service}"
                " installed?"
            )
        restart = self.record.other["reload"] == "restart"
        try:
            run_command(control, "-t")
            if _systemd_runs():
                run_command(
                    "systemctl", "restart" if restart else "reload-or-restart", self.layout.service
                )
            else:
                run_command(control, "-k", "restart" if restart else "graceful")
        except Refused as refusal:
            raise Refused(
                f"all is done, but Apache does not read it: {refusal}\n(Apache's error log:"
                f" {self.layout.error_log})"
            ) from None
        print("Apache has read its new configuration.")
        return True

    def _reload_and_ask(self) -> int:
        reloaded = self._reload()
        if reloaded:
            self.record.other["reload"] = ""
            self.record.save()
        try:
            settings = config.load(str(CONFIG))
        except config.ConfigError as error:
            raise Refused(f"installed, but the config cannot be used yet: {error}") from None
        missing = [text for ca in settings.cas for text in self._missing(ca)]
        if missing:
            print("Not asked yet, since this is missing:")
            for text in missing:
                print(f"  {text}")
            print("Then run this command again: it sets groups and modes, and asks.")
            return 0
        if self.arguments.no_reload:
            return 0
        for ca in settings.cas:
            self._ask(ca, 10.0 if reloaded else 0.0)
        return 0

    def _missing(self, ca: config.CASettings) -> list[str]:
        """What a CA of the config still lacks, with the next step of the guide."""
        texts = []
        host = "ca.example.com:root-ca"
        try:
            database = Path(index_file.path_of(ca.db))
        except index_file.DatabaseUnavailable as error:
            raise Refused(str(error)) from None
        request = Path(ca.rsigner).stem + ".csr"
        for path, what in (
            (
                Path(ca.rkey),
                "the key. Make it, and a request:\n    openssl req -new -newkey ec -pkeyopt"
                " ec_paramgen_curve:P-256 -nodes"
                f' -subj "/C=GB/O=Example/CN=OCSP Root Responder" -keyout {shlex.quote(ca.rkey)}'
                f" -out {request}",
            ),
            (
                Path(ca.rsigner),
                (
                    "the signer's certificate. On the CA's host:\n    openssl ca -config"
                    f" root-ca.cnf -in {request} -out {Path(ca.rsigner).name} -extensions ocsp_ext"
                    f" -days 90\n    and copy it here: scp {host}/{Path(ca.rsigner).name}"
                    f" {shlex.quote(ca.rsigner)}"
                ),
            ),
            (
                Path(ca.ca),
                (
                    f"the CA's certificate. Copy it here:\n    scp {host}/{Path(ca.ca).name}"
                    f" {shlex.quote(ca.ca)}"
                ),
            ),
            (
                database,
                (
                    "the database. Copy it here:\n    rsync --copy-links --times"
                    f" {host}/db/{database.name} {shlex.quote(str(database))}\n    and let"
                    " --sync-from do so from then on"
                ),
            ),
        ):
            if not path.exists():
                texts.append(f"{path}: {what}")
            elif not _can_read(path, self.layout.user):
                texts.append(
                    f"{path}: there, but {self.layout.user} cannot read it: look at its mode, and"
                    " at the directories above it"
                )
        return texts

    def _ask(self, ca: config.CASettings, patience: float) -> None:
        """Ask the running responder.  Right after a restart, an answer may still come from before
        it, or none."""
        try:
            serial_number = certificate.load(ca.rsigner).serial_number
            issuer_pem = _issuer_pem(ca)
        except (OSError, certificate.CertificateError, SignerError) as error:
            raise Refused(
                f"[{ca.name}] cannot be asked about: {error}; it is in {ca.rsigner} or {ca.ca}"
            ) from None
        address, port = self._address()
        name = self._server_name() or socket.getfqdn()
        url = f"http://{name}{'' if port == 80 else f':{port}'}{probe.PATH}"
        print(f"[{ca.name}] asked at {url} about {serial_number:X}, the signer's certificate:")
        trusted = ("-VAfile", ca.rsigner) if ca.signer_trust == "local" else ("-CAfile", ca.ca)
        deadline = time.monotonic() + patience
        while True:
            try:
                with tempfile.NamedTemporaryFile("w") as issuer:
                    issuer.write(issuer_pem)
                    issuer.flush()
                    for line in probe.ask(
                        Path(issuer.name), serial_number, name, port, address, trusted
                    ):
                        print(f"  {line}")
                return
            except probe.Wrong as wrong:
                if time.monotonic() > deadline:
                    raise Refused(
                        f"installed, but it does not answer as it should.\n{wrong}\n(Apache's error"
                        f" log: {self.layout.error_log}; the virtual host: {self.layout.site})"
                    ) from None
            time.sleep(0.5)

    def _server_name(self) -> str:
        """As the virtual host has it, "" if there is none yet."""
        found = re.search(
            r"^\s*ServerName\s+([^\s:]+)",
            _content(self.layout.site).decode(errors="replace"),
            re.MULTILINE,
        )
        return found[1] if found else ""

    def _address(self) -> tuple[str, int]:
        """Where to connect to, from this machine, for the virtual host."""
        found = re.search(
            r"^\s*<VirtualHost\s+([^\s>]+):(\d+)",
            _content(self.layout.site).decode(errors="replace"),
            re.MULTILINE,
        )
        host, port = (found[1], int(found[2])) if found else ("*", 80)
        return ("127.0.0.1" if host in ("*", "_default_") else host.strip("[]")), port

    # Uninstalling

    def uninstall(self) -> int:
        if not self.record.exists:
            print(
                f"{self.record.path} is not there, so nothing is installed below {self.prefix}."
                " Nothing to undo."
            )
            return 0
        plan, record = self.plan, self.record
        has_units = f"/etc/systemd/system/{SYNC_UNITS[1]}" in record.files and _systemd_runs()
        if has_units:
            plan.command("systemctl", "disable", "--now", SYNC_UNITS[1])
        for site in record.other.get("sites", []):
            if Path(f"/etc/apache2/sites-enabled/{site}.conf").exists():
                plan.command("a2dissite", "--quiet", "--purge", site)
        for module in record.other.get("modules", []):
            if Path(f"/etc/apache2/mods-enabled/{module}.load").exists():
                plan.command("a2dismod", "--quiet", "--purge", module)
        for link, target in record.links.items():
            if os.path.islink(link) and os.readlink(link) == target:
                plan.add(f"remove the link {link}", lambda link=link: os.unlink(link))
        for name in record.files:
            if record.is_ours(Path(name)):
                plan.add(f"remove {name}", lambda name=name: os.unlink(name))
            elif os.path.lexists(name):
                plan.remarks.append(f"{name}: left, since it has been changed since it was written")
        if has_units:
            plan.command("systemctl", "daemon-reload")
        plan.add(f"empty the cache {CACHE}", _empty_cache)
        plan.add(f"remove the program from {self.prefix}", self._remove_program)
        for name in ("root-ocsp.key", "root-ocsp.crt", "root-ca.crt", "db"):
            if (FILES / name).is_file() or (
                (FILES / name).is_dir() and any((FILES / name).iterdir())
            ):
                plan.remarks.append(f"{FILES / name}: left, with its group and mode")
        for directory in reversed(record.directories):
            plan.add(
                f"remove the directory {directory}, if it is empty then",
                lambda directory=directory: _remove_if_empty(directory),
            )
        if self._carry_out(is_recorded=False):
            self._reload()
        return 0

    def _remove_program(self) -> None:
        self._remove_environment()
        for path in (self.prefix / "ocsp_cgi", self.script, self.record.path):
            _remove(path)


def _issuer_pem(ca: config.CASettings) -> str:
    """The newest certificate of a section's CA, which need not be the first in the file.

    SignerError if there is none.
    """
    authority = Issuer(ca)
    if authority.unreadable:
        raise authority.unreadable
    return ssl.DER_cert_to_PEM_cert(
        certificate.newest(authority.certificates, int(time.time())).der
    )


def _layout() -> Layout:
    """How this machine's Apache is laid out."""
    for layout in LAYOUTS:
        if layout.site.parent.is_dir() and shutil.which(
            {"Debian": "a2ensite", "RHEL": "httpd"}[layout.name], path=_path()
        ):
            return layout
    raise Refused(
        "no Apache here, neither /etc/apache2/sites-available with a2ensite nor /etc/httpd/conf.d"
        " with httpd: apt-get install apache2 python3-venv, or dnf install httpd python3-pip"
    )


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def _systemd_runs() -> bool:
    return Path("/run/systemd/system").is_dir()


def _runs(python: str, program: str) -> bool:
    try:
        return (
            subprocess.run(
                [python, "-I", "-c", program],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                cwd="/",
            ).returncode
            == 0
        )
    except OSError:
        return False


def _version_of_cryptography(python: str, user: str) -> str:
    """The version that this Python has, run as the web server's user; "" if it has none, or one too
    old."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", _VERSION_OF_CRYPTOGRAPHY],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd="/",
            user=user,
            group=user,
            extra_groups=[],
        )
    except OSError:
        return ""
    version = done.stdout.strip()
    return (
        version
        if done.returncode == 0 and int(version.partition(".")[0]) >= _OLDEST_CRYPTOGRAPHY
        else ""
    )


def _can_read(path: Path, user: str) -> bool:
    return (
        subprocess.run(
            ["test", "-r", str(path)], user=user, group=user, extra_groups=[], cwd="/"
        ).returncode
        == 0
    )


def _same_package(one: Path, other: Path) -> bool:
    def contents(package: Path) -> dict[str, bytes]:
        files = (path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(package)): path.read_bytes() for path in files}

    return other.is_dir() and contents(one) == contents(other)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _empty_cache() -> None:
    """Remove what the responder puts into its cache, and nothing else."""
    if CACHE.is_dir():
        for path in CACHE.iterdir():
            if path.suffix == cache.SUFFIX or path.name == admission.FILE:
                path.unlink(missing_ok=True)
            elif path.name.startswith(cache.BUCKETS) and not path.is_symlink():
                shutil.rmtree(path)


def _remove_if_empty(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError:
        pass
