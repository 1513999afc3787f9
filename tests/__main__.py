"""Run the tests: python3 tests [--all] [options of pytest's].

The Python packages that they need are installed into .venv if they are not there.
"""

import os
import sys

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, CHECKOUT)

from ocsp_cgi.tools import entry


def _load():
    from ocsp_cgi.tools import environment

    environment.ensure("cryptography", "pytest")

    import run_pytest

    return run_pytest.main


if __name__ == "__main__":
    entry.run("python3 tests", _load)
