"""Admission: a few processes sign at a time, the others wait in order, and whatever is wrong with
the slots costs no response."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clients import (
    as_nobody,
    cert_id,
    certificate,
    nonce,
    program,
    request,
    run_cgi,
    settle,
    verified,
)

from ocsp_cgi import admission, config, limits
from ocsp_cgi.answer import TRY_LATER, error_response

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parent.parent
SLOTS = 2 * len(os.sched_getaffinity(0))
TRY_LATER = error_response(TRY_LATER)

_HOLD = """\
import os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
for byte in map(int, sys.argv[2:]):
    os.lseek(file, byte, 0)
    os.lockf(file, os.F_TLOCK, 1)
print(flush=True)
time.sleep(60)
"""
# Waits for a slot, holds it for a while, and prints when, and what the waiting cost.
_ENTER = """\
import sys, time
sys.path.insert(0, sys.argv[1])
from ocsp_cgi import admission, config, limits
limits.SLOT_PATIENCE_SECONDS = 60
before = time.process_time()
settings = config.load(sys.argv[2])
print(flush=True)
admission.enter(settings, time.monotonic() + 60)
entered, cost = time.monotonic(), time.process_time() - before
time.sleep(float(sys.argv[3]))
print(entered, time.monotonic(), cost)
"""


class Host:
    """A CA with a cache, and the processes that a test starts beside it."""

    def __init__(self, ca, running: contextlib.ExitStack):
        self._running = running
        self.ca = ca
        self.cache = ca.home / "cache"
        self.cache.mkdir(mode=0o750)
        self.config = ca.home / "ocsp-cgi.conf"
        self.config.write_text(
            self.config.read_text().partition("[responder]")[0] + "cache = cache\n"
        )
        settle(ca.home / "db" / "index")
        self.root = certificate(ca.home / "root-ca.crt")
        self.plain = request(cert_id(self.root, int(ca.serial("good"), 16)))
        self.with_nonce = request(self.plain[8:], extensions=nonce(bytes(16)))

    def start(self, source: str, *arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-c", source, *map(str, arguments)]
        process = self._running.enter_context(program(command, stdout=subprocess.PIPE, text=True))
        process.stdout.readline()
        return process

    def hold(self, *numbers: int) -> subprocess.Popen:
        """A process that has these bytes locked: 0 is the queue, the others are slots."""
        return self.start(_HOLD, self.cache / ".slots", *numbers)

    def enter(self, seconds: float) -> subprocess.Popen:
        return self.start(_ENTER, CHECKOUT, self.config, seconds)

    def settings(self) -> config.Settings:
        return config.load(str(self.config))


@pytest.fixture
def host(ca):
    with contextlib.ExitStack() as running:
        yield Host(ca, running)


def output(process: subprocess.Popen) -> list[float]:
    return [float(word) for word in process.communicate(timeout=60)[0].split()]


def test_no_more_than_there_are_slots(host):
    """At any moment; and each process gets one."""
    intervals = [output(process)[:2] for process in [host.enter(0.3) for _ in range(4 * SLOTS)]]
    most = max(sum(begin <= moment < end for begin, end in intervals) for moment, _ in intervals)
    assert most <= SLOTS
    assert most > 1


def test_the_longest_wait_goes_first_and_waiting_costs_nothing(host):
    holder = host.hold(*range(1, SLOTS + 1))
    waiting = []
    for _ in range(8):
        waiting.append(host.enter(0.1))
        time.sleep(0.3)
    holder.kill()
    results = [output(process) for process in waiting]
    entered = [moment for moment, _, _ in results]
    # Two that enter in quick succession may read the clock in either order; not two a round apart.
    assert all(earlier < later for earlier, later in zip(entered, entered[SLOTS:]))
    assert max(cost for _, _, cost in results[1:]) < 0.1


def test_a_slot_is_free_when_its_process_has_been_killed(host):
    holders = [host.hold(number) for number in range(1, SLOTS + 1)]
    waiting = host.enter(0)
    assert waiting.poll() is None
    holders[0].send_signal(signal.SIGKILL)
    assert output(waiting)


def test_what_needs_no_signature_needs_no_slot(host, cgi):
    run_cgi(cgi, host.config, body=host.plain)
    time.sleep(limits.DATABASE_SETTLING_SECONDS)
    run_cgi(cgi, host.config, body=host.plain)
    host.hold(0, *range(1, SLOTS + 1))
    began = time.monotonic()
    assert "cache=hit" in run_cgi(cgi, host.config, body=host.plain).log
    host.ca.issue("another")  # after which it takes a search
    assert "cache=hit" in run_cgi(cgi, host.config, body=host.plain).log
    assert "malformedRequest" in run_cgi(cgi, host.config, body=b"0").log
    assert time.monotonic() - began < limits.DEADLINE_SECONDS / 2


def test_overloaded_until_the_deadline(host, cgi):
    """The log says so, and what helps; it does not say that anything hangs."""
    host.hold(0)
    response = run_cgi(cgi, host.config, body=host.with_nonce)
    assert response.body == TRY_LATER
    assert (
        " ocsp.cgi: error: overloaded: more requests need a signature than this machine can make"
        " within 10 seconds. What helps: " in response.log
    )
    assert "hang" not in response.log and "response=tryLater" in response.log


def test_too_late_to_begin(host):
    """With less time than the last process or any process needed, it says so at once."""
    host.hold(*range(1, SLOTS + 1))
    began = time.monotonic()
    with pytest.raises(admission.Overloaded, match="overloaded"):
        admission.enter(host.settings(), time.monotonic() + limits.SIGNING_SECONDS)
    assert time.monotonic() - began < limits.SIGNING_SECONDS


def test_nothing_is_begun_that_takes_longer_than_is_left(host):
    """With three seconds left, where the process before needed four."""
    taken = [host.enter(0) for _ in range(SLOTS)]
    for process in taken:
        output(process)
    holder = host.hold(*range(1, SLOTS + 1))
    record = b"%020d" % (time.monotonic_ns() - 3_800_000_000)
    with open(host.cache / ".slots", "r+b") as file:
        file.write(bytes(20) + record * SLOTS)
    program = _ENTER.replace("time.monotonic() + 60)", "time.monotonic() + 3)").replace(
        "import sys", "import os, sys"
    )
    late = host.start(program, CHECKOUT, host.config, 0)
    time.sleep(0.3)
    holder.kill()
    assert output(late) == [] and late.returncode == 1  # Overloaded


def test_slots_that_hang_delay_no_process_for_long(host, cgi):
    """Such as those of another CA whose file system hangs."""
    host.hold(*range(1, SLOTS + 1))
    began = time.monotonic()
    with ThreadPoolExecutor(3) as clients:
        for response in clients.map(
            lambda _: run_cgi(cgi, host.config, body=host.with_nonce), range(3)
        ):
            assert verified(response.body, host.root)
    assert time.monotonic() - began < limits.DEADLINE_SECONDS


def test_a_process_that_waited_finds_what_another_has_signed_meanwhile(host, cgi):
    number = SLOTS + 4
    holder = host.hold(0)
    with ThreadPoolExecutor(number) as clients:
        responses = [
            clients.submit(run_cgi, cgi, host.config, body=host.plain) for _ in range(number)
        ]
        time.sleep(2)
        holder.kill()
        logs = [response.result().log for response in responses]
    assert all("status=good" in log for log in logs)
    assert sum("cache=hit" in log for log in logs) >= 1


@pytest.mark.parametrize(
    "what",
    ["none", "no directory", "read-only", "writable for all", "a directory", "a FIFO", "a link"],
)
def test_without_slots_there_is_no_admission_and_no_error(host, cgi, what):
    slots = host.cache / ".slots"
    if what == "none":
        host.config.write_text(host.config.read_text().replace("cache = cache\n", ""))
    elif what == "no directory":
        host.cache.rmdir()
    elif what == "read-only":
        host.cache.chmod(0o555)
    elif what == "writable for all":
        host.hold(0)
        host.cache.chmod(0o777)
    elif what == "a directory":
        slots.mkdir()
    elif what == "a FIFO":
        os.mkfifo(slots)
    else:
        slots.symlink_to(host.ca.home / "elsewhere")
    began = time.monotonic()
    with as_nobody():
        assert admission.enter(host.settings(), time.monotonic() + 60) is False
    assert time.monotonic() - began < 5
    response = run_cgi(cgi, host.config, body=host.with_nonce)
    assert verified(response.body, host.root) and response.log.count("\n") == 1
    assert not (host.ca.home / "elsewhere").exists()


def test_one_process_for_many_requests_needs_no_slot(host):
    host.hold(0)
    assert admission.enter(host.settings(), None) is False
