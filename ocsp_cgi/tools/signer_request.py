"""A private key for a signer, and the request for its certificate, made with openssl.

openssl writes to no file: in a directory in which another user may write, a link in the right place
would let it overwrite any file of root's.
"""

from __future__ import annotations

import os
import ssl
import subprocess
from typing import NamedTuple

from .. import algorithms, keys, limits, token_key
from ..certificate import Certificate
from ..config import CASettings
from ..import_cryptography import SignerError
from . import token_user
from .entry import CommandError

_CURVES = {"SECP256R1": "P-256", "SECP384R1": "P-384", "SECP521R1": "P-521"}


class KeyKind(NamedTuple):
    """A kind of key: its name for people, and the options of `openssl genpkey`."""

    name: str
    options: tuple[str, ...]


def _ec(curve: str) -> KeyKind:
    return KeyKind(
        curve,
        (
            "-algorithm",
            "EC",
            "-pkeyopt",
            f"ec_paramgen_curve:{curve}",
            "-pkeyopt",
            "ec_param_enc:named_curve",
        ),
    )


P_256 = _ec("P-256")
RSA_2048 = KeyKind("RSA 2048", ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"))


def key_kind(holder: Certificate) -> tuple[KeyKind, str]:
    """The kind of key that should follow this certificate's, and why it is another: "" if it is the
    same."""
    try:
        kind, curve, _ = algorithms.key_type(holder)
        name, bits = algorithms.key_size(holder)
    except algorithms.UnsupportedKey as error:
        return P_256, f"today's key is {error}"
    if bits < limits.WEAK_KEY_BITS.get(name, 0):
        return P_256, f"today's {name} key has only {bits} bits"
    if not algorithms.is_known_to_firefox(holder):
        return P_256, f"Firefox cannot verify today's {kind} key"
    if kind == "EC":
        return _ec(_CURVES[curve]), ""
    return KeyKind(f"RSA {bits}", ("-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}")), ""


def other_kind(holder: Certificate) -> KeyKind:
    """The kind of key for the clients that cannot verify this certificate's, or would rather have
    another."""
    return RSA_2048 if algorithms.key_kind(holder) == "EC" else P_256


def new_key(kind: KeyKind, passin: str | None) -> bytes:
    """A new private key in PEM, encrypted with the pass phrase in the file `passin` if there is
    one.  CommandError if openssl cannot make it."""
    encrypt = ("-aes-256-cbc", "-pass") if passin else ()
    return _openssl("genpkey", *kind.options, *encrypt, passin=passin)


def new_request(holder: Certificate, key: str, passin: str | None) -> bytes:
    """A certificate request in PEM for the private key in a file, with the subject of this
    certificate, byte for byte: no option of openssl could say every subject.

    CommandError if openssl cannot make it.
    """
    options = ("-signkey", key, *(("-passin",) if passin else ()))
    # The first puts the new key into the certificate, which the second turns into a request.
    given = ssl.DER_cert_to_PEM_cert(holder.der).encode()
    with_key = _openssl("x509", *options, given=given, passin=passin)
    return _openssl("x509", "-x509toreq", *options, given=with_key, passin=passin)


def new_request_for_token(holder: Certificate, ca: CASettings) -> bytes:
    """As `new_request`, for the key on a token that `rkey` of this section names, which is the
    certificate's.  CommandError if openssl cannot make it."""

    def command(uri: str, data: str) -> list[str]:
        return ["x509", "-x509toreq", "-in", data, "-signkey", uri]

    given = ssl.DER_cert_to_PEM_cert(holder.der).encode()
    try:
        return token_user.use(ca, lambda: token_key.run(ca, command, given))
    except SignerError as error:
        raise CommandError(str(error)) from None


def _openssl(*arguments: str, given: bytes = b"", passin: str | None = None) -> bytes:
    """What openssl prints.  With `passin`, the last argument is an option for the pass phrase in
    that file, which reaches openssl through a pipe, as the responder reads it: openssl itself would
    take the carriage return of a file from Windows for a part of it."""
    pipe: tuple[int, ...] = ()
    try:
        if passin:
            phrase = keys.read_phrase(passin, "passin")
            pipe = os.pipe()
            os.write(pipe[1], phrase + b"\n")
            arguments += (f"fd:{pipe[0]}",)
        run = subprocess.run(
            ["openssl", *arguments], input=given, capture_output=True, pass_fds=pipe[:1]
        )
    except FileNotFoundError:
        raise CommandError("the command openssl is missing: install the package openssl") from None
    except SignerError as error:
        raise CommandError(str(error)) from None
    finally:
        for descriptor in pipe:
            os.close(descriptor)
    if run.returncode != 0 or b"-----BEGIN " not in run.stdout:
        reason = run.stderr.decode(errors="replace").strip()
        raise CommandError(f"openssl {' '.join(arguments)}\n{reason}")
    return run.stdout
