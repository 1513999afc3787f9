"""What the installer reads from the virtual host."""

from __future__ import annotations

import pytest

from ocsp_cgi.tools import layout
from ocsp_cgi.tools.data_files import APACHE


def with_site(path) -> layout.Layout:
    return layout.LAYOUTS[0]._replace(site=path)


def test_our_virtual_host():
    ours = with_site(APACHE / "ocsp-cgi.conf")
    assert (ours.server_name(), ours.address()) == ("ocsp.example.com", ("127.0.0.1", 80))


@pytest.mark.parametrize(
    "text, name, address",
    [
        (
            "<VirtualHost 192.0.2.1:8080>\n ServerName a.example:80",
            "a.example",
            ("192.0.2.1", 8080),
        ),
        ("  <VirtualHost [::1]:80>", "", ("::1", 80)),
        ("<VirtualHost _default_:80 *:81>", "", ("127.0.0.1", 80)),
        ("# ServerName b.example", "", ("127.0.0.1", 80)),
    ],
)
def test_other_virtual_hosts(tmp_path, text, name, address):
    (tmp_path / "site.conf").write_text(text)
    site = with_site(tmp_path / "site.conf")
    assert (site.server_name(), site.address()) == (name, address)


def test_no_virtual_host_yet(tmp_path):
    site = with_site(tmp_path / "missing.conf")
    assert (site.server_name(), site.address()) == ("", ("127.0.0.1", 80))
