"""The stress tests in their short forms, and how time and memory grow with what a client sends."""

from __future__ import annotations

import random
import statistics
import time
import tracemalloc

import pytest
import trials
from clients import NULL, cert_id, extension, nonce, octets, oid, request, settle

from ocsp_cgi import der, index_search
from ocsp_cgi.index_file import DatabaseUnavailable
from ocsp_cgi.tools import httpd

pytestmark = [pytest.mark.slow, pytest.mark.process]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.apache if name in trials.WITH_APACHE else ())
        for name in trials.TRIALS
    ],
)
def test_trial(name, place):
    trial, _, quick = trials.TRIALS[name]
    try:
        result = trial(place, *quick)
    except httpd.Unavailable as error:
        pytest.skip(str(error))
    assert result.tried > 50


@pytest.fixture(scope="module")
def ask(workspace):
    return trials.Asker(trials.make_ca(workspace / "growth").home)


def nested(size: int) -> bytes:
    encoded = b""
    while len(encoded) < size:
        encoded = der.sequence(encoded)
    return encoded


# Each makes a request of about so many bytes, with one part as long as that takes.
GROWING = {
    "serial": lambda root, size: request(cert_id(root, 1 << 8 * size)),
    "negative serial": lambda root, size: request(cert_id(root, -(1 << 8 * size))),
    "CertIDs": lambda root, size: request(*[cert_id(root, number) for number in range(size // 80)]),
    "object identifier": lambda root, size: request(
        cert_id(root, 1), extensions=extension("1.2" + ".1" * size, b"")
    ),
    "long number in an object identifier": lambda root, size: request(
        cert_id(root, 1),
        extensions=der.sequence(
            der.tlv(der.OBJECT_IDENTIFIER, b"\x2a" + b"\xff" * size + b"\x01"), octets(b"")
        ),
    ),
    "extensions": lambda root, size: request(
        cert_id(root, 1),
        extensions=b"".join(extension(f"1.2.{number}", b"") for number in range(size // 10)),
    ),
    "nested extension": lambda root, size: request(
        cert_id(root, 1), extensions=extension("1.3.6.1.5.5.7.48.1.8", nested(size))
    ),
    "preferences": lambda root, size: request(
        cert_id(root, 1),
        extensions=extension(
            "1.3.6.1.5.5.7.48.1.8",
            der.sequence(*[der.sequence(der.sequence(oid("1.2"), NULL))] * (size // 10)),
        ),
    ),
    "nonce": lambda root, size: request(cert_id(root, 1), extensions=nonce(bytes(size))),
    "requestor": lambda root, size: request(
        cert_id(root, 1), requestor=der.tlv(der.context(1), der.tlv(0x82, bytes(size)))
    ),
    "signature": lambda root, size: request(
        cert_id(root, 1),
        signature=der.tlv(
            der.context(0),
            der.sequence(der.sequence(oid("1.2")), der.tlv(der.BIT_STRING, bytes(size))),
        ),
    ),
    "version": lambda root, size: request(
        cert_id(root, 1), version=der.tlv(der.context(0), der.integer(1 << 8 * size))
    ),
    "garbage": lambda root, size: b"\x30" * size,
    "nesting": lambda root, size: nested(size),
}


@pytest.mark.parametrize("what", GROWING)
def test_time_and_memory_grow_no_faster_than_the_request(ask, what):
    """Eight times the length may take eight times as long, and some; the square would be sixty-four
    times."""
    short, long = (GROWING[what](ask.root, size) for size in (7_500, 60_000))
    assert len(long) < 65_536 * 1.2
    ask(short), ask(long)

    def seconds(encoded: bytes) -> float:
        started = time.process_time()
        ask(encoded)
        return time.process_time() - started

    runs = [(seconds(short), seconds(long)) for _ in range(7)]
    ratio = statistics.median(one for _, one in runs) / statistics.median(one for one, _ in runs)
    assert ratio < 20, ratio

    tracemalloc.start()
    try:
        ask(long)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 * len(long), peak


def test_time_grows_no_faster_than_the_index(ask, tmp_path):

    def index(rows: int, name: str) -> str:
        directory = tmp_path / name
        directory.mkdir()
        (directory / "index").write_bytes(
            b"".join(
                b"V\t270220135115Z\t\t%040X\tunknown\t/CN=0A 0A\n" % number
                for number in range(rows)
            )
        )
        return str(directory)

    short, long = index(5_000, "short"), index(40_000, "long")
    for serial_numbers in ({10}, {0xBEEF}, set(range(100))):

        def seconds(directory: str, wanted: set[int] = serial_numbers) -> float:
            started = time.process_time()
            try:
                index_search.find(directory, wanted)
            except DatabaseUnavailable:
                pass
            return time.process_time() - started

        runs = [(seconds(short), seconds(long)) for _ in range(7)]
        ratio = statistics.median(one for _, one in runs) / statistics.median(
            one for one, _ in runs
        )
        assert ratio < 20, (len(serial_numbers), ratio)


@pytest.fixture(scope="module")
def long_index(workspace):
    """100 000 rows with serial numbers of 20 bytes, a tenth of them revoked."""
    directory = workspace / "long-index"
    directory.mkdir()
    draw = random.Random(3)
    with open(directory / "index", "wb") as index:
        for number in range(100_000):
            serial = b"%040X" % draw.getrandbits(159)
            kind = (b"R", b"261122135115Z") if number % 10 == 0 else (b"V", b"")
            index.write(
                b"%s\t270220135115Z\t%s\t%s\tunknown\t/CN=0 00 %d\n" % (*kind, serial, number)
            )
    settle(directory / "index")
    return str(directory)


@pytest.mark.parametrize(
    "serial_numbers",
    [
        {0},
        {0xA},
        {0x270220},
        {0x2702, 0x135115, 0x261122},
        {0x0A, 0x0B, 0xC, 0xD, 0xE, 0xF, 1, 2},
        set(range(9)),
        set(range(100)),
        {number << 150 | 0xBEEF for number in range(1, 10)},
        {number << 150 | 0xBEEF for number in range(1, 101)},
        {0xABCDEF, 0xABCDE1, 0x123456},
    ],
    ids=lambda numbers: f"{len(numbers)} from {min(numbers):X}"[:20],
)
def test_no_request_costs_much_more_to_look_up_than_one_long_serial(long_index, serial_numbers):
    """Short ones stand in many places, and a request may have a hundred."""

    def seconds(wanted: set[int]) -> float:
        started = time.process_time()
        index_search.find(long_index, wanted)
        return time.process_time() - started

    runs = [(seconds({0xCAFE << 140}), seconds(serial_numbers)) for _ in range(7)]
    ratio = statistics.median(many for _, many in runs) / statistics.median(one for one, _ in runs)
    assert ratio < 8, ratio
