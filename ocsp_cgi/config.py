"""The config: an INI file -> Settings.  Its keys are named as the options of `openssl ocsp`.

    [responder]
    hyperlink = https://pki.example.com/ocsp

    [root-ca]
    db      = /etc/ssl/db
    ca      = /etc/ssl/certs/root-ca.crt
    rsigner = /etc/ssl/certs/root-ocsp.crt
    rkey    = /etc/ssl/private/root-ocsp.key

A section is a CA, but for [responder].  Lines that begin with `#` or `;` are comments.  A relative
path starts from the directory of the config.  Read by a few lines of our own, because configparser
would cost every answer 5 ms.
"""

import posix

from . import errors, index, limits

DEFAULT_PATH = "/etc/ssl/ocsp-cgi.conf"


class ConfigError(errors.OCSPError):
    """The config cannot be read or used; the text says where, and how to mend it."""


class CASettings:
    """One CA.  A field is a key of its section; paths are absolute or from the working directory.

    `nmin`, `max_age` and `stale_after` are minutes, `archive_cutoff` days or "ca", `cache_size`
    MiB: the same in all sections with one `cache`.
    """

    __slots__ = (
        "name",
        "db",
        "ca",
        "rsigner",
        "rkey",
        "passin",
        "nmin",
        "max_age",
        "stale_after",
        "nonce",
        "unissued",
        "responder_id",
        "signer_trust",
        "archive_cutoff",
        "cache",
        "cache_size",
    )

    def __init__(self, name: str):
        self.name = name
        self.db = self.ca = self.rsigner = self.rkey = ""
        self.passin: str | None = None
        self.nmin = 60
        self.max_age: int | None = None
        self.stale_after: int | None = None
        self.nonce = "echo"
        self.unissued = "unknown"
        self.responder_id = "key"
        self.signer_trust = "issued"
        self.archive_cutoff: int | str | None = None
        self.cache: str | None = None
        self.cache_size = 0


class Settings:
    """The whole config: `hyperlink` and `versions` (show, hide) for the page, "" if there is no
    hyperlink; and the CAs in their order.

    `stamp` is another whenever the file has been written or replaced.
    """

    __slots__ = ("stamp", "hyperlink", "versions", "cas")

    def __init__(self, stamp: bytes):
        self.stamp = stamp
        self.hyperlink = ""
        self.versions = "show"
        self.cas: list[CASettings] = []


_PATHS = ("db", "ca", "rsigner", "rkey", "passin", "cache")
_REQUIRED = ("db", "ca", "rsigner", "rkey")
_MINUTES = ("nmin", "max_age", "stale_after")
_CHOICES = {
    "nonce": ("echo", "ignore"),
    "unissued": ("unknown", "revoked"),
    "responder_id": ("key", "name"),
    "signer_trust": ("issued", "local"),
}
_CA_KEYS = (*_PATHS, *_MINUTES, *_CHOICES, "archive_cutoff", "cache_size")
_RESPONDER_KEYS = ("hyperlink", "versions")
_MOST_MINUTES = 10 * 365 * 24 * 60
_MOST_DAYS = 100 * 365
_MOST_MEBIBYTES = 1024 * 1024


def load(path: str) -> Settings:
    """Read the config in this file.  ConfigError if it cannot be read, or anything in it is not as
    it should be."""
    errors.reading(path)
    try:
        with open(path, "rb") as file:
            stamp_of_file = index.stamp(posix.fstat(file.fileno()))
            text = file.read().decode()
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; this is the config, which OCSP_CGI_CONFIG names"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8, so it is no config") from None
    if "\0" in text:
        raise ConfigError(f"{path}: a NUL byte in it, so it is no config")
    settings = Settings(stamp_of_file)
    for name, place, entries in _sections(text, path):
        if name == "responder":
            _fill_responder(settings, entries)
        else:
            settings.cas.append(_ca(name, place, entries, path))
    if not settings.cas:
        raise ConfigError(f"{path}: no section of a CA in it, such as [root-ca]")
    _share_cache_sizes(settings.cas)
    return settings


def _sections(text: str, path: str) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """(name, place, entries) of each section; an entry is (key, value, place), a place `file:line`."""
    sections: list[tuple[str, str, list[tuple[str, str, str]]]] = []
    for number, line in enumerate(text.lstrip("\ufeff").split("\n"), 1):
        line, place = line.strip(), f"{path}:{number}"
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            name = line[1:-1].strip()
            if name in [section[0] for section in sections]:
                raise ConfigError(f"{place}: a second section [{name}]")
            sections.append((name, place, []))
            continue
        key, equals, value = line.partition("=")
        key, value = key.strip(), value.strip()
        if not equals:
            raise ConfigError(f"{place}: neither `key = value` nor [section]")
        if not sections:
            raise ConfigError(f"{place}: `{key}` stands before the first [section]")
        entries = sections[-1][2]
        if key in [entry[0] for entry in entries]:
            raise ConfigError(f"{place}: a second `{key}` in [{sections[-1][0]}]")
        entries.append((key, value, place))
    return sections


def _fill_responder(settings: Settings, entries: list[tuple[str, str, str]]) -> None:
    for key, value, place in entries:
        _refuse_unknown(key, _RESPONDER_KEYS, place)
        if key == "versions":
            if value not in ("show", "hide"):
                raise ConfigError(f"{place}: `versions` is `{value}`, and should be show or hide")
            settings.versions = value
            continue
        if value and not value.startswith(("https://", "http://")):
            raise ConfigError(
                f"{place}: `hyperlink` is `{value}`, and should begin with https:// or http://"
            )
        settings.hyperlink = value


def _ca(name: str, place: str, entries: list[tuple[str, str, str]], path: str) -> CASettings:
    directory = path.rpartition("/")[0]
    ca = CASettings(name)
    if not any(key in _CA_KEYS for key, _, _ in entries):
        raise ConfigError(f"{place}: [{name}] has no key of a CA{_nearest(name, ('responder',))}")
    for key, value, place_of_key in entries:
        _refuse_unknown(key, _CA_KEYS, place_of_key)
        if not value:
            raise ConfigError(f"{place_of_key}: `{key}` has no value")
        if key in _PATHS:
            value = value.rstrip("/") or "/"
            setattr(ca, key, value if value[0] == "/" or not directory else f"{directory}/{value}")
        elif key in _MINUTES:
            setattr(
                ca,
                key,
                _number(
                    value,
                    _MOST_MINUTES,
                    f"{place_of_key}: `{key}` is `{value}`, and should be minutes",
                ),
            )
        elif key in _CHOICES:
            if value not in _CHOICES[key]:
                raise ConfigError(
                    f"{place_of_key}: `{key}` is `{value}`, and should be"
                    f" {' or '.join(_CHOICES[key])}"
                )
            setattr(ca, key, value)
        elif key == "cache_size":
            ca.cache_size = _number(
                value, _MOST_MEBIBYTES, f"{place_of_key}: `{key}` is `{value}`, and should be MiB"
            )
        elif value == "ca":
            ca.archive_cutoff = value
        else:
            ca.archive_cutoff = _number(
                value,
                _MOST_DAYS,
                f"{place_of_key}: `{key}` is `{value}`, and should be `ca` or days",
            )
    for key in _REQUIRED:
        if not getattr(ca, key):
            raise ConfigError(f"{place}: [{name}] has no `{key}`")
    return ca


def _share_cache_sizes(cas: list[CASettings]) -> None:
    """Give all sections with one `cache` one `cache_size`: the smallest that any of them sets."""
    sizes: dict[str | None, int] = {}
    for ca in cas:
        if ca.cache_size:
            sizes[ca.cache] = min(ca.cache_size, sizes.get(ca.cache, ca.cache_size))
    for ca in cas:
        ca.cache_size = sizes.get(ca.cache, limits.CACHE_MEBIBYTES)


def _number(text: str, most: int, message: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most:
        return int(text)
    raise ConfigError(f"{message}, 1 to {most}")


def _refuse_unknown(key: str, known: tuple[str, ...], place: str) -> None:
    if key not in known:
        raise ConfigError(f"{place}: unknown key `{key}`{_nearest(key, known)}")


def _nearest(word: str, known: tuple[str, ...]) -> str:
    """The end of a message that names the nearest known word."""
    import difflib

    matches = difflib.get_close_matches(word, known, 1)
    return f"; did you mean `{matches[0]}`?" if matches else f"; known are {', '.join(known)}"
