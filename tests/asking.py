"""Asks a responder all the time, in every way at once, until a file exists; run as a program, in
the namespaces of a machine.  Prints how many responses came, by way, and what was wrong, as JSON.

    python3 asking.py HOME HOST PATH STOP
"""

from __future__ import annotations

import base64
import collections
import http.client
import json
import os
import socket
import sys
import threading
import time
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ocsp_cgi import certificate
from ocsp_cgi.ocsp_request import encode_request, nonce_extension
from ocsp_cgi.ocsp_response import OCSPResponse
from ocsp_cgi.tools.sample_requests import cert_id

HOME, HOST, PATH, STOP = sys.argv[1:]
STATUSES = {"good": "good", "bad": "revoked"}
COUNTS: dict[str, int] = collections.Counter()
WRONG: list[str] = []


def main() -> None:
    issuer = certificate.load(f"{HOME}/root-ca.crt")
    about = {
        name: cert_id(issuer, certificate.load(f"{HOME}/{name}.crt").serial_number)
        for name in STATUSES
    }
    ways = (post, post, get, get, slow)
    threads = [threading.Thread(target=ask, args=(way, about)) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"counts": COUNTS, "wrong": WRONG[:20]}))


def ask(way, about) -> None:
    while not os.path.exists(STOP):
        for name, status in STATUSES.items():
            try:
                body = way(about[name])
                response = OCSPResponse.from_der(body)
                seen = response.responses[0].cert_status.name if response.responses else "none"
                if seen != status:
                    WRONG.append(f"{way.__name__}: {seen}, status {response.response_status}")
            except Exception as error:
                WRONG.append(f"{time.time():.2f} {way.__name__}: {error!r}")
            COUNTS[way.__name__] += 1
            time.sleep(0.02)


def post(cert_id: bytes) -> bytes:
    """With a nonce, so that it is signed anew."""
    nonce = os.urandom(16)
    body = exchange("POST", PATH, encode_request([cert_id], [nonce_extension(nonce)]))
    assert nonce in body, f"{len(body)} bytes without the nonce"
    return body


def get(cert_id: bytes) -> bytes:
    """Cached."""
    text = base64.b64encode(encode_request([cert_id])).decode()
    return exchange("GET", f"{PATH}/{urllib.parse.quote(text, safe='')}")


def slow(cert_id: bytes) -> bytes:
    """Begun long before it can be answered."""
    return exchange("POST", PATH, encode_request([cert_id]), 1.5)


def exchange(method: str, path: str, body: bytes = b"", pause: float = 0) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", "Connection: close"]
    if body:
        lines += ["Content-Type: application/ocsp-request", f"Content-Length: {len(body)}"]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    with socket.create_connection(("127.0.0.1", 80), 60) as connection:
        connection.sendall(head)
        time.sleep(pause)
        connection.sendall(body)
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        content = response.read()
        assert response.status == 200, f"HTTP status {response.status}"
        return content


main()
