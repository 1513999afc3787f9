"""`migrate`: from a shell script in cgi-bin to ocsp.cgi, and back, with a real openssl."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from clients import openssl_ocsp, settle, started
from test_compare import CHECKOUT, let_serve, write_script

from ocsp_cgi import config
from ocsp_cgi.tools import apache_lines, httpd, migration
from ocsp_cgi.tools.record import Record
from ocsp_cgi.tools.swap import Swap

SITE = """\
<VirtualHost *:80>
    ServerName pki.example.com
    ScriptAlias "/cgi-bin/" "/usr/lib/cgi-bin/"
    {set_env}
    <Directory "/usr/lib/cgi-bin">
        Options {options}
        Require all granted
    </Directory>
</VirtualHost>
"""
SET_ENV = 'SetEnv OCSP_CGI_CONFIG "/etc/ssl/ocsp-cgi.conf"'


@pytest.fixture
def ca(ca):
    return let_serve(ca)


@pytest.fixture
def script(ca, place):
    directory = place / "cgi-bin"
    directory.mkdir()
    directory.chmod(0o755)
    return write_script(ca, directory / "ocsp.cgi", nmin=5)


@pytest.fixture
def migrate(script, place, cgi):
    """migrate(option, ...) runs the command for `script`.  Returns its exit code and output."""

    def migrate(*options: object) -> tuple[int, str]:
        command = [sys.executable, "-m", "ocsp_cgi", "migrate", str(script)]
        command += ["--config", str(place / "ocsp-cgi.conf"), "--prefix", str(cgi.parent)]
        run = subprocess.run(
            [*command, "--rows", "2", *map(str, options)],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in run.stderr, run.stderr
        return run.returncode, run.stdout + run.stderr

    return migrate


@contextlib.contextmanager
def apache(place, script, options="+SymLinksIfOwnerMatch", set_env=SET_ENV, mpm="event"):
    site = SITE.format(options=options, set_env=set_env)
    with started(place / "httpd", script, place / "ocsp-cgi.conf", mpm, site) as server:
        yield server


@contextlib.contextmanager
def clients_asking(ca, url: str):
    """Clients that ask all the time inside the `with`; yields what they got that was not right, and
    how often they asked."""
    wrong: list[str] = []
    asked: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            for name, status in (("good", "good"), ("bad", "revoked")):
                seen = openssl_ocsp(ca.home, "-cert", f"{name}.crt", "-url", url)
                asked.append(name)
                if seen.stderr != "Response verify OK\n" or f": {status}\n" not in seen.stdout:
                    wrong.append(seen.stdout + seen.stderr)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield wrong, asked
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def wait_for(asked: list[str], more: int) -> None:
    """Until the clients have asked so many times more."""
    end = len(asked) + more
    while len(asked) < end:
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.apache
@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_no_request_is_lost_there_and_back(ca, script, place, cgi, migrate, mpm):
    old = script.read_bytes()
    with apache(place, script, mpm=mpm) as server, clients_asking(ca, server.url) as seen:
        wrong, asked = seen
        status, output = migrate("--url", server.url)
        assert status == 0, output
        assert script.is_symlink() and f"{server.url} has answered." in output
        wait_for(asked, 20)
        assert migrate("--back")[0] == 0
        assert script.read_bytes() == old and not script.is_symlink()
        assert os.access(script, os.X_OK)
        change = Swap(script, cgi)
        for _ in range(2):
            change.carry_out()
            wait_for(asked, 6)
            change.undo()
        log = server.error_log
    assert wrong == [] and len(asked) > 50, log
    assert " ocsp.cgi: POST serial=" in log


@pytest.mark.slow
@pytest.mark.apache
def test_one_mv_goes_back(ca, script, place, migrate):
    old = script.read_bytes()
    with apache(place, script) as server:
        status, output = migrate("--url", server.url)
        assert status == 0, output
        [command] = [line for line in output.splitlines() if line.startswith("    mv ")]
        subprocess.run(shlex.split(command), check=True)
        assert script.read_bytes() == old and not script.is_symlink()
        seen = openssl_ocsp(ca.home, "-cert", "good.crt", "-url", server.url)
    assert seen.stderr == "Response verify OK\n" and "good.crt: good\n" in seen.stdout


@pytest.mark.slow
@pytest.mark.apache
def test_apache_cannot_run_the_script_that_was_kept(ca, script, place, migrate):
    with apache(place, script) as server:
        assert migrate("--url", server.url)[0] == 0
        if os.geteuid() == 0:  # otherwise Apache is the owner
            for path in ("ocsp.cgi.before-migration", "ocsp.cgi.before-migration/ocsp.cgi"):
                url = server.url.replace("ocsp.cgi", path)
                assert "403" in openssl_ocsp(ca.home, "-cert", "good.crt", "-url", url).stderr
        assert sorted(path.name for path in script.parent.iterdir()) == [
            "ocsp.cgi",
            "ocsp.cgi.before-migration",
        ]


@pytest.mark.slow
@pytest.mark.apache
def test_where_apache_follows_no_links_nothing_changes(ca, script, place, migrate):
    with apache(place, script, options="None") as server, clients_asking(ca, server.url) as seen:
        status, output = migrate("--url", server.url)
    assert status == 1 and "Apache does not follow a link" in output
    assert "Options +SymLinksIfOwnerMatch" in output
    assert not script.is_symlink() and seen[0] == []
    assert [path.name for path in script.parent.iterdir()] == ["ocsp.cgi"]


@pytest.mark.slow
@pytest.mark.apache
def test_a_wrong_response_swaps_back(script, place, migrate):
    """Apache does not say where the config is."""
    old = script.read_bytes()
    with apache(place, script, set_env="") as server:
        status, output = migrate("--url", server.url)
    assert status == 1 and "is the old script again" in output
    assert f'SetEnv OCSP_CGI_CONFIG "{place}/ocsp-cgi.conf"' in output
    assert script.read_bytes() == old and not script.is_symlink()


@pytest.mark.slow
def test_dry_run_changes_nothing(ca, script, place, migrate):
    status, output = migrate("--dry-run")
    assert status == 0
    for line in (
        f"  db        {ca.home}/db/index (line 4)",
        f"    db      = {ca.home}/db/index",
        f"    rkey    = {ca.home}/private/root-ocsp.key",
        "    nmin    = 5",
        "  different      0",
        "Nothing was changed, because of --dry-run.",
    ):
        assert line in output.splitlines()
    assert not (place / "ocsp-cgi.conf").exists() and not script.is_symlink()


@pytest.mark.slow
def test_without_apache_the_config_has_to_be_found_elsewhere(ca, script, place, migrate):
    status, output = migrate("--url", "http://127.0.0.1:1/")
    assert status == 1 and "Apache has to tell ocsp.cgi where the config is" in output
    assert not script.is_symlink()
    status, output = migrate("--url", "http://127.0.0.1:1/", "--force")
    assert status == 0 and "so Apache is not asked" in output
    assert f"{place}/ocsp-cgi.conf has this CA" in output  # from the first time
    [section] = config.load(str(place / "ocsp-cgi.conf")).cas
    assert (section.db, section.nmin, section.name) == (f"{ca.home}/db/index", 5, "root-ca")
    status, output = migrate()
    assert status == 0 and "is ocsp.cgi already" in output and " --back\n" in output


@pytest.mark.slow
def test_different_responses_need_force(ca, script, place, migrate):
    text = (ca.home / "db" / "index").read_text().replace("keyCompromise", "superseded")
    (place / "index").write_text(text)
    (place / "index").chmod(0o644)
    settle(place / "index")
    status, output = migrate("--db", place / "index", "--url", "http://127.0.0.1:1/")
    assert status == 1 and "responses would be different" in output
    assert "before revoked, keyCompromise; now revoked, superseded" in " ".join(output.split())
    assert not script.is_symlink() and not (place / "ocsp-cgi.conf").exists()
    options = ("--db", place / "index", "--force", "--url", "http://127.0.0.1:1/")
    assert migrate(*options)[0] == 0 and script.is_symlink()


@pytest.mark.slow
def test_a_setting_that_the_script_does_not_say_is_asked_for(ca, script, migrate):
    text = script.read_text().replace(f"-rkey {ca.home}/private/root-ocsp.key", '-rkey "$KEY"')
    script.write_text(text)
    status, output = migrate()
    assert status == 1 and "    --rkey FILE" in output
    assert "  line 4: -rkey: the script does not set $KEY" in output
    key = ca.home / "private" / "root-ocsp.key"
    status, output = migrate("--dry-run", "--rkey", key)
    assert f"  rkey      {key} (--rkey)" in output
    assert status == 1 and "before no response; now good" in output  # it has no $KEY to sign with
    output = migrate("--dry-run", "--rows", "1", "--rkey", "pkcs11:token=none")[1]
    assert "  rkey      pkcs11:token=none (--rkey)" in output and "no such file" not in output


@pytest.mark.slow
def test_what_the_web_server_cannot_read_is_told(ca, script, place, migrate):
    (ca.home / "private").chmod(0o700)
    status, output = migrate("--dry-run")
    if os.geteuid() == 0:
        assert status == 1 and f"cannot enter {ca.home}/private: setfacl -m" in output
    (ca.home / "root-ca.crt").unlink()
    status, output = migrate("--dry-run")
    assert status == 1 and f"{ca.home}/root-ca.crt (ca): no such file" in output


@pytest.mark.slow
def test_the_program_has_to_be_installed(script, place, migrate):
    status, output = migrate("--prefix", place / "nowhere")
    assert status == 1 and f"the program is not in {place}/nowhere yet: run" in output
    assert not script.is_symlink() and (place / "ocsp-cgi.conf").exists()


@pytest.mark.slow
def test_another_config_is_never_replaced(ca, script, place, migrate):
    other = (ca.home / "ocsp-cgi.conf").read_text().replace("root-ocsp.", "other.")
    (place / "ocsp-cgi.conf").write_text(other)
    status, output = migrate()
    assert status == 1 and "has no section with these files" in output
    assert f"[root-ca]\ndb      = {ca.home}/db/index" in output
    assert (place / "ocsp-cgi.conf").read_text() == other and not script.is_symlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, says",
    [
        (("--url", "https://pki.example.com/"), "--url https://pki.example.com/: should be like"),
        (("--nmin", "soon"), "`nmin` is `soon`, and should be minutes"),
        (("--hyperlink", "ftp://x"), "`hyperlink` is `ftp://x`, and should be a URL"),
        (("--back",), "the old script is not there"),
    ],
)
def test_wrong_input_changes_nothing(script, place, migrate, options, says):
    status, output = migrate(*options)
    assert status == 1 and says in output
    assert [path.name for path in script.parent.iterdir()] == ["ocsp.cgi"]
    assert not (place / "ocsp-cgi.conf").exists()


def test_the_config_that_install_has_written_may_be_replaced(tmp_path):
    record = Record(tmp_path / "installed.json")
    path = tmp_path / "conf"
    text = f"[a]\ndb = {tmp_path}/db\nca = /c\nrsigner = {tmp_path}/s\nrkey = /k\n"
    path.write_text(text)
    wanted = {"db": "/i", "ca": "/c", "rsigner": "/s", "rkey": "/k"}
    with pytest.raises(Exception, match="has no section with these files"):
        migration.existing(path, wanted, record, text)
    record.files[str(path)] = hashlib.sha256(text.encode()).hexdigest()
    assert migration.existing(path, wanted, record, text) is False
    (tmp_path / "s").touch()  # it is in use
    with pytest.raises(Exception, match="has no section with these files"):
        migration.existing(path, wanted, record, text)


def test_an_earlier_migration_is_not_overwritten(tmp_path):
    script = tmp_path / "ocsp.cgi"
    script.write_text("old")
    change = Swap(script, tmp_path / "program")
    change.check()
    change.carry_out(pause=0)
    assert change.is_done and change.kept.read_text() == "old"
    script.unlink()
    script.write_text("new")
    with pytest.raises(Exception, match="kept by an earlier migration"):
        change.check()


def test_a_script_that_is_a_link_stays_one(tmp_path):
    (tmp_path / "real.sh").write_text("old")
    script = tmp_path / "ocsp.cgi"
    script.symlink_to("real.sh")
    change = Swap(script, tmp_path / "program")
    change.carry_out(pause=0)
    change.undo(pause=0)
    assert os.readlink(script) == "real.sh" and script.read_text() == "old"


def test_lines_that_an_old_site_lacks(tmp_path):
    site = tmp_path / "site.conf"
    site.write_text(
        "# AllowEncodedSlashes NoDecode\n"
        + SITE.format(set_env="", options="None").replace("*:80", "*:443", 1)
        + SITE.format(set_env="", options="None")
    )
    script = Path("/usr/lib/cgi-bin/ocsp.cgi")
    [found] = apache_lines.missing([site], script, config.DEFAULT_PATH)
    assert found.place == f"{site}, in <VirtualHost *:80> of pki.example.com (line 11)"
    assert found.lines == [
        "AllowEncodedSlashes NoDecode",
        "SetEnv ap_trust_cgilike_cl yes",
        '<Directory "/usr/lib/cgi-bin">',
        "    Options +SymLinksIfOwnerMatch",
        "</Directory>",
    ]
    [other] = apache_lines.missing([site], script, "/etc/other.conf")
    assert 'SetEnv OCSP_CGI_CONFIG "/etc/other.conf"' in other.lines


def test_our_own_site_lacks_nothing(tmp_path):
    site = tmp_path / "site.conf"
    text = httpd.SITE_CONF.read_text().replace("${OCSP_CGI_BIN}", "/usr/lib/cgi-bin")
    site.write_text(text)
    script = Path("/usr/lib/cgi-bin/ocsp.cgi")
    assert apache_lines.missing([site], script, config.DEFAULT_PATH) == []
