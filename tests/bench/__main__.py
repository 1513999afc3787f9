"""The benchmark: ocsp.cgi against the shell script it replaces, side by side on this machine.

    python3 tests/bench                  half an hour; prints the README's table, writes rows.svg
    python3 tests/bench --quick          two minutes, without the longest indexes and the picture
    python3 tests/bench --python PATH    with this Python too, for its version of `cryptography`

A target that names the newest `cryptography` needs a Python that has it, and one that names 38
needs one with that.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests"), str(CHECKOUT / "tests" / "bench")]

from ocsp_cgi.tools import entry, environment

if __name__ == "__main__":
    try:
        environment.ensure("cryptography", "pytest")
    except entry.CommandError as error:
        sys.exit(entry.report("python3 tests/bench", error))

import measure
import picture
from measure import Ratio
from setting import Setting, versions

from ocsp_cgi import limits
from ocsp_cgi.tools import httpd

SHORT = 1_000
LONG, LONGEST = 1_000_000, 10_000_000
PICTURE = CHECKOUT / "tests" / "bench" / "rows.svg"


class Table:
    """The targets, as rows of the README's table."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def add(
        self,
        target: str,
        what: str,
        ratio: Ratio | None,
        bound: float,
        least: bool = False,
        missing: str = "",
    ) -> None:
        """A target: `ratio` may be at most `bound`, or at least with `least`."""
        comparison = "≥" if least else "≤"
        if ratio is None:
            row = (
                f"| {target} | {what} | {comparison} {_number(bound)} | | not measured: {missing} |"
            )
        else:
            holds = ratio.median >= bound if least else ratio.median <= bound
            spread = f"{_number(ratio.median)} ({_number(ratio.low)} to {_number(ratio.high)})"
            row = (
                f"| {target} | {what} | {comparison} {_number(bound)} | {spread} |"
                f" {'holds' if holds else '**missed**'} |"
            )
        self.rows.append(row)
        print(row, file=sys.stderr, flush=True)


def _number(value: float) -> str:
    return f"1/{1 / value:.0f}" if value < 0.1 else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python3 tests/bench", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two minutes, without the longest indexes and the picture",
    )
    parser.add_argument(
        "--python", action="append", default=[], metavar="PATH", help="another Python to measure"
    )
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="ocsp-cgi-bench-"))
    try:
        pythons = _pythons([sys.executable, *arguments.python, "/usr/bin/python3"])
        table = _measure(Setting(home, list(pythons)), pythons, arguments.quick)
    finally:
        shutil.rmtree(home)
    print(f"\n{_machine(list(pythons.values()))}\n")
    print("| | what, against what | target | measured | |\n|---|---|---|---|---|")
    print("\n".join(table.rows))


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


def _measure(setting: Setting, pythons: dict[str, str], quick: bool) -> Table:
    table = Table()
    rounds = 15 if quick else 61
    newest = next(iter(pythons))
    old = next((python for python, text in pythons.items() if ", cryptography 38." in text), None)
    commands = {
        "reference": setting.reference_command(SHORT),
        "constant": setting.constant_command(newest),
    }
    commands["cached"] = _cached(setting, newest, SHORT)
    for signer in ("RSA", "P-256"):
        commands[signer] = setting.ours(newest, SHORT, signer)
        if old:
            commands[f"old {signer}"] = setting.ours(old, SHORT, signer)
    runs = measure.interleaved(commands, rounds)
    wall = {name: [run.wall for run in measured] for name, measured in runs.items()}
    cpu = {name: [run.cpu for run in measured] for name, measured in runs.items()}

    table.add(
        "T1",
        "cached response, wall time, against the shell script",
        Ratio.of(wall["cached"], wall["reference"]),
        0.90,
    )
    table.add(
        "T1",
        "cached response, processor time, against the shell script",
        Ratio.of(cpu["cached"], cpu["reference"]),
        0.75,
    )
    table.add(
        "T2",
        "cached response, against a Python script that prints a constant",
        Ratio.of(wall["cached"], wall["constant"]),
        1.35,
    )
    for signer, bound in (("RSA", 2.5), ("P-256", 3.1)):
        table.add(
            "T3",
            f"new response, {signer}, against the shell script",
            Ratio.of(wall[signer], wall["reference"]),
            bound,
        )
    for signer, bound in (("RSA", 9.5), ("P-256", 6.5)):
        ratio = Ratio.of(wall[f"old {signer}"], wall["reference"]) if old else None
        table.add(
            "T4",
            f"the same with `cryptography` 38, {signer}",
            ratio,
            bound,
            missing="no Python here has it",
        )

    _measure_long(table, setting, newest, quick)
    table.add(
        "T7",
        "cached responses a second in Apache (mod_cgid, 8 clients), against the shell script",
        *_apache(setting, newest, quick),
    )
    if not quick:
        PICTURE.write_text(picture.draw(_curves(setting, newest)))
    return table


def _cached(setting: Setting, python: str, rows: int) -> measure.Command:
    """A command whose response has been cached."""
    measure.run(setting.ours(python, rows, "P-256", cache=True)._replace(expected=setting.good))
    return setting.ours(python, rows, "P-256", cache=True)


def _measure_long(table: Table, setting: Setting, python: str, quick: bool) -> None:
    """What grows with the index: time at 1 000 000 rows, time and memory at 10 000 000."""
    commands = {
        "reference": setting.reference_command(LONG),
        "cached": _cached(setting, python, LONG),
    }
    commands["new"] = setting.ours(python, LONG, "P-256")
    wall = {
        name: [run.wall for run in runs]
        for name, runs in measure.interleaved(commands, 3 if quick else 9).items()
    }
    table.add(
        "T5",
        "cached response at 1 000 000 rows, the last",
        Ratio.of(wall["cached"], wall["reference"]),
        1 / 35,
    )
    table.add(
        "T5",
        "new response at 1 000 000 rows, the last",
        Ratio.of(wall["new"], wall["reference"]),
        1 / 22,
    )
    shortest, longest = (
        setting.ours(python, SHORT, "P-256"),
        None if quick else setting.ours(python, LONGEST, "P-256"),
    )
    memory = longest and Ratio.of(
        *[[measure.peak_memory(command) for _ in range(5)] for command in (longest, shortest)]
    )
    table.add(
        "T6",
        "peak memory at 10 000 000 rows, against that at 1 000",
        memory,
        1.1,
        missing="--quick",
    )
    if longest:
        runs = measure.interleaved(
            {"new": longest, "reference": setting.reference_command(LONGEST)}, 3
        )
        seconds = Ratio.of(
            [run.wall for run in runs["new"]], [run.wall for run in runs["reference"]]
        )
    table.add(
        "T6",
        "new response at 10 000 000 rows, the last",
        seconds if longest else None,
        1 / 60,
        missing="--quick",
    )


def _apache(setting: Setting, python: str, quick: bool) -> tuple:
    """T7's ratio, bound, and the rest that a row of the table takes."""
    if shutil.which("ab") is None:
        return None, 1.3, True, "`ab` is not installed"
    reference = (
        f'<Directory "{setting.home}">\nRequire all granted\n</Directory>\nScriptAlias "/reference"'
        f' "{setting.reference(SHORT)}"'
    )
    site = httpd.SITE_CONF.read_text().replace("TraceEnable off", f"TraceEnable off\n{reference}")
    config = setting.config(SHORT, "P-256", cache=True)
    try:
        # Apache runs both as its own user.
        httpd.check_python(python)
        httpd.let_read(setting.home)
        httpd.let_write(config.with_suffix(".cache"))
        time.sleep(limits.DATABASE_SETTLING_SECONDS)
        with httpd.Apache(
            setting.home / "httpd", setting.pythons[python], config, site_conf=site
        ) as apache:
            urls = {
                "ours": apache.url,
                "reference": apache.url.replace("/cgi-bin/ocsp.cgi", "/reference"),
            }
            rates: dict[str, list[float]] = {name: [] for name in urls}
            for number in range(1 + (3 if quick else 9)):
                for name, url in urls.items():
                    rate = _requests_per_second(url, setting.request, 200 if quick else 600)
                    if number:
                        rates[name].append(rate)
            assert apache.error_log.count("cache=hit") > len(rates["ours"]) * 200, apache.error_log[
                -2000:
            ]
    except httpd.Unavailable as error:
        return None, 1.3, True, str(error)
    return Ratio.of(rates["ours"], rates["reference"]), 1.3, True


def _requests_per_second(url: str, body: Path, number: int) -> float:
    command = [
        "ab",
        "-q",
        "-n",
        str(number),
        "-c",
        "8",
        "-p",
        str(body),
        "-T",
        "application/ocsp-request",
        url,
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.search(rf"Complete requests: +{number}\n", said) and "Non-2xx" not in said, said
    return float(re.search(r"Requests per second: +([\d.]+)", said)[1])


def _curves(setting: Setting, python: str) -> dict[str, dict[int, float]]:
    """Milliseconds by the number of rows, of each of the three."""
    curves: dict[str, dict[int, float]] = {
        "shell script": {},
        "ocsp.cgi, new response": {},
        "ocsp.cgi, cached response": {},
    }
    for rows in (SHORT, 10_000, 100_000, LONG, LONGEST):
        commands = [
            setting.reference_command(rows),
            setting.ours(python, rows, "P-256"),
            _cached(setting, python, rows),
        ]
        runs = measure.interleaved(dict(zip(curves, commands)), 3 if rows == LONGEST else 9)
        for name, measured in runs.items():
            curves[name][rows] = 1000 * sorted(run.wall for run in measured)[len(measured) // 2]
    return curves


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
