"""Which lines the configuration of an existing Apache lacks for ocsp.cgi: a responder that answers
POST alone needs fewer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .. import config
from .files import content

_CONFIG_FILES = (
    "/etc/apache2/apache2.conf",
    "/etc/apache2/conf-enabled/*.conf",
    "/etc/apache2/sites-enabled/*.conf",
    "/etc/httpd/conf/httpd.conf",
    "/etc/httpd/conf.d/*.conf",
)
_VIRTUAL_HOST = re.compile(
    r"^[ \t]*<VirtualHost\s+([^>]*)>(.*?)^[ \t]*</VirtualHost>", re.I | re.M | re.S
)
_DIRECTORY = r'^[ \t]*<Directory\s+"?{}/?"?\s*>(.*?)^[ \t]*</Directory>'
_HAS = re.I | re.M


class Missing(NamedTuple):
    """Lines that go into a place, such as `FILE, in <VirtualHost *:80> (line 1)`."""

    place: str
    lines: list[str]


def config_files() -> list[Path]:
    """Apache's enabled configuration on this machine."""
    return sorted(file for one in _CONFIG_FILES for file in Path("/").glob(one[1:]))


def missing(files: Iterable[Path], script: Path, config_path: str) -> list[Missing]:
    """What each virtual host without TLS lacks in these files."""
    texts = {}
    for file in files:
        try:
            texts[file] = file.read_text(errors="replace")
        except OSError:
            continue
    everything = "\n".join(texts.values())
    common = []
    if not re.search(r"^\s*SetEnv\s+ap_trust_cgilike_cl\s", everything, _HAS):
        common.append("SetEnv ap_trust_cgilike_cl yes")
    if config_path != config.DEFAULT_PATH and config_path not in everything:
        common.append(f'SetEnv OCSP_CGI_CONFIG "{config_path}"')
    directory = re.compile(_DIRECTORY.format(re.escape(str(script.parent))), re.I | re.M | re.S)
    if not any(
        re.search(r"^\s*Options\b.*(SymLinks|\bAll\b)", body, _HAS)
        for body in directory.findall(everything)
    ):
        common += [
            f'<Directory "{script.parent}">',
            "    Options +SymLinksIfOwnerMatch",
            "</Directory>",
        ]
    found = []
    for file, text in texts.items():
        for match in _VIRTUAL_HOST.finditer(text):
            address, body = match[1].strip(), match[2]
            if ":443" in address or re.search(r"^\s*SSLEngine\s+on", body, _HAS):
                continue
            lines = _encoded_slashes(body) + common
            number = text.count("\n", 0, match.start()) + 1
            name = re.search(r"^\s*ServerName\s+(\S+)", body, _HAS)
            of = f" of {name[1]}" if name else ""
            if lines:
                place = f"{file}, in <VirtualHost {address}>{of} (line {number})"
                found.append(Missing(place, lines))
    if not any(_VIRTUAL_HOST.search(text) for text in texts.values()):
        lines = _encoded_slashes(everything) + common
        main = next(iter(texts), Path("httpd.conf"))
        return [Missing(f"{main}, outside of other sections", lines)] if lines else []
    return found


def mention(files: Iterable[Path], text: str) -> bool:
    """Whether one of these files has this text in it."""
    return any(text.encode() in content(file) for file in files)


def _encoded_slashes(text: str) -> list[str]:
    directive = "AllowEncodedSlashes NoDecode"
    return [] if re.search(rf"^\s*{directive}", text, _HAS) else [directive]
