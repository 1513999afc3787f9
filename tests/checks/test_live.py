"""The responder asked over HTTP in a real Apache: what is wrong, and whether the cause is named."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from checks.conftest import SITE, Web, user
from clients import end, settle

from ocsp_cgi import config
from ocsp_cgi.checks import live
from ocsp_cgi.checks.finding import Finding, Level
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = pytest.mark.apache

ALL_WAYS = "POST, GET with %2F, GET with //, GET after //, POST by HTTP/1.0"
PATH = "/cgi-bin/ocsp.cgi"


def line_of(text: str, apache: httpd.Apache) -> str:
    """Where a text is in the site, as `file:line`."""
    file = apache.home / "site.conf"
    [number] = [
        number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line
    ]
    return f"{file}:{number}"


def with_url(web: Web, url: str) -> str:
    """A certificate with this OCSP URL, asked.crt."""
    cnf = web.ca.home / "root-ca.cnf"
    before = cnf.read_text()
    assert before.count("= $ocsp_url") == 1
    cnf.write_text(before.replace("= $ocsp_url", f"= {url}"))
    web.ca.issue("asked")
    cnf.write_text(before)
    settle(web.ca.home / "db" / "index")
    httpd.let_read(web.ca.home)
    return str(web.ca.home / "asked.crt")


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_all_is_well(web, place, mpm):
    with web.serving(place, mpm=mpm) as (apache, subject):
        [finding] = live.examine(subject)
        assert finding == Finding(
            Level.OK,
            f"[root-ca] its signer's certificate: good, by {ALL_WAYS}",
            f"http://ocsp.example.com:{apache.port}{PATH} (on this machine, bypassing DNS)",
            "",
        )


def test_several_cas(own_web, place):
    """Each signer is asked about, and a certificate's issuer is found among all."""
    second = PrivateCA(place / "second", "Second CA")
    second.issue("root-ocsp", "ocsp_ext")
    file = Path(own_web.config)
    settings = file.read_text().partition("[responder]")[0].replace("[root-ca]", "[second]")
    for name in ("db", "root-ca.crt", "root-ocsp.crt", "private/root-ocsp.key"):
        settings = re.sub(rf"= {name}$", f"= {second.home}/{name}", settings, flags=re.MULTILINE)
    file.write_text(f"{file.read_text()}\n{settings}")
    settle(second.home / "db" / "index")
    httpd.let_read(second.home)
    with own_web.serving(place) as (apache, subject):
        first, other = live.examine(subject)
        assert first.what == f"[root-ca] its signer's certificate: good, by {ALL_WAYS}"
        assert other.what == f"[second] its signer's certificate: good, by {ALL_WAYS}"
        asked = with_url(own_web._replace(ca=second), f"http://127.0.0.1:{apache.port}{PATH}")
        [good] = live.examine(subject._replace(certificate=asked))
        assert good.what == f"[second] {asked}: good, by {ALL_WAYS}"


@pytest.mark.slow
def test_either_of_two_locally_trusted_signers_may_have_signed(own_web, place):
    """Here the second, since the key of the first is another."""
    for name in ("first", "second"):
        new = ("-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}")
        files = ("-keyout", f"private/{name}.key", "-out", f"{name}.crt")
        own_web.ca.openssl("req", *new, *files)
    file = Path(own_web.config)
    text = (
        file.read_text().replace("root-ocsp.crt", "first.crt").replace("root-ocsp.key", "good.key")
    )
    more = ("signer_trust = local", "rsigner2 = second.crt", "rkey2 = private/second.key")
    file.write_text(text.replace("rkey ", "\n".join([*more, "rkey "]), 1))
    httpd.let_read(own_web.ca.home)
    with own_web.serving(place) as (_, subject):
        [found] = live.examine(subject)
    assert found.level is Level.OK and found.what.endswith(f": good, by {ALL_WAYS}")


REDIRECT = "Redirect permanent / https://www.example.com/"
REWRITE = "RewriteEngine on\nRewriteRule ^ https://%{HTTP_HOST}%{REQUEST_URI} [R=301,L]"
SLASHES = "    AllowEncodedSlashes NoDecode\n"
LENGTH = "SetEnv ap_trust_cgilike_cl yes"
# What is replaced in the site, and with what; modules; what is found, with {LINE: text} for the
# place of a text in the site.
FAULTS = {
    "no AllowEncodedSlashes": (
        (SLASHES, ""),
        (),
        "GET with %2F, GET after //: HTTP status 404: `AllowEncodedSlashes NoDecode` is missing in"
        " the virtual host ocsp.example.com ({LINE:<VirtualHost})",
    ),
    "AllowEncodedSlashes commented out": (
        (SLASHES, "#AllowEncodedSlashes NoDecode\n"),
        (),
        "`AllowEncodedSlashes NoDecode` is missing in",
    ),
    "AllowEncodedSlashes outside": (
        ("<VirtualHost", "AllowEncodedSlashes NoDecode\n<VirtualHost", SLASHES, ""),
        (),
        ": the one at {LINE:AllowEncodedSlashes} is outside of it, and is not inherited",
    ),
    "AllowEncodedSlashes Off": (
        ("Slashes NoDecode", "Slashes Off"),
        (),
        "`AllowEncodedSlashes Off` must be `AllowEncodedSlashes NoDecode` ({LINE:Slashes Off})",
    ),
    "RewriteRule for %2F": (
        (SLASHES, SLASHES + "RewriteEngine on\nRewriteRule ^/cgi-bin/ocsp.cgi/.*%2F - [R=404]\n"),
        ("rewrite",),
        "`AllowEncodedSlashes NoDecode` is in the right place, so what refuses %2F is before"
        " Apache, or a rule such as RewriteRule",
    ),
    "another virtual host first": (
        (
            "<VirtualHost",
            "<VirtualHost *:80>\nServerName ocsp.example.com\n</VirtualHost>\n<VirtualHost",
        ),
        (),
        "answers for ocsp.example.com at 127.0.0.1 port",
    ),
    "Redirect": (
        ("TraceEnable off", REDIRECT),
        (),
        f"{ALL_WAYS}: HTTP status 301, a redirect to https://www.example.com/: `{REDIRECT}`: OCSP"
        " needs plain HTTP; remove it, or let it redirect other paths only ({LINE:Redirect})",
    ),
    "RewriteRule": (
        ("TraceEnable off", REWRITE),
        ("rewrite",),
        f"leave {PATH} out, with `RewriteRule ^{PATH} - [END]` before it, or remove it"
        " ({LINE:RewriteRule})",
    ),
    "Require": (
        ("Require all granted", "Require all denied"),
        (),
        "HTTP status 403: `Require all denied` in <Directory",
    ),
    "Require, though the main server grants": (
        (
            "<VirtualHost",
            '<Directory "${OCSP_CGI_BIN}">\nRequire all granted\n</Directory>\n<VirtualHost',
            "        Require all granted",
            "        Require all denied",
        ),
        (),
        "HTTP status 403: `Require all denied` in <Directory",
    ),
    "Location": (
        ("TraceEnable off", '<Location "/cgi-bin">\nRequire all denied\n</Location>'),
        (),
        "`Require all denied` in <Location /cgi-bin> keeps clients out",
    ),
    "no config": (
        ('/etc/ssl/ocsp-cgi.conf"', '/nowhere/ocsp-cgi.conf"'),
        (),
        f"{ALL_WAYS}: internalError: ocsp.cgi says in the log: /nowhere/ocsp-cgi.conf: No such file"
        " or directory",
    ),
    "Content-Type": (
        ("TraceEnable off", 'Header always set Content-Type "application/ocsp-response; x=y"'),
        ("headers",),
        "the Content-Type is application/ocsp-response; x=y, and not exactly",
    ),
    "Alias": (
        ("ScriptAlias", "Alias"),
        (),
        "POST, POST by HTTP/1.0: the script was sent, not run",
    ),
    "LimitRequestBody": (
        ("LimitRequestBody 65536", "LimitRequestBody 10"),
        (),
        "POST, POST by HTTP/1.0: HTTP status 413: `LimitRequestBody 10` is too small: write 65536"
        " ({LINE:LimitRequestBody})",
    ),
    "no script": (
        ('/ocsp.cgi"\n', '/nowhere/ocsp.cgi"\n'),
        (),
        "HTTP status 404: ScriptAlias leads to",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_cause_is_named(web, place, fault):
    edits, modules, expected = FAULTS[fault]
    site = SITE
    for old, new in zip(edits[::2], edits[1::2]):
        assert old in site
        site = site.replace(old, new, 1)
    with web.serving(place, site, modules=modules) as (apache, subject):
        failed = [one.what for one in live.examine(subject) if one.level is Level.FAIL]
        expected = re.sub(r"\{LINE:(.*?)\}", lambda it: line_of(it[1], apache), expected)
        assert len(failed) == 1 and expected in failed[0], failed


def test_a_missing_header_is_a_warning(web, place):
    site = SITE.replace("TraceEnable off", "Header unset ETag")
    with web.serving(place, site, modules=("headers",)) as (_, subject):
        good, warned = live.examine(subject)
        assert (good.level, warned.level) == (Level.OK, Level.WARN)
        assert good.what.endswith(ALL_WAYS)
        assert (
            "ETag missing, so caches cannot keep the response: `Header unset ETag`" in warned.what
        )


def test_content_length_is_blamed_on_a_directive_only_if_it_is_missing(web, place):
    """Apache sends it all the same if the script is quick."""
    for site, modules, expected in (
        (SITE.replace(LENGTH, "#"), (), f"`{LENGTH}` is missing in the <Location> of {PATH}"),
        (
            SITE.replace("TraceEnable off", "Header unset Content-Length"),
            ("headers",),
            "`Header unset Content-Length` may change it",
        ),
    ):
        place = place / "next"
        with web.serving(place, site, modules=modules) as (_, subject):
            for _ in range(10):
                failed = [one.what for one in live.examine(subject) if one.level is Level.FAIL]
                if failed:
                    break
        assert failed and "Content-Length is missing" in failed[0] and expected in failed[0], failed


def test_a_module_that_runs_scripts_is_missing(web, place, monkeypatch):
    monkeypatch.setitem(httpd.CGI_MODULES, "event", "headers")
    with web.serving(place) as (_, subject):
        [finding] = live.examine(subject)
        assert "the module cgid is not loaded, so Apache cannot run scripts" in finding.what


@pytest.mark.root
def test_a_directory_that_apache_may_not_enter(own_web, place):
    """Who cannot enter it either cannot see what is in it."""
    with own_web.serving(place) as (_, subject):
        directory = own_web.script.parent
        directory.chmod(0o700)
        try:
            [finding] = live.examine(subject._replace(user=user()))
        finally:
            directory.chmod(0o755)
        assert finding.level is Level.FAIL
        assert f"HTTP status 403: {user()} may not enter {directory} (mode" in finding.what
        assert finding.command == f"chmod o+x {directory}"


def test_nothing_that_was_never_issued_is_asked_for(own_web, place):
    """Where the index does not have the signer, its first row is asked for."""
    index = own_web.ca.home / "db" / "index"
    signer = own_web.ca.serial("root-ocsp")
    lines = [line for line in index.read_text().splitlines() if signer not in line]
    index.write_text("\n".join(lines) + "\n")
    settle(index)
    with own_web.serving(place) as (apache, subject):
        [finding] = live.examine(subject)
        serial = lines[0].split("\t")[3]
        assert finding.what == f"[root-ca] serial {serial}: good, by {ALL_WAYS}"
        assert signer not in apache.error_log


@pytest.mark.root
def test_a_link_of_another_owner(own_web, place):
    script = own_web.script
    target = script.rename(script.with_name("real.cgi"))
    script.symlink_to(target)
    with own_web.serving(place) as (_, subject):
        [good] = live.examine(subject)
        assert good.level is Level.OK
        os.chown(script, 65534, 65534, follow_symlinks=False)
        [finding] = live.examine(subject)
        assert f"the link {script} and its target {target} have different owners" in finding.what
        assert finding.command == f"chown -h --reference={target} {script}"


def test_a_link_without_its_option(own_web, place):
    script = own_web.script
    script.symlink_to(script.rename(script.with_name("real.cgi")))
    site = SITE.replace("Options +SymLinksIfOwnerMatch", "Options None")
    with own_web.serving(place, site) as (_, subject):
        [finding] = live.examine(subject)
        assert "`Options +SymLinksIfOwnerMatch` is missing in the <Directory>" in finding.what


def test_an_interpreter_that_is_gone(own_web, place):
    script = own_web.script
    text = script.read_text()
    script.write_text("#!/opt/nowhere/bin/python3 -EsS\n" + text.partition("\n")[2])
    with own_web.serving(place) as (_, subject):
        [finding] = live.examine(subject)
        assert (
            f"HTTP status 500: the first line of {script} names /opt/nowhere/bin/python3, which"
            " does not exist" in finding.what
        )


def test_apache_does_not_run(web, place):
    with web.serving(place) as (apache, subject):
        pass
    [finding] = live.examine(subject)
    assert (
        f"POST: connection refused at 127.0.0.1 port {apache.port}: Apache does not" in finding.what
    )
    assert finding.command.endswith("/httpd.conf -k start")


def test_the_site_was_changed_and_not_read_since(web, place):
    """Its text has what was missing when Apache read it."""
    with web.serving(place, SITE.replace(SLASHES, "")) as (apache, subject):
        file = apache.home / "site.conf"
        file.write_text(
            file.read_text().replace("ServerName ocsp", "AllowEncodedSlashes On\nServerName ocsp")
        )
        os.utime(file, (time.time() + 10,) * 2)
        _good, failed = live.examine(subject)
        assert "404: the file was changed after Apache read it" in failed.what
        assert str(file) in failed.what and failed.command.endswith("-k graceful")


def test_the_answer_is_another_than_the_index_says(own_web, place):
    """As from a responder that reads another index."""
    ca = own_web.ca
    other = ca.copy(place / "other")
    row = (other.home / "db" / "index").read_text()
    serial = ca.serial("root-ocsp")
    lines = [
        re.sub(r"^V\t(\S+)\t", r"R\t\1\t260101000000Z", line) if serial in line else line
        for line in row.splitlines()
    ]
    (other.home / "db" / "index").write_text("\n".join(lines) + "\n")
    with own_web.serving(place) as (_, subject):
        settings = config.load(str(other.home / "ocsp-cgi.conf"))
        [finding] = live.examine(subject._replace(settings=settings))
        assert "good, but the index says revoked: the responder reads" in finding.what
        assert own_web.config in finding.what


NGINX = """\
daemon off; pid {place}/nginx.pid; error_log {place}/nginx.log; worker_processes 1; {user}
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{apache}{path}; proxy_set_header Host $host; }}
    }}
}}
"""


def test_nginx_in_front_of_apache_changes_paths(own_web, place):
    """Nothing of it is blamed on Apache's directives."""
    if shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx)")
    port = httpd.free_port()
    certificate = with_url(own_web, f"http://127.0.0.1:{port}{PATH}")
    with own_web.serving(place) as (apache, subject):
        text = NGINX.format(
            place=place,
            port=port,
            apache=apache.port,
            path="/",
            user=f"user {user()};" if os.geteuid() == 0 else "",
        )
        (place / "nginx.conf").write_text(text)
        command = ["nginx", "-c", str(place / "nginx.conf")]
        environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                findings = live.examine(subject._replace(certificate=certificate))
                if "connection refused" not in str(findings):
                    break
                time.sleep(0.1)
        finally:
            end(process)
    failed = [one.what for one in findings if one.level is Level.FAIL]
    assert failed and "GET with //" in failed[0]
    assert all("it was nginx" in what and "merge_slashes off" in what for what in failed), failed


def test_the_url_in_a_certificate(own_web, place):
    with own_web.serving(place) as (apache, subject):
        file = with_url(own_web, f"http://127.0.0.1:{apache.port}{PATH}")
        [good] = live.examine(subject._replace(certificate=file))
        assert good == Finding(
            Level.OK,
            f"[root-ca] {file}: good, by {ALL_WAYS}",
            f"http://127.0.0.1:{apache.port}{PATH}",
            "",
        )
        own_web.ca.revoke("asked")
        settle(own_web.ca.home / "db" / "index")
        httpd.let_read(own_web.ca.home)
        [revoked] = live.examine(subject._replace(certificate=file))
        assert revoked.what == f"[root-ca] {file}: revoked, by {ALL_WAYS}"


@pytest.mark.parametrize(
    "url, level, expected",
    [
        ("https://ocsp.example.com/cgi-bin/ocsp.cgi", Level.WARN, "an OCSP URL with https: "),
        ("http://ocsp.invalid/cgi-bin/ocsp.cgi", Level.FAIL, "ocsp.invalid does not resolve: "),
    ],
)
def test_a_url_that_clients_cannot_use(own_web, place, url, level, expected):
    file = with_url(own_web, url)
    with own_web.serving(place) as (_, subject):
        [finding] = live.examine(subject._replace(certificate=file))
    assert (finding.level, finding.where) == (level, url)
    assert finding.what.startswith(expected)


def test_a_certificate_without_url_or_of_another_ca(web, place):
    other = PrivateCA(place / "other", "Another CA")
    other.issue("foreign")
    with web.serving(place) as (_, subject):
        for file, expected in (
            (other.home / "foreign.crt", "not issued by any CA of the config"),
            (web.ca.home / "root-ocsp.crt", "names no OCSP responder"),
            (place / "nowhere.crt", "cannot be read: No such file or directory"),
        ):
            [finding] = live.examine(subject._replace(certificate=str(file)))
            assert finding.level is Level.FAIL and finding.what.startswith(expected), finding


def test_mod_security_refuses_post(web, place):
    """With a rule that does what 920420 of its core rules does."""
    if not any((Path(path) / "mod_security2.so").exists() for path in httpd.MODULE_DIRECTORIES):
        pytest.skip(
            "mod_security is not installed (Debian: apt-get install libapache2-mod-security2)"
        )
    rule = (
        'SecRuleEngine On\nSecRule REQUEST_HEADERS:Content-Type "ocsp"'
        ' "id:920420,phase:1,deny,status:403"'
    )
    site = SITE.replace("TraceEnable off", rule)
    with web.serving(place, site, modules=("unique_id", "security2")) as (_, subject):
        _, failed = live.examine(subject)
    assert "403: mod_security refused the request, by its rule 920420" in failed.what
