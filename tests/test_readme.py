"""What the README shows is what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_apache import started

from ocsp_cgi import config

CHECKOUT = Path(__file__).resolve().parent.parent
README = (CHECKOUT / "README.md").read_text()


def without_what_differs(transcript: str) -> str:
    """A transcript of the demonstration with serials, times, ports and names of directories taken out."""
    for pattern, name in (
        (r"\b[0-9A-F]{31,32}\b", "SERIAL"),
        (r"\w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} GMT", "TIME"),
        (r"\S*\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"\bms=\d+", "ms"),
        (r"ocsp-cgi-demo-\w+", "DIRECTORY"),
        (r"Apache/\S+ \(\w+\)", "APACHE"),
    ):
        transcript = re.sub(pattern, name, transcript)
    return transcript


def test_transcript_of_the_demonstration(place, cgi, pki):
    with started(place / "httpd", cgi, pki.home / "ocsp-cgi.conf"):
        pass  # skips where there is no Apache for the demonstration either
    [transcript] = re.findall(r"```\n(This takes place.*?)```", README, re.DOTALL)
    run = subprocess.run([sys.executable, "-m", "ocsp_cgi", "demo"], cwd=CHECKOUT, capture_output=True, text=True,
                         env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR": "/tmp"}, timeout=120)  # fmt: skip
    assert without_what_differs(run.stdout) == without_what_differs(transcript)


def test_every_key_of_the_config_has_its_row():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", README, re.MULTILINE))
    assert set(rows) == {*config.CASettings.__slots__, *config.Settings.__slots__} - {"name", "cas", "stamp"}
    defaults = config.CASettings("")
    for key, default in rows.items():
        if getattr(defaults, key, None) and key not in ("max_age",):
            assert default.strip("`") == str(getattr(defaults, key)), key


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)h][^)]*)\)", README))
def test_links_lead_somewhere(path):
    headings = ["#" + heading.lower().replace(" ", "-").replace(",", "") for heading in re.findall(r"^#+ (.*)", README, re.MULTILINE)]
    assert path in headings or (CHECKOUT / path).exists()
