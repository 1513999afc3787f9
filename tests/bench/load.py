"""Clients that ask a server one after another, as `ab` plays them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple


class Load(NamedTuple):
    """What so many clients got: answers per second, the milliseconds that half of
    the requests and that 99 of 100 took at most, and how many had no answer with status 200."""

    rate: float
    median: float
    slowest: float
    failed: int


def put(url: str, body: Path, clients: int, number: int, least: int) -> Load:
    """Send the request in a file to a URL so many times.

    AssertionError if most are not answered, or the answers have fewer bytes than `least` on
    average: then some were errors.
    """
    return _ask(["-p", str(body), "-T", "application/ocsp-request"], url, clients, number, least)


def get(url: str, clients: int, number: int, least: int) -> Load:
    """As `put`, with GET."""
    return _ask([], url, clients, number, least)


def _ask(options: list[str], url: str, clients: int, number: int, least: int) -> Load:
    command = ["ab", "-q", "-l", "-r", "-n", str(number), "-c", str(clients), *options, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    complete = int(_found(r"Complete requests: +(\d+)", said))
    failed = int(_found(r"Failed requests: +(\d+)", said))
    refused = re.search(r"Non-2xx responses: +(\d+)", said)
    failed += int(refused[1]) if refused else 0
    assert failed < complete / 2, (url, said)
    bytes_each = int(_found(r"HTML transferred: +(\d+)", said)) / max(1, complete - failed)
    assert bytes_each >= least, (url, said)
    times = [float(_found(rf"^ +{percent}% +(\d+)", said)) for percent in (50, 99)]
    return Load(float(_found(r"Requests per second: +([\d.]+)", said)), *times, failed)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    assert found, text
    return found[1]
