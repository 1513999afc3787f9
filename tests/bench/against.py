"""This tree and another commit, side by side: the time and the instructions of whole processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import instructions
import measure
from measure import Ratio
from setting import CHECKOUT, SIGNERS, Setting
from table import number

from ocsp_cgi.tools.entry import CommandError

_ROWS = 1_000


def compare(home: Path, pythons: dict[str, str], revision: str, quick: bool) -> list[str]:
    """The lines of a table.  CommandError if there is no such commit."""
    tree = home / "tree"
    tree.mkdir()
    archive = subprocess.run(["git", "-C", str(CHECKOUT), "archive", revision], capture_output=True)
    if archive.returncode:
        raise CommandError(f"--against {revision}: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    now = Setting(home / "now", list(pythons))
    then = Setting(home / "then", list(pythons), tree)
    lines = [f"| this tree against {revision} | wall time | million instructions |"]
    lines.append("|---|---:|---:|")
    ratios = {}
    for python, version in pythons.items():
        for what, commands in _commands(python, now, then).items():
            runs = measure.interleaved(commands, 15 if quick else 61)
            walls = [[run.wall for run in runs[name]] for name in ("now", "then")]
            ratios[version, what] = Ratio.of(*walls)
    figures = [instructions.of_processes(setting, pythons) for setting in (now, then)]
    for (version, what), ratio in ratios.items():
        counted = [one[version, what] for one in figures]
        lines.append(
            f"| {what}, {version} | {number(ratio.median)} ({number(ratio.low)} to"
            f" {number(ratio.high)}) | {counted[1]:.1f} → {counted[0]:.1f} |"
        )
    return lines


def _commands(python: str, now: Setting, then: Setting) -> dict[str, dict[str, measure.Command]]:
    """What is measured, as the instructions are named; each now and then."""
    settings = {"now": now, "then": then}
    commands = {"cached": {}}
    for name, setting in settings.items():
        cached = setting.ours(python, _ROWS, "P-256", cache=True)
        measure.run(cached._replace(expected=setting.good))
        commands["cached"][name] = cached
    for signer in SIGNERS:
        commands[f"new, {signer}"] = {
            name: setting.ours(python, _ROWS, signer) for name, setting in settings.items()
        }
    return commands
