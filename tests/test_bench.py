"""The benchmark measures what it says, and its table and picture show that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import measure
import picture
import pytest

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
def test_quick():
    run = subprocess.run(
        [sys.executable, str(BENCH), "--quick"], capture_output=True, text=True, timeout=500
    )
    assert run.returncode == 0, run.stderr
    rows = [line.split(" | ") for line in run.stdout.splitlines() if line.startswith("| T")]
    assert [row[0] for row in rows] == [
        f"| T{number}" for number in (1, 1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7)
    ]
    for row in rows:
        assert (
            row[-1].startswith(("holds", "**missed**"))
            or "--quick" in row[-1]
            or "no Python here" in row[-1]
            or row[0] == "| T7"
        ), row
