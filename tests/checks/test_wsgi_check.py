"""What is found out about mod_wsgi, in a real Apache."""

from __future__ import annotations

import contextlib
import subprocess

import pytest
from checks.conftest import SITE, Web
from clients import curl, started, started_wsgi, wsgi_site

from ocsp_cgi.checks import apache, machine, paths
from ocsp_cgi.checks.finding import Finding, Level
from ocsp_cgi.tools import apache_dump, apache_wsgi, layout

pytestmark = pytest.mark.apache

PATH = "/cgi-bin/ocsp.cgi"
GROUPS = "process-group=ocsp-cgi application-group=%{GLOBAL}"
WITHOUT_GROUPS = (
    ("        WSGIProcessGroup ocsp-cgi\n", ""),
    ("        WSGIApplicationGroup %{GLOBAL}\n", ""),
)
ALIAS = f'    Alias "{PATH}" "${{OCSP_CGI_BIN}}/ocsp.wsgi"'


def problems(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.level is not Level.OK]


@pytest.fixture
def found(web, place):
    """found(edit, ...): the problems of Apache's configuration with these edits in the site."""

    def found(*edits: tuple[str, str]) -> list[Finding]:
        with serving(web, place, *edits) as (_, subject):
            return problems(apache.examine(subject))

    return found


@contextlib.contextmanager
def serving(web: Web, place, *edits: tuple[str, str]):
    home = place / "httpd"
    with started_wsgi(home, web.script, web.ca.home / "ocsp-cgi.conf", *edits) as server:
        yield server, web.subject(server)


def test_all_is_well(web, place):
    with serving(web, place) as (_, subject):
        findings = apache.examine(subject)
    assert problems(findings) == []
    texts = [one.what for one in findings]
    assert "mod_wsgi runs the responder" in texts
    assert any(f"has {PATH}, which runs " in text and ".wsgi" in text for text in texts)
    assert any(text.endswith(f" reads {web.config}") for text in texts)
    assert any("in processes of mod_wsgi's" in text for text in texts)


def test_a_wsgiscriptalias_with_its_groups_is_well(found):
    edit = ALIAS, ALIAS.replace("Alias", "WSGIScriptAlias") + f" {GROUPS}"
    assert found(edit, *WITHOUT_GROUPS) == []


@pytest.mark.parametrize("groups", ["", " process-group=%{GLOBAL}"])
def test_in_apaches_own_processes(found, groups):
    alias = ALIAS.replace("Alias", "WSGIScriptAlias") + " application-group=%{GLOBAL}" + groups
    [finding] = found((ALIAS, alias), *WITHOUT_GROUPS)
    assert finding.level is Level.WARN
    assert finding.what.startswith("the responder runs in Apache's own processes")
    assert "without `WSGIProcessGroup ocsp-cgi`" in finding.what
    assert finding.command.endswith("-k graceful    # after that change")


@pytest.mark.parametrize(
    "edit, text",
    [
        (
            ("        WSGIApplicationGroup %{GLOBAL}\n", ""),
            f"`WSGIApplicationGroup %{{GLOBAL}}` is missing for {PATH}: `cryptography` works only",
        ),
        (
            ("WSGIApplicationGroup %{GLOBAL}", "WSGIApplicationGroup other"),
            "the application group is `other`, and must be %{GLOBAL}: `cryptography` works only",
        ),
    ],
)
def test_another_interpreter(found, edit, text):
    [finding] = found(edit)
    assert finding.level is Level.FAIL and finding.what.startswith(text)


def test_processes_that_are_not_defined(found):
    [finding] = found(("WSGIProcessGroup ocsp-cgi", "WSGIProcessGroup ocsp"))
    assert finding.level is Level.FAIL
    assert finding.what == (
        "there is no `WSGIDaemonProcess ocsp`: every request gets HTTP 500; there is ocsp-cgi"
    )


def test_a_user_without_a_home(found):
    edit = "home=/ ", "user=nobody home=/nowhere "
    [finding] = found(edit)
    assert finding.level is Level.FAIL
    assert finding.what.endswith("there is no directory /nowhere: add `home=/`")
    assert found(("home=/ ", "user=nobody home=/ ")) == []


def test_a_scriptalias_comes_first(found, web):
    alias = f'    ScriptAlias "/cgi-bin/" "{web.script.parent}/"\n'
    alias += ALIAS.replace("Alias", "WSGIScriptAlias")
    [finding] = [one for one in found((ALIAS, alias)) if one.level is Level.FAIL]
    assert finding.what.startswith(f"`ScriptAlias /cgi-bin/` takes the requests for {PATH} before")


def test_no_handler(found):
    [finding] = found(("        SetHandler wsgi-script\n", ""))
    assert finding.level is Level.FAIL
    assert "so Apache shows the script instead of running it" in finding.what


def test_another_config_is_read(found, web):
    [finding] = found(("SetEnv OCSP_CGI_CONFIG", "#"))
    assert finding.what.endswith(f"reads /etc/ssl/ocsp-cgi.conf, and {web.config} was checked")


def test_the_module_is_not_loaded(web, place):
    server = started(
        place / "httpd", web.script, web.ca.home / "ocsp-cgi.conf", site_conf=wsgi_site()
    )
    [finding] = apache.examine(web.subject(server))
    assert "Invalid command 'WSGIDaemonProcess'" in finding.what
    if finding.level is Level.FAIL:  # only root can tell
        assert "the module mod_wsgi is not loaded: " in finding.what
        assert finding.command == "a2enmod wsgi"


def test_the_module_is_not_installed(web, place, monkeypatch):
    server = started(
        place / "httpd", web.script, web.ca.home / "ocsp-cgi.conf", site_conf=wsgi_site()
    )
    monkeypatch.setattr(apache_wsgi, "MODULE_DIRECTORIES", (str(place),))
    [finding] = apache.examine(web.subject(server, layout=layout.LAYOUTS[0]))
    assert finding.command.endswith("apt-get install libapache2-mod-wsgi-py3")


def test_the_script_is_missing_or_cannot_be_read(own_web, place):
    script = own_web.script.with_name("ocsp.wsgi")
    with serving(own_web, place) as (_, subject):
        script.chmod(0)
        [finding] = problems(apache.examine(subject))
        assert finding.what.endswith(f" may not read {script.resolve()}")
        assert finding.command == f"chmod a+r {script.resolve()}"
        script.unlink()
        [finding] = problems(apache.examine(subject))
        assert finding.what == (
            "Alias leads to ${OCSP_CGI_BIN}/ocsp.wsgi, but there is no ocsp.wsgi in Apache's"
            " cgi-bin, so that variable is not defined"
        )
        assert finding.command.endswith(" install")


def test_whom_the_responder_runs_as(web, place):
    edit = "home=/ ", "user=nobody home=/ "
    server = started_wsgi(place / "httpd", web.script, web.ca.home / "ocsp-cgi.conf", edit)
    configuration = apache_dump.read(web.subject(server).apache)
    [script] = configuration.scripts()
    assert apache_wsgi.user_of(script, configuration) == "nobody"
    server = started(place / "cgi", web.script, web.ca.home / "ocsp-cgi.conf", site_conf=SITE)
    configuration = apache_dump.read(web.subject(server).apache)
    [script] = configuration.scripts()
    assert not script.is_wsgi
    assert apache_wsgi.user_of(script, configuration) == configuration.user


# Its Python


def python_home(web: Web, place) -> tuple[str, list[Finding]]:
    """A new virtual environment without packages as python-home, and what is found of it."""
    home = place / "environment"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", home], check=True)
    edit = "display-name=", f"python-home={home} display-name="
    server = started_wsgi(place / "httpd", web.script, web.ca.home / "ocsp-cgi.conf", edit)
    its_layout = layout.LAYOUTS[0]._replace(cgi_bin=web.script.parent)
    return str(home), problems(machine.examine(web.subject(server, layout=its_layout)))


def test_an_environment_without_cryptography(web, place):
    home, [finding] = python_home(web, place)
    assert finding.level is Level.FAIL and finding.where == f"{home}/bin/python3"
    assert finding.what.startswith("the Python of ocsp.wsgi cannot use `cryptography` as ")
    assert finding.command.endswith(" install --upgrade")


def test_an_environment_of_another_python(web, place, monkeypatch):
    (place / "mod_wsgi.so").write_bytes(b"\x7fELF\0libpython3.4m.so.1.0\0")
    monkeypatch.setattr(apache_wsgi, "MODULE_DIRECTORIES", (str(place),))
    _, [finding] = python_home(web, place)
    assert finding.level is Level.FAIL
    assert finding.what.startswith("`python-home` has Python 3.")
    assert "and mod_wsgi runs Python 3.4: its processes cannot start" in finding.what


def test_the_python_that_mod_wsgi_is_linked_with(web, place):
    with serving(web, place) as (server, _):
        software = curl(server.url).headers["server"]
    assert f" Python/{apache_wsgi.python_version()}" in software


# The key


@pytest.mark.root
def test_the_web_servers_user_can_read_the_key(web):
    from checking import subject_of

    key = web.ca.home / "private" / "root-ocsp.key"
    subject = subject_of(web.ca.home / "ocsp-cgi.conf")
    reader = web_user()
    assert problems(paths.examine(subject._replace(user="root"))) != []
    [finding] = [
        one
        for one in problems(paths.examine(subject._replace(user="root", web=reader)))
        if one.where == str(key)
    ]
    assert finding.level is Level.WARN
    assert finding.what.startswith(f"{reader} can read `rkey` of [root-ca], so anyone with the web")
    assert finding.command == f"chown root:root {key} && chmod 640 {key}"


def web_user() -> str:
    from checks.conftest import user

    return user()
