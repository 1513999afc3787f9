"""Why a token does not sign: what openssl says of it, in the operator's words."""

from __future__ import annotations

import shlex

from . import limits
from .answer import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import CASettings

NEITHER = "neither engine nor provider"
ENGINE_LOADED = 'Engine "pkcs11" set.'
_REASON_CHARACTERS = 300
# What the engine says of an error, and the provider, with the number of PKCS #11 v2.40.
_WRONG_PIN = (
    "PIN incorrect",
    "PIN invalid",
    "Invalid PIN length",
    "Error 160 returned by C_Login",
    "Error 161 returned by C_Login",
    "Error 162 returned by C_Login",
)
_LOCKED_PIN = "PIN locked", "Error 164 returned by C_Login"
_NO_PIN = "No PIN code was entered", "Enter PIN for PKCS#11"
_NO_MODULE = "Unable to load module", "Module initialization failed"


def is_wrong_pin(said: str) -> bool:
    """Whether the token has refused a PIN, and one more wrong PIN may lock it."""
    return any(one in said for one in _WRONG_PIN)


def refused_pin(settings: CASettings) -> str:
    return (
        f"{settings.rkey}: the token refuses the PIN in {settings.passin}, and locks after a few"
        " wrong ones: it is not tried again until that file changes. Correct it; if the PIN is"
        f" right, and something else was wrong: `touch {shlex.quote(settings.passin or '')}`"
    )


def hanging(settings: CASettings) -> str:
    return (
        f"{settings.rkey}: the token has made no signature within {limits.TOKEN_SECONDS} seconds:"
        " does it hang, or its network?"
    )


def wrong_key(settings: CASettings) -> str:
    return (
        f"{settings.rkey}: not the private key of the certificate in {settings.rsigner}: correct"
        f" `object=` or `id=` in `rkey{settings.suffix}`, or name the certificate that was issued"
        " for this key"
    )


def explain(settings: CASettings, said: str) -> str:
    """Why openssl, which said this, has made no signature, and what to do."""
    rkey = settings.rkey
    named = f"`passin{settings.suffix}`"
    if said is NEITHER:
        return (
            f"{rkey}: openssl has neither the engine nor the provider pkcs11: install the package"
            " libengine-pkcs11-openssl (Debian 12, Ubuntu 22.04 and 24.04) or pkcs11-provider"
            " (Debian 13, Fedora, RHEL)"
        )
    if any(one in said for one in _LOCKED_PIN):
        return f"{rkey}: the token has locked its PIN, after too many wrong ones: unlock it first"
    if is_wrong_pin(said):
        return refused_pin(settings)
    if any(one in said for one in _NO_PIN):
        return (
            f"{rkey}: the token asks for a PIN: put it in a file that only the responder's user"
            f" can read, and name that with {named}"
        )
    if "not a valid PKCS#11 URI" in said:
        return (
            f"{rkey}: not a URI as in RFC 7512, such as pkcs11:token=ocsp;object=root-ocsp, where a"
            " blank is %20"
        )
    if any(one in said for one in _NO_MODULE):
        return (
            f"{rkey}: the token's PKCS#11 module cannot be loaded, or lacks its own config. Name"
            " its file, such as /usr/lib/softhsm/libsofthsm2.so, with `?module-path=FILE` at the"
            f" end of `rkey{settings.suffix}`; a variable that it needs, such as SOFTHSM2_CONF, is"
            " set with `SetEnv` in Apache's config, but for mod_wsgi in the environment of Apache"
            " itself (/etc/apache2/envvars), and for a job with `systemctl edit`"
        )
    by_provider = "Could not find private key" in said
    if (
        "No matching initialized token" in said
        or "Failed to enumerate slots" in said
        or (by_provider and "Calling C_Login" not in said)
    ):
        return (
            f"{rkey}: no such token, or the responder's user may not use it. As that user,"
            " `pkcs11-tool --module MODULE -L` lists those there are. If p11-kit does not know the"
            " token's PKCS#11 module, name its file with `?module-path=FILE` at the end of"
            f" `rkey{settings.suffix}`"
        )
    if by_provider or "object not found" in said or "private key was not found" in said:
        return (
            f"{rkey}: no such private key on the token; `pkcs11-tool --module MODULE --token-label"
            " TOKEN --login -O` lists its objects"
        )
    return f"{rkey}: openssl cannot sign with it: {_last_line(said)}"


def _last_line(said: str) -> str:
    """The last thing that openssl says is wrong, without the place in its source."""
    lines = [
        line
        for line in said.splitlines()
        if line[:1] not in ("", "[", " ", "\t") and line != ENGINE_LOADED
    ]
    if not lines:
        return "it says nothing about why"
    errors = [line for line in lines if ":error:" in line]
    parts = (errors or lines)[-1].split(":")
    text = ": ".join(parts[3:6:2] + parts[8:9]) if errors and len(parts) > 5 else ":".join(parts)
    return printable(text.strip(), _REASON_CHARACTERS)
