"""The benchmark: ocsp.cgi against the shell script it replaces, side by side on this machine.

    python3 tests/bench                    an hour; prints the tables, writes rows.svg
    python3 tests/bench --quick            a minute, without what takes longest
    python3 tests/bench --only servers     one part: processes (T1 to T6), servers (T7 to T10),
                                           presigning or instructions
    python3 tests/bench --python PATH      with this Python too, for its version of `cryptography`
    python3 tests/bench --against REV      this tree and another commit, side by side
    python3 tests/bench --only instructions --record
                                           write what responses need now to instructions.txt

Instructions fail if a response needs over 2 % more of them than instructions.txt says.  A target
that names the newest `cryptography` needs a Python that has it, and one that names 38 needs one
with that.  The servers run under the Python that mod_wsgi was built for.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests"), str(CHECKOUT / "tests" / "bench")]

from ocsp_cgi.tools import entry, environment

if __name__ == "__main__":
    try:
        environment.ensure("cryptography", "pytest")
    except entry.CommandError as error:
        sys.exit(entry.report("python3 tests/bench", error))

import against
import instructions
import picture
import presigning
import processes
import rates
import table
from servers import Servers
from setting import Setting, versions

from ocsp_cgi.tools import httpd

PICTURE = CHECKOUT / "tests" / "bench" / "rows.svg"
PARTS = ("processes", "servers", "presigning", "instructions")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python3 tests/bench", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a minute, without what takes longest",
    )
    parser.add_argument("--only", choices=PARTS, help="measure only this part")
    parser.add_argument(
        "--python", action="append", default=[], metavar="PATH", help="another Python to measure"
    )
    parser.add_argument(
        "--against", metavar="REV", help="compare processes of this tree with those of a commit"
    )
    parser.add_argument(
        "--record", action="store_true", help="write the instructions to instructions.txt"
    )
    arguments = parser.parse_args()
    parts = [arguments.only] if arguments.only else PARTS
    home = Path(tempfile.mkdtemp(prefix="ocsp-cgi-bench-"))
    failed: list[str] = []
    try:
        pythons = _pythons([sys.executable, *arguments.python, "/usr/bin/python3"])
        if arguments.against:
            lines = against.compare(home, pythons, arguments.against, arguments.quick)
        else:
            setting = Setting(home, list(pythons))
            lines = _measure(setting, pythons, parts, arguments.quick)
            if arguments.only == "instructions" or not (arguments.only or arguments.quick):
                counted, failed = _count(setting, pythons, arguments.record)
                lines += ["", *counted]
    finally:
        shutil.rmtree(home)
    print(f"\n{_machine(list(pythons.values()))}\n")
    print("\n".join(lines).strip())
    for line in failed:
        print(line, file=sys.stderr)
    return entry.WARNING if failed else entry.OK


def _pythons(candidates: list[str]) -> dict[str, str]:
    """Those of the Pythons that have `cryptography`, with their versions; the newest first."""
    found = {}
    for python in candidates:
        try:
            found.setdefault(versions(python), python)
        except (OSError, subprocess.CalledProcessError):
            print(f"{python} has no `cryptography`: not measured", file=sys.stderr)
    return {
        python: text for (text, _), python in sorted(found.items(), key=lambda item: -item[0][1])
    }


def _measure(
    setting: Setting, pythons: dict[str, str], parts: Sequence[str], quick: bool
) -> list[str]:
    """The lines of the targets' table, and of the servers' one."""
    targets = table.Table()
    newest = next(iter(pythons))
    rest = []
    if "processes" in parts:
        old = next(
            (python for python, text in pythons.items() if ", cryptography 38." in text), None
        )
        processes.measure_them(setting, newest, old, targets, quick)
        if not quick:
            PICTURE.write_text(picture.draw(processes.curves(setting, newest)))
    if "servers" in parts:
        try:
            with Servers(setting, pythons) as servers:
                rest = rates.measure(servers, targets, quick)
        except httpd.Unavailable as error:
            targets.missing("T7 to T10", "answers per second", str(error))
    lines = [table.HEAD, *targets.rows, "", *rest] if targets.rows else []
    if "presigning" in parts:
        lines += ["", *presigning.table(setting, newest, quick)]
    return lines


def _count(
    setting: Setting, pythons: dict[str, str], is_to_be_recorded: bool
) -> tuple[list[str], list[str]]:
    """The lines of the tables of instructions, and of what needs too many."""
    newest = next(iter(pythons))
    try:
        figures = instructions.of_processes(setting, pythons)
        others = instructions.beside(setting, newest)
        stages = instructions.of_stages(setting, newest)
    except instructions.NotCounted as error:
        return [], [str(error)]
    if is_to_be_recorded:
        instructions.record(figures)
    failed = instructions.excess(figures, instructions.recorded())
    return instructions.tables(figures, others, stages), failed


def _machine(pythons: list[str]) -> str:
    model = next(
        (
            line.partition(": ")[2]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    openssl = subprocess.run(["openssl", "version"], capture_output=True, text=True).stdout.split()[
        1
    ]
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model or platform.machine()}; OpenSSL {openssl};"
        f" {'; '.join(pythons)}"
    )


if __name__ == "__main__":
    entry.run("python3 tests/bench", lambda: main)
