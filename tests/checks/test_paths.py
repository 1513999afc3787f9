"""Who can read and replace the files of the config, as `check` sees it."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess

import pytest
from checking import problem, problems, subject_of, write_config
from clients import settle

from ocsp_cgi.checks import paths
from ocsp_cgi.checks.finding import Level

RESPONDER, OTHER = "daemon", "bin"  # accounts of every distribution, each alone in its group


def as_user(ca, user: str = RESPONDER, **settings: str):
    return subject_of(write_config(ca.home, **settings), user)


@pytest.fixture
def readable(ca):
    """A CA whose files nobody can read, and nobody else."""
    account = pwd.getpwnam(RESPONDER)
    key = ca.home / "private" / "root-ocsp.key"
    os.chown(key, 0, account.pw_gid)
    key.chmod(0o640)
    key.parent.chmod(0o711)
    return ca


def run(command: str) -> None:
    subprocess.run(command, shell=True, check=True)


def test_files_of_ones_own(ca):
    found = paths.examine(subject_of(ca.home / "ocsp-cgi.conf"))
    assert [finding.level for finding in found] == [Level.OK]
    assert "can read all 5 files of the config" in found[0].what


@pytest.mark.root
@pytest.mark.parametrize(
    "name, mode",
    [
        ("private/root-ocsp.key", 0o600),
        ("private", 0o700),
        ("db", 0o700),
        ("db/index", 0o600),
        ("root-ca.crt", 0o600),
        ("ocsp-cgi.conf", 0o600),
        ("", 0o700),
    ],
)
def test_a_file_the_user_cannot_read(readable, name, mode):
    """The command of the finding is all it takes."""
    write_config(readable.home)
    (readable.home / name).chmod(mode)
    subject = subject_of(readable.home / "ocsp-cgi.conf", RESPONDER)
    found = problems(paths, subject)
    assert {finding.level for finding in found} == {Level.FAIL}
    assert all("ermission denied" in finding.what for finding in found)
    for command in {finding.command for finding in found}:
        run(command)
    assert problems(paths, subject) == []


@pytest.mark.root
def test_one_command_opens_the_directory_and_the_file(ca):
    (ca.home / "private").chmod(0o700)
    (ca.home / "private" / "root-ocsp.key").chmod(0o600)
    found = problem(paths, as_user(ca))
    run(found.command)
    assert problems(paths, as_user(ca)) == []
    assert (ca.home / "private" / "root-ocsp.key").stat().st_mode & 0o777 == 0o640


@pytest.mark.root
def test_access_control_lists_are_respected(readable):
    if subprocess.run(["sh", "-c", "command -v setfacl"], capture_output=True).returncode:
        pytest.skip("setfacl is not installed (Debian: apt-get install acl)")
    key = readable.home / "private" / "root-ocsp.key"
    os.chown(key, 0, 0)
    key.chmod(0o600)
    assert problems(paths, as_user(readable))
    done = subprocess.run(["setfacl", "-m", f"u:{RESPONDER}:r", key], capture_output=True)
    if done.returncode:
        pytest.skip(f"no access control lists here: {done.stderr.decode()}")
    assert problems(paths, as_user(readable)) == []


def test_a_key_that_everybody_may_read(ca):
    (ca.home / "private" / "root-ocsp.key").chmod(0o604)
    found = problem(paths, subject_of(ca.home / "ocsp-cgi.conf"))
    assert (found.level, "everybody on this machine may read it: chmod o-rwx" in found.what) == (
        Level.FAIL,
        True,
    )


@pytest.mark.parametrize("name", ["", "root-ca.crt", "db", "db/index", "private", "ocsp-cgi.conf"])
def test_what_everybody_can_replace(ca, name):
    place = ca.home / name
    place.chmod(place.stat().st_mode | 0o002)
    found = problem(paths, subject_of(ca.home / "ocsp-cgi.conf"))
    assert (found.level, found.where) == (Level.FAIL, str(place))
    assert found.what.startswith("everybody can replace ")
    run(found.command)
    assert problems(paths, subject_of(ca.home / "ocsp-cgi.conf")) == []


def test_what_is_in_a_sticky_directory_belongs_to_its_owner(ca):
    ca.home.chmod(0o1777)
    assert problems(paths, subject_of(ca.home / "ocsp-cgi.conf")) == []


def test_a_directory_that_only_a_link_leads_to(ca, place):
    """Whoever can replace what the link leads to can replace the file."""
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (ca.home / "root-ca.crt").rename(elsewhere / "root-ca.crt")
    (ca.home / "root-ca.crt").symlink_to("../elsewhere/root-ca.crt")
    assert problems(paths, subject_of(ca.home / "ocsp-cgi.conf")) == []
    elsewhere.chmod(0o777)
    found = problem(paths, subject_of(ca.home / "ocsp-cgi.conf"))
    assert found.where == str(elsewhere)


@pytest.mark.root
def test_other_owners(readable):
    other, own = (pwd.getpwnam(name).pw_uid for name in (OTHER, RESPONDER))
    os.chown(readable.home / "root-ca.crt", other, -1)
    found = problem(paths, as_user(readable))
    assert (found.level, found.what) == (Level.FAIL, "bin can replace `ca` of [root-ca]")
    run(found.command)
    # The responder's own user must not be able to stay, but has the key anyway.
    os.chown(readable.home / "root-ca.crt", own, -1)
    assert problem(paths, as_user(readable)).level == Level.WARN
    os.chown(readable.home / "root-ca.crt", 0, -1)
    key = readable.home / "private" / "root-ocsp.key"
    os.chown(key, own, -1)
    key.chmod(0o400)
    assert problems(paths, as_user(readable)) == []
    # Of a database, the index belongs to the owner of the directory, whoever runs the job.
    os.chown(readable.home / "db" / "index", other, -1)
    assert "bin can replace `db` of [root-ca]" in problem(paths, as_user(readable)).what
    os.chown(readable.home / "db", other, -1)
    assert problems(paths, as_user(readable)) == []
    os.chown(readable.home / "db", own, -1)
    found = problems(paths, as_user(readable))
    assert {finding.level for finding in found} == {Level.WARN, Level.FAIL}


@pytest.mark.root
def test_groups(readable):
    """A group that has members who should not write, or read the key."""
    group = grp.getgrgid(pwd.getpwnam(OTHER).pw_gid)
    os.chown(readable.home / "db", -1, group.gr_gid)
    (readable.home / "db").chmod(0o775)
    found = problem(paths, as_user(readable))
    assert found.what == f"the group {group.gr_name} (bin) can replace `db` of [root-ca]"
    (readable.home / "db").chmod(0o755)
    os.chown(readable.home / "db", -1, 0)
    key = readable.home / "private" / "root-ocsp.key"
    os.chown(key, pwd.getpwnam(RESPONDER).pw_uid, pwd.getpwnam(OTHER).pw_gid)
    found = problem(paths, as_user(readable))
    assert (found.level, found.what) == (
        Level.WARN,
        "bin can read `rkey` of [root-ca], by the group bin",
    )
    run(found.command)
    assert problems(paths, as_user(readable)) == []


def test_a_config_that_went_away(ca):
    subject = subject_of(ca.home / "ocsp-cgi.conf")
    (ca.home / "ocsp-cgi.conf").unlink()
    assert "No such file or directory; this is the config" in problem(paths, subject).what


def test_a_missing_pass_phrase_file(ca):
    path = write_config(ca.home, passin="phrase")
    settle(ca.home / "db" / "index")
    assert "phrase: No such file or directory; `passin`" in problem(paths, subject_of(path)).what


def test_files_of_two_signers(ca):
    """What keeps one from signing is only a warning, unless the other cannot sign either."""
    ca.issue("second", "ocsp_ext")
    more = {"rsigner2": "second.crt", "rkey2": "private/second.key", "passin2": "phrase"}
    path = write_config(ca.home, **more)
    (ca.home / "phrase").write_text("secret\n")
    (ca.home / "phrase").chmod(0o600)
    [found] = paths.examine(subject_of(path))
    assert found.level == Level.OK and "all 8 files" in found.what
    (ca.home / "phrase").unlink()
    found = problem(paths, subject_of(path))
    assert (found.level, "`passin2` names it" in found.what) == (Level.WARN, True)
    (ca.home / "root-ocsp.crt").unlink()
    assert [one.level for one in problems(paths, subject_of(path))] == [Level.FAIL] * 2


def test_a_key_that_is_no_file(ca):
    path = write_config(ca.home, rkey="pkcs11:token=ocsp")
    [found] = paths.examine(subject_of(path))
    assert found.level == Level.OK and "all 4 files" in found.what
