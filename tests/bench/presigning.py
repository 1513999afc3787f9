"""Responses signed in advance, in a second of processor time, beside the signatures that
`openssl speed` makes in one."""

from __future__ import annotations

import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from setting import SIGNERS, Setting

HEAD = (
    "| responses signed in advance | a second of a processor | bytes each | of `openssl speed` |\n"
    "|---|---|---|---|"
)
MEMORY = Path("/dev/shm")
_ROWS = {True: 300, False: 3000}  # if it is to be quick, and if not
_ROUNDS = {True: 1, False: 3}
_SPEED = {
    "RSA": (["rsa2048"], r"^rsa 2048 bits +\S+ +\S+ +([\d.]+)"),
    "P-256": (["ecdsap256"], r"\(nistp256\) +\S+ +\S+ +([\d.]+)"),
}
_COMMAND = ["-m", "ocsp_cgi", "presign", "root-ca", "--processes", "1"]
_CHECKOUT = Path(__file__).resolve().parents[2]


def table(setting: Setting, python: str, quick: bool) -> list[str]:
    """The lines of a table; the two programs run by turns."""
    lines = [HEAD]
    for signer in SIGNERS:
        for what, parent in (("on disk", setting.home), ("in memory", MEMORY)):
            if parent.is_dir():
                lines.append(_row(setting, python, signer, what, parent, quick))
                print(lines[-1], file=sys.stderr, flush=True)
    return lines


def _row(setting: Setting, python: str, signer: str, what: str, parent: Path, quick: bool) -> str:
    rows = _ROWS[quick]
    directory = Path(tempfile.mkdtemp(prefix="ocsp-cgi-presigned-", dir=parent))
    config = setting.ca.home / f"presigned-{signer}.conf"
    config.write_text(
        f"[root-ca]\ndb = {setting.index(rows)}\nca = root-ca.crt\nrsigner = {signer}.crt\n"
        f"rkey = private/{signer}.key\nnmin = 1440\ncache = {directory}\n"
    )
    rates, ratios = [], []
    size = 0
    try:
        for _ in range(_ROUNDS[quick]):
            rate, size = _presign(python, config, rows)
            rates.append(rate)
            ratios.append(rate / _speed(signer))
            for path in directory.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    finally:
        shutil.rmtree(directory)
    return (
        f"| {signer}, `cache` {what} | {statistics.median(rates):.0f} | {size} |"
        f" {statistics.median(ratios):.2f} |"
    )


def _presign(python: str, config: Path, rows: int) -> tuple[float, int]:
    """(responses per second, bytes of one) of a run that signs two for each row."""
    before = _processor_seconds()
    run = subprocess.run(
        [python, *_COMMAND, "--config", str(config)],
        cwd=_CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"(\d+) responses signed .* (\d+) bytes each", run.stdout)
    assert found and int(found[1]) == 2 * rows, run.stdout
    return 2 * rows / (_processor_seconds() - before), int(found[2])


def _processor_seconds() -> float:
    """Those of all processes that this one has waited for, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _speed(signer: str) -> float:
    """Signatures per second of processor time, of a process with the priority of `presign`."""
    algorithms, pattern = _SPEED[signer]
    command = ["nice", "-n", "10", "openssl", "speed", "-seconds", "1", *algorithms]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(pattern, run.stdout, re.MULTILINE)
    assert found, run.stdout
    return float(found[1])
