"""Why a token does not sign: what openssl says of it, in the operator's words."""

from __future__ import annotations

import shlex

from . import limits
from .answer import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import CASettings

NEITHER = "neither engine nor provider"
_LIST_TOKENS = "`pkcs11-tool -L --module MODULE`"
_REASON_CHARACTERS = 300


def is_wrong_pin(said: str) -> bool:
    """Whether the token has refused a PIN, and one more wrong PIN may lock it."""
    known = ("PIN incorrect", "PIN invalid", "PIN length range", "PIN_INCORRECT", "PIN_INVALID")
    return any(one in said for one in (*known, "PIN_LEN_RANGE"))


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
    rkey, passin = settings.rkey, settings.passin
    named = f"`passin{settings.suffix}`"
    if said is NEITHER:
        return (
            f"{rkey}: openssl has neither the engine nor the provider pkcs11: install the package"
            " libengine-pkcs11-openssl (Debian 12, Ubuntu 22.04 and 24.04) or pkcs11-provider"
            " (Debian 13, Fedora, RHEL)"
        )
    if "PIN locked" in said or "PIN_LOCKED" in said:
        return f"{rkey}: the token has locked its PIN, after too many wrong ones: unlock it first"
    if is_wrong_pin(said):
        if passin:
            return refused_pin(settings)
        return f"{rkey}: the token refuses the PIN that `pin-source` in this URI names: correct it"
    if "No PIN code was entered" in said or "Enter PKCS#11 token PIN" in said:
        return (
            f"{rkey}: the token asks for a PIN: put it in a file that only the responder's user"
            f" can read, and name that with {named}"
        )
    if "not a valid PKCS#11 URI" in said:
        return (
            f"{rkey}: not a URI as in RFC 7512, such as pkcs11:token=ocsp;object=root-ocsp, where a"
            " blank is %20"
        )
    if "Unable to load module" in said or "load PKCS#11 module" in said:
        return (
            f"{rkey}: the token's PKCS#11 module cannot be loaded: correct `module-path` in"
            f" `rkey{settings.suffix}` ({_last_line(said)})"
        )
    if "No matching initialized token" in said or "Failed to enumerate slots" in said:
        return (
            f"{rkey}: no such token, or the responder's user may not use it. As that user,"
            f" {_LIST_TOKENS} lists those there are; `module-path=MODULE`, after a `?` at the end"
            " of the URI, names the token's PKCS#11 module, if p11-kit does not know it"
        )
    if "object not found" in said or "private key was not found" in said:
        return (
            f"{rkey}: no such private key on the token; `pkcs11-tool --module MODULE --token-label"
            " TOKEN --login -O` lists its objects"
        )
    return f"{rkey}: openssl cannot sign with it: {_last_line(said)}"


def _last_line(said: str) -> str:
    """The last thing that openssl says is wrong, without the place in its source."""
    lines = [line for line in said.splitlines() if line and 'Engine "pkcs11" set' not in line]
    if not lines:
        return "it says nothing about why"
    errors = [line for line in lines if ":error:" in line]
    parts = (errors or lines)[-1].split(":")
    text = ": ".join(parts[3:6:2] + parts[8:9]) if errors and len(parts) > 5 else ":".join(parts)
    return printable(text.strip(), _REASON_CHARACTERS)
