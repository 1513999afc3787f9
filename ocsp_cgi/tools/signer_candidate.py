"""A certificate and key that are to sign for a CA from now on: whether they may.

The rules are the responder's own: what is accepted here, it accepts.
"""

from __future__ import annotations

import copy
import os
import stat
from typing import IO

from .. import certificate, index_search, keys
from ..answer import OCSPError
from ..certificate import Certificate
from ..config import CASettings, is_uri
from ..import_cryptography import SignerError
from ..issuer import Issuer
from ..signer import Signer
from . import token_user
from .entry import CommandError, program

_FILE_BYTES = 1024 * 1024  # no certificate or key is longer


def with_signer(ca: CASettings, rsigner: str, rkey: str) -> CASettings:
    """The settings of a CA with another signer."""
    candidate = copy.copy(ca)
    candidate.rsigner, candidate.rkey = rsigner, rkey
    return candidate


def check_file(path: str) -> bytes:
    """What is in a file of certificates, which everybody may read.  CommandError if it is another
    file."""
    try:
        with open(path, "rb") as file:
            return _certificates_in(file, path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None


def let_all_read(path: str) -> None:
    """Give a file of certificates the mode 644, unless everybody can read it already.  CommandError
    if it is another file, as where another user has put a link in its place meanwhile."""
    try:
        with open(path, "rb") as file:
            _certificates_in(file, path)
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o444 != 0o444:
                os.fchmod(file.fileno(), 0o644)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}: chmod 644 {path}") from None


def _certificates_in(file: IO[bytes], path: str) -> bytes:
    try:
        content = file.read(_FILE_BYTES + 1)
        if len(content) > _FILE_BYTES:
            raise CommandError(f"{path}: too long for a certificate")
        if b"PRIVATE KEY-----" in content:
            raise CommandError(
                f"{path}: has a private key in it, and would become readable for everybody: pass a"
                " file with only the certificate"
            )
        certificate.load_all_from(content, path)
    except certificate.CertificateError as error:
        raise CommandError(f"{path}: {error}") from None
    return content


def signer(candidate: CASettings, now: int) -> Signer:
    """The signer of a CA, whose certificate may sign at this time; its key has not been looked at.
    CommandError if it may not."""
    issuer = Issuer(candidate)
    try:
        if issuer.unreadable:
            raise issuer.unreadable
        found = issuer.signer(now)
    except SignerError as error:
        raise CommandError(str(error)) from None
    if found.certificate.is_same_holder(found.ca):
        raise CommandError(
            f"{candidate.rsigner}: the CA's own certificate, not one for a signer: the CA issues"
            " one with `openssl ca -extensions ocsp_ext`"
        )
    return found


def find_key(found: Signer, ca: CASettings, path: str, *also: str) -> str:
    """The file with the private key of this signer, among those beside the CA's `rkey`, and
    `also`.

    `path` is the file of its certificate.  CommandError if no key is the certificate's.  A key on a
    token is that of the next certificate as well, which `try_key` finds out.
    """
    if is_uri(ca.rkey):
        return ca.rkey
    directory, passin = os.path.dirname(ca.rkey), ca.passin
    try:
        # What a killed renewal or an editor has left behind comes last.
        names = sorted(os.listdir(directory or "."), key=lambda name: (name[0] == ".", name))
    except OSError as error:
        raise CommandError(f"{directory or '.'}: {error.strerror}") from None
    paths = [ca.rkey, *also, *(os.path.join(directory, name) for name in names)]
    open_to_all = []
    for one in dict.fromkeys(paths):
        if not _may_have_key(one):
            continue
        if keys.is_own_key(found.certificate, one, passin):
            return one
        if os.stat(one).st_mode & 0o007:
            open_to_all.append(one)
    hint = f"; `chmod o-rwx {' '.join(open_to_all)}` if one of these is it" if open_to_all else ""
    raise CommandError(
        f"{path}: its private key is not in {directory or '.'}: is it the certificate for the"
        f" request that `renew` made here?{hint}"
    )


def _may_have_key(path: str) -> bool:
    """Whether it is a readable file that says it has a private key."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return b"PRIVATE KEY-----" in file.read(_FILE_BYTES)
    except OSError:
        return False


def try_key(found: Signer) -> None:
    """CommandError unless the signer's key can be used, and is the certificate's."""
    settings, algorithm = found.settings, found.algorithm([])
    try:
        if is_uri(settings.rkey):
            token_user.use(settings, lambda: found.sign(b"", algorithm))
        else:
            found.sign(b"", algorithm)
    except SignerError as error:
        raise CommandError(str(error)) from None


def differences(found: Signer, before: Certificate) -> list[str]:
    """What may surprise an operator about a signer, compared with the one before."""
    texts = []
    if not certificate.same_name(found.certificate.subject, before.subject):
        texts.append(
            "The subject is not that of today's signer; to clients it makes no difference."
        )
    if found.certificate.not_after < before.not_after:
        texts.append("It expires before today's signer: is it the newest certificate?")
    return texts


def look_up(found: Signer, candidate: CASettings) -> str:
    """What an operator has to know about the signer's row in the index, "" if nothing.

    CommandError if the row forbids it to sign.
    """
    if not found.delegated:
        return ""
    serial = found.certificate.serial_number
    try:
        rows = index_search.find(candidate.db, {serial})
    except OCSPError as error:
        return f"Whether it has been revoked is not known: {error}."
    row = rows.rows.get(serial)
    if row is None:
        copied = f" (`{program()} sync {candidate.name}`)" if candidate.sync_from else ""
        return (
            f"{candidate.db} has no row for it yet.  Until the index has been copied"
            f" again{copied}, the log has warning={found.option}-has-no-row-in-db."
        )
    try:
        found.check_row(row, rows.is_settled)
    except OCSPError as error:
        raise CommandError(str(error)) from None
    return ""
