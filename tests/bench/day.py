"""A public CA's day from what was measured: how many hosts each setup needs, minute by minute.

    python3 tests/bench/day.py        prints the table of tests/README.md, in a second

This is arithmetic; nothing is started.  The rates are those of one host with two processors,
8 clients and a P-256 signer, from the benchmark.
"""

from __future__ import annotations

import math
from typing import NamedTuple

# As a large public CA has published them: requests a second that reach its caches, and those of
# them that go on to the responders.
AT_THE_CACHES, AT_THE_RESPONDERS = 140_000, 15_000
REVOKED_AT_ONCE = 1_000_000
REVOKED_AT = 14 * 60  # the minute of the day, which is its busiest
REISSUED_WITHIN = 6 * 60  # minutes, by the owners of what was revoked
NEW_SHARE = 0.1  # of the requests at the responders: nonces, and what has expired


class Setup(NamedTuple):
    """The responses a second of one host: repeated ones, and new ones that it signs."""

    name: str
    repeated: float
    new: float


SETUPS = (
    Setup("shell script", 174, 174),
    Setup("CGI with `cache`", 173, 49),
    Setup("CGI, signed in advance, nonces ignored", 173, 173),
    Setup("WSGI with `cache`", 2611, 1453),
    Setup("WSGI, signed in advance, nonces ignored", 2611, 2611),
)
HTTP_CACHE = 13069  # GET from Apache's cache


class Minute(NamedTuple):
    """Requests a second at the responders."""

    repeated: float
    new: float


def day() -> list[Minute]:
    """More by day than by night.  What is revoked at once is asked for anew as caches run out of
    it, and its owners get new certificates: two new responses each."""
    minutes = []
    for minute in range(24 * 60):
        both = AT_THE_RESPONDERS * (1 + 0.5 * math.cos(2 * math.pi * (minute / 1440 - 14 / 24)))
        more = 0.0
        if REVOKED_AT <= minute < REVOKED_AT + REISSUED_WITHIN:
            more = 2 * REVOKED_AT_ONCE / (REISSUED_WITHIN * 60)
        minutes.append(Minute(both * (1 - NEW_SHARE), both * NEW_SHARE + more))
    return minutes


def hosts(setup: Setup, minutes: list[Minute]) -> int:
    """So many that none of the minutes leaves work to the next one."""
    busiest = max(one.repeated / setup.repeated + one.new / setup.new for one in minutes)
    return math.ceil(busiest)


def main() -> None:
    minutes = day()
    busiest = max(one.repeated + one.new for one in minutes)
    caches = math.ceil(busiest / AT_THE_RESPONDERS * AT_THE_CACHES / HTTP_CACHE)
    print(f"In the busiest minute the responders get {busiest:.0f} requests a second.")
    print()
    print("| | hosts |")
    print("|---|---:|")
    for setup in SETUPS:
        print(f"| {setup.name} | {hosts(setup, minutes)} |")
    print(f"| and in front of any of them, Apache's cache | {caches} |")


if __name__ == "__main__":
    main()
