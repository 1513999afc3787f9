"""The processes of a running Apache, before and after it reads its configuration again."""

from __future__ import annotations

import http.client
import os
import signal
import time

import pytest
from clients import started

from ocsp_cgi.tools import apache_dump, apache_process

pytestmark = [pytest.mark.apache, pytest.mark.slow]


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_earlier_children_stay_until_their_requests_are_answered(pki, cgi, place, mpm):
    server = started(place / "httpd", cgi, pki.home / "ocsp-cgi.conf", mpm)
    configuration = apache_dump.read((server._binary, "-f", str(server.home / "httpd.conf")))
    assert apache_process.generation(configuration) == 0
    assert not apache_process.has_earlier_children(configuration)
    with server:
        first = apache_process.generation(configuration)
        assert abs(first - time.time()) < 60
        assert not apache_process.has_earlier_children(configuration)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.putrequest("POST", "/cgi-bin/ocsp.cgi")
        connection.putheader("Content-Type", "application/ocsp-request")
        connection.putheader("Content-Length", "5")
        connection.endheaders(b"\x30\x03")
        time.sleep(1)  # until Apache has taken it
        os.kill(server._process.pid, signal.SIGUSR1)
        wait_for(lambda: apache_process.generation(configuration) > first)
        assert apache_process.has_earlier_children(configuration)
        connection.send(b"\x0a\x01\x01")
        assert connection.getresponse().status == 200
        connection.close()
        wait_for(lambda: not apache_process.has_earlier_children(configuration))
