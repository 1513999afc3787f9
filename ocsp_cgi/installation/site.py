"""The responder in Apache's configuration: a virtual host, or a file to include into one.

With mod_wsgi there are also the processes that it starts.  They belong to the server as a whole, so
beside a file to include they are in one of their own, in the place of the virtual host.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .. import config
from ..tools import apache_dump, apache_wsgi, data_files
from ..tools.apache_config import Configuration, VirtualHost
from ..tools.entry import CommandError, program
from ..tools.files import content
from ..tools.layout import SNIPPET, Layout
from ..tools.plan import Plan, run
from ..tools.program import Program, version_of
from .users import RESPONDER_USER

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
    is another virtual host of that name, which includes ours; `is_wsgi` that mod_wsgi runs the
    responder, not a CGI."""

    name: str
    path: str
    is_included: bool
    is_wsgi: bool = False

    @property
    def kind(self) -> str:
        """The option of `install` with which this is made, without its dashes."""
        return "wsgi" if self.is_wsgi else "cgi"

    @property
    def options(self) -> str:
        """The other options of `install` with which this is made, where nothing is installed."""
        path = "" if self.path == PATH else f" --path {self.path}"
        return f"--server-name {self.name}{path}{' --include' if self.is_included else ''}"


def text(site: Site, config_path: str, port: str = "80", home: str = "") -> bytes:
    """The file for Apache; `home` is the virtual environment for mod_wsgi, "" if there is none."""
    template = _template(site.is_wsgi)
    template = template.replace("ServerName ocsp.example.com", f"ServerName {site.name}")
    if site.path == "/":
        template = re.sub(rf'"{PATH}" "(\S+/ocsp\.w?[cs]gi)"', r'"/" "\1/"', template)
    template = template.replace(f'"{PATH}"', f'"{site.path}"')
    template = template.replace(f'"{config.DEFAULT_PATH}"', f'"{config_path}"')
    template = _with_user(template, home)
    if site.is_included:
        template = _included(template, site, port)
    return template.encode()


def daemon(home: str) -> bytes:
    """What mod_wsgi needs in the server as a whole, without a virtual host."""
    return _with_user(_template(True).partition("\n# Plain HTTP")[0] + "\n", home).encode()


def with_daemon(site_text: bytes, former: bytes) -> bytes:
    """The virtual host of the CGI, with mod_wsgi's processes of `former` beside it: requests that
    have begun are still answered by those."""
    lines = [
        line
        for line in former.decode(errors="replace").splitlines()
        if re.match(r"(WSGIDaemonProcess|WSGISocketRotation)\s", line)
    ]
    return site_text + "".join(f"{line}\n" for line in lines).encode()


def _template(is_wsgi: bool) -> str:
    return (data_files.APACHE / f"ocsp-cgi{'-wsgi' if is_wsgi else ''}.conf").read_text()


def _with_user(template: str, home: str) -> str:
    """The template with the user that mod_wsgi's processes belong to, and their environment."""
    options = f"user={RESPONDER_USER} group={RESPONDER_USER}"
    options += f" python-home={home}" * bool(home)
    return re.sub(r"(?m)^(WSGIDaemonProcess .*)$", rf"\1 {options}", template)


def _included(template: str, site: Site, port: str) -> str:
    """The template without the virtual host and what belongs to the whole of it."""
    before, _, rest = template.partition("\n# Plain HTTP")
    definitions = before[before.index("<IfFile") : before.rindex("</IfFile>")] + "</IfFile>\n"
    inside = rest[rest.index("<VirtualHost") : rest.index("</VirtualHost>")].partition("\n")[2]
    paragraphs = [
        paragraph
        for paragraph in re.split(r"\n\n+", re.sub(r"(?m)^    ", "", inside).strip("\n"))
        if not re.search(r"^(ServerName|TraceEnable|IncludeOptional)\b", paragraph, re.MULTILINE)
    ]
    head = _SNIPPET_HEAD.format(name=site.name, port=port, include=INCLUDE)
    return head + definitions + "\n" + "\n\n".join(paragraphs) + "\n"


class SitePlan:
    """Plans a site; `configuration` is Apache's."""

    def __init__(self, plan: Plan, layout: Layout, configuration: Configuration, program_: Program):
        self._plan = plan
        self._layout = layout
        self.configuration = configuration
        self.program = program_

    def plan(self, site: Site, config_path: str) -> None:
        """Plan the files, and that Apache loads them.

        CommandError if another virtual host has the name, and ours does not have it yet.
        """
        self._look_at_others(site)
        self.plan_modules(site)  # first: without them, Apache would refuse the files
        files = self.files(site, config_path)
        if site.is_included and self._layout.site not in files:
            self._plan_removal_of_own()
        for path, its_text in files.items():
            # Its environment may be another one when that has been made.
            late = None if self.program.is_home_known or not site.is_wsgi else its_text
            self._plan.directory(path.parent, 0o755)
            self._plan.file(path, its_text(), apache="reload", late=late)
        if self._layout.site in files:
            self.plan_enabling()

    def plan_change(self, site: Site) -> None:
        """As `plan`, but for the files and what Apache would miss without them."""
        self._look_at_others(site)
        self.plan_modules(site)

    def files(self, site: Site, config_path: str) -> dict[Path, Callable[[], bytes]]:
        """What Apache has to read, by path."""

        def its_daemon() -> bytes:
            return daemon(self.program.home)

        def its_text() -> bytes:
            return text(site, config_path, port, self.program.home)

        others = self._others_named(site.name)
        port = others[0].port if others else "80"
        if not site.is_included:
            return {self._layout.site: its_text}
        return {**({self._layout.site: its_daemon} if site.is_wsgi else {}), SNIPPET: its_text}

    def plan_enabling(self) -> None:
        if self._layout.enables_sites and not ENABLED.exists():
            self._plan.command("a2ensite", "--quiet", "ocsp-cgi", remember="sites", apache="reload")

    def _look_at_others(self, site: Site) -> None:
        plan, layout = self._plan, self._layout
        others = self._others_named(site.name)
        if site.is_included:
            if not others:
                raise CommandError(
                    f"--include: no virtual host on port 80 has the name {site.name}"
                    f" (`{apache_dump.command(layout)[0]} -t -D DUMP_VHOSTS` lists them); without"
                    " --include a new one is made for it"
                )
            return
        if others:
            message = _taken(site, others[0])
            if not layout.site.exists():
                raise CommandError(message)
            plan.problem(message)
        if not layout.site.exists():
            self._note_default()

    def _plan_removal_of_own(self) -> None:
        """A virtual host that was made before has the same name."""
        if self._plan.record.is_ours(self._layout.site):
            text = f"remove {self._layout.site}, which Apache reads no more"
            self._plan.add(text, self.remove_own, f"rm {self._layout.site}")

    def remove_own(self) -> None:
        """Remove our virtual host, or mod_wsgi's processes."""
        plan, path = self._plan, self._layout.site
        if self._layout.enables_sites and ENABLED.exists():
            run("a2dissite", "--quiet", "--purge", "ocsp-cgi")
        path.unlink(missing_ok=True)
        plan.record.files.pop(str(path), None)
        plan.record.other.pop("sites", None)
        plan.apache("reload")

    def _others_named(self, name: str) -> list[VirtualHost]:
        """The virtual hosts on port 80 with a name, other than ours."""
        own = os.path.realpath(self._layout.site)
        return [
            host
            for host in self.configuration.virtual_hosts
            if host.port in ("80", "*")
            and host.has_name(name)
            and os.path.realpath(host.place.rpartition(":")[0]) != own
        ]

    def _note_default(self) -> None:
        """Apache sends requests for names that no virtual host has to the first one."""
        hosts = [one for one in self.configuration.virtual_hosts if one.port == "80"]
        loaded = ENABLED if self._layout.enables_sites else self._layout.site
        default = next((one for one in hosts if one.is_default), None)
        if default is not None:
            file = Path(default.place.rpartition(":")[0])
            if file.parent != loaded.parent or file.name < loaded.name:
                return
        replaced = f"instead of {default}" if default else "as there is no other virtual host"
        self._plan.notes.append(
            f"{loaded}: requests for a name that no virtual host has will go to this one,"
            f" {replaced}"
        )

    def plan_modules(self, site: Site) -> None:
        if site.is_wsgi:
            self._check_wsgi()
        if not self._layout.enables_sites:
            return
        prefork = (MODULES / "mpm_prefork.load").exists()
        runners = ("wsgi",) if site.is_wsgi else ("cgi" if prefork else "cgid", "cgi", "cgid")
        has_runner = any((MODULES / f"{module}.load").exists() for module in runners)
        modules = [] if has_runner else [runners[0]]
        modules += [module for module in _NEEDED if not (MODULES / f"{module}.load").exists()]
        for module in modules:
            self._plan.command("a2enmod", "--quiet", module, remember="modules", apache="restart")

    def _check_wsgi(self) -> None:
        """CommandError unless mod_wsgi can be loaded, and runs the Python that we have."""
        python = self.program.python()
        theirs, ours = apache_wsgi.python_version(), version_of(python)
        if theirs and ours and theirs != ours:
            raise CommandError(
                f"{apache_wsgi.module()}: this mod_wsgi runs Python {theirs}, and the responder has"
                f" Python {ours} ({python}).  Install the mod_wsgi for Python {ours} in its place,"
                f" or keep the CGI: {program()} install --cgi"
            )
        if not self._layout.enables_sites and "wsgi" not in self.configuration.modules:
            raise CommandError(missing_module(self._layout))


def missing_module(layout: Layout) -> str:
    """What to say where mod_wsgi is not installed."""
    return f"Apache's module mod_wsgi is missing: {layout.packages} {layout.mod_wsgi}"


def not_included(site: Site, configuration: Configuration) -> str:
    """What is missing if the virtual host of a site does not include our file, "" if it does."""
    host = configuration.answering(site.name, "127.0.0.1", 80)
    if any(
        one.place.rpartition(":")[0] == str(SNIPPET)
        for one in configuration.within(host, "ScriptAlias", "Alias")
    ):
        return ""
    return (
        f"the virtual host of {site.name} does not include the responder yet.  Add this line before"
        f" the </VirtualHost> of {host.place}, reload Apache, and run this again:\n    {INCLUDE}"
    )


def including(configuration: Configuration) -> list[str]:
    """The places, `file:line`, in files of virtual hosts that include our file."""
    found = []
    for file in dict.fromkeys(one.place.rpartition(":")[0] for one in configuration.virtual_hosts):
        for number, line in enumerate(content(Path(file)).decode(errors="replace").split("\n"), 1):
            included = re.match(r'\s*Include(?:Optional)?\s+"?([^"\s]+)', line, re.IGNORECASE)
            if included and fnmatch.fnmatchcase(str(SNIPPET), included[1]):
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
            alias = re.search(r'^\s*(?:WSGI)?(?:Script)?Alias\s+"?(/[^\s"]*)(.*)', found, re.M)
            path, target = (alias[1], alias[2]) if alias else (PATH, "")
            return Site(name[1], path, file == SNIPPET, ".wsgi" in target)
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


def _taken(site: Site, host: VirtualHost) -> str:
    reason = f"{host.place}: a virtual host that has the name {site.name} already"
    options = site._replace(is_included=True).options + (" --wsgi" if site.is_wsgi else "")
    return (
        f"{reason}, so requests for that name may not reach another one.  Either put the responder"
        f" into it:\n    {program()} install {options}\nor take the name from it, or give the"
        " responder another name, which `ocsp_url` must then have"
    )
