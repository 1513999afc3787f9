"""What each setting of the config means, for people: the one place for errors, the README's table
and the man page ocsp-cgi.conf(5).

config.py says which values a setting may have; it is on the hot path, and imports this only to word
an error.  Plain classes, because even that happens in a CGI.
"""


class Setting:
    """`what` it is, a phrase; `more` about it, sentences or ""; `default`, as it is written in a
    config, or in words, "" if there is none; `example`, a value; `section`, the heading in the
    README, or in apache/README.md, that says all about it, or "".  Code is between backquotes."""

    __slots__ = ("default", "example", "more", "section", "what")

    def __init__(
        self, what: str, example: str, default: str = "", more: str = "", section: str = ""
    ):
        self.what = what
        self.example = example
        self.default = default
        self.more = more
        self.section = section


OF_A_CA = {
    "db": Setting(
        "the directory in which `openssl ca` keeps `index` (or `index.txt`), or the index itself"
        " if it has another name",
        "/etc/ssl/ocsp/db",
        more="With `db = db/root-ca.db`, its heartbeat is `db/root-ca.db.heartbeat`.",
    ),
    "ca": Setting(
        "the CA's certificate, PEM or DER",
        "/etc/ssl/ocsp/root-ca.crt",
        more="Its key may be any that `cryptography` can verify. Of a CA that has been renewed,"
        " there may be several certificates in the file, in PEM.",
        section="A renewed CA",
    ),
    "rsigner": Setting(
        "the certificate of the signer, which signs responses",
        "/etc/ssl/ocsp/root-ocsp.crt",
        more="It has the extended key usage OCSPSigning and was issued by this CA, or it is the"
        " CA's own.",
    ),
    "rkey": Setting(
        "the private key of `rsigner`, in PEM",
        "/etc/ssl/ocsp/root-ocsp.key",
        more="P-256 is best. Nobody but root and the responder's user may be able to read it. A key"
        " on a token is named by its URI, `pkcs11:token=ocsp;object=root-ocsp`. A host without"
        " a key has none.",
        section="Which key",
    ),
    "passin": Setting(
        "a file whose first line is the pass phrase of `rkey`, or the PIN of its token",
        "/etc/ssl/ocsp/root-ocsp.pass",
    ),
    "rsigner2": Setting(
        "the certificate of a second signer",
        "/etc/ssl/ocsp/root-ocsp-rsa.crt",
        more="It signs for clients that prefer its kind of key, and whenever the first signer"
        " cannot.",
        section="Two signers",
    ),
    "rkey2": Setting("the private key of `rsigner2`, in PEM", "/etc/ssl/ocsp/root-ocsp-rsa.key"),
    "passin2": Setting(
        "a file whose first line is the pass phrase of `rkey2`, or the PIN of its token",
        "/etc/ssl/ocsp/root-ocsp-rsa.pass",
    ),
    "cache": Setting(
        "a directory in which responses without a nonce are cached, for half of `nmin`",
        "/var/cache/ocsp-cgi",
        more="The responder's user, and nobody else, can write to it. The database is still read"
        " for every request.",
    ),
    "cache_size": Setting(
        "how many MiB of the disk the directory `cache` may take",
        "64",
        "256",
        more="Sections with the same `cache` share it: the smallest of their values holds.",
    ),
    "presign": Setting(
        "whether `ocsp-cgi presign` signs responses in advance",
        "yes",
        "no",
        section="Responses signed in advance",
    ),
    "cache_from": Setting(
        "without `rkey`, where `ocsp-cgi sync` copies responses from: the `cache` of the host that"
        " signs, `HOST:PATH`, or the path of a local directory",
        "signer.example.com:/var/cache/ocsp-cgi",
        section="Hosts without a key",
    ),
    "nmin": Setting(
        "after how many minutes a response expires (its nextUpdate)",
        "60",
        "60",
        more="A response never outlives its signer's certificate, and one that says `unknown`"
        " is valid for at most 15 minutes.",
    ),
    "max_age": Setting(
        "for how many minutes HTTP caches may keep a response, if that is less than half of `nmin`",
        "10",
        "half of `nmin`",
        more="Never longer than 4 days, nor than 5 minutes for a response that says `unknown`.",
    ),
    "stale_after": Setting(
        "after how many minutes without a new copy of the index the responder answers only"
        " `tryLater`, or `never`",
        "10",
        "never",
        more="`ocsp-cgi sync`, or whatever else copies the index, must touch the file `heartbeat`"
        " in `db` after each success.",
    ),
    "sync_from": Setting(
        "where `ocsp-cgi sync` copies the index from: `HOST:PATH`, or the path of a local file",
        "ca.example.com:root-ca/db/index",
        section="Copying db",
    ),
    "nonce": Setting(
        "what becomes of a client's nonce, the random number by which it recognizes that a"
        " response is new",
        "ignore",
        "echo",
        more="`echo` repeats it in the response. `ignore` leaves it out: caches can then keep the"
        " response, but clients that insist on their nonce refuse it.",
    ),
    "unissued": Setting(
        "the status of serial numbers that are not in the database",
        "revoked",
        "unknown",
        more="RFC 6960 section 2.2 allows `revoked`.",
    ),
    "responder_id": Setting(
        "how a response names its signer: by the hash of its `key`, or by its `name` (the"
        " certificate's subject), for old clients",
        "name",
        "key",
    ),
    "signer_trust": Setting(
        "which certificates may sign",
        "local",
        "issued",
        more="`issued` are those that `rsigner` describes. `local` is any, also without"
        " OCSPSigning, for clients that are configured to trust it (`openssl ocsp -VAfile`, RFC"
        " 6960 section 2.2); all others refuse its responses.",
    ),
    "archive_cutoff": Setting(
        "how many days expired certificates stay in the database, or `ca` for all the CA's life",
        "365",
        more="Responses then carry archiveCutoff (RFC 6960 section 4.4.4).",
    ),
}

OF_THE_RESPONDER = {
    "hyperlink": Setting(
        "an address for people, shown on the HTML page", "https://pki.example.com/ocsp"
    ),
    "log": Setting(
        "which requests have a line in the log",
        "problems",
        "all",
        more="With `problems`, only those with an `error:`, `warning:`, `never-issued:` or"
        " `warning=`.",
        section="The log",
    ),
    "versions": Setting(
        "whether the HTML page shows the versions of ocsp.cgi, `cryptography` and OpenSSL",
        "hide",
        "show",
    ),
}


def meaning(name: str) -> str:
    """The end of an error about this setting: what it is, and how it is written."""
    known = OF_A_CA.get(name) or OF_THE_RESPONDER[name]
    return f": {known.what}, such as `{name} = {known.example}`"


def elsewhere(setting: str, known: tuple[str, ...]) -> str:
    """The end of an error about a setting that a section does not know, which names the section
    that does, or the nearest one that this section knows."""
    if setting in OF_THE_RESPONDER:
        return "; it belongs in [responder]"
    if setting in OF_A_CA:
        return "; it belongs in the section of a CA"
    return nearest(setting, known)


def nearest(word: str, known: tuple[str, ...]) -> str:
    """The end of an error about an unknown word, which names the nearest known one."""
    import difflib

    matches = difflib.get_close_matches(word, known, 1)
    return f"; did you mean `{matches[0]}`?" if matches else f"; known are {', '.join(known)}"
