"""Query a live responder over HTTP as clients do, and tell from a wrong response which directive of
Apache's is missing."""

from __future__ import annotations

import base64
import http.client
import shutil
import subprocess
import tempfile
import urllib.parse
from pathlib import Path

from .. import certificate, der
from ..answer import RESPONSE_STATUS_NAMES, printable
from ..ocsp_request import encode_request, nonce_extension
from .entry import CommandError
from .sample_requests import cert_id

PATH = "/cgi-bin/ocsp.cgi"
_SECONDS = 20


_REDIRECTED = (
    "something redirects: OCSP needs plain HTTP; remove Redirect and RewriteRule to HTTPS from this"
    " virtual host"
)


class ProbeError(CommandError):
    """The response is wrong; the text says what came instead, and how to fix it."""


def ask(
    issuer: Path,
    serial_number: int,
    server_name: str,
    port: int = 80,
    host: str = "127.0.0.1",
    trusted: tuple[str, ...] = (),
) -> list[str]:
    """Query a certificate of this issuer by POST, GET with `%2F` and GET with `//`.  Returns a line
    on each.

    The connection goes to `host`, whatever `server_name` resolves to; `trusted` are options of
    `openssl ocsp` that say whom to trust, by default the issuer.  ProbeError at the first response
    that is wrong.
    """
    trusted = trusted or ("-CAfile", str(issuer))
    lines = []
    encoded = _request(certificate.load(str(issuer)), serial_number)
    text = base64.b64encode(encoded).decode()
    for way, method, path, body in (
        ("POST", "POST", PATH, encoded),
        ("GET with %2F", "GET", f"{PATH}/{urllib.parse.quote(text, safe='')}", b""),
        ("GET with //", "GET", f"{PATH}/{text}", b""),
    ):
        response = _exchange(way, method, path, body, server_name, host, port)
        lines.append(f"{way}: {_status(way, response, issuer, serial_number, trusted)}")
    return lines


def _request(issuer: certificate.Certificate, serial_number: int) -> bytes:
    """An OCSPRequest whose nonce puts `//` into its base64."""
    return encode_request([cert_id(issuer, serial_number)], [nonce_extension(b"\xff" * 16)])


def _exchange(
    way: str, method: str, path: str, body: bytes, server_name: str, host: str, port: int
) -> bytes:
    """The body of the response to this HTTP request."""
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    headers = (
        {"Host": server_name, "Content-Type": "application/ocsp-request"}
        if body
        else {"Host": server_name}
    )
    try:
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        content = response.read()
    except ConnectionRefusedError:
        raise ProbeError(
            f"{way}: connection refused at {host} port {port}. Is Apache running, and does it"
            f" `Listen {port}`?"
        ) from None
    except http.client.IncompleteRead as error:
        raise ProbeError(
            f"{way}: the response was cut off after {len(error.partial)} bytes. Apache's error log"
            " may say why; a proxy, or a limit such as RLimitCPU, can cause this"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        reason = printable(str(error)) or type(error).__name__
        raise ProbeError(
            f"{way}: no response from {host} port {port}: {reason}. Apache's error log may say why"
        ) from None
    finally:
        connection.close()
    _check_http(way, response, content, server_name)
    return content


def _check_http(
    way: str, response: http.client.HTTPResponse, content: bytes, server_name: str
) -> None:
    """ProbeError, with the directive that is missing, unless this is a response for clients."""
    status, content_type = response.status, response.getheader("Content-Type", "")
    directive = {
        301: _REDIRECTED,
        302: _REDIRECTED,
        307: _REDIRECTED,
        308: _REDIRECTED,
        401: "clients cannot log in: `Require all granted` in the <Directory> of cgi-bin",
        403: (
            "`Require all granted` or `Options +SymLinksIfOwnerMatch` is missing in the <Directory>"
            " of cgi-bin, or the link in cgi-bin and its target have different owners"
        ),
        404: (
            f'`ScriptAlias "{PATH}"` is missing in the virtual host of {server_name}, or another'
            " virtual host has responded"
        ),
        405: (
            "another handler took the request: is the module cgid (or cgi) enabled, and is"
            " `ScriptAlias` in this virtual host?"
        ),
        413: "`LimitRequestBody` is too small: the responder reads up to 65536 bytes",
        500: "Apache could not run the script; its error log says why",
        503: (
            "mod_cgid's daemon does not respond; Apache's error log says why, and a restart may"
            " fix it"
        ),
    }
    if status == 404 and "%2F" in way:
        raise ProbeError(
            f"{way}: 404. `AllowEncodedSlashes NoDecode` is missing; it must be inside the"
            f" <VirtualHost> of {server_name}"
        )
    if status != 200:
        raise ProbeError(
            f"{way}: HTTP status {status}."
            f" {directive.get(status, 'The error log of Apache may say why')}"
        )
    if content[:2] == b"#!":
        raise ProbeError(
            f"{way}: Apache sent the script's source instead of running it: a2enmod cgid (cgi with"
            " mpm_prefork), and check `ScriptAlias`"
        )
    if content_type != "application/ocsp-response":
        content_type = printable(content_type, 100)
        raise ProbeError(
            f"{way}: the Content-Type is {content_type or 'missing'}, not"
            f" application/ocsp-response: another virtual host responds for {server_name}, or"
            " `ScriptAlias` does not lead to ocsp.cgi, or a proxy changed it"
        )
    if response.getheader("Content-Length") is None:
        raise ProbeError(
            f"{way}: Content-Length is missing. `SetEnv ap_trust_cgilike_cl yes` is missing in the"
            f" <Location> of {PATH}"
        )


def _status(
    way: str, response: bytes, issuer: Path, serial_number: int, trusted: tuple[str, ...]
) -> str:
    """The certificate's status in this OCSPResponse, verified with openssl if it is installed."""
    try:
        response_status = (
            der.read(response, der.SEQUENCE).elements().expect(der.ENUMERATED).contents[0]
        )
    except (der.DERError, IndexError):
        raise ProbeError(
            f"{way}: the {len(response)} bytes received are not an OCSPResponse: something between"
            " here and ocsp.cgi changes or truncates them"
        ) from None
    if response_status != 0:
        name = RESPONSE_STATUS_NAMES.get(response_status, str(response_status))
        raise ProbeError(f"{way}: {name}. A line in Apache's error log says why and what to do")
    if shutil.which("openssl") is None:
        return "signed (not verified, because the command openssl is missing)"
    with tempfile.NamedTemporaryFile() as file:
        file.write(response)
        file.flush()
        command = [
            "openssl",
            "ocsp",
            "-respin",
            file.name,
            "-issuer",
            str(issuer),
            *trusted,
            "-partial_chain",
            "-no_nonce",
            "-serial",
            f"{'-' if serial_number < 0 else ''}0x{abs(serial_number):X}",
        ]
        run = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if "Response verify OK" not in run.stderr:
        reason = printable(" ".join(run.stderr.split()), 300)
        raise ProbeError(
            f"{way}: openssl cannot verify the response: {reason}."
            " Was rsigner issued by this CA, and is the clock right?"
        )
    return printable(run.stdout.splitlines()[0].rpartition(": ")[2]) + ", Response verify OK"
