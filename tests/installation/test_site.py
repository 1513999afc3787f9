"""The files for Apache, and what they say when they are read again."""

from __future__ import annotations

import itertools

import pytest

from ocsp_cgi.installation import site
from ocsp_cgi.installation.site import Site
from ocsp_cgi.tools import layout
from ocsp_cgi.tools.apache_config import Configuration, VirtualHost

CONFIG = "/etc/ssl/ocsp-cgi.conf"
SITES = [
    Site("ocsp.example.com", path, is_included, is_wsgi)
    for path, is_included, is_wsgi in itertools.product(
        ("/cgi-bin/ocsp.cgi", "/ocsp", "/"), (False, True), (False, True)
    )
]


@pytest.mark.parametrize("its", SITES, ids=str)
def test_what_was_written_is_recognized(its, tmp_path, monkeypatch):
    found = layout.LAYOUTS[0]._replace(site=tmp_path / "site.conf")
    monkeypatch.setattr(site, "SNIPPET", tmp_path / "snippet.conf")
    path = tmp_path / ("snippet.conf" if its.is_included else "site.conf")
    path.write_bytes(site.text(its, CONFIG))
    if its.is_included and its.is_wsgi:
        (tmp_path / "site.conf").write_bytes(site.daemon(""))
    assert site.current(found) == its
    assert found.responder_user() == ("ocsp-cgi" if its.is_wsgi else "www-data")


def test_what_mod_wsgi_needs():
    text = site.text(SITES[1], CONFIG, home="/opt/ocsp-cgi").decode()
    [line] = [line for line in text.splitlines() if line.startswith("WSGIDaemonProcess")]
    for option in ("user=ocsp-cgi", "group=ocsp-cgi", "home=/", "python-home=/opt/ocsp-cgi"):
        assert option in line.split()
    assert "python-home" not in site.text(SITES[1], CONFIG).decode().replace("add python-home", "")
    included = site.text(SITES[3], CONFIG).decode()
    for directive in (
        "WSGIDaemonProcess",
        "WSGISocketRotation",
        "WSGIImportScript",
        "ServerName o",
    ):
        assert f"\n{directive}" not in included
        assert f"\n    {directive}" not in included
    assert "<VirtualHost" not in site.daemon("").decode()


def test_a_cache_is_included_once(tmp_path, monkeypatch):
    """A virtual host that includes our file includes the cache beside it with the same line."""
    cache = 'IncludeOptional "/etc/ocsp-cgi/cache*.conf"'
    for its in SITES:
        lines = site.text(its, CONFIG).decode().splitlines()
        assert [line.strip() for line in lines].count(cache) == (not its.is_included)

    monkeypatch.setattr(site, "SNIPPET", tmp_path / "apache.conf")
    hosts = tmp_path / "hosts.conf"
    paths = ("*.conf", "cache*.conf", "apache.conf")
    hosts.write_text("".join(f'IncludeOptional "{tmp_path}/{path}"\n' for path in paths))
    host = VirtualHost("*", "80", "ocsp.example.com", f"{hosts}:1")
    configuration = Configuration((host,), (), (), "", "", "", "", True)
    assert site.including(configuration) == [f"{hosts}:1", f"{hosts}:3"]


def test_between_the_two_the_processes_stay():
    former = site.text(SITES[1], CONFIG)
    text = site.with_daemon(site.text(SITES[0], CONFIG), former).decode()
    lines = text.splitlines()
    for name in ("ScriptAlias", "WSGIDaemonProcess", "WSGISocketRotation"):
        assert sum(line.strip().startswith(f"{name} ") for line in lines) == 1, name
