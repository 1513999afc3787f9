"""Runs one stage of a new response of the WSGI application so many times in one process, for its
instructions to be counted:

python3 tests/bench/in_process.py CONFIG REQUEST STAGE TIMES
"""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path
from typing import Any, Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ocsp_cgi import producer, wsgi
from ocsp_cgi.ocsp_request import OCSPRequest
from ocsp_cgi.resident import ResidentFiles
from ocsp_cgi.signer import Signer


class Stages:
    """Each method is a stage of a response."""

    def __init__(self, config: str, encoded: bytes):
        self._config = config
        self._encoded = encoded
        self._files = ResidentFiles(settling=0)
        self._application = wsgi.Application(self._files)
        self._request = OCSPRequest.from_der(encoded)
        self._now = int(time.time())
        settings = self._files.settings(config)
        self._ca = settings.cas[0]
        self._signer = self._files.issuers(settings)[0].signer(self._now)
        self._algorithm = self._signer.algorithm([])
        self._serial = self._request.request_list[0].req_cert.serial_number

    def unsigned(self) -> None:
        """All but the signature."""
        Signer.sign = lambda *arguments: b"\x00" * 71
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "POST",
            "REQUEST_URI": "/cgi-bin/ocsp.cgi",
            "SCRIPT_NAME": "/cgi-bin/ocsp.cgi",
            "PATH_INFO": "",
            "CONTENT_TYPE": "application/ocsp-request",
            "CONTENT_LENGTH": str(len(self._encoded)),
            "HTTP_HOST": "ocsp.example.com",
            "REMOTE_ADDR": "127.0.0.1",
            "OCSP_CGI_CONFIG": self._config,
            "wsgi.input": io.BytesIO(self._encoded),
            "wsgi.errors": io.StringIO(),
        }
        (body,) = self._application(environ, lambda status, headers: None)
        assert len(body) > 500, body

    def request(self) -> None:
        producer.check_request(OCSPRequest.from_der(self._encoded))

    def files(self) -> None:
        self._files.issuers(self._files.settings(self._config))

    def index(self) -> None:
        self._files.find(self._ca, {self._serial}, {self._signer.certificate.serial_number})

    def signature(self) -> None:
        self._signer.sign(b"\0" * 200, self._algorithm)


def main(config: str, request: str, stage: str, times: int) -> None:
    stages = Stages(config, Path(request).read_bytes())
    run: Callable[[], None] = getattr(stages, stage)
    run()  # what is read is kept from now on
    for _ in range(times):
        run()
    os.write(1, b"done")


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
