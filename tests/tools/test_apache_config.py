"""Apache's configuration as a real Apache reads it: includes, macros, conditions, variables."""

from __future__ import annotations

from pathlib import Path

import pytest
from clients import started

from ocsp_cgi.tools import apache_dump
from ocsp_cgi.tools.apache_config import MAIN_SERVER, Configuration

pytestmark = pytest.mark.apache

SITE = """\
Define NAME ocsp
<Macro Site $name>
    <VirtualHost *:80>
        ServerName $name.example.com
        AllowEncodedSlashes On
    </VirtualHost>
</Macro>
Use Site first
<IfDefine NOT_DEFINED>
    <VirtualHost *:80>
        ServerName never.example.com
    </VirtualHost>
</IfDefine>
<VirtualHost *:80>
    ServerName ${NAME}.example.com
    ServerAlias old.example.com *.pki.example.com
    Include included.conf
    ErrorLog run/own.log
    <IfModule mod_alias.c>
        ScriptAlias "/ocsp" "/usr/lib/cgi-bin/ocsp.cgi"
    </IfModule>
    # AllowEncodedSlashes NoDecode
    <Location "/ocsp">
        SetEnv OCSP_CGI_CONFIG "/srv/a \\"b\\".conf"
    </Location>
    <Location "/other">
        SetEnv OCSP_CGI_CONFIG /srv/other.conf
    </Location>
</VirtualHost>
"""


@pytest.fixture
def apache(place):
    """An Apache that is not started; its command."""
    script, config = place / "ocsp.cgi", place / "ocsp-cgi.conf"
    server = started(place / "httpd", script, config, site_conf=SITE, modules=("macro",))
    (server.home / "included.conf").write_text(
        "TraceEnable \\\n  off\nScriptAliasMatch ^/x/(.*) /y/$1\n"
    )
    return server, (server._binary, "-f", str(server.home / "httpd.conf"))


def read(apache, **options) -> Configuration:
    return apache_dump.read(apache[1], **options)


def test_which_virtual_host_answers(apache):
    configuration, port = read(apache), apache[0].port

    def answering(name: str, address: str = "127.0.0.1", port: int = port) -> str:
        return configuration.answering(name, address, port).name

    assert answering("ocsp.example.com") == answering("OCSP.Example.com") == "ocsp.example.com"
    assert answering("old.example.com") == answering("x.pki.example.com") == "ocsp.example.com"
    assert answering("never.example.com") == answering("192.0.2.1") == "first.example.com"
    assert configuration.answering("ocsp.example.com", "127.0.0.1", port + 1) == MAIN_SERVER
    assert configuration.answering("ocsp.example.com", "192.0.2.1", port) == MAIN_SERVER
    assert configuration.virtual_hosts[1].place == f"{apache[0].home}/site.conf:14"


def test_directives_in_force(apache):
    configuration, home = read(apache), apache[0].home
    host = configuration.virtual_hosts[1]
    assert configuration.within(host, "AllowEncodedSlashes") == []
    [trace] = configuration.within(host, "traceenable")
    assert (trace.words, trace.place) == (("off",), f"{home}/included.conf:2")
    named = configuration.environment(host, "/ocsp", "OCSP_CGI_CONFIG")
    assert named.words == ("OCSP_CGI_CONFIG", '/srv/a "b".conf')
    assert configuration.environment(host, "/ocsp/MEk", "OCSP_CGI_CONFIG") == named
    assert configuration.environment(host, "/ocspx", "OCSP_CGI_CONFIG") is None
    assert configuration.script(host, "/ocsp/MEk").file.endswith("/ocsp.cgi/MEk")
    assert configuration.script(host, "/x/z").file == "/y/z"
    assert configuration.script(host, "/ocspx") is None
    assert [(one.path, one.virtual_host) for one in configuration.scripts()] == [("/ocsp", host)]


def test_what_else_apache_says(apache):
    configuration, home = read(apache), apache[0].home
    assert {"cgid", "alias", "env", "mpm_event"} <= set(configuration.modules)
    assert "info" not in configuration.modules
    assert configuration.pid_file == f"{home}/run/httpd.pid"
    host = configuration.virtual_hosts[1]
    assert configuration.error_logs(MAIN_SERVER) == [f"{home}/run/error.log"]
    assert configuration.error_logs(host) == [f"{home}/run/error.log", f"{home}/run/own.log"]


def test_without_mod_info_the_files_are_read(apache):
    """What they include is not seen, and that is said."""
    configuration = read(apache, modules=())
    assert read(apache).is_complete and not configuration.is_complete
    host = configuration.virtual_hosts[1]
    assert configuration.within(host, "TraceEnable", "AllowEncodedSlashes") == []
    assert [one.path for one in configuration.scripts()] == ["/ocsp"]
    assert configuration.within(host, "ServerName")[0].words == ("ocsp.example.com",)


def test_a_directory_of_scripts(apache, place):
    """As Debian's serve-cgi-bin.conf has it, for every virtual host: it means the one that has a
    directive of its own for the responder."""
    (place / "bin").mkdir()
    site: Path = apache[0].home / "site.conf"
    inherited = f'ScriptAlias "/cgi-bin/" "{place}/bin/"\n'

    def scripts() -> list[tuple[str, str]]:
        return [(one.path, one.virtual_host.name) for one in read(apache).scripts()]

    site.write_text(inherited + site.read_text())
    own = [("/ocsp", "ocsp.example.com")]
    assert scripts() == own
    (place / "bin" / "ocsp.cgi").touch()
    assert scripts() == own  # the other path needs what this one has
    site.write_text(inherited + SITE.partition("<VirtualHost *:80>\n    ServerName ${NAME}")[0])
    assert scripts() == [("/cgi-bin/ocsp.cgi", "first.example.com")]


def test_errors(apache):
    site = apache[0].home / "site.conf"
    site.write_text(SITE + "Nonsense\n")
    where = f"^{site}:{SITE.count(chr(10)) + 1}: Invalid command 'Nonsense'"
    with pytest.raises(apache_dump.Unreadable, match=where):
        read(apache)
    with pytest.raises(apache_dump.Unreadable, match=r"^/nowhere/httpd: No such file"):
        apache_dump.read(("/nowhere/httpd",))
