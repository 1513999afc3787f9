"""How to break each thing of breakages.md."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import clients

from ocsp_cgi import limits, sync_state
from ocsp_cgi.sync_state import SyncState
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.openssl_ca import PrivateCA

_DAY = 24 * 60 * 60
_BIN = "/usr/lib/cgi-bin"
_ROW = "{kind}\t330101000000Z\t{revoked}\t{serial}\tunknown\t/C=GB/O=Example/CN=www\n"


class Place:
    """A CA, its responder and Apache's configuration, before Apache starts."""

    def __init__(self, ca: PrivateCA, script: Path):
        self.ca = ca
        self.script = script
        self.config = ca.home / "ocsp-cgi.conf"
        self.site = httpd.SITE_CONF.read_text()
        self.runs = True
        self.asked: int | None = None  # the serial number to ask for; by default good.crt's
        self.requests = 1

    @property
    def index(self) -> Path:
        return self.ca.home / "db" / "index"

    @property
    def key(self) -> Path:
        return self.ca.home / "private" / "root-ocsp.key"

    def file(self, name: str) -> Path:
        return self.ca.home / name

    def set(self, *lines: str) -> None:
        """Add settings to [root-ca]."""
        text = self.config.read_text()
        added = "".join(f"{line}\n" for line in lines)
        self.config.write_text(text.replace("[root-ca]\n", f"[root-ca]\n{added}"))

    def edit_site(self, old: str, new: str) -> None:
        assert old in self.site, old
        self.site = self.site.replace(old, new, 1)

    def rewrite_index(self, change: Callable[[str], str]) -> None:
        text = self.index.read_text()
        changed = change(text)
        assert changed != text
        self.index.write_text(changed)

    def issue_signer(self, *options: str, extensions: str = "ocsp_ext", days: str = "90") -> None:
        """Issue root-ocsp.crt again, with further options of `openssl ca`."""
        self.ca.sign("root-ocsp", extensions, days, *options)

    def edit_extensions(self, old: str, new: str) -> None:
        cnf = self.file("root-ca.cnf")
        text = cnf.read_text()
        head, section, rest = text.partition("[ocsp_ext]")
        assert old in rest
        cnf.write_text(head + section + rest.replace(old, new, 1))
        self.issue_signer()


def _write(path: Callable[[Place], Path], content: str) -> Callable[[Place], object]:
    return lambda place: path(place).write_text(content)


def _date(seconds: float) -> str:
    return time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() + seconds))


def _ends_in(days: float) -> Callable[[Place], None]:
    return lambda place: place.issue_signer(
        "-startdate", _date(-80 * _DAY), "-enddate", _date(days * _DAY + 60)
    )


def _begins_tomorrow(place: Place) -> None:
    place.issue_signer("-startdate", _date(_DAY), "-enddate", _date(80 * _DAY))


def _by_another_ca(place: Place) -> None:
    other = PrivateCA(place.ca.home.parent / "other", "Another CA")
    other.issue("root-ocsp", "ocsp_ext")
    for name in ("root-ocsp.crt", "private/root-ocsp.key"):
        place.file(name).write_bytes((other.home / name).read_bytes())


def _index_of_another_ca(place: Place) -> None:
    other = PrivateCA(place.ca.home.parent / "other", "Another CA")
    other.issue("www")
    place.index.write_bytes((other.home / "db" / "index").read_bytes())


def _another_key(place: Place) -> None:
    place.ca.issue("next", "ocsp_ext")
    place.key.write_bytes(place.file("private/next.key").read_bytes())


def _of_two_signers(break_it: Callable[[Place], object]) -> Callable[[Place], None]:
    def break_one(place: Place) -> None:
        place.ca.issue("second", "ocsp_ext", ("rsa:2048",))
        place.file("private/second.key").chmod(place.key.stat().st_mode)
        of = place.key.stat()
        os.chown(place.file("private/second.key"), of.st_uid, of.st_gid)
        place.set("rsigner2 = second.crt", "rkey2 = private/second.key")
        break_it(place)

    return break_one


def _new_ca_key(place: Place) -> None:
    other = PrivateCA(place.ca.home.parent / "other")
    place.file("root-ca.crt").write_bytes((other.home / "root-ca.crt").read_bytes())


def _encrypt(place: Place) -> None:
    place.ca.openssl(
        *("pkcs8", "-topk8", "-in", "private/root-ocsp.key", "-passout", "pass:secret"),
        *("-out", "private/encrypted.key"),
    )
    place.key.write_bytes(place.file("private/encrypted.key").read_bytes())


def _append(kind: str, revoked: str = "", serial: str = "0ABC") -> Callable[[Place], None]:
    row = _ROW.format(kind=kind, revoked=revoked, serial=serial)
    return lambda place: place.rewrite_index(lambda text: text + row)


def _spaces(place: Place) -> None:
    row = _ROW.format(kind="R", revoked="261101000000Z", serial="0ABC").replace("\t", " ")
    place.asked = 0xABC
    place.rewrite_index(lambda text: text + row)


def _unrevoked(place: Place) -> None:
    """By hand: the type, but not the date."""
    place.asked = int(place.ca.serial("bad"), 16)
    place.rewrite_index(lambda text: re.sub(r"(?m)^R(?=.*/CN=bad$)", "V", text))


def _without_row(place: Place) -> None:
    serial = place.ca.serial("root-ocsp")
    place.rewrite_index(
        lambda text: "".join(line for line in text.splitlines(True) if serial not in line)
    )


def _copied(ago: float, *settings: str, state: SyncState | None = None) -> Callable[[Place], None]:
    """The index was copied so many seconds ago; what came of the last copy."""

    def break_it(place: Place) -> None:
        place.set("sync_from = ca.example.com:index", *settings)
        heartbeat = place.index.with_name("heartbeat")
        heartbeat.touch()
        os.utime(heartbeat, (time.time() - ago,) * 2)
        if state is not None:
            sync_state.write(str(place.index.parent), state)

    return break_it


def _refused() -> SyncState:
    return SyncState(
        int(time.time()) - 120,
        "ca.example.com:index",
        sync_state.REFUSED,
        "it has 3 rows fewer than the index in use",
        "ocsp-cgi sync --force root-ca",
    )


def _failed() -> SyncState:
    return SyncState(
        int(time.time()) - 120,
        "ca.example.com:index",
        sync_state.FAILED,
        "ca.example.com: connection refused",
        "ocsp-cgi sync root-ca",
    )


def _never_issued(place: Place) -> None:
    place.asked, place.requests = 0xABC, limits.NEVER_ISSUED_PER_DAY + 1


def _two_cas_one_index(place: Place) -> None:
    other = PrivateCA(place.ca.home / "other", "Another CA")
    other.issue("root-ocsp", "ocsp_ext")
    with open(place.config, "a") as file:
        file.write(
            "[other-ca]\ndb = db\nca = other/root-ca.crt\nrsigner = other/root-ocsp.crt\n"
            "rkey = other/private/root-ocsp.key\n"
        )


def _interpreter(line: str) -> Callable[[Place], None]:
    def break_it(place: Place) -> None:
        text = place.script.read_text()
        place.script.write_text(line + "\n" + text.partition("\n")[2])

    return break_it


def _without_cryptography(place: Place) -> None:
    """A virtual environment that nothing was installed into."""
    environment = place.script.parent / "venv"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", environment], check=True)
    _interpreter(f"#!{environment}/bin/python3 -EsS")(place)


def _link(place: Place) -> None:
    target = place.script.rename(place.script.with_name("real.cgi"))
    place.script.symlink_to(target)
    os.chown(place.script, 65534, 65534, follow_symlinks=False)


def _cache(mode: int) -> Callable[[Place], None]:
    def break_it(place: Place) -> None:
        directory = place.file("cache")
        directory.mkdir()
        directory.chmod(mode)
        place.set("cache = cache")

    return break_it


def _not_running(place: Place) -> None:
    place.runs = False


def _cut_off(place: Place) -> None:
    place.asked = int(place.ca.serial("root-ocsp"), 16) + 100
    place.rewrite_index(lambda text: text[: text.rindex("\n", 0, -1) + 30])


def _zeros(place: Place) -> None:
    place.rewrite_index(lambda text: text[:90] + "\0" * 40 + text[130:])


def _another_host(place: Place) -> None:
    other = "<VirtualHost *:80>\nServerName ocsp.example.com\n</VirtualHost>\n"
    place.edit_site("<VirtualHost", other + "<VirtualHost")


def _wsgi(old: str, new: str) -> Callable[[Place], None]:
    """With mod_wsgi, a line of its site is another one."""

    def break_it(place: Place) -> None:
        place.site = clients.wsgi_site()
        place.edit_site(old, new)

    return break_it


def _no_wsgi_script(place: Place) -> None:
    place.site = clients.wsgi_site()
    place.script.with_name("ocsp.wsgi").unlink()


def _scriptalias_first(place: Place) -> None:
    alias = 'Alias "/cgi-bin/ocsp.cgi"'
    _wsgi(alias, f'ScriptAlias "/cgi-bin/" "{_BIN}/"\n    WSGIScript{alias}')(place)
    place.edit_site("        SetHandler wsgi-script\n", "")


def _unread_wsgi_script(place: Place) -> None:
    place.site = clients.wsgi_site()
    place.script.with_name("ocsp.wsgi").chmod(0)


# By its title in breakages.md.
BREAKAGES: dict[str, Callable[[Place], object]] = {
    # The signer
    "The signer has expired": _ends_in(-1),
    "The signer expires in five days": _ends_in(5),
    "The signer is not valid yet": _begins_tomorrow,
    "The signer was revoked": lambda place: place.ca.revoke("root-ocsp"),
    "The key is another certificate's": _another_key,
    "There is no key": lambda place: place.key.unlink(),
    "The web server cannot read the key": lambda place: place.key.chmod(0),
    "Everybody can read the key": lambda place: place.key.chmod(0o644),
    "The key is encrypted, and there is no `passin`": _encrypt,
    "There is no certificate of the signer": lambda place: place.file("root-ocsp.crt").unlink(),
    "The request is in place of the signer's certificate": lambda place: place.file(
        "root-ocsp.csr"
    ).replace(place.file("root-ocsp.crt")),
    "The first of two signers has expired": _of_two_signers(_ends_in(-1)),
    "The first of two signers was revoked": _of_two_signers(
        lambda place: place.ca.revoke("root-ocsp")
    ),
    "There is no key of the first of two signers": _of_two_signers(
        lambda place: place.key.unlink()
    ),
    "There is no key of the second of two signers": _of_two_signers(
        lambda place: place.file("private/second.key").unlink()
    ),
    "The signer is a server's certificate": lambda place: place.issue_signer(
        extensions="server_ext"
    ),
    "The signer lacks id-pkix-ocsp-nocheck": lambda place: place.edit_extensions(
        "noCheck                 = yes", ""
    ),
    "Another CA issued the signer": _by_another_ca,
    # The CA
    "There is no certificate of the CA": lambda place: place.file("root-ca.crt").unlink(),
    "The CA has a new key, and the old one's signer": _new_ca_key,
    # The index
    "There is no index": lambda place: place.index.unlink(),
    "The index is empty": _write(lambda place: place.index, ""),
    "An error page is in place of the index": _write(
        lambda place: place.index, "<html>404 Not Found</html>\n"
    ),
    "The index was cut off": _cut_off,
    "The index has zeros in it, after a crash": _zeros,
    "There are both `index` and `index.txt`": lambda place: (
        place.index.parent / "index.txt"
    ).touch(),
    "A row has spaces for TABs": _spaces,
    "A revoked row was made V by hand, and kept its date": _unrevoked,
    "It is the index of another CA": _index_of_another_ca,
    "The index is from before the signer was issued": _without_row,
    "Someone asks for serial numbers that were never issued": _never_issued,
    # Copying
    "The copy job has died": _copied(7 * _DAY, "stale_after = 10"),
    "Nothing has been copied yet": lambda place: place.set(
        "stale_after = 10", "sync_from = ca.example.com:index"
    ),
    "A copied index was refused, and the one in use is too old": lambda place: _copied(
        3600, "stale_after = 10", state=_refused()
    )(place),
    "The CA's host cannot be reached": lambda place: _copied(
        3600, "stale_after = 10", state=_failed()
    )(place),
    "The index is copied, without `stale_after`": _copied(60),
    "`sync_from` is set, and there is no job": _copied(60, "stale_after = 10"),
    # The config and the cache
    "A setting is misspelt": lambda place: place.set("rsinger = x.crt"),
    "There is no config": lambda place: place.config.unlink(),
    "Two CAs have one index": _two_cas_one_index,
    "Everybody can write to the cache": _cache(0o777),
    "The web server cannot write to the cache": _cache(0o500),
    # The program
    "Python is gone, as after an upgrade of the distribution": _interpreter(
        "#!/opt/ocsp-cgi/bin/python3 -EsS"
    ),
    "Its Python has no `cryptography`": _without_cryptography,
    "The script has line ends of Windows": _interpreter("#!/usr/bin/python3 -EsS\r"),
    "The script may not be run": lambda place: place.script.chmod(0o644),
    "A file of the program is missing": lambda place: (
        place.script.parent / "ocsp_cgi" / "config.py"
    ).unlink(),
    "The link to the script belongs to another user": _link,
    # Apache
    "Apache does not run": _not_running,
    "`AllowEncodedSlashes NoDecode` is missing": lambda place: place.edit_site(
        "    AllowEncodedSlashes NoDecode\n", ""
    ),
    "Everything is redirected to https": lambda place: place.edit_site(
        "TraceEnable off", "Redirect permanent / https://www.example.com/"
    ),
    "`Require` keeps clients out": lambda place: place.edit_site(
        "Require all granted", "Require all denied"
    ),
    "Another virtual host has the name": _another_host,
    "The script is shown, not run": lambda place: place.edit_site("ScriptAlias", "Alias"),
    "The virtual host names another config": lambda place: place.edit_site(
        "/etc/ssl/ocsp-cgi.conf", "/etc/ssl/ocsp.conf"
    ),
    "Requests are limited to a few bytes": lambda place: place.edit_site(
        "LimitRequestBody 65536", "LimitRequestBody 10"
    ),
    # mod_wsgi
    "ocsp.wsgi is gone": _no_wsgi_script,
    "ocsp.wsgi cannot be read": _unread_wsgi_script,
    "mod_wsgi has no processes of that name": _wsgi(
        "WSGIProcessGroup ocsp-cgi", "WSGIProcessGroup ocsp"
    ),
    "A ScriptAlias takes the requests of mod_wsgi": _scriptalias_first,
    "ocsp.wsgi is shown, not run": _wsgi("        SetHandler wsgi-script\n", ""),
    "mod_wsgi may not run the script": _wsgi(" +ExecCGI", ""),
    "With mod_wsgi, `AllowEncodedSlashes NoDecode` is missing": _wsgi(
        "    AllowEncodedSlashes NoDecode\n", ""
    ),
}
# Of these, only root can make the cause.
FOR_ROOT = {"The link to the script belongs to another user"}
