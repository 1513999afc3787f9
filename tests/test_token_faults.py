"""What openssl says of a token, as its provider says it on Debian 13; its engine is asked itself in
test_token_key.py."""

from __future__ import annotations

import pytest

from ocsp_cgi import token_faults
from ocsp_cgi.config import CASettings

NOT_FOUND = "Could not find private key from pkcs11:token=ocsp;object=ec-ocsp\n"
LOGIN = "[../src/interface.gen.c:385] p11prov_Login(): Calling C_Login\n"
FAILED = "[../src/interface.gen.c:389] p11prov_Login(): Error {} returned by C_Login\n"
ERROR = (
    "402789487C7F0000:error:80000002:system library:file_open:No such file or directory:"
    "../providers/implementations/storemgmt/file_store.c:265:calling stat(handle:0x81)\n"
)


@pytest.fixture
def settings():
    ca = CASettings("root-ca")
    ca.rkey, ca.passin, ca.rsigner = "pkcs11:token=ocsp;object=ec-ocsp", "/pin", "/ocsp.crt"
    return ca


@pytest.mark.parametrize(
    "said, expected",
    [
        (LOGIN + FAILED.format(160) + NOT_FOUND, "the token refuses the PIN in /pin, and locks"),
        (LOGIN + FAILED.format(162) + NOT_FOUND, "the token refuses the PIN in /pin, and locks"),
        (LOGIN + FAILED.format(164) + NOT_FOUND, "the token has locked its PIN, after too many"),
        (LOGIN + NOT_FOUND, "no such private key on the token"),
        (NOT_FOUND, "no such token, or the responder's user may not use it"),
        (
            "Enter PIN for PKCS#11 Token (Slot 1157038303 - SoftHSM slot ID 0x44f700df):\n"
            + NOT_FOUND,
            "the token asks for a PIN",
        ),
        (
            "402789487C7F0000:error:40800005:pkcs11:p11prov_ctx_status:General Error:"
            "../src/provider.c:488:Module initialization failed!\n",
            "the token's PKCS#11 module cannot be loaded, or lacks its own config",
        ),
        (ERROR, "cannot sign with it: system library: No such file or directory: calling stat(ha"),
        ("[../src/provider.c:1504] some words of the provider\n", "it says nothing about why"),
        ("", "it says nothing about why"),
    ],
)
def test_what_it_means(settings, said, expected):
    explained = token_faults.explain(settings, said)
    assert explained.startswith(settings.rkey + ": ")
    assert expected in explained
    assert token_faults.is_wrong_pin(said) == ("refuses the PIN" in expected)
