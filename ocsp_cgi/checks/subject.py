"""What is checked, and how strictly."""

from __future__ import annotations

from typing import NamedTuple

from ..config import Settings
from ..tools.layout import Layout


class Subject(NamedTuple):
    """An installation.

    `config` is the path of the config, `settings` what is in it, None if it cannot be loaded;
    `user` is the account that the responder runs as, `web` the web server's if that is another one,
    who should not have the key; `layout` is the distribution's, None if Apache
    is not installed.  `now` is in seconds since 1970.  `warning_days` and `critical_days` say how
    long before its end a certificate gives a warning, or is critical; without `warning_days` that
    is 30 days, or a third of the certificate's life if that is less.  `certificate` is the file of
    a certificate to ask about, "" for those of the signers.  `apache` is the command that runs
    Apache with its configuration, such as ("httpd", "-f", FILE); by default the layout's.
    """

    config: str
    settings: Settings | None
    user: str
    layout: Layout | None
    now: int
    warning_days: int | None = None
    critical_days: int = 7
    certificate: str = ""
    apache: tuple[str, ...] = ()
    web: str = ""
