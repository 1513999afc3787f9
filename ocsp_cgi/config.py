"""The config: an INI file -> Settings.  Its settings are named as the options of `openssl ocsp`.

    [responder]
    hyperlink = https://pki.example.com/ocsp

    [root-ca]
    db      = /etc/ssl/db
    ca      = /etc/ssl/certs/root-ca.crt
    rsigner = /etc/ssl/certs/root-ocsp.crt
    rkey    = /etc/ssl/private/root-ocsp.key

Each section except [responder] is a CA, which may have a second signer in `rsigner2` and `rkey2`,
and has no `rkey` on a host that only sends what another one has signed.  Lines that begin with `#`
or `;` are comments.  A relative path starts from the directory of the config.  configparser would
cost every response 5 ms, so a few lines of our own read the file.
"""

import posix

from . import index_file, limits
from .answer import OCSPError, reading

DEFAULT_PATH = "/etc/ssl/ocsp-cgi.conf"

# Every setting, and what its value must be: one of these words, or one of several choices.  What
# they mean is in settings_table.
_PATH, _MINUTES, _MEBIBYTES, _URL, _DAYS_OR_CA = "path", "minutes", "MiB", "URL", "`ca` or days"
_SOURCE, _MINUTES_OR_NEVER = "HOST:PATH or path", "`never` or minutes"
_KEY = "path or URI"
CA_SETTINGS: "dict[str, str | tuple[str, ...]]" = {
    "db": _PATH,
    "ca": _PATH,
    "rsigner": _PATH,
    "rkey": _KEY,
    "passin": _PATH,
    "rsigner2": _PATH,
    "rkey2": _KEY,
    "passin2": _PATH,
    "cache": _PATH,
    "cache_size": _MEBIBYTES,
    "presign": ("no", "yes"),
    "cache_from": _SOURCE,
    "nmin": _MINUTES,
    "max_age": _MINUTES,
    "stale_after": _MINUTES_OR_NEVER,
    "sync_from": _SOURCE,
    "nonce": ("echo", "ignore"),
    "unissued": ("unknown", "revoked"),
    "responder_id": ("key", "name"),
    "signer_trust": ("issued", "local"),
    "archive_cutoff": _DAYS_OR_CA,
}
RESPONDER_SETTINGS: "dict[str, str | tuple[str, ...]]" = {
    "hyperlink": _URL,
    "log": ("all", "problems"),
    "versions": ("show", "hide"),
}
REQUIRED = ("db", "ca", "rsigner")
_MOST = {
    _MINUTES: 10 * 365 * 24 * 60,
    _MINUTES_OR_NEVER: 10 * 365 * 24 * 60,
    _MEBIBYTES: 1024 * 1024,
    _DAYS_OR_CA: 100 * 365,
}


def is_remote(source: str) -> bool:
    """Whether a `sync_from` names another host, with a colon before the first slash."""
    return ":" in source.partition("/")[0]


def is_uri(key: str) -> bool:
    """Whether an `rkey` is a URI, such as `pkcs11:token=ocsp`, and not the path of a file."""
    scheme, colon, _ = key.partition(":")
    named = scheme.replace("+", "").replace("-", "").replace(".", "")
    return bool(colon) and scheme[:1].isalpha() and named.isascii() and named.isalnum()


class ConfigError(OCSPError):
    """The config cannot be read or used; the text says where, and how to fix it."""


class CASettings:
    """One CA.  Fields are its settings; paths are absolute or from the working directory, and so
    are `sync_from` and `cache_from` unless they name a host, with a colon before the first slash.

    `suffix` is "", or "2" in what `signers` made of a second signer: in the config the settings of
    the signer end with it.  `rsigner2` and `rkey2` are "" without a second signer, `rkey` and
    `rkey2` on a host without keys, where `nonce` is always "ignore".  `nmin`,
    `max_age` and `stale_after` are minutes (0 for `never`), `archive_cutoff` is days or "ca",
    `cache_size` MiB: the same in all sections with one `cache`.
    """

    __slots__ = ("name", "suffix", *CA_SETTINGS)

    def __init__(self, name: str):
        self.name = name
        self.suffix = ""
        self.db = self.ca = self.rsigner = self.rkey = self.rsigner2 = self.rkey2 = ""
        self.passin: str | None = None
        self.passin2: str | None = None
        self.nmin = 60
        self.max_age: int | None = None
        self.stale_after: int | None = None
        self.sync_from: str | None = None
        self.nonce = "echo"
        self.unissued = "unknown"
        self.responder_id = "key"
        self.signer_trust = "issued"
        self.archive_cutoff: int | str | None = None
        self.cache: str | None = None
        self.cache_size = 0
        self.presign = "no"
        self.cache_from: str | None = None

    def signers(self) -> "list[CASettings]":
        """The section as it would be with each of its signers alone, in their order."""
        if not self.rsigner2:
            return [self]
        first, second = CASettings(self.name), CASettings(self.name)
        for one in (first, second):
            for setting in CA_SETTINGS:
                setattr(one, setting, getattr(self, setting))
            one.rsigner2, one.rkey2, one.passin2 = "", "", None
        second.rsigner, second.rkey, second.passin = self.rsigner2, self.rkey2, self.passin2
        second.suffix = "2"
        return [first, second]

    @property
    def copied_responses(self) -> str:
        """The directory for the responses that `ocsp-cgi sync` copies from `cache_from`."""
        return index_file.beside(self.db, "responses")

    @property
    def private_files(self) -> list[tuple[str, str]]:
        """(setting, path) of each file with a key or a pass phrase."""
        files = [(name, getattr(self, name)) for name in ("rkey", "passin", "rkey2", "passin2")]
        return [(name, path) for name, path in files if path and not is_uri(path)]

    @property
    def max_age_seconds(self) -> int:
        """Seconds for which HTTP caches may keep a response about a certificate of this CA."""
        if self.max_age is None:
            return limits.MAX_AGE_SECONDS
        return min(limits.MAX_AGE_SECONDS, self.max_age * 60)

    @property
    def is_copied_from_host(self) -> bool:
        """Whether the index is copied from another host."""
        return self.sync_from is not None and is_remote(self.sync_from)

    def check_heartbeat(self, now: int) -> None:
        """DatabaseUnavailable, with the outcome of the last copy, if the index was last copied more
        than `stale_after` ago."""
        if not self.stale_after:
            return
        try:
            index_file.check_heartbeat(self.db, self.stale_after, now)
        except index_file.DatabaseUnavailable as error:
            from . import sync_state

            last = sync_state.outcome(self.db, self.stale_after, now)
            raise index_file.DatabaseUnavailable(f"{error}{last}") from None


class Settings:
    """The whole config: `hyperlink`, "" if there is none, and `versions` for the page; `log`, which
    requests have a line in the log; the CAs in their order; and a `fingerprint` that changes
    whenever the file is written or replaced."""

    __slots__ = ("cas", "fingerprint", *RESPONDER_SETTINGS)

    def __init__(self, fingerprint: bytes):
        self.fingerprint = fingerprint
        self.hyperlink = ""
        self.log = "all"
        self.versions = "show"
        self.cas: list[CASettings] = []


def load(path: str) -> Settings:
    """Read the config in this file.  ConfigError if it cannot be read, or has a mistake in it."""
    reading(path)
    try:
        with open(path, "rb") as file:
            fingerprint = index_file.fingerprint(posix.fstat(file.fileno()))
            text = file.read().decode()
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; this is the config, which OCSP_CGI_CONFIG names"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8, so it is not a config") from None
    return parse(text, path, fingerprint)


def parse(text: str, path: str, fingerprint: bytes = b"") -> Settings:
    """The settings in the text of the config in this file, which need not be there yet.

    ConfigError if it has a mistake in it.
    """
    if "\0" in text:
        raise ConfigError(f"{path}: a NUL byte in it, so it is not a config")
    directory = path.rpartition("/")[0]
    settings = Settings(fingerprint)
    for name, place, entries in _sections(text, path):
        if name == "responder":
            _fill(settings, RESPONDER_SETTINGS, entries, directory)
        else:
            settings.cas.append(_ca(name, place, entries, directory))
    if not settings.cas:
        raise ConfigError(f"{path}: no section of a CA in it, such as [root-ca]")
    _share_cache_sizes(settings.cas)
    return settings


def _sections(text: str, path: str) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """(name, place, entries) of each section.

    An entry is (key, value, place); a place is `file:line`.
    """
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
            raise ConfigError(f"{place}: neither `setting = value` nor [section]")
        if not sections:
            raise ConfigError(f"{place}: `{key}` stands before the first [section]")
        entries = sections[-1][2]
        if key in [entry[0] for entry in entries]:
            raise ConfigError(f"{place}: a second `{key}` in [{sections[-1][0]}]")
        entries.append((key, value, place))
    return sections


def _ca(name: str, place: str, entries: list[tuple[str, str, str]], directory: str) -> CASettings:
    if not any(key in CA_SETTINGS for key, _, _ in entries):
        raise ConfigError(
            f"{place}: [{name}] has no setting of a CA{_nearest(name, ('responder',))}"
        )
    ca = CASettings(name)
    _fill(ca, CA_SETTINGS, entries, directory)
    for key in REQUIRED:
        if not getattr(ca, key):
            raise ConfigError(f"{place}: [{name}] has no `{key}`{_meaning(key)}")
    if ca.rsigner2 or ca.rkey2 or ca.passin2:
        _check_second(ca, f"{place}: [{name}]")
    if ca.rkey:
        if ca.cache_from:
            raise ConfigError(
                f"{place}: [{name}] has both `rkey` and `cache_from`: a host that has the key signs"
                " by itself; remove one of them"
            )
    else:
        _check_without_key(ca, f"{place}: [{name}]")
        ca.nonce = "ignore"  # what is copied has none
    return ca


def _check_without_key(ca: CASettings, where: str) -> None:
    """ConfigError unless a section without `rkey` can have responses that another host signed."""
    if not (ca.cache_from or ca.cache):
        raise ConfigError(
            f"{where} has no `rkey`{_meaning('rkey')}; on a host without the key, set `cache_from`"
            " to the `cache` of the host that signs"
        )
    for setting in ("passin", "rkey2", "passin2"):
        if getattr(ca, setting):
            raise ConfigError(f"{where} has `{setting}`, but no `rkey`")
    if ca.presign == "yes":
        raise ConfigError(f"{where} has `presign = yes`, but no `rkey`: presign on the other host")


def _check_second(ca: CASettings, where: str) -> None:
    """ConfigError unless a second signer has a certificate of its own, and a key if the first has
    one."""
    for setting in ("rsigner2", "rkey2") if ca.rkey else ("rsigner2",):
        if not getattr(ca, setting):
            raise ConfigError(
                f"{where} has no `{setting}`: a second signer needs `rsigner2` and `rkey2`"
            )
    if ca.rsigner2 == ca.rsigner:
        raise ConfigError(
            f"{where} names {ca.rsigner} with both `rsigner` and `rsigner2`: the second signer has"
            " a certificate of its own; remove `rsigner2` and `rkey2` if there is none"
        )


def _fill(
    section: "CASettings | Settings",
    known: "dict[str, str | tuple[str, ...]]",
    entries: list[tuple[str, str, str]],
    directory: str,
) -> None:
    """Set what the entries of a section say.  ConfigError at the first that is not known, or has
    another value than it may have."""
    for key, value, place in entries:
        if key not in known:
            raise ConfigError(f"{place}: unknown setting `{key}`{_elsewhere(key, tuple(known))}")
        setattr(section, key, _value(key, value, known[key], place, directory))


def _value(
    key: str, value: str, kind: "str | tuple[str, ...]", place: str, directory: str
) -> "str | int":
    """What the value of a setting means.  ConfigError if it is not of this kind."""
    if kind == _URL:
        if value and not value.startswith(("https://", "http://")):
            raise _wrong(key, value, place, "a URL that begins with https:// or http://")
        return value
    if not value:
        raise ConfigError(f"{place}: `{key}` has no value{_meaning(key)}")
    if isinstance(kind, tuple):
        if value not in kind:
            raise _wrong(key, value, place, " or ".join(kind))
        return value
    if kind == _KEY and is_uri(value):
        return value
    if kind in (_PATH, _KEY) or (kind == _SOURCE and not is_remote(value)):
        value = value.rstrip("/") or "/"
        return value if value[0] == "/" or not directory else f"{directory}/{value}"
    if kind == _SOURCE or (kind == _DAYS_OR_CA and value == "ca"):
        return value
    if kind == _MINUTES_OR_NEVER and value == "never":
        return 0
    most = _MOST[kind]
    if value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= most:
        return int(value)
    raise _wrong(key, value, place, f"{kind}, 1 to {most}")


def _share_cache_sizes(cas: list[CASettings]) -> None:
    """Give all sections with one `cache` one `cache_size`: the smallest that any of them sets."""
    sizes: dict[str | None, int] = {}
    for ca in cas:
        if ca.cache_size:
            sizes[ca.cache] = min(ca.cache_size, sizes.get(ca.cache, ca.cache_size))
    for ca in cas:
        ca.cache_size = sizes.get(ca.cache, limits.CACHE_MEBIBYTES)


def _wrong(key: str, value: str, place: str, expected: str) -> ConfigError:
    return ConfigError(f"{place}: `{key}` is `{value}`, and should be {expected}{_meaning(key)}")


def _meaning(setting: str) -> str:
    from . import settings_table

    return settings_table.meaning(setting)


def _elsewhere(setting: str, known: tuple[str, ...]) -> str:
    from . import settings_table

    return settings_table.elsewhere(setting, known)


def _nearest(word: str, known: tuple[str, ...]) -> str:
    from . import settings_table

    return settings_table.nearest(word, known)
