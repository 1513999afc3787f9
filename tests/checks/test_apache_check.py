"""What is found out about a real Apache and its virtual hosts."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from checks.conftest import SITE

from ocsp_cgi.checks import apache
from ocsp_cgi.checks.finding import Finding, Level
from ocsp_cgi.checks.subject import Subject
from ocsp_cgi.tools import httpd

pytestmark = pytest.mark.apache

PATH = "/cgi-bin/ocsp.cgi"


def problems(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.level is not Level.OK]


def test_no_apache():
    [finding] = apache.examine(Subject("/nowhere", None, "nobody", None, 0))
    assert finding.level is Level.FAIL and "Apache is not installed" in finding.what
    assert finding.command.startswith("apt-get install apache2")


@pytest.mark.parametrize("mpm, module", [("event", "cgid"), ("prefork", "cgi")])
def test_all_is_well(web, place, mpm, module):
    with web.serving(place, mpm=mpm) as (server, subject):
        findings = apache.examine(subject)
    assert problems(findings) == []
    texts = [one.what for one in findings]
    site = f"{server.home}/site.conf"
    host = next(text for text in texts if f"has {PATH}" in text)
    assert host == (
        f"the virtual host ocsp.example.com ({site}:18) has {PATH}, which runs {web.script}"
    )
    assert "Apache runs" in texts and f"mod_{module} runs scripts" in texts
    assert any(text.endswith(f" reads {web.config}") for text in texts)
    assert f"ocsp.cgi logs to {server.home}/run/error.log" in texts


def test_the_configuration_is_refused(web, place):
    with web.serving(place) as (server, subject):
        site = server.home / "site.conf"
        lines = site.read_text().splitlines()
        site.write_text("\n".join([*lines, "NoSuchDirective on"]) + "\n")
        [finding] = apache.examine(subject)
    assert "Invalid command 'NoSuchDirective'" in finding.what
    assert finding.where == f"{site}:{len(lines) + 1}"
    if os.geteuid() == 0:
        assert finding.level is Level.FAIL and finding.what.startswith("Apache refuses its config")
        assert finding.command.endswith(f"-f {server.home}/httpd.conf -t")
    else:
        assert finding.level is Level.WARN and finding.command.startswith("sudo ")


def test_apache_does_not_run(web, place):
    with web.serving(place) as (_, subject):
        pass
    [finding] = problems(apache.examine(subject))
    assert (finding.level, finding.what) == (Level.FAIL, "Apache does not run")
    assert finding.command.endswith("-k start")


def test_the_configuration_was_changed_and_not_read_since(web, place):
    with web.serving(place) as (server, subject):
        os.utime(server.home / "site.conf", (time.time() + 10,) * 2)
        [finding] = problems(apache.examine(subject))
    assert finding.what.startswith("changed after Apache read it")
    assert finding.where == str(server.home / "site.conf")
    assert finding.command.endswith("-k graceful")


def test_modules_that_are_missing(web, place, monkeypatch):
    monkeypatch.setitem(httpd.CGI_MODULES, "event", "headers")
    with web.serving(place) as (_, subject):
        [finding] = problems(apache.examine(subject))
    assert finding.what == "Apache lacks the modules it needs: cgid"
    assert finding.command.startswith("a2enmod cgid && ")


def test_no_virtual_host_has_the_responder(web, place):
    with web.serving(place, SITE.replace("    ScriptAlias", "    #ScriptAlias")) as (_, subject):
        [finding] = problems(apache.examine(subject))
    assert finding.what == "no ScriptAlias leads to ocsp.cgi in any virtual host"


def test_another_virtual_host_has_the_name(web, place):
    first = "<VirtualHost *:80>\nServerName www.example.com\nServerAlias *.example.com\n</Virtual"
    with web.serving(place, f"{first}Host>\n{SITE}") as (server, subject):
        [finding] = problems(apache.examine(subject))
    site = server.home / "site.conf"
    assert finding.level is Level.FAIL and finding.where == f"{site}:1"
    assert f"www.example.com ({site}:1) answers for ocsp.example.com" in finding.what


def test_content_length_would_be_dropped(web, place):
    site = SITE.replace("SetEnv ap_trust_cgilike_cl", "#SetEnv ap_trust_cgilike_cl")
    with web.serving(place, site) as (_, subject):
        [finding] = problems(apache.examine(subject))
    assert finding.level is Level.WARN
    assert (
        f"`SetEnv ap_trust_cgilike_cl yes` is missing in the <Location> of {PATH}" in finding.what
    )


def test_another_config_is_read(web, place):
    site = SITE.replace("/etc/ssl/ocsp-cgi.conf", "/srv/other.conf")
    with web.serving(place, site) as (_, subject):
        [finding] = problems(apache.examine(subject))
    assert finding.level is Level.WARN
    assert finding.what.endswith(f"reads /srv/other.conf, and {web.config} was checked")
    assert finding.command.endswith("check --config /srv/other.conf")


def test_without_setenv_the_default_config_is_read(web, place):
    site = SITE.replace("SetEnv OCSP_CGI_CONFIG", "#")
    with web.serving(place, site) as (_, subject):
        assert problems(apache.examine(subject._replace(config="/etc/ssl/ocsp-cgi.conf"))) == []
        [finding] = problems(apache.examine(subject))
    assert "reads /etc/ssl/ocsp-cgi.conf, and " in finding.what


def test_its_own_error_log_is_apaches(web, place):
    """Under mod_cgid; under mod_cgi it is the script's too."""
    for mpm, expected in (
        (
            "event",
            "ocsp.cgi logs to {home}/run/error.log: under mod_cgid, scripts write to the main",
        ),
        ("prefork", "ocsp.cgi logs to {home}/run/own.log"),
    ):
        site = SITE.replace("TraceEnable off", "ErrorLog run/own.log")
        with web.serving(place / mpm, site, mpm) as (server, subject):
            texts = [one.what for one in apache.examine(subject)]
            expected = expected.format(home=server.home)
            assert any(text.startswith(expected) for text in texts), texts


def test_the_virtual_host_that_answers_for_a_certificates_url(own_web, place):
    """The certificate names ocsp.example.com at port 80, where no virtual host is."""
    own_web.ca.issue("any")
    file = str(own_web.ca.home / "any.crt")
    with own_web.serving(place) as (_, subject):
        found = problems(apache.examine(subject._replace(certificate=file)))
    assert len(found) == 1 and found[0].level is Level.WARN
    assert found[0].what.startswith("the main server answers for ocsp.")
    assert f"and has no ScriptAlias for {PATH}" in found[0].what


PROGRAM = """
import sys, time
from ocsp_cgi import config
from ocsp_cgi.checks import apache, error_log, live, subject

apache_command = ("apache2", "-f", sys.argv[2])
settings = config.load(sys.argv[1])
now = int(time.time())
asked = subject.Subject(sys.argv[1], settings, "nobody", None, now, apache=apache_command)
for module in (apache, live, error_log):
    for finding in module.examine(asked):
        print(finding.level.name, finding.what)
"""


def examined_by_nobody(config: str, server: httpd.Apache) -> str:
    run = subprocess.run(
        [
            *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
            *("/usr/bin/python3", "-c", PROGRAM, config, str(server.home / "httpd.conf")),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        env={"PATH": "/usr/sbin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert run.stderr == ""
    return run.stdout


@pytest.mark.root
def test_without_root(web, place):
    with web.serving(place) as (server, _):
        found = examined_by_nobody(web.config, server)
    assert "FAIL" not in found
    assert "OK not checked: whether Apache runs; this user may not read its PidFile\n" in found
    assert "WARN not checked: this user may not read the error log\n" in found
    assert "OK [root-ca] its signer's certificate: good, by POST, " in found


@pytest.mark.root
def test_without_root_a_key_of_tls_cannot_be_read(web, place):
    """Then Apache refuses its configuration, for this user alone, and nothing is called wrong."""
    (place / "secret").mkdir(mode=0o700)
    with web.serving(place, modules=("ssl",)) as (server, _):
        with open(server.home / "site.conf", "a") as site:
            site.write(f"SSLCertificateKeyFile {place}/secret/key.pem\n")
        found = examined_by_nobody(web.config, server)
    assert "FAIL" not in found and "WARN not checked: this user cannot test Apache's" in found
