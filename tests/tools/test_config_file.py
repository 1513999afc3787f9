"""Changing settings in a config: everything else in the file stays."""

from __future__ import annotations

import argparse
import os

import pytest

from ocsp_cgi import config
from ocsp_cgi.tools import config_file
from ocsp_cgi.tools.entry import CommandError

TEXT = """\
# the CAs of Example
[responder]
hyperlink = https://pki.example.com/

[root-ca]
db      = /etc/ssl/root/db
ca      = /etc/ssl/root/root-ca.crt
; the signer of this quarter
rsigner = /etc/ssl/root/root-ocsp.crt
rkey =\t/etc/ssl/root/root-ocsp.key

# offline
[old-ca]
db = /etc/ssl/old/db
ca = /etc/ssl/old/ca.crt
rsigner = /etc/ssl/old/ocsp.crt
rkey = /etc/ssl/old/ocsp.key"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "ocsp-cgi.conf"
    path.write_text(TEXT)
    return path


def test_a_setting_is_changed_and_all_else_stays(file):
    assert config_file.edit(str(file), {("root-ca", "rkey"): "/k.key"})
    assert file.read_text() == TEXT.replace("\t/etc/ssl/root/root-ocsp.key", "\t/k.key")
    assert config.load(str(file)).cas[0].rkey == "/k.key"


def test_a_new_setting_goes_behind_the_last_of_its_section(file):
    changes = {("root-ca", "stale_after"): "10", ("old-ca", "nmin"): "5"}
    assert config_file.edit(str(file), changes)
    expected = TEXT.replace("root-ocsp.key\n", "root-ocsp.key\nstale_after = 10\n")
    assert file.read_text() == expected + "\nnmin = 5\n"


def test_a_setting_is_removed(file):
    assert config_file.edit(str(file), {("responder", "hyperlink"): None})
    assert file.read_text() == TEXT.replace("hyperlink = https://pki.example.com/\n", "")


def test_nothing_to_change_writes_nothing(file):
    before = file.stat()
    changes = {("root-ca", "db"): "/etc/ssl/root/db", ("root-ca", "nmin"): None}
    assert not config_file.edit(str(file), changes)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_lines_keep_their_ends(file):
    file.write_bytes(TEXT.replace("\n", "\r\n").encode())
    config_file.edit(str(file), {("root-ca", "db"): "/new", ("old-ca", "nmin"): "5"})
    assert file.read_bytes().count(b"\n") == file.read_bytes().count(b"\r\n")
    assert config.load(str(file)).cas[0].db == "/new"


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_owner_and_mode_stay_under_any_umask(file, umask):
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 12345, 54321)
    before, old_umask = file.stat(), os.umask(umask)
    try:
        config_file.edit(str(file), {("root-ca", "nmin"): "5"})
    finally:
        os.umask(old_umask)
    after = file.stat()
    assert [after.st_mode, after.st_uid, after.st_gid] == [
        before.st_mode,
        before.st_uid,
        before.st_gid,
    ]
    assert after.st_ino != before.st_ino


def test_the_old_value_is_remembered(file):
    original = file.read_text()
    first = {("root-ca", "rkey"): "/1.key", ("root-ca", "rsigner"): "/1.crt"}
    assert config_file.edit(str(file), first, "2026-11-29")
    assert config_file.remembered(str(file), "root-ca", "rkey") == "/etc/ssl/root/root-ocsp.key"
    assert config_file.remembered(str(file), "old-ca", "rkey") == ""
    assert config_file.value(str(file), "root-ca", "rkey") == "/1.key"
    second = {("root-ca", "rkey"): "/2.key", ("root-ca", "rsigner"): "/2.crt"}
    assert config_file.edit(str(file), second, "2027-02-15")
    text = file.read_text()
    assert "# rkey before 2027-02-15 = /1.key\nrkey =\t/2.key\n" in text
    assert text.count(" before ") == 2
    assert not config_file.edit(str(file), second, "2027-05-01"), "nothing to remember"
    lines = [line for line in text.split("\n") if " before " not in line]
    assert len(lines) == len(original.split("\n"))


def test_processes_do_not_undo_each_others_changes(file):
    for _ in range(10):
        file.write_text(TEXT)
        waiting, start = os.pipe()
        children = []
        for section in ("root-ca", "old-ca"):
            children.append(os.fork())
            if not children[-1]:
                try:
                    os.read(waiting, 1)
                    config_file.edit(str(file), {(section, "nmin"): "5"})
                    os._exit(0)
                finally:
                    os._exit(1)
        os.write(start, b"..")
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        os.close(waiting)
        os.close(start)
        assert [ca.nmin for ca in config.load(str(file)).cas] == [5, 5]


def test_a_link_stays_a_link(file, tmp_path):
    link = tmp_path / "link.conf"
    link.symlink_to(file.name)
    config_file.edit(str(link), {("root-ca", "nmin"): "5"})
    assert link.is_symlink() and "nmin = 5" in file.read_text()


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({("root-ca", "nmin"): "soon"}, "`nmin` is `soon`"),
        ({("root-ca", "rkey"): None}, "has no `rkey`"),
        ({("sub-ca", "nmin"): "5"}, "no [sub-ca] in the config"),
    ],
)
def test_what_could_not_be_loaded_is_not_written(file, changes, reason):
    with pytest.raises(CommandError) as error:
        config_file.edit(str(file), changes)
    assert reason in str(error.value)
    assert file.read_text() == TEXT and [file] == list(file.parent.iterdir())


def test_cas_by_name(file):
    settings = config.load(str(file))
    assert config_file.choose(settings, []) == settings.cas
    assert [ca.name for ca in config_file.choose(settings, ["old-ca", "old-ca"])] == ["old-ca"]
    with pytest.raises(CommandError) as error:
        config_file.choose(settings, ["sub-ca"])
    assert str(error.value) == "no [sub-ca] in the config; its CAs are [root-ca], [old-ca]"


def test_which_config(monkeypatch):
    parser = argparse.ArgumentParser()
    config_file.add_argument(parser)
    monkeypatch.setenv("OCSP_CGI_CONFIG", "/by/environment")
    assert config_file.path(parser.parse_args(["--config", "/by/option"])) == "/by/option"
    assert config_file.path(parser.parse_args([])) == "/by/environment"
    monkeypatch.delenv("OCSP_CGI_CONFIG")
    assert config_file.path(parser.parse_args([])) == config.DEFAULT_PATH
