"""The processor's instructions for one response, as valgrind counts them: unlike seconds, they are
the same on a busy machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from clients import nonce
from measure import Command
from setting import SIGNERS, Setting

TOLERANCE = 1.02  # of what is recorded
_STAGES = {
    "request": "reading the request",
    "files": "looking whether config, certificates and key have changed",
    "index": "finding the rows of the certificate and the signer, with a map",
}
_RECORD = Path(__file__).with_name("instructions.txt")
_ROWS = 1_000
_IN_PROCESS = Path(__file__).with_name("in_process.py")
_TIMES = (5, 45)
_PATIENT_SECONDS = 600  # valgrind is slow

Figures = dict[tuple[str, str], float]  # millions, by Python and what is answered


class NotCounted(Exception):
    """valgrind is not there."""


def of_processes(setting: Setting, pythons: dict[str, str]) -> Figures:
    """The millions of instructions of ocsp.cgi under Pythons, given with their versions."""
    figures = {}
    for python, version in pythons.items():
        _be_patient(setting, python)
        cached = setting.ours(python, _ROWS, "P-256", cache=True)
        count(cached._replace(expected=setting.good))
        figures[version, "cached"] = count(cached)
        for signer in SIGNERS:
            figures[version, f"new, {signer}"] = count(setting.ours(python, _ROWS, signer))
    return figures


def beside(setting: Setting, python: str) -> dict[str, float]:
    """The millions of what ocsp.cgi is compared with."""
    figures = {"a Python script that prints a constant": count(setting.constant_command(python))}
    for signer in SIGNERS:
        figures[f"shell script, {signer}"] = count(setting.reference_command(_ROWS, signer))
    return figures


def of_stages(setting: Setting, python: str) -> dict[str, dict[str, float]]:
    """The millions of a new response by the WSGI application, and of its stages; by the signer."""
    body = setting.home / "staged.der"
    body.write_bytes(setting.encoded_request(nonce(bytes(32))))
    configs = {signer: setting.config(_ROWS, signer, cache=False) for signer in SIGNERS}

    def of(signer: str, stage: str) -> float:
        return _of_stage(setting, python, [str(configs[signer]), str(body), stage])

    of("P-256", "request")  # after which Python has no module left to compile
    # The same for any signer.  Counted where a start does not differ from the next: loading an RSA
    # key takes random numbers.
    unsigned = {stage: of("P-256", stage) for stage in (*_STAGES, "unsigned")}
    return {signer: {**unsigned, "signature": of(signer, "signature")} for signer in SIGNERS}


def _of_stage(setting: Setting, python: str, arguments: list[str]) -> float:
    few, many = [
        count(
            Command(
                [python, str(_IN_PROCESS), *arguments, str(times)],
                {"PYTHONHASHSEED": "0"},
                setting.request,
                [b"done"],
            )
        )
        for times in _TIMES
    ]
    return (many - few) / (_TIMES[1] - _TIMES[0])


def count(command: Command) -> float:
    """The millions of instructions, outside the kernel, of a process and its children.

    NotCounted if valgrind is not there.
    """
    if shutil.which("valgrind") is None:
        raise NotCounted("valgrind is not installed (Debian: apt-get install valgrind)")
    with tempfile.TemporaryDirectory() as directory:
        callgrind = ["valgrind", "--tool=callgrind", "--trace-children=yes"]
        callgrind += [f"--callgrind-out-file={directory}/%p", "--log-file=/dev/null"]
        with open(command.stdin, "rb") as stdin:
            done = subprocess.run(
                [*callgrind, *command.arguments],
                env=command.environment,
                stdin=stdin,
                capture_output=True,
            )
        command.check(done.stdout + done.stderr)
        written = "\n".join([file.read_text() for file in Path(directory).iterdir()])
    counted = re.findall(r"^totals: (\d+)", written, re.MULTILINE)
    assert counted, (command, done.stderr)
    return sum(map(int, counted)) / 1_000_000


def _be_patient(setting: Setting, python: str) -> None:
    """Raise the deadline of the ocsp.cgi that this Python runs."""
    package = setting.pythons[python].parent / "ocsp_cgi"
    limits = package / "limits.py"
    text = limits.read_text()
    patient = re.sub(r"(?m)^DEADLINE_SECONDS = \d+", f"DEADLINE_SECONDS = {_PATIENT_SECONDS}", text)
    assert patient != text
    limits.write_text(patient)
    subprocess.run([python, "-m", "compileall", "-q", str(package)], check=True)


def recorded() -> Figures:
    """The figures of tests/bench/instructions.txt."""
    figures = {}
    for line in _RECORD.read_text().splitlines():
        python, what, millions = line.split(": ")
        figures[python, what] = float(millions)
    return figures


def record(figures: Figures) -> None:
    """Write the figures to tests/bench/instructions.txt, in place of those of the same Pythons."""
    pythons = {python for python, _ in figures}
    kept = {key: value for key, value in recorded().items() if key[0] not in pythons}
    lines = [
        f"{python}: {what}: {millions:.1f}\n"
        for (python, what), millions in sorted({**kept, **figures}.items())
    ]
    _RECORD.write_text("".join(lines))


def excess(figures: Figures, bounds: Figures) -> list[str]:
    """What takes more than 2 % above its bound, a line each.

    AssertionError if nothing that was counted has a bound.
    """
    common = figures.keys() & bounds.keys()
    pythons = ", ".join(sorted({python for python, _ in figures}))
    assert common, f"{_RECORD.name} has no figure for {pythons}: add it with --record"
    return [
        f"{python}: {what}: {figures[python, what]:.1f} million instructions,"
        f" {figures[python, what] / bounds[python, what] - 1:.1%} above the"
        f" {bounds[python, what]:.1f} of {_RECORD.name}"
        for python, what in sorted(common)
        if figures[python, what] > bounds[python, what] * TOLERANCE
    ]


def tables(
    figures: Figures, others: dict[str, float], stages: dict[str, dict[str, float]]
) -> list[str]:
    """The lines of two tables: whole processes, and the stages of the WSGI application."""
    pythons = list(dict.fromkeys(python for python, _ in figures))
    lines = [f"| million instructions | {' | '.join(pythons)} |", "|---|" + "---:|" * len(pythons)]
    for what in dict.fromkeys(what for _, what in figures):
        cells = [f"{figures[python, what]:.1f}" for python in pythons]
        lines.append(f"| ocsp.cgi, {what} | {' | '.join(cells)} |")
    lines += [f"| {what} | {millions:.1f} |" for what, millions in others.items()]
    lines += ["", "| million instructions, WSGI, new | RSA | P-256 |", "|---|---:|---:|"]
    shown = {stage: [figures[stage] for figures in stages.values()] for stage in stages["RSA"]}
    unsigned = shown.pop("unsigned")
    rest = [whole - sum(parts) for whole, *parts in zip(unsigned, *[shown[one] for one in _STAGES])]
    rows = {text: shown[stage] for stage, text in _STAGES.items()}
    rows["everything else: HTTP, the response, the log"] = rest
    rows["the signature"] = shown["signature"]
    rows["together"] = [sum(both) for both in zip(unsigned, shown["signature"])]
    for text, millions in rows.items():
        lines.append(f"| {text} | {' | '.join([f'{one:.2f}' for one in millions])} |")
    return lines
