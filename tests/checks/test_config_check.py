"""The config and its sections, as `check` sees them."""

from __future__ import annotations

from checking import CONFIG, problem, subject_of

from ocsp_cgi.checks import config_file
from ocsp_cgi.checks.finding import Level


def write(home, **sections: dict[str, str]):
    path = home / "several.conf"
    lines = []
    for name, changes in sections.items():
        lines.append(f"[{name}]\n")
        lines += [f"{key} = {value}\n" for key, value in {**CONFIG, **changes}.items()]
    path.write_text("".join(lines))
    return path


def test_a_good_one(pki):
    [found] = config_file.examine(subject_of(pki.home / "ocsp-cgi.conf"))
    assert (found.level, found.what) == (Level.OK, "the config can be loaded: [root-ca]")


def test_a_mistake_is_named_with_its_line(ca):
    subject = subject_of(ca.home / "ocsp-cgi.conf")
    with open(subject.config, "a") as file:
        file.write("[other]\ndb = x\nrkye = x\n")
    found = problem(config_file, subject)
    assert (found.level, "did you mean `rkey`?" in found.what) == (Level.FAIL, True)
    lines = (ca.home / "ocsp-cgi.conf").read_text().splitlines()
    assert found.what.startswith(f"{subject.config}:{len(lines)}: ")


def other_ca(ca) -> dict[str, str]:
    ca.openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", "/CN=Other", "-keyout", "private/other.key", "-out", "other.crt", "-days", "9"),
    )
    return {"ca": "other.crt", "rsigner": "other.crt", "rkey": "private/other.key"}


def test_two_cas_with_one_database(ca):
    found = problem(config_file, subject_of(write(ca.home, first={}, second=other_ca(ca))))
    assert found.level == Level.FAIL
    assert "[first] and [second] of the config have the same `db`" in found.what


def test_two_databases_of_one_ca(ca):
    (ca.home / "copy").mkdir()
    (ca.home / "copy" / "index").write_bytes((ca.home / "db" / "index").read_bytes())
    found = problem(config_file, subject_of(write(ca.home, a={}, b={"db": "copy"})))
    assert found.level == Level.FAIL
    assert "[a] and [b] of the config are one CA" in found.what
