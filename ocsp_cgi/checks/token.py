"""A signer whose key is on a token: tried by the responder's user, since root may use tokens that
he may not."""

from __future__ import annotations

from .. import config
from ..answer import OCSPError
from ..config import CASettings, is_uri
from ..import_cryptography import SignerError
from ..issuer import Issuer
from ..tools import as_user
from . import preload
from .finding import Finding, Level
from .subject import Subject


def check_key(ca: CASettings, subject: Subject) -> None:
    """SignerError if the user cannot sign with the key of a section with one signer."""
    preload.everything()
    try:
        failed = as_user.call(
            subject.user, _failure, subject.config, ca.name, ca.suffix, subject.now
        )
    except as_user.ChildFailed as error:
        failed = f"{ca.rkey}: {error}"
    if failed:
        raise SignerError(failed)


def _failure(config_path: str, name: str, suffix: str, now: int) -> str:
    """Why this user cannot sign, "" if he can."""
    try:
        ca = next(one for one in config.load(config_path).cas if one.name == name)
        alone = next(one for one in ca.signers() if one.suffix == suffix)
        signer = Issuer(ca).signer_of(alone, now)
        signer.sign(b"check", signer.algorithm([]))
    except OCSPError as error:
        return str(error)
    return ""


def without_cache(ca: CASettings) -> list[Finding]:
    """A CGI remembers a wrong PIN in `cache` alone."""
    if ca.cache or not ca.passin or not is_uri(ca.rkey):
        return []
    text = (
        f"`rkey{ca.suffix}` is on a token, and there is no `cache`, which remembers when the token"
        " has refused a PIN: if it is wrong some day, each request tries it, and the token locks."
        " Set `cache`"
    )
    return [Finding(Level.WARN, text, f"[{ca.name}]")]
