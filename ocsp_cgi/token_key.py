"""Private keys that are not in files: an `rkey` that is a URI, such as
pkcs11:token=ocsp;object=root-ocsp (RFC 7512).

The command openssl signs with them, a new process for each signature: with its engine for PKCS#11
or, if that is not installed, its provider.  For any other kind of URI it needs a provider that its
own config, openssl.cnf, names.

The PIN is in the file `passin`, and reaches openssl through a pipe, so neither the list of
processes nor its environment shows it; see pin_memory.py for one that is wrong.  The data have a
descriptor of their own, since openssl would read a PIN that it has not been given from standard
input.

A token that hangs gets some seconds for a signature.  Then, in a process that answers many
requests, it gets no more for a while, so that it does not hold all threads.
"""

from __future__ import annotations

import functools
import posix
import time

from . import child, keys, limits, pin_memory, token_faults
from .answer import reading
from .import_cryptography import SignerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .algorithms import SignatureAlgorithm
    from .config import CASettings

    Command = Callable[[str, str], list[str]]
    _Way = tuple[str, ...]

_ENGINE = "-engine", "pkcs11", "-keyform", "engine"
# In this order: otherwise the token is asked for random numbers as well, where SoftHSM hangs.
_PROVIDER = "-provider", "default", "-provider", "pkcs11"
_PROVIDER_MISSING = "unable to load provider"
_KINDS_WITHOUT_HASH = ("Ed25519", "Ed448")

# In a process that answers many requests, by `rkey`
_hanging: dict[str, float] = {}  # until which time.monotonic() it is not tried again
_ways: list[_Way] = [_ENGINE, _PROVIDER]  # the one that worked last is first


def sign(settings: CASettings, algorithm: SignatureAlgorithm, tbs: bytes) -> bytes:
    """A signature over `tbs` with the key that `rkey` of a section with one signer names.  The
    caller verifies it.  SignerError if the key cannot be used."""

    def command(uri: str, data: str) -> list[str]:
        if algorithm.key_type in _KINDS_WITHOUT_HASH:
            return ["pkeyutl", "-sign", "-rawin", "-inkey", uri, "-in", data]
        return ["dgst", *_hash_options(algorithm), "-sign", uri, data]

    return run(settings, command, tbs)


def run(settings: CASettings, command: Command, data: bytes) -> bytes:
    """What a command of openssl makes of `data` with the key that `rkey` of a section with one
    signer names.  SignerError if that is nothing.

    `command` makes the command's words from the URI of the key and the path of the data.
    """
    import resource

    # No core file may contain the PIN.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    uri, module = _split(settings.rkey, settings.suffix)
    pin = pin_memory.PIN(settings, settings.cache)
    _refuse_known(settings, pin)
    text = _text(settings)
    now = time.monotonic()
    if now < _hanging.get(settings.rkey, 0):
        raise SignerError(token_faults.hanging(settings))
    deadline = now + limits.TOKEN_SECONDS
    if settings.rkey in _hanging:  # no other thread is to wait for it meanwhile
        _hanging[settings.rkey] = deadline
    reading(settings.rkey)
    try:
        with pin.turn(deadline):
            _refuse_known(settings, pin)
            use = functools.partial(_try, uri, module, text, command, data, deadline)
            output, said = _by_first_way(use) if uri.startswith("pkcs11:") else use(())
            if output:
                pin.note(pin_memory.ACCEPTED)
            elif token_faults.is_wrong_pin(said):
                pin.note(pin_memory.REFUSED)
    except child.Hanging:
        _hanging[settings.rkey] = time.monotonic() + limits.TOKEN_RETRY_SECONDS
        raise SignerError(token_faults.hanging(settings)) from None
    except FileNotFoundError:
        raise SignerError(
            f"{settings.rkey}: the command openssl, which signs with it, is missing: install the"
            " package openssl"
        ) from None
    _hanging.pop(settings.rkey, None)
    if not output:
        raise SignerError(token_faults.explain(settings, said))
    return output


def _refuse_known(settings: CASettings, pin: pin_memory.PIN) -> None:
    if pin.standing() == pin_memory.REFUSED:
        raise SignerError(token_faults.refused_pin(settings))


def _by_first_way(use: Callable[[_Way], tuple[bytes, str]]) -> tuple[bytes, str]:
    """What comes of the first way to use a token that there is here."""
    global _ways
    for way in _ways:
        output, said = use(way)
        is_there = (
            token_faults.ENGINE_LOADED in said if way is _ENGINE else _PROVIDER_MISSING not in said
        )
        if is_there:
            _ways = [way, *(one for one in _ways if one is not way)]
            return output, said
    return b"", token_faults.NEITHER


def _try(
    uri: str,
    module: str,
    pin: bytes,
    command: Command,
    data: bytes,
    deadline: float,
    way: _Way,
) -> tuple[bytes, str]:
    """What openssl makes of the data, b"" if nothing, and what it says."""
    descriptors = [posix.memfd_create("data", posix.MFD_CLOEXEC)]
    try:
        posix.write(descriptors[0], data)
        posix.lseek(descriptors[0], 0, 0)
        # A descriptor has the same number in the child.
        name, *words = command(uri, f"/dev/fd/{descriptors[0]}")
        options = [name, *way]
        if pin:
            for_pin, pin_end = posix.pipe()
            descriptors.append(for_pin)
            try:
                posix.write(pin_end, pin + b"\n")
            finally:
                posix.close(pin_end)
            options += ["-passin", f"fd:{for_pin}"]
        environment = _environment(module)
        output, said = child.run(["openssl", *options, *words], environment, descriptors, deadline)
        return output, said.decode(errors="replace")
    finally:
        for descriptor in descriptors:
            posix.close(descriptor)


def _hash_options(algorithm: SignatureAlgorithm) -> list[str]:
    options = [f"-{_hash_option(algorithm.hash_name or '')}"]
    if algorithm.key_type == "RSASSA-PSS":
        mgf1 = _hash_option(algorithm.mgf1_hash_name or algorithm.hash_name or "")
        for value in (
            "rsa_padding_mode:pss",
            f"rsa_pss_saltlen:{algorithm.salt_length}",
            f"rsa_mgf1_md:{mgf1}",
        ):
            options += ["-sigopt", value]
    return options


def _hash_option(name: str) -> str:
    """A hash, named as by `cryptography`, as openssl names it: SHA3_256 -> sha3-256."""
    return name.lower().replace("_", "-")


def _environment(module: str) -> dict[bytes, bytes]:
    """The environment of openssl: of this process, without what a client has sent.

    Without HOME, each library takes the user's own: `check`, started by root, would have root's.
    """
    import os  # which, unlike posix, knows what a WSGI script has set

    environment = {
        name: value
        for name, value in os.environb.items()
        if not name.startswith(b"HTTP_") and name != b"HOME"
    }
    environment[b"LC_ALL"] = b"C"
    # Without it the provider does not say why it finds no key: the PIN may be wrong.
    environment[b"PKCS11_PROVIDER_DEBUG"] = b"file:/dev/stderr,level:1"
    if module:  # the engine knows it by the one, the provider by the other
        encoded = module.encode(errors="surrogateescape")
        environment[b"PKCS11_MODULE_PATH"] = environment[b"PKCS11_PROVIDER_MODULE"] = encoded
    return environment


def _split(rkey: str, suffix: str) -> tuple[str, str]:
    """The URI for openssl, and the `module-path` in it, "" if there is none.  SignerError if it
    says what it should not.

    The engine does not know that attribute (RFC 7512 section 2.4).
    """
    if rkey.startswith("file:"):
        raise SignerError(f"{rkey}: name the file itself with `rkey{suffix}`, without `file:`")
    for attribute in rkey.replace("?", ";").replace("&", ";").split(";"):
        name = attribute.partition("=")[0].rpartition(":")[2]
        if name in ("pin-value", "pin-source"):
            # Of which the one would be in the list of processes, and of the other the engine takes
            # the end of the line for a part of the PIN.  The engine knows both after `;` too.
            before = rkey.partition(attribute)[0].rstrip(";?&")
            raise SignerError(
                f"{before or f'rkey{suffix}'}: remove `{name}`: the PIN is the first line of a file"
                f" that `passin{suffix}` names, and that only the responder's user can read"
            )
    path, _, query = rkey.partition("?")
    module, left = "", []
    for attribute in query.split("&") if query else []:
        name, _, value = attribute.partition("=")
        if name == "module-path":
            from urllib.parse import unquote

            module = unquote(value)
        else:
            left.append(attribute)
    return path + ("?" + "&".join(left) if left else ""), module


def _text(settings: CASettings) -> bytes:
    """The PIN in the file `passin`, b"" if there is no such setting.  SignerError if it cannot be
    read."""
    if settings.passin is None:
        return b""
    option = f"passin{settings.suffix}"
    pin = keys.read_phrase(settings.passin, option)
    if not pin:
        raise SignerError(
            f"{settings.passin}: its first line is empty: the PIN of the token belongs there;"
            f" `{option}` names this file"
        )
    return pin
