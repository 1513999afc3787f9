"""The name and path at which clients ask: from options, the site as it is, or a certificate."""

from __future__ import annotations

import pytest

from ocsp_cgi import config
from ocsp_cgi.installation import server_name
from ocsp_cgi.installation.site import PATH, Site
from ocsp_cgi.tools.entry import CommandError


@pytest.fixture
def settings(pki):
    """settings(rsigner): those of a CA with this certificate."""

    def load(rsigner: str) -> config.Settings:
        text = f"[root-ca]\ndb = db\nca = root-ca.crt\nrkey = key\nrsigner = {rsigner}\n"
        return config.parse(text, str(pki.home / "ocsp-cgi.conf"))

    return load


def test_options_come_first(settings):
    before = Site("old.example.com", "/old", True)
    for name, path, is_included, found in (
        (None, None, False, before),
        ("OLD.example.com", "/new", False, Site("OLD.example.com", "/new", True)),
        ("new.example.com", None, False, Site("new.example.com", "/old", False)),
        ("new.example.com", None, True, Site("new.example.com", "/old", True)),
    ):
        assert server_name.find(name, path, is_included, before, settings("none")) == found


def test_a_certificate_of_the_config_names_it(settings):
    found = server_name.find(None, None, False, None, settings("good.crt"))
    assert found == Site("ocsp.example.com", PATH, False)
    found = server_name.find("other.example.com", None, False, None, settings("good.crt"))
    assert found == Site("other.example.com", PATH, False)


def test_nothing_is_guessed(settings):
    with pytest.raises(CommandError, match="--server-name is missing: the host name in `ocsp_url`"):
        server_name.find(None, None, False, None, settings("none"))


@pytest.mark.parametrize("path", ["ocsp", "/ocsp/", "/a b", "/a/../b", '/"', "//", ""])
def test_paths_that_are_refused(path, settings):
    with pytest.raises(CommandError, match="must be the path of `ocsp_url`"):
        server_name.find("ocsp.example.com", path, False, None, settings("none"))


@pytest.mark.parametrize("name", ["", "http://x", "a b", "-x", "x:80", "x\nServerAlias *"])
def test_names_that_are_refused(name, settings):
    with pytest.raises(CommandError, match="not a host name"):
        server_name.find(name, None, False, None, settings("none"))
