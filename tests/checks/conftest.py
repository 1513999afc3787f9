"""A real Apache with the responder, and what the checks of it find."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from clients import settle, started

from ocsp_cgi import config
from ocsp_cgi.checks.subject import Subject
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.openssl_ca import PrivateCA

SITE = httpd.SITE_CONF.read_text()


class Web(NamedTuple):
    """A CA that the web server can read, and the responder's script."""

    ca: PrivateCA
    script: Path

    @property
    def config(self) -> str:
        return str(self.ca.home / "ocsp-cgi.conf")

    def subject(self, apache: httpd.Apache, **fields) -> Subject:
        """What is to be checked; `fields` are those of a Subject that are not the usual ones."""
        command = (apache._binary, "-f", str(apache.home / "httpd.conf"))
        usual = Subject(
            self.config, config.load(self.config), user(), None, int(time.time()), apache=command
        )
        return usual._replace(**fields)

    @contextlib.contextmanager
    def serving(
        self, place: Path, site: str = SITE, mpm: str = "event", modules: tuple[str, ...] = ()
    ) -> Iterator[tuple[httpd.Apache, Subject]]:
        """Apache runs, with this text in place of apache/ocsp-cgi.conf."""
        home = place / "httpd"
        server = started(home, self.script, Path(self.config), mpm, site, modules)
        with server as apache:
            yield apache, self.subject(apache)


def user() -> str:
    """The account that Apache runs as."""
    import pwd

    return httpd.unprivileged().get("user") or pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture(scope="session")
def web(pki, cgi, workspace) -> Web:
    """No test may change it."""
    ca = pki.copy(workspace / "web-ca")
    settle(ca.home / "db" / "index")
    httpd.let_read(ca.home)
    return Web(ca, cgi)


@pytest.fixture
def own_web(web, place) -> Web:
    """One that a test may change."""
    ca = web.ca.copy(place / "ca")
    settle(ca.home / "db" / "index")
    httpd.let_read(ca.home)
    return Web(ca, httpd.install_cgi(place / "cgi"))
