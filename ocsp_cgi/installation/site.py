"""The responder in Apache's configuration: a virtual host, or a file to include into one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from .. import config
from ..tools import apache_dump, data_files
from ..tools.apache_config import Configuration, VirtualHost
from ..tools.entry import CommandError, program
from ..tools.files import content
from ..tools.layout import SNIPPET, Layout
from ..tools.plan import Plan

PATH = "/cgi-bin/ocsp.cgi"
INCLUDE = f'IncludeOptional "{SNIPPET.parent}/*.conf"'
MODULES = Path("/etc/apache2/mods-enabled")
ENABLED = Path("/etc/apache2/sites-enabled/ocsp-cgi.conf")
_NEEDED = ("alias", "env")
_SNIPPET_HEAD = """\
# The OCSP responder at ServerName {name}, for the virtual host of that name, on port {port}.  This
# line in that virtual host includes it:
#
#     {include}

"""


class Site(NamedTuple):
    """Where clients ask: the host `name`, and the `path` of the URL.  `is_included` says that there
    is another virtual host of that name, which includes ours."""

    name: str
    path: str
    is_included: bool


def text(site: Site, config_path: str, port: str = "80") -> bytes:
    """The file for Apache."""
    template = (data_files.APACHE / "ocsp-cgi.conf").read_text()
    template = template.replace("ServerName ocsp.example.com", f"ServerName {site.name}")
    if site.path == "/":
        template = template.replace(f'"{PATH}" "${{OCSP_CGI_BIN}}/ocsp.cgi"', '"/" "{}/"')
        template = template.replace("{}", "${OCSP_CGI_BIN}/ocsp.cgi")
    template = template.replace(f'"{PATH}"', f'"{site.path}"')
    template = template.replace(f'"{config.DEFAULT_PATH}"', f'"{config_path}"')
    if site.is_included:
        template = _included(template, site, port)
    return template.encode()


def _included(template: str, site: Site, port: str) -> str:
    """The template without the virtual host and what belongs to the whole of it."""
    before, _, rest = template.partition("\n# Plain HTTP")
    definitions = before[before.index("<IfFile") :]
    inside = rest[rest.index("<VirtualHost") : rest.index("</VirtualHost>")].partition("\n")[2]
    paragraphs = [
        paragraph
        for paragraph in re.split(r"\n\n+", re.sub(r"(?m)^    ", "", inside).strip("\n"))
        if not re.search(r"^(ServerName|TraceEnable)\b", paragraph, re.MULTILINE)
    ]
    head = _SNIPPET_HEAD.format(name=site.name, port=port, include=INCLUDE)
    return head + definitions + "\n" + "\n\n".join(paragraphs) + "\n"


class SitePlan:
    """Plans a site; `configuration` is Apache's."""

    def __init__(self, plan: Plan, layout: Layout, configuration: Configuration):
        self._plan = plan
        self._layout = layout
        self._configuration = configuration

    def plan(self, site: Site, config_path: str) -> None:
        """Plan the files, and that Apache loads them.

        CommandError if another virtual host has the name, and ours does not have it yet.
        """
        others = self._others_named(site.name)
        if site.is_included:
            self._plan_included(site, config_path, others)
        else:
            self._plan_own(site, config_path, others)
        if self._layout.enables_sites:
            self._plan_modules()

    def _plan_own(self, site: Site, config_path: str, others: list[VirtualHost]) -> None:
        plan, layout = self._plan, self._layout
        if others:
            message = _taken(site.name, others[0])
            if not layout.site.exists():
                raise CommandError(message)
            plan.problem(message)
        if not layout.site.exists():
            self._note_default()
        plan.file(layout.site, text(site, config_path), apache="reload")
        if layout.enables_sites and not ENABLED.exists():
            plan.command("a2ensite", "--quiet", "ocsp-cgi", remember="sites", apache="reload")

    def _plan_included(self, site: Site, config_path: str, others: list[VirtualHost]) -> None:
        plan, layout = self._plan, self._layout
        if not others:
            raise CommandError(
                f"--include: no virtual host on port 80 has the name {site.name}"
                f" (`{apache_dump.command(layout)[0]} -t -D DUMP_VHOSTS` lists them); without"
                " --include a new one is made for it"
            )
        self._plan_removal_of_own()
        plan.directory(SNIPPET.parent, 0o755)
        plan.file(SNIPPET, text(site, config_path, others[0].port), apache="reload")

    def _plan_removal_of_own(self) -> None:
        """A virtual host that was made before has the same name."""
        plan, site = self._plan, self._layout.site
        if not plan.record.is_ours(site):
            return
        if self._layout.enables_sites and ENABLED.exists():
            plan.command("a2dissite", "--quiet", "--purge", "ocsp-cgi", apache="reload")

        def remove() -> None:
            site.unlink()
            del plan.record.files[str(site)]
            plan.record.other.pop("sites", None)
            plan.apache("reload")

        plan.add(f"remove {site}", remove, f"rm {site}")

    def _others_named(self, name: str) -> list[VirtualHost]:
        """The virtual hosts on port 80 with a name, other than ours."""
        own = os.path.realpath(self._layout.site)
        return [
            host
            for host in self._configuration.virtual_hosts
            if host.port in ("80", "*")
            and host.has_name(name)
            and os.path.realpath(host.place.rpartition(":")[0]) != own
        ]

    def _note_default(self) -> None:
        """Apache sends requests for names that no virtual host has to the first one."""
        hosts = [one for one in self._configuration.virtual_hosts if one.port == "80"]
        loaded = ENABLED if self._layout.enables_sites else self._layout.site
        default = next((one for one in hosts if one.is_default), None)
        if default is not None:
            file = Path(default.place.rpartition(":")[0])
            if file.parent != loaded.parent or file.name < loaded.name:
                return
        replaced = f"instead of {default}" if default else "as there is no other virtual host"
        self._plan.notes.append(
            f"{loaded}: Apache will send requests for names that no virtual host has there,"
            f" {replaced}"
        )

    def _plan_modules(self) -> None:
        prefork = (MODULES / "mpm_prefork.load").exists()
        has_cgi = any((MODULES / f"{module}.load").exists() for module in ("cgi", "cgid"))
        modules = [] if has_cgi else ["cgi" if prefork else "cgid"]
        modules += [module for module in _NEEDED if not (MODULES / f"{module}.load").exists()]
        for module in modules:
            self._plan.command("a2enmod", "--quiet", module, remember="modules", apache="restart")


def not_included(site: Site, configuration: Configuration) -> str:
    """What is missing if the virtual host of a site does not include our file, "" if it does."""
    host = configuration.answering(site.name, "127.0.0.1", 80)
    if any(
        one.place.rpartition(":")[0] == str(SNIPPET)
        for one in configuration.within(host, "ScriptAlias")
    ):
        return ""
    return (
        f"the virtual host of {site.name} does not include the responder yet.  Add this line before"
        f" the </VirtualHost> of {host.place}, and run this again:\n    {INCLUDE}"
    )


def including(configuration: Configuration) -> list[str]:
    """The places, `file:line`, in files of virtual hosts that include our file."""
    found = []
    for file in dict.fromkeys(one.place.rpartition(":")[0] for one in configuration.virtual_hosts):
        for number, line in enumerate(content(Path(file)).decode(errors="replace").split("\n"), 1):
            if re.match(r"\s*Include", line, re.IGNORECASE) and f"{SNIPPET.parent}/" in line:
                found.append(f"{file}:{number}")
    return found


def current(layout: Layout) -> Site | None:
    """The site that is in place, None if there is none."""
    for file in (layout.site, SNIPPET):
        found = content(file).decode(errors="replace")
        name = re.search(r"^[^#\n]*\bServerName\s+([^\s:,]+)", found, re.MULTILINE)
        if name is None and file == SNIPPET:
            name = re.search(r"^# .*\bServerName\s+([^\s:,]+)", found, re.MULTILINE)
        if name is not None:
            path = re.search(r'^\s*ScriptAlias\s+"?(/[^\s"]*)', found, re.MULTILINE)
            return Site(name[1], path[1] if path else PATH, file == SNIPPET)
    return None


def check_name(name: str) -> None:
    """CommandError unless this is a host name."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", name, re.ASCII):
        raise CommandError(f"--server-name {name}: not a host name")


def check_path(path: str) -> None:
    """CommandError unless this can be the path of the responder's URL."""
    if not re.fullmatch(r"/|(/[A-Za-z0-9._~-]+)+", path, re.ASCII) or "/.." in path:
        raise CommandError(
            f"--path {path}: must be the path of `ocsp_url`, such as /ocsp: a slash, then letters,"
            " digits and ._~- between slashes, with none at the end"
        )


def _taken(name: str, host: VirtualHost) -> str:
    reason = f"{host.place}: a virtual host that has the name {name} already"
    return (
        f"{reason}, so requests for that name may not reach another one.  Either put the responder"
        f" into it:\n    {program()} install --server-name {name} --include\nor take the name"
        " from it, or give the responder another name, which `ocsp_url` must then have"
    )
