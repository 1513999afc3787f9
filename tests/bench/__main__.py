"""The benchmark: ocsp.cgi against the shell script it replaces, side by side on this machine.

    python3 tests/bench                  an hour; prints the tables, writes rows.svg
    python3 tests/bench --quick          two minutes, without the longest indexes and the picture
    python3 tests/bench --only servers   one part: processes (T1 to T6) or servers (T7 to T9)
    python3 tests/bench --python PATH    with this Python too, for its version of `cryptography`

A target that names the newest `cryptography` needs a Python that has it, and one that names 38
needs one with that.  The servers run under the Python that mod_wsgi was built for.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests"), str(CHECKOUT / "tests" / "bench")]

from ocsp_cgi.tools import entry, environment

if __name__ == "__main__":
    try:
        environment.ensure("cryptography", "pytest")
    except entry.CommandError as error:
        sys.exit(entry.report("python3 tests/bench", error))

import picture
import processes
import rates
import table
from servers import Servers
from setting import Setting, versions

from ocsp_cgi.tools import httpd

PICTURE = CHECKOUT / "tests" / "bench" / "rows.svg"
PARTS = ("processes", "servers")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python3 tests/bench", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two minutes, without the longest indexes and the picture",
    )
    parser.add_argument("--only", choices=PARTS, help="measure only this part")
    parser.add_argument(
        "--python", action="append", default=[], metavar="PATH", help="another Python to measure"
    )
    arguments = parser.parse_args()
    parts = [arguments.only] if arguments.only else PARTS
    home = Path(tempfile.mkdtemp(prefix="ocsp-cgi-bench-"))
    try:
        pythons = _pythons([sys.executable, *arguments.python, "/usr/bin/python3"])
        targets, rest = _measure(Setting(home, list(pythons)), pythons, parts, arguments.quick)
    finally:
        shutil.rmtree(home)
    print(f"\n{_machine(list(pythons.values()))}\n")
    print("\n".join([table.HEAD, *targets.rows, "", *rest]).rstrip())


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
    setting: Setting, pythons: dict[str, str], parts: list[str], quick: bool
) -> tuple[table.Table, list[str]]:
    """The targets' table, and the lines of the servers' one."""
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
            targets.missing("T7 to T9", "answers per second", str(error))
    return targets, rest


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
