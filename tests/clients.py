"""Requests of every shape, ocsp.cgi run as Apache runs it, and responses read by `cryptography` and
openssl.

The requests are built here byte by byte, so that they can be wrong in every way.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import io
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import warnings
import wsgiref.validate
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from ocsp_cgi import der, limits, responder, wsgi
from ocsp_cgi.answer import ERROR, NEVER_ISSUED, WARNING, Answer, Log
from ocsp_cgi.files import Files
from ocsp_cgi.tools import apache_wsgi, httpd

# Now, since a test may put another module in its place.
MOD_WSGI_IS_THERE = apache_wsgi.module() is not None
MOD_WSGI_PYTHON = apache_wsgi.python_version()

HASH_OIDS = {
    "sha1": "1.3.14.3.2.26",
    "sha224": "2.16.840.1.101.3.4.2.4",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
NULL = b"\x05\x00"
OCSP_NONCE = "1.3.6.1.5.5.7.48.1.2"


class Answered:
    """An Answer, with the Log that came with it: its `fields` and `notes`, and `warnings`, the
    notes without their kinds."""

    def __init__(self, response: Answer, log: Log):
        self._answer = response
        self.fields = log.fields
        self.notes = log.notes
        self.warnings = _without_kinds(log.notes)

    def __getattr__(self, name: str):
        return getattr(self._answer, name)


def _without_kinds(notes: list[str]) -> list[str]:
    return [re.sub(rf"^(?:{ERROR}|{WARNING}|{NEVER_ISSUED})", "", note) for note in notes]


def respond(encoded: bytes | None, load_settings, now: int, files: Files | None = None) -> Answered:
    """responder.respond, in this process."""
    log = Log()
    return Answered(responder.respond(encoded, load_settings, now, log, files=files), log)


class WSGIAnswered:
    """What an Answered has, read from the HTTP response of the WSGI application and its log."""

    def __init__(self, response: HTTPResponse):
        self.der = response.body
        self.headers = response.headers
        self.response_status = ocsp.load_der_ocsp_response(response.body).response_status.value
        *notes, line = [line.partition(" ocsp.cgi: ")[2] for line in response.log.splitlines()]
        self.notes = [re.sub(r"(^never-issued: .*) client=\S*$", r"\1", note) for note in notes]
        self.warnings = _without_kinds(self.notes)
        words = [word.partition("=") for word in line.split(" ")[1:]]
        self.fields = [(name, value) for name, _, value in words if name not in ("client", "ms")]
        max_age = re.match(r"max-age=(\d+)", response.headers.get("cache-control", ""))
        self.max_age = int(max_age[1]) if max_age else 0
        self.entity_tag = response.headers.get("etag", "").strip('"')
        self.next_update = _http_seconds(response.headers.get("expires"))
        self.this_update = _http_seconds(response.headers.get("last-modified"))


def _http_seconds(date: str | None) -> int:
    return int(email.utils.parsedate_to_datetime(date).timestamp()) if date else 0


def run_wsgi(
    application,
    config: Path,
    method: str = "POST",
    body: bytes = b"",
    path: str = "",
    **variables: object,
) -> HTTPResponse:
    """As run_cgi, with a WSGI application, which must keep to PEP 3333."""
    errors = io.StringIO()
    environ: dict[str, object] = {
        **_cgi_variables(config, method, body, path),
        "PATH_INFO": "",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "QUERY_STRING": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": errors,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **variables,
    }
    for name, value in environ.items():
        if isinstance(value, str):
            environ[name] = os.fsencode(value).decode("latin-1")
    if environ["CONTENT_LENGTH"] == "":
        environ["wsgi.input_terminated"] = True
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status, headers, exc_info=None):
        started.append((status, headers))
        return lambda data: None

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wsgiref.validate.WSGIWarning)  # of unusual methods
        parts = wsgiref.validate.validator(application)(environ, start_response)
        sent = b"".join(parts)
        parts.close()
    ((status, headers),) = started
    lowered = {name.lower(): value for name, value in headers}
    assert len(lowered) == len(headers)
    return HTTPResponse(int(status.split()[0]), lowered, sent, errors.getvalue())


def respond_wsgi(encoded: bytes | None, config: Path, now: int, files: Files) -> WSGIAnswered:
    """The WSGI application's response at this time; with None, to a request that is too long."""
    body = b"0" * (limits.REQUEST_BYTES + 1) if encoded is None else encoded
    return WSGIAnswered(run_wsgi(wsgi.Application(files, lambda: now), config, "POST", body))


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def oid(dotted: str) -> bytes:
    return der.tlv(der.OBJECT_IDENTIFIER, der.oid(dotted))


def octets(content: bytes) -> bytes:
    return der.tlv(der.OCTET_STRING, content)


def cert_id(
    issuer: x509.Certificate, serial: int, hash_name: str = "sha1", parameters: bytes = NULL
) -> bytes:
    """A CertID, its hashes made from the issuer as `cryptography` reads it."""
    name = issuer.subject.public_bytes()
    # the same bytes, hashed with SHA-1
    key = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key())
    spki = issuer.public_key().public_bytes(*_SPKI)
    bits = der.read(spki, der.SEQUENCE).elements()
    bits.expect(der.SEQUENCE)
    bits = bits.expect(der.BIT_STRING).bit_string()
    assert hashlib.sha1(bits).digest() == key.digest
    return cert_id_of(
        hash_name,
        hashlib.new(hash_name, name).digest(),
        hashlib.new(hash_name, bits).digest(),
        serial,
        parameters,
    )


def cert_id_of(
    hash_name: str, name_hash: bytes, key_hash: bytes, serial: int, parameters: bytes = NULL
) -> bytes:
    algorithm = der.sequence(oid(HASH_OIDS.get(hash_name, hash_name)), parameters)
    return der.sequence(algorithm, octets(name_hash), octets(key_hash), der.integer(serial))


def extension(dotted: str, value: bytes, critical: bytes = b"") -> bytes:
    return der.sequence(oid(dotted), critical, octets(value))


def nonce(value: bytes) -> bytes:
    return extension(OCSP_NONCE, octets(value))


def request(
    *cert_ids: bytes,
    extensions: bytes = b"",
    version: bytes = b"",
    requestor: bytes = b"",
    signature: bytes = b"",
    single_extensions: bytes = b"",
) -> bytes:
    """An OCSPRequest; `extensions` are encodings, joined; the others are whole fields with tags."""
    single = der.tlv(der.context(0), der.sequence(single_extensions)) if single_extensions else b""
    requests = der.sequence(*[der.sequence(one, single) for one in cert_ids])
    request_extensions = der.tlv(der.context(2), der.sequence(extensions)) if extensions else b""
    return der.sequence(der.sequence(version, requestor, requests, request_extensions), signature)


def _spki_format():
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return Encoding.DER, PublicFormat.SubjectPublicKeyInfo


_SPKI = _spki_format()


@dataclass
class HTTPResponse:
    """An HTTP response: headers by their lower-case names; `log` is what went to standard error."""

    status: int
    headers: dict[str, str]
    body: bytes
    log: str = ""


def parse_http(text: bytes, log: str = "") -> HTTPResponse:
    """The output of a CGI, or of an HTTP server.  A header that appears twice is an error."""
    head, _, body = text.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        head, _, body = body.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = 200
    if lines[0].startswith("HTTP/"):
        status = int(lines.pop(0).split()[1])
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        assert name.lower() not in headers, line
        headers[name.lower()] = value
    status = int(headers.pop("status", str(status)).split()[0])
    return HTTPResponse(status, headers, body, log)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def run_cgi(
    script: Path,
    config: Path,
    method: str = "POST",
    body: bytes = b"",
    path: str = "",
    **variables: str,
) -> HTTPResponse:
    """Run the CGI with exactly the environment that Apache gives it; `path` follows the script's
    name."""
    environment = {**_cgi_variables(config, method, body, path), **variables}
    run = subprocess.run(
        [str(script)], input=body, env=environment, capture_output=True, cwd="/", timeout=60
    )
    assert run.returncode == 0, run.stderr
    return parse_http(run.stdout, run.stderr.decode())


def _cgi_variables(config: Path, method: str, body: bytes, path: str) -> dict[str, str]:
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "/cgi-bin/ocsp.cgi",
        "REQUEST_URI": "/cgi-bin/ocsp.cgi" + path,
        "CONTENT_TYPE": "application/ocsp-request" if method == "POST" else "",
        "CONTENT_LENGTH": str(len(body)),
        "OCSP_CGI_CONFIG": str(config),
        "REMOTE_ADDR": "192.0.2.1",
        "SERVER_NAME": "ocsp.example.com",
    }


def need_curl() -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed (Debian: apt-get install curl)")


def curl(*arguments: str) -> HTTPResponse:
    """Ask with the real curl."""
    need_curl()
    command = [
        "curl",
        "--silent",
        "--show-error",
        "--include",
        "--max-time",
        "30",
        "--path-as-is",
        *arguments,
    ]
    run = subprocess.run(command, capture_output=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return parse_http(run.stdout)


def openssl_ocsp(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask, or read a response, with the real `openssl ocsp` in the directory of a CA it trusts."""
    command = ["openssl", "ocsp", "-issuer", "root-ca.crt", "-CAfile", "root-ca.crt", *arguments]
    return subprocess.run(
        command, cwd=home, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def verified(encoded: bytes, ca: x509.Certificate) -> ocsp.OCSPResponse:
    """Read a signed response with `cryptography`, and verify it and the signer in it."""
    response = ocsp.load_der_ocsp_response(encoded)
    assert response.response_status == ocsp.OCSPResponseStatus.SUCCESSFUL
    signer = response.certificates[0] if response.certificates else ca
    check_signature(
        signer.public_key(),
        response.signature,
        response.tbs_response_bytes,
        response.signature_hash_algorithm,
    )
    if signer != ca:
        check_signature(
            ca.public_key(),
            signer.signature,
            signer.tbs_certificate_bytes,
            signer.signature_hash_algorithm,
        )
    return response


def check_signature(public_key, signature: bytes, data: bytes, hash_algorithm) -> None:
    """cryptography.exceptions.InvalidSignature if this is not its signature."""
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    if isinstance(public_key, rsa.RSAPublicKey):
        public_key.verify(signature, data, padding.PKCS1v15(), hash_algorithm)
    elif isinstance(public_key, ec.EllipticCurvePublicKey):
        public_key.verify(signature, data, ec.ECDSA(hash_algorithm))
    else:
        public_key.verify(signature, data)


def base64_of(encoded: bytes) -> str:
    return base64.b64encode(encoded).decode()


def _escape(text: str) -> str:
    return urllib.parse.quote(text, safe="")


# Every way in which a client has been seen to write a request's base64 into a path.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "escaped": lambda text: f"/{_escape(text)}",
    "lower-case escapes": lambda text: re.sub("%..", lambda it: it[0].lower(), f"/{_escape(text)}"),
    "unescaped": lambda text: f"/{text}",
    "doubled slash": lambda text: f"//{text}",
    "doubled slash, escaped": lambda text: f"//{_escape(text)}",
    "without padding": lambda text: f"/{text.rstrip('=')}",
    "for URLs": lambda text: "/" + text.translate(str.maketrans("+/", "-_")),
    "a space for +": lambda text: "/" + text.replace("+", "%20"),
    "trailing slash": lambda text: f"/{text}/",
    "query": lambda text: f"/{text}?x=y",
    "lines of 64": lambda text: "/" + "%0D%0A".join(re.findall(".{1,64}", text)),
    "escaped twice": lambda text: f"/{_escape(_escape(text))}",
}


def awkward_requests(cert_id: bytes) -> list[bytes]:
    """Requests whose base64 has +, /, // and a final /, and each padding."""
    wanted = {"+", "/", "//", "=", "==", "no padding", "/ at its end"}
    requests = []
    for number in range(20000):
        value = number.to_bytes(4, "big") + b"\xff" * (1 + number % 3)
        encoded = request(cert_id, extensions=nonce(value))
        text = base64_of(encoded)
        has = {what for what in ("+", "//", "/") if what in text}
        has.add("=" * text.count("=") or "no padding")
        if text.rstrip("=").endswith("/"):
            has.add("/ at its end")
        if has & wanted:
            requests.append(encoded)
            wanted -= has
        if not wanted:
            return requests
    raise AssertionError(f"no request has {wanted}")


@contextlib.contextmanager
def program(command: list, **options):
    """A process that runs inside the `with`, and is killed if it has not ended by then."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        process.wait()


def started(
    home: Path,
    script: Path,
    config: Path,
    mpm: str = "event",
    site_conf: str | None = None,
    modules: tuple[str, ...] = (),
) -> httpd.Apache:
    """An Apache, to be used in a `with`.  Skips the test where none can run this Python."""
    try:
        httpd.check_python(sys.executable)
        return httpd.Apache(home, script, config, mpm, site_conf, modules)
    except httpd.Unavailable as error:
        pytest.skip(str(error))


def started_wsgi(
    home: Path,
    script: Path,
    config: Path,
    *edits: tuple[str, str],
    modules: tuple[str, ...] = (),
) -> httpd.Apache:
    """As `started`, with mod_wsgi, and these edits in apache/ocsp-cgi-wsgi.conf."""
    site_conf = wsgi_site()
    for old, new in edits:
        assert old in site_conf
        site_conf = site_conf.replace(old, new)
    return started(home, script, config, site_conf=site_conf, modules=("wsgi", *modules))


def wsgi_site() -> str:
    """apache/ocsp-cgi-wsgi.conf; in a virtual environment, with its packages.  Skips the test where
    there is no mod_wsgi for this Python."""
    if not MOD_WSGI_IS_THERE:
        pytest.skip("mod_wsgi is not installed (Debian: apt-get install libapache2-mod-wsgi-py3)")
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if MOD_WSGI_PYTHON not in ("", ours):
        pytest.skip(f"mod_wsgi is for Python {MOD_WSGI_PYTHON}, and the tests run under {ours}")
    site_conf = (httpd.data_files.APACHE / "ocsp-cgi-wsgi.conf").read_text()
    if sys.prefix == sys.base_prefix:
        return site_conf
    return site_conf.replace("display-name=", f"python-home={sys.prefix} display-name=")


def end(process: subprocess.Popen) -> None:
    """End a server: politely at first."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def settle(path: Path) -> None:
    """Make a file look as if it had been written a minute ago.

    An index written a moment ago may not be complete.
    """
    os.utime(path, (time.time() - 60,) * 2)


def need_namespaces(*options: str) -> None:
    """Skip the test where `unshare` with these options is not allowed, as in most containers."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed (Debian: apt-get install util-linux)")
    run = subprocess.run(["unshare", *options, "true"], capture_output=True, text=True)
    if run.returncode != 0:
        pytest.skip(f"namespaces are not allowed here: {run.stderr.strip()}")


@contextlib.contextmanager
def as_nobody():
    """Inside the `with`, root has no more rights than other users."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
