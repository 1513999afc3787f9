"""Asking the responder over HTTP as clients do, and telling from a wrong answer which directive of
Apache's is missing."""

from __future__ import annotations

import base64
import hashlib
import http.client
import shutil
import subprocess
import tempfile
import urllib.parse
from pathlib import Path

from .. import certificate, der
from ..answer import RESPONSE_STATUS_NAMES, printable
from ..ocsp_request import CertID, encode_request, nonce_extension

PATH = "/cgi-bin/ocsp.cgi"
_SECONDS = 20


class Wrong(Exception):
    """The responder does not answer as it should; the text says what came instead, and what to do."""


def ask(
    issuer: Path,
    serial_number: int,
    server_name: str,
    port: int = 80,
    host: str = "127.0.0.1",
    trusted: tuple[str, ...] = (),
) -> list[str]:
    """Ask by POST, by GET with `%2F` and by GET with `//` about a certificate of this issuer.
    Returns a line on each.

    The connection goes to `host`, whatever `server_name` resolves to; `trusted` are options of
    `openssl ocsp` that say whom to trust, by default the issuer.  Wrong at the first answer that is
    not as it should be.
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
        answer = _exchange(way, method, path, body, server_name, host, port)
        lines.append(f"{way}: {_status(way, answer, issuer, serial_number, trusted)}")
    return lines


def _request(issuer: certificate.Certificate, serial_number: int) -> bytes:
    """The DER of an OCSPRequest that has `//` in its base64, because of its nonce."""
    parts = (issuer.subject, issuer.public_key)
    name_hash, key_hash = (
        hashlib.new("sha1", part, usedforsecurity=False).digest() for part in parts
    )
    cert_id = CertID.make("sha1", name_hash, key_hash, serial_number)
    return encode_request([cert_id], [nonce_extension(b"\xff" * 16)])


def _exchange(
    way: str, method: str, path: str, body: bytes, server_name: str, host: str, port: int
) -> bytes:
    """The OCSPResponse that comes back for this HTTP request."""
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
        raise Wrong(
            f"{way}: connection refused at {host} port {port}. Is Apache running, and does it"
            f" `Listen {port}`?"
        ) from None
    except http.client.IncompleteRead as error:
        raise Wrong(
            f"{way}: the answer was cut off after {len(error.partial)} octets. Apache's error log"
            " has the reason; a proxy before Apache, or a limit such as RLimitCPU, ends it"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        reason = printable(str(error)) or type(error).__name__
        raise Wrong(
            f"{way}: no answer from {host} port {port}: {reason}. Apache's error log says why"
        ) from None
    finally:
        connection.close()
    _check_http(way, response, content, server_name)
    return content


def _check_http(
    way: str, response: http.client.HTTPResponse, content: bytes, server_name: str
) -> None:
    """Wrong if this is not an OCSPResponse, or not as clients need it; with the directive that is
    missing."""
    status, content_type = response.status, response.getheader("Content-Type", "")
    directive = {
        301: (
            "something redirects: OCSP needs plain HTTP; take Redirect and RewriteRule to HTTPS off"
            " this virtual host"
        ),
        302: (
            "something redirects: OCSP needs plain HTTP; take Redirect and RewriteRule to HTTPS off"
            " this virtual host"
        ),
        308: (
            "something redirects: OCSP needs plain HTTP; take Redirect and RewriteRule to HTTPS off"
            " this virtual host"
        ),
        401: "clients cannot log in: `Require all granted` in the <Directory> of cgi-bin",
        403: (
            "`Require all granted` in the <Directory> of cgi-bin is missing, or `Options"
            " +SymLinksIfOwnerMatch`, or the link in cgi-bin and its target do not have the same"
            " owner"
        ),
        404: (
            f'`ScriptAlias "{PATH}"` is missing in the virtual host that answers for {server_name},'
            " or that is another one"
        ),
        405: (
            "another handler takes the request: is the module cgid (or cgi) on, and `ScriptAlias`"
            " in this virtual host?"
        ),
        413: "`LimitRequestBody` is too small: 65536 is what the responder reads",
        500: "Apache could not run the script; its error log has the reason",
        503: (
            "mod_cgid's daemon does not answer; Apache's error log has the reason, and a restart"
            " may mend it"
        ),
    }
    if status == 404 and "%2F" in way:
        raise Wrong(
            f"{way}: 404. `AllowEncodedSlashes NoDecode` is missing; it has to stand inside the"
            f" <VirtualHost> of {server_name}"
        )
    if status != 200:
        raise Wrong(
            f"{way}: HTTP status {status}."
            f" {directive.get(status, 'Apache has the reason in its error log')}"
        )
    if content[:2] == b"#!":
        raise Wrong(
            f"{way}: the script's own text came, so Apache does not run it: a2enmod cgid (cgi with"
            " mpm_prefork), `ScriptAlias`"
        )
    if content_type != "application/ocsp-response":
        content_type = printable(content_type, 100)
        raise Wrong(
            f"{way}: the answer is {content_type or 'of no Content-Type'} and not"
            f" application/ocsp-response: another virtual host answers for {server_name}, or no"
            " `ScriptAlias` leads to ocsp.cgi, or a proxy changes it"
        )
    if response.getheader("Content-Length") is None:
        raise Wrong(
            f"{way}: no Content-Length. `SetEnv ap_trust_cgilike_cl yes` is missing in the"
            f" <Location> of {PATH}"
        )


def _status(
    way: str, answer: bytes, issuer: Path, serial_number: int, trusted: tuple[str, ...]
) -> str:
    """What an OCSPResponse says, verified by openssl where there is one."""
    try:
        response_status = (
            der.read(answer, der.SEQUENCE).elements().expect(der.ENUMERATED).contents[0]
        )
    except (der.DERError, IndexError):
        raise Wrong(
            f"{way}: the {len(answer)} bytes that came are not an OCSPResponse: something between"
            " here and ocsp.cgi changes or cuts them"
        ) from None
    if response_status != 0:
        name = RESPONSE_STATUS_NAMES.get(response_status, str(response_status))
        raise Wrong(f"{way}: {name}. A line in Apache's error log says why, and what to do")
    if shutil.which("openssl") is None:
        return "answered and signed (not verified: there is no command openssl here)"
    with tempfile.NamedTemporaryFile() as file:
        file.write(answer)
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
        said = printable(" ".join(run.stderr.split()), 300)
        raise Wrong(
            f"{way}: openssl does not verify the answer: {said}."
            " Is rsigner issued by this CA, and the clock right?"
        )
    return printable(run.stdout.splitlines()[0].rpartition(": ")[2]) + ", Response verify OK"
