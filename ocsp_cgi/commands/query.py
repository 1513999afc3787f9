"""Ask a responder about a certificate, verify the response, and print it as `openssl ocsp` does."""

from __future__ import annotations

import argparse
import sys

from .. import limits
from ..answer import printable
from ..tools.openssl_text import openssl_time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--issuer",
        metavar="FILE",
        required=True,
        help="the certificate of the CA that issued it, PEM or DER",
    )
    parser.add_argument(
        "--cert", metavar="FILE", required=True, help="the certificate in question, PEM or DER"
    )
    parser.add_argument(
        "--url", help="where to ask, by default where the certificate says (authorityInfoAccess)"
    )
    parser.add_argument(
        "--no-nonce", action="store_true", help="send no nonce, for a responder that repeats none"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=10,
        help="for everything, 10 by default",
    )
    parser.add_argument(
        "--trusted-responder",
        metavar="FILE",
        help="the certificate of a responder to trust as it is",
    )
    parser.add_argument(
        "--certificates",
        metavar="FILE",
        action="append",
        default=[],
        help=(
            "where to look for the signer's certificate if the response does not"
            " include it, several in PEM; can be given several times"
        ),
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if the certificate is good, 1 if it is revoked or unknown, and 2 if there is no
    trustworthy response."""
    try:
        from .. import client  # `cryptography` may be missing
    except ImportError as error:
        return _fail(
            f"{sys.executable} cannot import the package `cryptography`: {error}; on Debian:"
            " apt-get install python3-cryptography"
        )
    nonce = "none" if arguments.no_nonce else "required"
    try:
        certificate, issuer = (_read(path) for path in (arguments.cert, arguments.issuer))
        trusted = _read(arguments.trusted_responder) if arguments.trusted_responder else None
        others = [_read(path) for path in arguments.certificates]
        result = client.query(
            certificate,
            issuer,
            arguments.url,
            nonce=nonce,
            timeout=arguments.timeout,
            trusted_responder=trusted,
            certificates=others,
        )
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}")
    except client.UnusableCertificate as error:
        return _fail(f"{error} ({_files(arguments)})")
    except client.QueryError as error:
        return _fail(f"{type(error).__name__}: {error}")
    for warning in result.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    path = printable(arguments.cert, limits.LOG_LINE_CHARACTERS)
    lines = [
        "Response verify OK",
        f"{path}: {result.status}",
        f"\tThis Update: {_time(result.this_update)}",
    ]
    if result.next_update:
        lines.append(f"\tNext Update: {_time(result.next_update)}")
    if result.revocation_reason:
        lines.append(f"\tReason: {result.revocation_reason}")
    if result.revocation_time:
        lines.append(f"\tRevocation Time: {_time(result.revocation_time)}")
    encoding = sys.stdout.encoding
    print("\n".join(lines).encode(encoding, "backslashreplace").decode(encoding))
    return 0 if result.status == "good" else 1


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _time(moment) -> str:
    return openssl_time(int(moment.timestamp()))


def _files(arguments: argparse.Namespace) -> str:
    """The options that name certificates, as they were given."""
    options = [
        ("--cert", arguments.cert),
        ("--issuer", arguments.issuer),
        ("--trusted-responder", arguments.trusted_responder),
    ]
    options += [("--certificates", path) for path in arguments.certificates]
    return ", ".join(f"{option} {path}" for option, path in options if path)


def _fail(reason: str) -> int:
    sys.stderr.write(printable(reason, limits.LOG_LINE_CHARACTERS) + "\n")
    return 2


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"`{word}` is no number of seconds up to 3600")
    return seconds
