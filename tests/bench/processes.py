"""T1 to T6: whole processes, as Apache starts them for each request, side by side."""

from __future__ import annotations

import measure
from measure import Ratio
from setting import SIGNERS, Setting
from table import Table

SHORT, LONG, LONGEST = 1_000, 1_000_000, 10_000_000
_MAPPED = 50_000  # rows


def measure_them(setting: Setting, newest: str, old: str | None, table: Table, quick: bool) -> None:
    """Add the rows of the targets to the table.

    `newest` is the Python with the newest `cryptography`, `old` one with version 38.
    """
    commands = {
        "script": setting.reference_command(SHORT, "RSA"),
        "constant": setting.constant_command(newest),
        "cached": _cached(setting, newest, SHORT),
    }
    for signer in SIGNERS:
        commands[signer] = setting.ours(newest, SHORT, signer)
        if old:
            commands[f"old {signer}"] = setting.ours(old, SHORT, signer)
    runs = measure.interleaved(commands, 7 if quick else 61)
    wall = {name: [run.wall for run in measured] for name, measured in runs.items()}
    cpu = {name: [run.cpu for run in measured] for name, measured in runs.items()}

    def against_script(name: str) -> Ratio:
        return Ratio.of(wall[name], wall["script"])

    cached = "cached response,"
    table.at_most(
        "T1", f"{cached} wall time, against the shell script", against_script("cached"), 0.88
    )
    processor = Ratio.of(cpu["cached"], cpu["script"])
    table.at_most("T1", f"{cached} processor time, against the shell script", processor, 0.78)
    constant = Ratio.of(wall["cached"], wall["constant"])
    table.at_most("T2", f"{cached} against a Python script that prints a constant", constant, 1.20)
    for signer in SIGNERS:
        what = f"new response, {signer}, against the shell script"
        table.at_most("T3", what, against_script(signer), 3.1)
    for signer, bound in (("RSA", 11.6), ("P-256", 7.5)):
        what = f"the same with `cryptography` 38, {signer}"
        if old:
            table.at_most("T4", what, against_script(f"old {signer}"), bound)
        else:
            table.missing("T4", what, "no Python here has it")
    _measure_long(setting, newest, table, quick)


def _cached(setting: Setting, python: str, rows: int) -> measure.Command:
    """A command whose response has been cached.

    With a map where ocsp.cgi would have one written, which takes a processor for a while.
    """
    command = setting.ours(python, rows, "P-256", cache=True, mapped=rows >= _MAPPED)
    measure.run(command._replace(expected=setting.good))
    return command


def _measure_long(setting: Setting, python: str, table: Table, quick: bool) -> None:
    """What grows with the index: time at 1 000 000 rows, time and memory at 10 000 000."""
    wall = _walls(
        {
            "script": setting.reference_command(LONG, "RSA"),
            "cached": _cached(setting, python, LONG),
            "new": setting.ours(python, LONG, "P-256"),
            "mapped": setting.ours(python, LONG, "P-256", mapped=True),
        },
        3 if quick else 9,
    )
    for name, what, bound in (
        ("cached", "cached response", 1 / 100),
        ("new", "new response", 1 / 21),
        ("mapped", "new response with a map of the index,", 1 / 30),
    ):
        table.at_most(
            "T5",
            f"{what} at 1 000 000 rows, the last, against the shell script",
            Ratio.of(wall[name], wall["script"]),
            bound,
        )
    memory = "peak memory at 10 000 000 rows, against that at 1 000"
    new = "new response at 10 000 000 rows, the last, against the shell script"
    mapped = "new response with a map of the index, at 10 000 000 rows, the last"
    if quick:
        for what in (memory, new, mapped):
            table.missing("T6", what, "--quick")
        return
    commands = [setting.ours(python, rows, "P-256") for rows in (LONGEST, SHORT)]
    peaks = [[measure.peak_memory(command) for _ in range(5)] for command in commands]
    table.at_most("T6", memory, Ratio.of(*peaks), 1.1)
    wall = _walls(
        {
            "new": commands[0],
            "mapped": setting.ours(python, LONGEST, "P-256", mapped=True),
            "script": setting.reference_command(LONGEST, "RSA"),
        },
        3,
    )
    table.at_most("T6", new, Ratio.of(wall["new"], wall["script"]), 1 / 50)
    table.at_most("T6", mapped, Ratio.of(wall["mapped"], wall["script"]), 1 / 300)


def _walls(commands: dict[str, measure.Command], rounds: int) -> dict[str, list[float]]:
    """The seconds of each, by the clock."""
    runs = measure.interleaved(commands, rounds)
    return {name: [run.wall for run in measured] for name, measured in runs.items()}


def curves(setting: Setting, python: str) -> dict[str, dict[int, float]]:
    """Milliseconds by the number of rows, of each of the three."""
    found: dict[str, dict[int, float]] = {
        "shell script": {},
        "ocsp.cgi, new response": {},
        "ocsp.cgi, cached response": {},
    }
    for rows in (SHORT, 10_000, 100_000, LONG, LONGEST):
        commands = [
            setting.reference_command(rows, "RSA"),
            setting.ours(python, rows, "P-256"),
            _cached(setting, python, rows),
        ]
        walls = _walls(dict(zip(found, commands)), 3 if rows == LONGEST else 9)
        for name, seconds in walls.items():
            found[name][rows] = 1000 * sorted(seconds)[len(seconds) // 2]
    return found
