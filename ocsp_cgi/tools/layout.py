"""Where Debian, Ubuntu, RHEL and Fedora keep Apache's files, where ours go, and how Apache is
reloaded."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from .entry import CommandError
from .files import content
from .plan import run, search_path

SNIPPET = Path("/etc/ocsp-cgi/apache.conf")  # what `install --include` writes

PREFIX = Path("/opt/ocsp-cgi")  # where the program goes
CACHE = Path("/var/cache/ocsp-cgi")


class Layout(NamedTuple):
    """One distribution.  The web server's `user` has a group of the same name; `packages` is the
    command that installs packages, `mod_wsgi` the package of that module, `command` one that only
    this distribution has."""

    name: str
    command: str
    user: str
    cgi_bin: Path
    site: Path
    service: str
    error_log: str
    packages: str
    mod_wsgi: str

    @property
    def enables_sites(self) -> bool:
        """Whether sites and modules are enabled with a2ensite and a2enmod."""
        return self.command == "a2ensite"

    def server_name(self) -> str:
        """ServerName in the virtual host, or of the one that includes ours, "" if it is not there
        yet."""
        found = re.search(r"^\s*ServerName\s+([^\s:]+)", self._site_text(), re.MULTILINE)
        if found is None:
            snippet = content(SNIPPET).decode(errors="replace")
            found = re.search(r"^# .*\bServerName\s+([^\s:,]+)", snippet, re.MULTILINE)
        return found[1] if found else ""

    def responder_user(self) -> str:
        """The user that the responder runs as, by what `install` has written: the web server's, or
        that of mod_wsgi's processes."""
        for file in (self.site, SNIPPET):
            text = content(file).decode(errors="replace")
            found = re.search(r"^\s*WSGIDaemonProcess\s.*?\suser=(\S+)", text, re.MULTILINE)
            if found:
                return found[1]
        return self.user

    def address(self) -> tuple[str, int]:
        """Host and port at which this machine reaches the virtual host."""
        virtual_host = r"^\s*<VirtualHost\s+([^\s>]+):(\d+)"
        found = re.search(virtual_host, self._site_text(), re.MULTILINE)
        host, port = (found[1], int(found[2])) if found else ("*", 80)
        return ("127.0.0.1" if host in ("*", "_default_") else host.strip("[]")), port

    def _site_text(self) -> str:
        return content(self.site).decode(errors="replace")

    def reload(self, restart: bool) -> None:
        """Make Apache read its configuration."""
        names = ("apache2ctl", "apachectl", "httpd")
        control = next((name for name in names if shutil.which(name, path=search_path())), "")
        if not control:
            raise CommandError(
                "everything is installed, but Apache could not be reloaded: apachectl is missing;"
                f" is {self.service} installed?"
            )
        try:
            run(control, "-t")
            if systemd_runs():
                run("systemctl", "restart" if restart else "reload-or-restart", self.service)
            else:
                run(control, "-k", "restart" if restart else "graceful")
        except CommandError as error:
            raise CommandError(
                f"everything is installed, but Apache could not be reloaded: {error}\n"
                f"(Apache's error log: {self.error_log})"
            ) from None


LAYOUTS = (
    Layout(
        "Debian",
        "a2ensite",
        "www-data",
        Path("/usr/lib/cgi-bin"),
        Path("/etc/apache2/sites-available/ocsp-cgi.conf"),
        "apache2",
        "/var/log/apache2/error.log",
        "apt-get install",
        "libapache2-mod-wsgi-py3",
    ),
    Layout(
        "RHEL",
        "httpd",
        "apache",
        Path("/var/www/cgi-bin"),
        Path("/etc/httpd/conf.d/ocsp-cgi.conf"),
        "httpd",
        "/var/log/httpd/error_log",
        "dnf install",
        "python3-mod_wsgi",
    ),
)


def find() -> Layout:
    """This machine's layout."""
    for layout in LAYOUTS:
        if layout.site.parent.is_dir() and shutil.which(layout.command, path=search_path()):
            return layout
    raise CommandError(
        "Apache is not installed: there is neither /etc/apache2/sites-available with a2ensite nor"
        " /etc/httpd/conf.d with httpd; run apt-get install apache2 python3-venv, or"
        " dnf install httpd python3-pip"
    )


def systemd_runs() -> bool:
    return Path("/run/systemd/system").is_dir()
