"""The signer, as `check` sees it."""

from __future__ import annotations

import inspect
import re

import checking
import pytest
from checking import problem, problems, write_config
from clients import settle

from ocsp_cgi.checks import signer
from ocsp_cgi.checks.finding import Level
from ocsp_cgi.signer import Signer

DAY = 24 * 60 * 60


def subject_of(path, later: int = 0, **fields: object):
    """A minute later than now, so that the last day has begun of what has just been issued."""
    return checking.subject_of(path, later=later + 60, **fields)


def test_a_good_signer(pki):
    found = signer.examine(subject_of(pki.home / "ocsp-cgi.conf"))
    assert {finding.level for finding in found} == {Level.OK}
    assert "issued by this CA, its key (EC, 256 bits) matches" in found[0].what
    assert [(one.name, one.value) for finding in found for one in finding.measures] == [
        ("root-ca signer days", 89),
        ("root-ca ca days", 3649),
    ]


@pytest.mark.parametrize(
    "days, level", [(59, Level.OK), (61, Level.WARN), (82, Level.WARN), (84, Level.FAIL)]
)
def test_days_until_the_signer_expires(pki, days, level):
    """It lasts 90 days: there is a warning 30 days before its end, and 7 days before it fails."""
    found = signer.examine(subject_of(pki.home / "ocsp-cgi.conf", later=days * DAY))
    end = next(finding for finding in found if "expires in" in finding.what)
    assert (end.level, end.command.endswith(" renew root-ca")) == (level, level > 0)
    assert f"root-ocsp.crt: expires in {89 - days} days, on 20" in end.what
    [measure] = end.measures
    assert (measure.value, measure.warning, measure.critical) == (89 - days, "30:", "7:")


def test_an_expired_signer_has_the_text_of_the_log_and_the_command(pki):
    found = problems(signer, subject_of(pki.home / "ocsp-cgi.conf", later=91 * DAY))
    assert len({finding.what for finding in found}) == 1
    assert "root-ocsp.crt: expired on " in found[0].what
    assert any(finding.command.endswith("renew root-ca") for finding in found)
    assert any(one.value == -2 for finding in found for one in finding.measures)


def test_a_ca_that_ends(pki):
    later = (3650 - 20) * DAY
    found = problems(signer, subject_of(pki.home / "ocsp-cgi.conf", later=later))
    [end] = [finding for finding in found if "append the new one to this file" in finding.what]
    assert end.level == Level.WARN and "root-ca.crt: expires in 19 days" in end.what


def test_thresholds_of_the_operator(pki):
    subject = subject_of(pki.home / "ocsp-cgi.conf", warning_days=100, critical_days=80)
    assert problem(signer, subject).level == Level.WARN
    subject = subject._replace(critical_days=90)
    assert problem(signer, subject).level == Level.FAIL


def short_lived(ca, days: str) -> None:
    ca.openssl(
        *("ca", "-config", "root-ca.cnf", "-batch", "-notext", "-in", "root-ocsp.csr"),
        *("-out", "root-ocsp.crt", "-extensions", "ocsp_ext", "-days", days),
    )
    settle(ca.home / "db" / "index")


def test_a_short_lived_signer_is_not_critical_all_its_life(ca):
    short_lived(ca, "6")
    path = ca.home / "ocsp-cgi.conf"
    assert problems(signer, subject_of(path, later=3 * DAY)) == []
    assert problem(signer, subject_of(path, later=5 * DAY)).level == Level.WARN
    assert problem(signer, subject_of(path, later=6 * DAY - 6 * 3600)).level == Level.FAIL


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"rsigner": "good.crt", "rkey": "private/good.key"}, "lacks the extended key usage"),
        ({"rkey": "private/good.key"}, "not the private key of the certificate in"),
        ({"rkey": "root-ocsp.crt"}, "not a private key in PEM"),
        ({"rsigner": "missing.crt"}, "missing.crt: No such file or directory; `rsigner` names it"),
        ({"ca": "good.crt"}, "not issued by"),
    ],
)
def test_what_the_responder_refuses(ca, settings, text):
    for name in ("good.key", "root-ocsp.key"):
        (ca.home / "private" / name).chmod(0o600)
    (ca.home / "root-ocsp.crt").chmod(0o640)  # as a key has to be
    found = problems(signer, subject_of(write_config(ca.home, **settings)))
    assert [finding.where for finding in found] == ["[root-ca]"]
    assert (found[0].level, text in found[0].what) == (Level.FAIL, True), found[0].what


def test_warnings_are_explained(ca):
    """The certificate lacks what ocsp_ext gives it, but for its extended key usage."""
    config = (ca.home / "root-ca.cnf").read_text()
    config += "[poor_ext]\nextendedKeyUsage = OCSPSigning, clientAuth\nbasicConstraints = CA:true\n"
    (ca.home / "root-ca.cnf").write_text(config)
    ca.issue("poor", "poor_ext")
    settle(ca.home / "db" / "index")
    path = write_config(ca.home, rsigner="poor.crt", rkey="private/poor.key")
    found = problems(signer, subject_of(path))
    slugs = {re.search(r"\(warning=(.*)\)", finding.what)[1] for finding in found}
    assert {"rsigner-lacks-ocsp-nocheck", "rsigner-has-other-extendedKeyUsage"} <= slugs
    assert "rsigner-is-a-CA" in slugs
    assert {finding.level for finding in found} == {Level.WARN}
    assert all(finding.command.endswith(" renew root-ca") for finding in found)


def test_every_warning_has_a_meaning():
    source = inspect.getsource(Signer._faults)
    slugs = re.findall(r'faults\[f?"([\w{}-]+)', source) + re.findall(r'\{"([\w-]+)": not', source)
    assert len(slugs) > 8
    for slug in slugs:
        warning = f"rsigner-{slug}".replace("{which}", "another")
        assert signer.meaning(warning) != warning
    short = "its key is shorter than it should be"
    assert signer.meaning("rsigner-RSA-key-has-1024-bits") == short
    assert signer.meaning("ca-EC-key-has-192-bits") == short


def test_a_ca_that_signs_its_responses_itself_has_no_signer_to_renew(ca):
    path = write_config(ca.home, rsigner="root-ca.crt", rkey="private/root-ca.key")
    (ca.home / "private" / "root-ca.key").chmod(0o600)
    found = signer.examine(subject_of(path, later=3640 * DAY))
    assert "issued by" not in found[0].what
    assert {finding.command for finding in found if finding.level} == {""}


def two_signers(ca, **changes: str):
    """The config of this CA with a second signer, whose certificate lasts 200 days."""
    ca.issue("second", "ocsp_ext", ("rsa:2048",))
    ca.sign("second", "ocsp_ext", "200")
    settle(ca.home / "db" / "index")
    settings = {"rsigner2": "second.crt", "rkey2": "private/second.key", **changes}
    return write_config(ca.home, **settings)


def test_two_signers(ca):
    found = signer.examine(subject_of(two_signers(ca)))
    assert {finding.level for finding in found} == {Level.OK}
    texts = "\n".join(finding.what for finding in found)
    assert "root-ocsp.crt: issued by this CA, its key (EC, 256 bits) matches" in texts
    assert "second.crt: issued by this CA, its key (RSA, 2048 bits) matches" in texts
    assert [(one.name, one.value) for finding in found for one in finding.measures] == [
        ("root-ca signer days", 89),
        ("root-ca signer2 days", 199),
        ("root-ca ca days", 3649),
    ]


@pytest.mark.slow
def test_one_of_two_signers_expires(ca):
    """Which is no more than a warning, unless the other is about to expire as well."""
    path = two_signers(ca)
    for days, levels in (
        (84, {Level.WARN}),
        (100, {Level.WARN}),
        (198, {Level.FAIL}),
        (220, {Level.FAIL}),
    ):
        found = problems(signer, subject_of(path, later=days * DAY))
        assert {finding.level for finding in found} == levels, days
    commands = {finding.command.partition(" renew ")[2] for finding in found}
    assert {"root-ca --signer 1", "root-ca --signer 2"} <= commands


@pytest.mark.slow
@pytest.mark.parametrize("key", ["rkey", "rkey2"])
def test_the_key_of_one_of_two_signers_is_wrong(ca, key):
    path = two_signers(ca, **{key: "private/good.key"})
    found = problem(signer, subject_of(path))
    assert found.level == Level.WARN
    assert "good.key: not the private key of the certificate in" in found.what
    write_config(ca.home, rkey="private/good.key", rsigner2="second.crt", rkey2="private/good.key")
    assert [one.level for one in problems(signer, subject_of(path))] == [Level.FAIL] * 2


def test_warnings_about_the_second_signer(ca):
    ca.issue("second", "ocsp_ext", ("ed25519",))
    path = write_config(ca.home, rsigner2="second.crt", rkey2="private/second.key")
    found = problem(signer, subject_of(path))
    assert "second.crt: Firefox cannot verify its kind of key" in found.what
    assert "(warning=rsigner2-key-cannot-be-verified-by-Firefox)" in found.what
    assert found.command.endswith("renew root-ca --signer 2")
