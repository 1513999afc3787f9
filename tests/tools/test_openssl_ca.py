"""The CAs of the tests and the demonstration, made with apache/*.cnf."""

from __future__ import annotations

import re

import pytest
from clients import certificate
from cryptography import x509
from cryptography.x509.oid import NameOID

from ocsp_cgi.tools import openssl_ca
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = [pytest.mark.process, pytest.mark.slow]
P_256 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def test_an_issuing_ca(place):
    root = PrivateCA(place / "root", newkey=P_256)
    subs = [PrivateCA(place / name, f"CA {name}", P_256, root) for name in ("one", "two")]
    for sub in subs:
        sub.issue("server")
        own = certificate(sub.home / "sub-ca.crt")
        assert own.subject.rdns[-1].rfc4514_string() == f"CN=CA {sub.home.name}"
        constraints = own.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical and constraints.value == x509.BasicConstraints(True, 0)
        verify = ("verify", "-CAfile", "root-ca.crt", "-untrusted", "sub-ca.crt", "server.crt")
        assert sub.openssl(*verify) == "server.crt: OK\n"
        sub.revoke("server")
        assert (sub.home / "db" / "index").read_text().startswith("R\t")
    assert [row[0] for row in (root.home / "db" / "index").read_text().splitlines()] == list("VVV")


def test_a_subject_is_changed_in_one_file(place, monkeypatch):
    """Whoever changes the names of a CA in its own .cnf need not repeat them in any request."""
    for constant, name in (("ROOT_CA_CNF", "root-ca.cnf"), ("SUB_CA_CNF", "sub-ca.cnf")):
        text = getattr(openssl_ca, constant).read_text()
        text = re.sub(r'(?m)^(countryName +=) "GB"$', r'\1 "PL"', text)
        text = re.sub(r'(?m)^(organizationName +=) "Example"$', r'\1 "Łódź & Söhne"', text)
        assert "Łódź" in text and text.isascii() is False
        (place / name).write_text(text)
        monkeypatch.setattr(openssl_ca, constant, place / name)
    root = PrivateCA(place / "root", newkey=P_256)
    for ca in (root, PrivateCA(place / "sub", newkey=P_256, root=root)):
        ca.issue("ocsp", "ocsp_ext")
        ca.issue("server")
        own = certificate(ca.home / f"{ca.name}.crt")
        attribute = own.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0]
        assert attribute.value == "Łódź & Söhne"
        assert certificate(ca.home / "server.crt").subject.rfc4514_string() == "CN=server"
