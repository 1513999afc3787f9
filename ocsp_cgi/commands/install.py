"""Install the responder into Apache, as root, on Debian, Ubuntu, RHEL or Fedora, or uninstall it.

The installer first finds out what is missing: `--dry-run` prints that, and a second run has nothing
to do.  What it creates is recorded in installed.json in the directory --prefix; `--uninstall`
removes what is recorded there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from .. import admission, cache, config, index_file
from ..checks import live
from ..checks.finding import Level
from ..checks.subject import Subject
from ..tools import data_files, entry, layout
from ..tools.entry import CommandError
from ..tools.plan import Plan, Record, search_path
from ..tools.program import Program

PREFIX = "/opt/ocsp-cgi"
CONFIG = Path(config.DEFAULT_PATH)
FILES = Path("/etc/ssl/ocsp")
CACHE = Path("/var/cache/ocsp-cgi")
SYNC_SOURCE = "ca.example.com:/root/root-ca/db/index"
SYNC_UNITS = ("ocsp-cgi-sync.service", "ocsp-cgi-sync.timer")

_IN_PLACE = "everything is in place"
_CONFIG = f"""\
[root-ca]
db      = {FILES}/db
ca      = {FILES}/root-ca.crt
rsigner = {FILES}/root-ocsp.crt
rkey    = {FILES}/root-ocsp.key
cache   = {CACHE}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server-name",
        metavar="NAME",
        help="the host name in ocsp_url (default: this host's)",
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
        help=f"copy the index from there every minute, for example from {SYNC_SOURCE}",
    )
    parser.add_argument(
        "--upgrade", action="store_true", help="install the newest cryptography again"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be done, and change nothing"
    )
    parser.add_argument(
        "--uninstall",
        action="store_true",
        help="remove what was installed; keys, certificates and db stay",
    )
    parser.add_argument(
        "--no-reload", action="store_true", help="neither reload Apache nor query the responder"
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if everything is done."""
    if os.geteuid() != 0:
        program = entry.program()
        if program == "ocsp-cgi":  # which may not be on root's PATH
            program = shlex.quote(os.path.abspath(sys.argv[0]))
        raise CommandError(f"install must run as root: sudo {program} install")
    os.umask(0o022)
    installation = _Installation(arguments)
    if arguments.uninstall:
        installation.uninstall()
    else:
        installation.install()
    return entry.OK


class _Installation:
    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.layout = layout.find()
        prefix = Path(os.path.abspath(arguments.prefix))
        self.record = Record(prefix / "installed.json")
        self.plan = Plan(self.record)
        self.program = Program(prefix, self.layout, self.plan)

    # Installing

    def install(self) -> None:
        data_files.require()
        self.program.plan(self.arguments.upgrade)
        self._plan_files()
        self._plan_apache()
        if self.arguments.sync_from:
            self._plan_sync(self.arguments.sync_from)
        self._plan_labels()
        if self._carry_out():
            self._reload_and_query()

    def _carry_out(self, is_recorded: bool = True) -> bool:
        """Carry out the plan, or print it with --dry-run.  Returns whether it was carried out."""
        plan = self.plan
        for note in plan.notes:
            print(note)
        if self.arguments.dry_run:
            print("This would be done:" if plan.steps else f"Nothing would change: {_IN_PLACE}.")
            for step in plan.steps:
                print(f"  {step.text}")
            return False
        if not plan.steps:
            print(f"Nothing to change: {_IN_PLACE}.")
            return True
        print("Changed:")
        other = self.record.other
        changes_modules = any(step.text.startswith(("a2enmod", "a2dismod")) for step in plan.steps)
        other["reload"] = "restart" if changes_modules else other.get("reload") or "reload"
        plan.carry_out(is_recorded)
        return True

    def _plan_files(self) -> None:
        """The config and the files it names: readable for the web server's user, not for others."""
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
            plan.notes.append(f"{CONFIG}: the config exists, and is left as it is")

    def _plan_apache(self) -> None:
        plan = self.plan
        name = self.arguments.server_name or self.layout.server_name() or socket.getfqdn()
        if "." not in name and not self.arguments.server_name:
            raise CommandError(
                "--server-name is missing: the name of this host in ocsp_url, for example"
                " --server-name ocsp.example.com"
            )
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", name):
            raise CommandError(f"--server-name {name}: not a host name")
        text = (data_files.APACHE / "ocsp-cgi.conf").read_text()
        text = text.replace("ServerName ocsp.example.com", f"ServerName {name}")
        plan.file(self.layout.site, text.encode())
        if self.layout.enables_sites:
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
            raise CommandError(
                f"--sync-from {source}: must name the index file on the CA's host, for example"
                f" {SYNC_SOURCE}"
            )
        if shutil.which("rsync") is None:
            raise CommandError(
                f"--sync-from: the command rsync is missing: {self.layout.packages} rsync"
            )
        self.record.other["sync"] = source

        def edited(name: str) -> bytes:
            text = (data_files.APACHE / name).read_text()
            text = text.replace(f" {SYNC_SOURCE} ", f" {source} ")
            return text.replace("root:www-data", f"root:{self.layout.user}").encode()

        if layout.systemd_runs():
            before = len(self.plan.steps)
            for name in SYNC_UNITS:
                self.plan.file(Path("/etc/systemd/system", name), edited(name))
            if len(self.plan.steps) > before:
                self.plan.command("systemctl", "daemon-reload")
                self.plan.command("systemctl", "enable", "--now", SYNC_UNITS[1])
        else:
            self.plan.directory(Path("/etc/cron.d"), 0o755)
            self.plan.file(Path("/etc/cron.d/ocsp-cgi-sync"), edited("ocsp-cgi-sync.cron"))
        self.plan.notes.append(
            "root copies the index with ssh: root's key must be accepted by the CA's host, and that"
            " host must be in root's known_hosts.  Then add `stale_after = 10` to the config, so"
            " that responses stop when copying stops."
        )

    def _plan_labels(self) -> None:
        """With SELinux: the script is a CGI, and may write to its cache."""
        if (
            self.plan.steps
            and shutil.which("selinuxenabled", path=search_path())
            and subprocess.run(["selinuxenabled"]).returncode == 0
        ):
            script = str(self.program.script)
            self.plan.command("chcon", "-t", "httpd_sys_script_exec_t", script)
            self.plan.command("chcon", "-R", "-t", "httpd_sys_rw_content_t", str(CACHE))

    def _reload(self) -> bool:
        """Reload Apache if something has changed.  Returns whether it was reloaded."""
        how = self.record.other.get("reload")
        if not how:
            return False
        if self.arguments.no_reload:
            print(
                "Apache has not been reloaded, because of --no-reload: systemctl restart"
                f" {self.layout.service}"
            )
            return False
        self.layout.reload(restart=how == "restart")
        print("Apache has been reloaded.")
        return True

    def _reload_and_query(self) -> None:
        reloaded = self._reload()
        if reloaded:
            self.record.other["reload"] = ""
            self.record.save()
        try:
            settings = config.load(str(CONFIG))
        except config.ConfigError as error:
            raise CommandError(f"installed, but the config cannot be used yet: {error}") from None
        missing = [text for ca in settings.cas for text in _missing(ca, self.layout.user)]
        if missing:
            print("The responder has not been queried yet, because this is missing:")
            for text in missing:
                print(f"  {text}")
            print("Then run this command again: it sets groups and modes, and queries.")
            return
        if not self.arguments.no_reload:
            self._query(settings, 10.0 if reloaded else 0.0)

    def _query(self, settings: config.Settings, patience: float) -> None:
        """Query the live responder.

        Right after a reload, for `patience` seconds, Apache may still respond with its old
        configuration, or not at all.
        """
        deadline = time.monotonic() + patience
        while True:
            subject = Subject(
                str(CONFIG), settings, self.layout.user, self.layout, int(time.time())
            )
            findings = live.examine(subject)
            failed = [one for one in findings if one.level is Level.FAIL]
            if not failed or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        for one in findings:
            print(f"{one.what}\n  {one.where}{chr(10) if one.command else ''}  {one.command}")
        if failed:
            raise CommandError(
                f"installed, but the responder does not work.\n{failed[0].what}\n(Apache's error"
                f" log: {self.layout.error_log}; the virtual host: {self.layout.site})"
            )

    # Uninstalling

    def uninstall(self) -> None:
        if not self.record.exists:
            print(
                f"{self.record.path} does not exist, so nothing is installed in"
                f" {self.program.prefix}.  Nothing to undo."
            )
            return
        plan, record = self.plan, self.record
        has_units = f"/etc/systemd/system/{SYNC_UNITS[1]}" in record.files and layout.systemd_runs()
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
                plan.add(f"remove the link {link}", partial(os.unlink, link))
        for name in record.files:
            if record.is_ours(Path(name)):
                plan.add(f"remove {name}", partial(os.unlink, name))
            elif os.path.lexists(name):
                plan.notes.append(f"{name}: left as it is, because it has been changed")
        if has_units:
            plan.command("systemctl", "daemon-reload")
        plan.add(f"empty the cache {CACHE}", _empty_cache)
        plan.add(f"remove the program from {self.program.prefix}", self.program.remove)
        for name in ("root-ocsp.key", "root-ocsp.crt", "root-ca.crt", "db"):
            path = FILES / name
            if path.is_file() or (path.is_dir() and any(path.iterdir())):
                plan.notes.append(f"{path}: left, with its group and mode")
        for directory in reversed(record.directories):
            plan.add(
                f"remove the directory {directory} if it is empty by then",
                partial(_remove_if_empty, directory),
            )
        if self._carry_out(is_recorded=False):
            self._reload()


def _missing(ca: config.CASettings, user: str) -> list[str]:
    """What a CA of the config still lacks for this user, with the next step of the guide."""
    host = "ca.example.com:root-ca"
    try:
        database = Path(index_file.path_of(ca.db))
    except index_file.DatabaseUnavailable as error:
        raise CommandError(str(error)) from None
    request = Path(ca.rsigner).stem + ".csr"
    rkey, rsigner, certificates, db = map(shlex.quote, (ca.rkey, ca.rsigner, ca.ca, str(database)))
    texts = []
    for path, text in (
        (
            Path(ca.rkey),
            "the key.  Create it and a certificate request:\n"
            "    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
            f' -subj "/C=GB/O=Example/CN=OCSP Root Responder" -keyout {rkey} -out {request}',
        ),
        (
            Path(ca.rsigner),
            "the signer's certificate.  On the CA's host:\n"
            f"    openssl ca -config root-ca.cnf -in {request} -out {Path(ca.rsigner).name}"
            " -extensions ocsp_ext -days 90\n"
            f"    and copy it here: scp {host}/{Path(ca.rsigner).name} {rsigner}",
        ),
        (
            Path(ca.ca),
            "the CA's certificate.  Copy it here:\n"
            f"    scp {host}/{Path(ca.ca).name} {certificates}",
        ),
        (
            database,
            "the database.  Copy it here:\n"
            f"    rsync --copy-links --times {host}/db/{database.name} {db}\n"
            "    and let --sync-from repeat that from then on",
        ),
    ):
        if not path.exists():
            texts.append(f"{path}: {text}")
        elif not _can_read(path, user):
            texts.append(
                f"{path}: {user} cannot read it: check its mode and the directories above it"
            )
    return texts


def _can_read(path: Path, user: str) -> bool:
    command = ["test", "-r", str(path)]
    run = subprocess.run(command, user=user, group=user, extra_groups=[], cwd="/")
    return run.returncode == 0


def _empty_cache() -> None:
    """Remove what the responder puts into its cache, and nothing else."""
    if CACHE.is_dir():
        for path in CACHE.iterdir():
            if path.suffix == cache.SUFFIX or path.name == admission.FILE:
                path.unlink(missing_ok=True)
            elif path.name.startswith(cache.BUCKETS) and not path.is_symlink():
                shutil.rmtree(path)


def _remove_if_empty(directory: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(directory)
