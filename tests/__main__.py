"""Run the tests: python3 tests [options of pytest's].  What they need of Python is installed into
.venv if it is not there."""

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from ocsp_cgi.tools import environment

environment.ensure("cryptography", "pytest")

import pytest

sys.exit(
    pytest.main(
        [
            "--rootdir",
            str(CHECKOUT),
            "-c",
            str(CHECKOUT / "setup.cfg"),
            *(sys.argv[1:] or [str(CHECKOUT / "tests")]),
        ]
    )
)
