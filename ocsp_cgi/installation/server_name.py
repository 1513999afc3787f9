"""The name and path at which clients ask, taken from what says so: nothing is guessed."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator

from .. import authority_info, certificate
from ..config import Settings
from ..tools.entry import CommandError, program
from . import site
from .site import Site


def find(
    name: str | None,
    path: str | None,
    is_included: bool,
    before: Site | None,
    settings: Settings,
    is_wsgi: bool | None = None,
) -> Site:
    """The site that the options `name`, `path`, `is_included` and `is_wsgi` ask for.

    What they leave open is as it is in `before`, or in a certificate that the config names.
    CommandError, with how to find it out, if nothing says it.
    """
    if name is not None:
        site.check_name(name)
    if path is not None:
        site.check_path(path)
    if before is not None:
        is_other = name is not None and name.lower() != before.name.lower()
        is_included = is_included or (before.is_included and not is_other)
        is_wsgi = before.is_wsgi if is_wsgi is None else is_wsgi
        return Site(name or before.name, path or before.path, is_included, is_wsgi)
    urls = sorted(set(_named_urls(settings)))
    if name is None:
        if len(urls) != 1:
            several = ", ".join(f"http://{host}{its_path}" for host, its_path in urls)
            raise CommandError(
                "--server-name is missing: the host name in `ocsp_url`, at which clients ask"
                " (`openssl x509 -in server.crt -noout -ocsp_uri` prints that of a certificate"
                + (f"; certificates of the config name several: {several}" if several else "")
                + f"):\n    {program()} install --server-name ocsp.example.com"
            )
        name = urls[0][0]
    if path is None:
        path = next((its_path for host, its_path in urls if host == name.lower()), site.PATH)
    return Site(name, path, is_included, bool(is_wsgi))


def _named_urls(settings: Settings) -> Iterator[tuple[str, str]]:
    """The (host, path) of every http URL of a responder in a certificate that the config names."""
    for ca in settings.cas:
        for file in filter(None, (ca.rsigner, ca.rsigner2, ca.ca)):
            try:
                found = certificate.load_all(file)
            except (OSError, ValueError):
                continue
            for one in found:
                for url in authority_info.ocsp_urls(one):
                    parts = urllib.parse.urlsplit(url)
                    path = parts.path or "/"
                    is_name = re.fullmatch(r"[a-z0-9.-]*[a-z][a-z0-9.-]*", parts.hostname or "")
                    if parts.scheme == "http" and parts.port in (None, 80) and is_name:
                        yield (parts.hostname or "", path if path == "/" else path.rstrip("/"))
