"""The directories that the config names: which of them must not be given to another user."""

from __future__ import annotations

import os
from pathlib import Path

from ..checks.owners import SYNC_USER
from ..config import CASettings
from ..tools.entry import CommandError

FILES = Path("/etc/ssl/ocsp")
# What others keep things in is not ours to open, nor to give away.
SYSTEM = frozenset(
    (
        *("/", "/bin", "/boot", "/dev", "/etc", "/etc/apache2", "/etc/httpd", "/etc/pki"),
        *("/etc/pki/tls", "/etc/pki/tls/private", "/etc/ssl", "/etc/ssl/certs", "/etc/ssl/private"),
        *("/home", "/lib", "/mnt", "/media", "/opt", "/proc", "/root", "/run", "/sbin", "/srv"),
        *("/sys", "/tmp", "/usr", "/usr/lib", "/usr/local", "/var", "/var/cache", "/var/lib"),
        *("/var/tmp", "/var/www"),
    )
)
_OF_A_CA = ("serial", "crlnumber")  # what `openssl ca` keeps beside its index


def directory_of(db: str) -> str:
    """The directory that a `db` setting is, or that the index it names is in."""
    if os.path.isdir(db):
        return db
    if os.path.exists(db) or "." in os.path.basename(db):
        return os.path.dirname(db)
    return db


def check_directories(ca: CASettings, cas: list[CASettings], config: Path) -> None:
    """CommandError if the `db` or `cache` of a CA is a directory that must not be given away."""
    kept = {str(config): "the config"}
    for one in cas:
        certificates = [(name, getattr(one, name)) for name in ("ca", "rsigner", "rsigner2")]
        for setting, path in (*certificates, *one.private_files):
            if path:
                kept[path] = f"`{setting}` of [{one.name}]"
    directories = {"cache": ca.cache} if ca.cache else {}
    if ca.sync_from:
        directories["db"] = directory_of(ca.db)
        found = [name for name in _OF_A_CA if os.path.exists(f"{directories['db']}/{name}")]
        if found:
            raise CommandError(
                f"[{ca.name}] has `sync_from`, but {directories['db']} is a CA's own database"
                f" (there is {found[0]}): it must not be overwritten; let `db` name another"
                " directory"
            )
    for setting, directory in directories.items():
        real = os.path.realpath(directory)
        inside = [what for path, what in kept.items() if is_within(path, Path(real))]
        if setting == "db":
            caches = {one.cache: f"`cache` of [{one.name}]" for one in cas if one.cache}
            inside += [what for path, what in caches.items() if is_within(path, Path(real))]
        if setting == "cache":
            inside += [
                f"`db` of [{one.name}]"
                for one in cas
                if is_within(directory_of(one.db), Path(real))
            ]
        if real in SYSTEM or inside:
            user = SYNC_USER if setting == "db" else "the web server's user"
            what = f"{inside[0]} is in it" if inside else "it belongs to the system"
            raise CommandError(
                f"[{ca.name}] `{setting}`: {directory} must belong to {user}, but {what}; let"
                f" `{setting}` name a directory of its own, such as {FILES}/{setting}"
            )


def is_within(path: str, directory: Path) -> bool:
    """Whether a path leads to something in this directory, or to it."""
    return f"{os.path.realpath(path)}/".startswith(f"{os.path.realpath(directory)}/")
