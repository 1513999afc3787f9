"""T7 to T10: how many answers a second each server gives, side by side."""

from __future__ import annotations

import statistics

from load import Load
from measure import Ratio
from servers import CLIENTS, Servers
from table import Table

# What is asked of which server; the first column of the printed table
_ASKED = {
    ("script-RSA", "new"): "shell script, RSA",
    ("script-P-256", "new"): "shell script, P-256",
    ("openssl-RSA", "new"): "`openssl ocsp -port`, RSA",
    ("openssl-P-256", "new"): "`openssl ocsp -port`, P-256",
    ("cgi-RSA", "new"): "CGI, new, RSA",
    ("cgi-P-256", "new"): "CGI, new, P-256",
    ("cgi-P-256", "cached"): "CGI, cached",
    ("cgi-long", "new"): "CGI, new, P-256, 1 000 000 rows",
    ("wsgi-RSA", "new"): "WSGI, new, RSA",
    ("wsgi-P-256", "new"): "WSGI, new, P-256",
    ("wsgi-P-256", "cached"): "WSGI, cached",
    ("wsgi-long", "new"): "WSGI, new, P-256, 1 000 000 rows",
    ("cache-P-256", "cached"): "Apache's cache, GET",
    ("constant", "new"): "a constant under mod_wsgi",
}
_REPLACED_SECONDS = 30

_Loads = dict[tuple[str, str], list[Load]]


def measure(servers: Servers, table: Table, quick: bool) -> list[str]:
    """Add the rows of the targets to the table.

    Returns the lines of another one, of all that was measured; none if `quick`.
    """
    loads = _interleaved(servers, 8, *((1, 1) if quick else (2, 9)))
    t7 = "cached responses a second in Apache (mod_cgid, 8 clients), against the shell script"
    table.at_least("T7", t7, _ratio(loads, "cgi-P-256", "script-P-256", "cached"), 1.25)
    for signer, script, port in (("RSA", 8, 0.9), ("P-256", 15, 0.3)):
        what = f"new responses a second, WSGI, {signer}, 8 clients, against"
        ours = f"wsgi-{signer}"
        table.at_least(
            "T8", f"{what} the shell script", _ratio(loads, ours, f"script-{signer}"), script
        )
        table.at_least(
            "T8", f"{what} `openssl ocsp -port`", _ratio(loads, ours, f"openssl-{signer}"), port
        )
    long = "new responses a second, WSGI, 1 000 000 rows, against"
    table.at_least("T9", f"{long} 1 000 rows", _ratio(loads, "wsgi-long", "wsgi-P-256"), 0.9)
    replaced = "the same while the index is replaced every 10 seconds, against leaving it alone"
    if quick:
        table.missing("T9", replaced, "--quick")
        _add_t10(table, loads)
        return []
    steady, changing = [], []
    number = _number(loads["wsgi-long", "new"][-1], _REPLACED_SECONDS)
    for _ in range(3):
        steady.append(servers.put("wsgi-long", "new", 8, number))
        with servers.replacing_the_index():
            changing.append(servers.put("wsgi-long", "new", 8, number))
    table.at_least("T9", replaced, Ratio.of(_rates(changing), _rates(steady)), 0.8)
    _add_t10(table, loads)
    by_clients = {
        clients: loads if clients == 8 else _interleaved(servers, clients, 2, 5)
        for clients in CLIENTS
    }
    return [*_rates_table(by_clients), "", *_notes(servers, changing, by_clients)]


def _add_t10(table: Table, loads: _Loads) -> None:
    what = "responses a second to GET from Apache's cache, 8 clients, against the shell script"
    table.at_least("T10", what, _ratio(loads, "cache-P-256", "script-P-256", "cached"), 90)


def _interleaved(servers: Servers, clients: int, seconds: int, rounds: int) -> _Loads:
    """Load each server for so many seconds a round.  A first, short round is not included."""
    numbers = {
        asked: _number(servers.put(*asked, clients, 10 * clients), seconds) for asked in _ASKED
    }
    loads: _Loads = {asked: [] for asked in _ASKED}
    for _ in range(rounds):
        for asked, measured in loads.items():
            measured.append(servers.put(*asked, clients, max(clients, numbers[asked])))
    return loads


def _number(load: Load, seconds: int) -> int:
    """How many requests take so many seconds."""
    return int(load.rate * seconds)


def _ratio(loads: _Loads, ours: str, theirs: str, response: str = "new") -> Ratio:
    return Ratio.of(_rates(loads[ours, response]), _rates(loads[theirs, "new"]))


def _rates(loads: list[Load]) -> list[float]:
    return [load.rate for load in loads]


def _rates_table(by_clients: dict[int, _Loads]) -> list[str]:
    """Answers per second, and the time within which 99 of 100 came."""
    head = " | ".join([f"{clients} client{'s' * (clients > 1)}" for clients in by_clients])
    lines = [f"| answers per second (99 % within) | {head} |"]
    lines.append("|---|" + "---:|" * len(by_clients))
    for asked, shown in _ASKED.items():
        cells = []
        for loads in by_clients.values():
            rate = statistics.median(_rates(loads[asked]))
            slowest = statistics.median(load.slowest for load in loads[asked])
            cells.append(f"{rate:.0f} ({slowest:.0f} ms)")
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return lines


def _notes(servers: Servers, changing: list[Load], by_clients: dict[int, _Loads]) -> list[str]:
    """What the table has no column for."""
    short, long = servers.memory("P-256"), servers.memory("long")
    failed = {
        shown: sum(load.failed for loads in by_clients.values() for load in loads[asked])
        for asked, shown in _ASKED.items()
    }
    unanswered = ", ".join(f"{shown}: {number}" for shown, number in failed.items() if number)
    slowest = statistics.median(load.slowest for load in changing)
    return [
        f"A WSGI process takes {short:.0f} MiB with 1 000 rows, {long:.0f} MiB with 1 000 000.",
        f"While the index of 1 000 000 rows is replaced every 10 seconds, 99 % of the answers come"
        f" within {slowest:.0f} ms.",
        f"Requests without an answer: {unanswered or 'none'}.",
    ]
