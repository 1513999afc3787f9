"""Query a certificate's status, verify the response, and print it as `openssl ocsp` does."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime

from .. import limits
from ..answer import printable
from ..tools.entry import CommandError
from ..tools.openssl_text import openssl_time

GOOD = 0
REVOKED_OR_UNKNOWN = 1
NO_RESPONSE = 2  # none that can be trusted
NOTES = """\
exit codes:
  0  good
  1  revoked or unknown
  2  no response that can be trusted
"""
EXAMPLES = (
    "query --issuer root-ca.crt --cert server.crt",
    "query --issuer root-ca.crt --cert server.crt --no-nonce",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--issuer",
        metavar="FILE",
        required=True,
        help="the certificate of the CA that issued --cert, PEM or DER",
    )
    parser.add_argument(
        "--cert", metavar="FILE", required=True, help="the certificate to query, PEM or DER"
    )
    parser.add_argument(
        "--url", help="the responder's URL (default: from authorityInfoAccess in --cert)"
    )
    parser.add_argument(
        "--no-nonce",
        action="store_true",
        help="send no nonce, for a responder that does not repeat it",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=10,
        help="for the whole query (default: 10)",
    )
    parser.add_argument(
        "--trusted-responder",
        metavar="FILE",
        help="the certificate of a responder to trust although the CA did not issue it",
    )
    parser.add_argument(
        "--certificates",
        metavar="FILE",
        action="append",
        default=[],
        help=(
            "certificates, PEM or DER, among which to look for the signer's if the response does"
            " not include it; repeatable"
        ),
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if the certificate is good, 1 if it is revoked or unknown; without a response that
    can be trusted, CommandError with status 2."""
    try:
        from .. import client  # `cryptography` may be missing
    except ImportError as error:
        raise _failed(
            f"{sys.executable} cannot import the package cryptography: {error}; on Debian or"
            " Ubuntu: apt-get install python3-cryptography"
        ) from None
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
        raise _failed(f"{error.filename}: {error.strerror}") from None
    except client.UnusableCertificate as error:
        raise _failed(f"{error} ({_files(arguments)})") from None
    except client.QueryError as error:
        raise _failed(f"{type(error).__name__}: {error}") from None
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
    return GOOD if result.status == "good" else REVOKED_OR_UNKNOWN


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _time(moment: datetime) -> str:
    return openssl_time(int(moment.timestamp()))


def _files(arguments: argparse.Namespace) -> str:
    """The options that name certificates, as given."""
    options = [
        ("--cert", arguments.cert),
        ("--issuer", arguments.issuer),
        ("--trusted-responder", arguments.trusted_responder),
    ]
    options += [("--certificates", path) for path in arguments.certificates]
    return ", ".join(f"{option} {path}" for option, path in options if path)


def _failed(reason: str) -> CommandError:
    return CommandError(printable(reason, limits.LOG_LINE_CHARACTERS), NO_RESPONSE)


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(
            f"invalid number of seconds `{word}`: expected more than 0, at most 3600"
        )
    return seconds
