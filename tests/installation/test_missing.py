"""What is still to be done, with the commands of the CA that it is about."""

from __future__ import annotations

import os
import pwd

import pytest

from ocsp_cgi import config
from ocsp_cgi.installation import missing

SECTION = """\
[{name}]
db = {name}-db
ca = {name}.crt
rsigner = {name}-ocsp.crt
rkey = {name}-ocsp.key
"""


@pytest.mark.process
def test_each_ca_has_its_own_commands(tmp_path):
    """The root's index in the place of another's would make every certificate unknown."""
    path = tmp_path / "config"
    path.write_text("".join(SECTION.format(name=name) for name in ("root-ca", "sub-ca")))
    for name in ("root-ca", "sub-ca"):
        (tmp_path / f"{name}-db").mkdir()
    cas = config.load(str(path)).cas
    commands = [one.command for one in missing.find(cas, pwd.getpwuid(os.geteuid()).pw_name)]
    assert len(commands) == 8
    for name, its in (("root-ca", commands[:4]), ("sub-ca", commands[4:])):
        key, signer, issuer, index = its
        assert f"-keyout {tmp_path}/{name}-ocsp.key" in key
        assert signer.startswith(f"openssl ca -config {name}.cnf -in {name}-ocsp.csr ")
        assert signer.endswith(
            f"\nscp ca.example.com:{name}/{name}-ocsp.crt {tmp_path}/{name}-ocsp.crt"
        )
        assert issuer == f"scp ca.example.com:{name}/{name}.crt {tmp_path}/{name}.crt"
        copied = f"ca.example.com:{name}/db/index {tmp_path}/{name}-db/index"
        assert index == f"rsync --copy-links --times {copied}"
    subjects = [key.partition("-subj ")[2].partition(" -keyout")[0] for key in commands[::4]]
    assert subjects == ["'/CN=OCSP Root Responder'", "'/CN=OCSP Responder of sub-ca'"]
