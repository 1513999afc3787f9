"""The config: what it means, and what it says when it is wrong."""

from __future__ import annotations

import pytest

from ocsp_cgi import config, settings_table

CA = "[root-ca]\ndb = db\nca = ca.crt\nrsigner = /abs/ocsp.crt\nrkey = ocsp.key\n"
KEYLESS = CA.replace("rkey = ocsp.key", "cache_from = signer.example.com:/var/cache/ocsp-cgi")


@pytest.fixture
def load(tmp_path):
    def load(text, encoding="utf-8"):
        (tmp_path / "ocsp-cgi.conf").write_bytes(text.encode(encoding))
        return config.load(str(tmp_path / "ocsp-cgi.conf"))

    return load


def test_defaults(load, tmp_path):
    settings = load(CA)
    [ca] = settings.cas
    assert settings.hyperlink == ""
    assert {name: getattr(ca, name) for name in ca.__slots__} == {
        "name": "root-ca",
        "db": f"{tmp_path}/db",
        "ca": f"{tmp_path}/ca.crt",
        "rsigner": "/abs/ocsp.crt",
        "rkey": f"{tmp_path}/ocsp.key",
        "passin": None,
        "suffix": "",
        "rsigner2": "",
        "rkey2": "",
        "passin2": None,
        "nmin": 60,
        "max_age": None,
        "stale_after": None,
        "sync_from": None,
        "nonce": "echo",
        "unissued": "unknown",
        "responder_id": "key",
        "signer_trust": "issued",
        "archive_cutoff": None,
        "cache": None,
        "cache_size": 256,
        "presign": "no",
        "cache_from": None,
    }


def test_every_key(load, tmp_path):
    settings = load(
        "[responder]\nhyperlink = https://example.com/?a=b\n"
        + CA
        + "passin = pass\nnmin = 2880\nmax_age = 5\nstale_after = 90\nnonce = ignore\nunissued ="
        " revoked\nresponder_id = name\narchive_cutoff = 30\ncache = c\ncache_size = 64\n"
    )
    [ca] = settings.cas
    assert settings.hyperlink == "https://example.com/?a=b"
    assert (ca.passin, ca.cache, ca.nmin, ca.max_age, ca.nonce) == (
        f"{tmp_path}/pass",
        f"{tmp_path}/c",
        2880,
        5,
        "ignore",
    )
    assert ca.cache_size == 64
    assert (ca.unissued, ca.responder_id, ca.archive_cutoff, ca.stale_after) == (
        "revoked",
        "name",
        30,
        90,
    )
    assert load(CA + "archive_cutoff = ca").cas[0].archive_cutoff == "ca"
    assert load(CA + "signer_trust = local").cas[0].signer_trust == "local"


@pytest.mark.parametrize(
    "value, source",
    [
        ("ca.example.com:root-ca/db/index", "ca.example.com:root-ca/db/index"),
        ("copy@ca:/srv/index", "copy@ca:/srv/index"),
        ("rsync://ca/db/index", "rsync://ca/db/index"),
        ("/media/usb/index", "/media/usb/index"),
        ("incoming/10:30/index", "{directory}/incoming/10:30/index"),
    ],
)
def test_where_to_sync_from(load, tmp_path, value, source):
    ca = load(CA + f"sync_from = {value}\n").cas[0]
    assert ca.sync_from == source.format(directory=tmp_path)


def test_a_host_without_the_key(load, tmp_path):
    [ca] = load(KEYLESS + "nonce = echo\n").cas
    assert (ca.rkey, ca.nonce, ca.private_files) == ("", "ignore", [])
    assert ca.cache_from == "signer.example.com:/var/cache/ocsp-cgi"
    assert ca.copied_responses == f"{tmp_path}/db.responses"  # `db` is not a directory
    (tmp_path / "db").mkdir()
    assert ca.copied_responses == f"{tmp_path}/db/responses"
    [ca] = load(KEYLESS + "rsigner2 = rsa.crt\n").cas
    assert [one.rsigner for one in ca.signers()] == ["/abs/ocsp.crt", f"{tmp_path}/rsa.crt"]
    [ca] = load(CA.replace("rkey = ocsp.key\n", "cache = cache\n")).cas
    assert (ca.rkey, ca.cache) == ("", f"{tmp_path}/cache")


def test_several_cas_in_their_order(load):
    assert [ca.name for ca in load(CA + CA.replace("root-ca", "sub-ca")).cas] == [
        "root-ca",
        "sub-ca",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + CA,
        CA.replace("\n", "\r\n"),
        CA.rstrip("\n"),
        "# a comment\n; another\n\n  \n" + CA.replace("db =", "  db="),
    ],
    ids=["byte order mark", "CRLF", "no newline at its end", "comments and blanks"],
)
def test_spellings(load, text):
    assert load(text).cas[0].rsigner == "/abs/ocsp.crt"


def test_two_signers(load, tmp_path):
    more = "rsigner2 = rsa.crt\nrkey2 = /abs/rsa.key\npassin = one\npassin2 = two\n"
    ca = load(CA + more).cas[0]
    assert (ca.rsigner2, ca.rkey2, ca.passin2) == (
        f"{tmp_path}/rsa.crt",
        "/abs/rsa.key",
        f"{tmp_path}/two",
    )
    first, second = ca.signers()
    for one, suffix, rsigner, rkey, passin in (
        (first, "", "/abs/ocsp.crt", "ocsp.key", "one"),
        (second, "2", f"{tmp_path}/rsa.crt", "/abs/rsa.key", "two"),
    ):
        assert (one.name, one.suffix, one.db, one.rsigner2) == (ca.name, suffix, ca.db, "")
        assert one.rsigner == rsigner and one.rkey.endswith(rkey)
        assert one.passin == f"{tmp_path}/{passin}" and one.signers() == [one]
    assert [name for name, _ in ca.private_files] == ["rkey", "passin", "rkey2", "passin2"]


def test_two_signers_with_one_key(load):
    """As after the renewal of a certificate for the same key."""
    assert load(CA + "rsigner2 = new.crt\nrkey2 = ocsp.key\n").cas[0].rkey2.endswith("ocsp.key")


@pytest.mark.parametrize(
    "more, message",
    [
        ("rsigner2 = rsa.crt\n", "[root-ca] has no `rkey2`: a second signer needs"),
        ("rkey2 = rsa.key\n", "[root-ca] has no `rsigner2`: a second signer needs"),
        ("passin2 = phrase\n", "[root-ca] has no `rsigner2`: a second signer needs"),
        (
            "rsigner2 = /abs/ocsp.crt\nrkey2 = rsa.key\n",
            "[root-ca] names /abs/ocsp.crt with both `rsigner` and `rsigner2`",
        ),
    ],
)
def test_half_a_second_signer(load, more, message):
    with pytest.raises(config.ConfigError) as error:
        load(CA + more)
    assert f":1: {message}" in str(error.value)


@pytest.mark.parametrize(
    "value, is_uri",
    [
        ("pkcs11:token=ocsp;object=root-ocsp", True),
        ("pkcs11:token=ocsp/", True),
        ("tpm2tss+x-1.y:handle", True),
        ("keys/pkcs11:token", False),
        ("/keys/a:b", False),
        ("1a:b", False),
        (":b", False),
        ("./a:b", False),
        ("key", False),
    ],
)
def test_a_key_that_is_a_uri_is_no_relative_path(load, tmp_path, value, is_uri):
    text = CA.replace("rkey = ocsp.key", f"rkey = {value}")
    ca = load(text + f"rsigner2 = rsa.crt\nrkey2 = {value}\n").cas[0]
    path = value if is_uri or value[0] == "/" else f"{tmp_path}/{value}"
    assert (ca.rkey, ca.rkey2) == (path, path)
    assert ca.private_files == ([] if is_uri else [("rkey", path), ("rkey2", path)])


def test_an_index_that_is_never_stale(load, tmp_path):
    ca = load(CA + "stale_after = never\n").cas[0]
    assert ca.stale_after == 0
    ca.db = str(tmp_path / "nowhere")
    ca.check_heartbeat(10**9)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", ": no section of a CA in it, such as [root-ca]"),
        ("[responder]\n", ": no section of a CA in it, such as [root-ca]"),
        ("db = db\n", ":1: `db` stands before the first [section]"),
        (CA + "nonsense\n", ":6: neither `setting = value` nor [section]"),
        (CA + "[broken\n", ":6: neither `setting = value` nor [section]"),
        (CA + "rsinger = x\n", ":6: unknown setting `rsinger`; did you mean `rsigner`?"),
        (
            CA + "zzz = x\n",
            (
                ":6: unknown setting `zzz`; known are db, ca, rsigner, rkey, passin, rsigner2,"
                " rkey2, passin2, cache, cache_size, presign, cache_from, nmin, max_age,"
                " stale_after, sync_from, nonce, unissued, responder_id, signer_trust,"
                " archive_cutoff"
            ),
        ),
        (CA + "log = problems\n", ":6: unknown setting `log`; it belongs in [responder]"),
        (
            CA + "[responder]\nnmin = 5\n",
            ":7: unknown setting `nmin`; it belongs in the section of a CA",
        ),
        (
            CA + "[nonce]\nhyperlink = https://example.com\n",
            ":6: [nonce] has no setting of a CA; known are responder",
        ),
        (CA + "db = other\n", ":6: a second `db` in [root-ca]"),
        (CA + CA, ":6: a second section [root-ca]"),
        (
            CA + "[responser]\nhyperlink = https://example.com\n",
            ":6: [responser] has no setting of a CA; did you mean `responder`?",
        ),
        (
            CA + "[responder]\nhyperlnk = https://example.com\n",
            ":7: unknown setting `hyperlnk`; did you mean `hyperlink`?",
        ),
        (
            CA.replace("rkey = ocsp.key\n", ""),
            "; on a host without the key, set `cache_from` to the `cache` of the host that signs",
        ),
        (
            CA + "cache_from = signer:/var/cache/ocsp-cgi\n",
            ":1: [root-ca] has both `rkey` and `cache_from`: a host that has the key signs by"
            " itself; remove one of them",
        ),
        (
            KEYLESS + "passin = pass\n",
            ":1: [root-ca] has `passin`, but no `rkey`",
        ),
        (
            KEYLESS + "rsigner2 = rsa.crt\nrkey2 = rsa.key\n",
            ":1: [root-ca] has `rkey2`, but no `rkey`",
        ),
        (
            KEYLESS + "presign = yes\n",
            ":1: [root-ca] has `presign = yes`, but no `rkey`: presign on the other host",
        ),
    ],
)
def test_errors_say_where_and_what(load, tmp_path, text, message):
    with pytest.raises(config.ConfigError) as error:
        load(text)
    assert str(error.value).startswith(f"{tmp_path}/ocsp-cgi.conf") and str(error.value).endswith(
        message
    )


@pytest.mark.parametrize(
    "text, message, setting",
    [
        (
            CA + "[responder]\nhyperlink = javascript:alert(1)\n",
            (
                ":7: `hyperlink` is `javascript:alert(1)`, and should be a URL that begins with"
                " https:// or http://"
            ),
            "hyperlink",
        ),
        (CA.replace("rsigner = /abs/ocsp.crt\n", ""), ":1: [root-ca] has no `rsigner`", "rsigner"),
        (CA.replace("ocsp.key", ""), ":5: `rkey` has no value", "rkey"),
        (CA + "nmin = 0\n", ":6: `nmin` is `0`, and should be minutes, 1 to 5256000", "nmin"),
        (CA + "nmin = soon\n", ":6: `nmin` is `soon`, and should be minutes, 1 to 5256000", "nmin"),
        (CA + "nmin = " + "9" * 5000, ", and should be minutes, 1 to 5256000", "nmin"),
        (CA + "nmin = \u0665\n", ", and should be minutes, 1 to 5256000", "nmin"),
        (
            CA + "archive_cutoff = never\n",
            ":6: `archive_cutoff` is `never`, and should be `ca` or days, 1 to 36500",
            "archive_cutoff",
        ),
        (
            CA + "signer_trust = any\n",
            ":6: `signer_trust` is `any`, and should be issued or local",
            "signer_trust",
        ),
        (
            CA + "cache_size = 1G\n",
            ":6: `cache_size` is `1G`, and should be MiB, 1 to 1048576",
            "cache_size",
        ),
        (CA + "nonce = off\n", ":6: `nonce` is `off`, and should be echo or ignore", "nonce"),
    ],
)
def test_errors_say_what_a_setting_means(load, tmp_path, text, message, setting):
    meaning = settings_table.meaning(setting)
    assert meaning.startswith(": ") and f", such as `{setting} = " in meaning
    with pytest.raises(config.ConfigError) as error:
        load(text)
    assert str(error.value).startswith(f"{tmp_path}/ocsp-cgi.conf")
    assert str(error.value).endswith(message + meaning)


def test_not_utf_8(load):
    with pytest.raises(config.ConfigError, match="not UTF-8"):
        load(CA + "# ü\n", "latin-1")


def test_no_file(tmp_path):
    with pytest.raises(
        config.ConfigError,
        match="No such file or directory; this is the config, which OCSP_CGI_CONFIG names",
    ):
        config.load(str(tmp_path / "none"))
    with pytest.raises(config.ConfigError, match="Is a directory"):
        config.load(str(tmp_path))


def test_relative_paths_start_from_the_config_wherever_it_is_named_from(
    load, tmp_path, monkeypatch
):
    load(CA)
    monkeypatch.chdir(tmp_path)
    assert config.load("ocsp-cgi.conf").cas[0].db == "db"
    assert config.load("./ocsp-cgi.conf").cas[0].db == "./db"
