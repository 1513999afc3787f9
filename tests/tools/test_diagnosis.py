"""Causes that no Apache of the tests can have; tests/checks/test_live.py has the others."""

from __future__ import annotations

import pytest

from ocsp_cgi.tools import diagnosis
from ocsp_cgi.tools.apache_config import Configuration, Directive, VirtualHost
from ocsp_cgi.tools.cause import Server
from ocsp_cgi.tools.probe import Fault, Outcome, Reply, Symptom, Target

pytestmark = pytest.mark.process

PATH = "/cgi-bin/ocsp.cgi"
HOST = VirtualHost("*", "80", "ocsp.example.com", "/site.conf:1", (), True)
WHOM = Target("ocsp.example.com", 80, PATH, "127.0.0.1")


def server(*directives: str, log: tuple[str, ...] = (), modules: tuple[str, ...] = ()) -> Server:
    """An Apache with these directives in its virtual host, one a line."""
    found = [
        Directive(words[0], tuple(words[1:]), f"/site.conf:{number}", HOST.place, ())
        for number, words in enumerate((line.split() for line in directives), 2)
    ]
    configuration = Configuration(
        (HOST,), tuple(found), ("cgid", *modules), "/", "/error.log", "", "", True
    )
    return Server(configuration, HOST, "nobody", list(log), ("httpd",), None)


def cause(fault: Fault, on: Server | None, *ways: str):
    outcomes = [Outcome(way, "", (fault,)) for way in ways or ("POST", "GET with //")]
    return diagnosis.explain(fault, outcomes, WHOM, on)


def status(number: int, **headers: str) -> Fault:
    return Fault(Symptom.HTTP_STATUS, f"HTTP status {number}", Reply(number, headers, b""))


INTERNAL_ERROR = Fault(Symptom.ERROR_RESPONSE, "internalError", Reply(200, {}, b""))
ALIAS = f"ScriptAlias {PATH} /"


def test_suexec_drops_the_config():
    """Its wrapper has to be installed, and lets only scripts below /var/www run."""
    found = cause(
        INTERNAL_ERROR,
        server(ALIAS, "SuexecUserGroup ocsp ocsp", "SetEnv OCSP_CGI_CONFIG /srv/ocsp.conf"),
    )
    assert found.text.startswith("`SuexecUserGroup` runs the script without OCSP_CGI_CONFIG")
    assert found.where == "/site.conf:3"


def test_suexec_is_not_blamed_where_the_config_is_the_default():
    line = "2026-11-29T03:20:00Z ocsp.cgi: error: the disk is full"
    on = server(
        ALIAS,
        "SuexecUserGroup ocsp ocsp",
        "SetEnv OCSP_CGI_CONFIG /etc/ssl/ocsp-cgi.conf",
        log=(line,),
    )
    assert cause(INTERNAL_ERROR, on).text == "ocsp.cgi says in the log: the disk is full"


def test_mod_security_without_its_log():
    on = server(ALIAS, modules=("security2",))
    assert "rule 920420 refuses POST" in cause(status(403), on, "POST").text
    assert "920420" not in cause(status(403), on, "POST", "GET with //").text


@pytest.mark.parametrize("name", ["nginx/1.22.1", "cloudflare", "BigIP"])
def test_another_server_answers(name):
    found = cause(status(404, server=name), server(ALIAS))
    assert found.text.startswith(f"it was {name} that answered at 127.0.0.1 port 80, not Apache")


def test_another_program_listens():
    found = cause(status(404), server(ALIAS, "Listen 8080"))
    assert found.text.startswith("Apache does not listen on port 80, so another program answered")
    assert found.command == "ss -ltnp 'sport = :80'"


def test_on_another_machine():
    assert cause(status(404), None).text == "on 127.0.0.1, `check` finds the cause, as root"
    assert "`ocsp.cgi: error: `" in cause(INTERNAL_ERROR, None).text


def test_a_redirect_that_apache_does_not_make():
    found = cause(status(302), server(ALIAS, "RewriteRule ^/x - [F]"))
    assert found.text.startswith(
        "nothing in the virtual host ocsp.example.com (/site.conf:1) redir"
    )


def test_what_is_not_known_is_said():
    found = cause(status(418), server(ALIAS))
    assert found.text.startswith("nothing in the virtual host ocsp.example.com (/site.conf:1) expl")
    line = "[Sun Nov 29 03:20:00 2026] [x:error] [pid 1] [client ::1:2] AH99999: it is a teapot"
    found = cause(status(418), server(ALIAS, log=(line,)))
    assert found.text == "Apache's log says: AH99999: it is a teapot"


@pytest.mark.parametrize(
    "listen, host, expected",
    [
        (["80"], HOST, ("127.0.0.1", 80)),
        (["0.0.0.0:80"], HOST, ("127.0.0.1", 80)),
        (["[::]:80"], HOST, ("::1", 80)),
        (["192.0.2.1:80", "443"], HOST, ("192.0.2.1", 80)),
        (["192.0.2.1:80", "127.0.0.1:80"], HOST, ("127.0.0.1", 80)),
        (["8080"], HOST._replace(port="*"), ("127.0.0.1", 8080)),
        (["80"], HOST._replace(address="192.0.2.1"), ("192.0.2.1", 80)),
        ([], HOST, ("127.0.0.1", 80)),
    ],
)
def test_where_a_virtual_host_is_reached(listen, host, expected):
    on = server(*(f"Listen {word}" for word in listen))
    main = [one._replace(virtual_host="") for one in on.configuration.directives]
    assert on.configuration._replace(directives=tuple(main)).address_of(host) == expected
