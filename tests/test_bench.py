"""The benchmark measures what it says, and its table and picture show that."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree

import instructions
import load
import measure
import picture
import pytest
import table
from measure import Ratio

BENCH = Path(__file__).resolve().parent / "bench"


def command(tmp_path: Path, program: str, expected: bytes = b"") -> measure.Command:
    (tmp_path / "stdin").write_bytes(b"asked")
    return measure.Command(
        [sys.executable, "-IS", "-c", program], {}, tmp_path / "stdin", [expected]
    )


@pytest.mark.process
def test_a_wrong_answer_ends_it(tmp_path):
    measure.run(command(tmp_path, "print(input())", b"asked"))
    with pytest.raises(AssertionError):
        measure.run(command(tmp_path, "print(input())", b"answered"))


@pytest.mark.process
@pytest.mark.slow
def test_processor_time_is_the_childs(tmp_path):
    busy = measure.run(command(tmp_path, "sum(range(20_000_000))"))
    idle = measure.run(command(tmp_path, "import time; time.sleep(0.5)"))
    assert busy.cpu > idle.cpu and idle.wall > 0.5


@pytest.mark.process
def test_peak_memory_is_the_childs(tmp_path):
    ballast = bytearray(200 * 1024 * 1024)
    small = measure.peak_memory(command(tmp_path, "pass"))
    large = measure.peak_memory(command(tmp_path, "bytearray(50 * 1024 * 1024)"))
    assert 45 * 1024 < large - small < 60 * 1024 and small < 30 * 1024 and len(ballast)


def test_ratio():
    assert measure.Ratio.of([2, 4, 6], [1, 2, 3]) == (2, 2, 2)
    assert measure.Ratio.of([1, 1, 4], [1, 2, 1]).median == 1


def test_picture():
    curves = {
        "shell <script>": {1000: 13.0, 10_000_000: 17_000.0},
        "ours": {1000: 13.0, 10_000_000: 13.0},
    }
    root = ElementTree.fromstring(picture.draw(curves))
    lines = [
        line.get("points").split() for line in root.iter("{http://www.w3.org/2000/svg}polyline")
    ]
    heights = [[float(point.split(",")[1]) for point in line] for line in lines]
    assert heights[0][0] == heights[1][0] == heights[1][1] > heights[0][1]
    assert "shell <script>" in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.process
@pytest.mark.slow
def test_instructions_are_those_of_all_processes(tmp_path):
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    nothing, work = "pass", "sum(range(1_000_000))"
    child = (
        f"import os; os.spawnv(os.P_WAIT, {sys.executable!r}, ['python', '-IS', '-c', {work!r}])"
    )
    counted = {
        program: instructions.count(command(tmp_path, program))
        for program in (nothing, work, child)
    }
    assert counted[nothing] + 5 < counted[work] < counted[child]


def test_what_needs_more_instructions_than_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(instructions, "_RECORD", tmp_path / "instructions.txt")
    (tmp_path / "instructions.txt").write_text(
        "Python 3.9: cached: 20.0\nPython 3.10: cached: 30.0\n"
    )
    instructions.record({("Python 3.10", "cached"): 10.0, ("Python 3.10", "new"): 100.0})
    bounds = instructions.recorded()
    assert bounds == {
        ("Python 3.9", "cached"): 20.0,
        ("Python 3.10", "cached"): 10.0,
        ("Python 3.10", "new"): 100.0,
    }
    assert not instructions.excess({("Python 3.10", "cached"): 10.1}, bounds)
    assert not instructions.excess({("Python 3.10", "new"): 1, ("Python 3.11", "new"): 500}, bounds)
    (line,) = instructions.excess({("Python 3.10", "cached"): 10.5}, bounds)
    assert line.startswith("Python 3.10: cached: 10.5 million instructions, 5.0% above the 10.0")
    with pytest.raises(AssertionError, match=r"no figure for Python 3\.12: add it with --record"):
        instructions.excess({("Python 3.12", "cached"): 1.0}, bounds)


def test_a_row_of_the_targets_table(capsys):
    targets = table.Table()
    targets.at_most("T1", "time", Ratio(0.9, 0.8, 1.0), 0.88)
    targets.at_least("T7", "answers", Ratio(1.5, 1.0, 2.0), 1.25)
    targets.at_most("T5", "long", Ratio(0.01, 0.01, 0.02), 1 / 50)
    targets.missing("T9", "replaced", "--quick")
    assert targets.rows == [
        "| T1 | time | ≤ 0.88 | 0.90 (0.80 to 1.00) | **missed** |",
        "| T7 | answers | ≥ 1.25 | 1.50 (1.00 to 2.00) | holds |",
        "| T5 | long | ≤ 1/50 | 1/100 (1/100 to 1/50) | holds |",
        "| T9 | replaced | | | not measured: --quick |",
    ]
    assert capsys.readouterr().err.splitlines() == targets.rows


@pytest.mark.apache
def test_load(tmp_path):
    """It tells answers from refusals, and ends where most are refused."""
    if shutil.which("ab") is None:
        pytest.skip("`ab` is not installed")
    (tmp_path / "body").write_bytes(b"asked")

    def load_with(status: int, size: int) -> load.Load:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(size))
                self.end_headers()
                self.wfile.write(bytes(size))

            def log_message(self, *arguments: object) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                url = f"http://127.0.0.1:{server.server_port}/"
                return load.put(url, tmp_path / "body", 2, 20, 500)
            finally:
                server.shutdown()

    answered = load_with(200, 1000)
    assert answered.failed == 0 and answered.rate > 0 and answered.slowest >= answered.median
    for status, size in ((500, 1000), (200, 5)):
        with pytest.raises(AssertionError):
            load_with(status, size)


@pytest.mark.apache
@pytest.mark.slow
def test_quick():
    run = subprocess.run(
        [sys.executable, str(BENCH), "--quick"], capture_output=True, text=True, timeout=900
    )
    assert run.returncode == 0, run.stderr
    rows = [line.split(" | ") for line in run.stdout.splitlines() if line.startswith("| T")]
    numbers = (1, 1, 2, 3, 3, 4, 4, 5, 5, 5, 6, 6, 6, 7, 8, 8, 8, 8, 9, 9, 10)
    assert [row[0] for row in rows] == [f"| T{number}" for number in numbers], run.stdout
    for row in rows:
        assert (
            row[-1].startswith(("holds", "**missed**"))
            or "--quick" in row[-1]
            or "no Python here" in row[-1]
        ), row
