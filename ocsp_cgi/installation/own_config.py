"""The config that `install` writes if there is none."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..config import Settings
from ..tools import config_file, files
from ..tools.layout import CACHE
from ..tools.plan import Plan
from .directories import FILES

_CONFIG = f"""\
[root-ca]
db      = {FILES}/db
ca      = {FILES}/root-ca.crt
rsigner = {FILES}/root-ocsp.crt
rkey    = {FILES}/root-ocsp.key
cache   = {CACHE}
"""


def settings(path: Path) -> Settings:
    """The config, as it is or as it will be written."""
    if os.path.lexists(path):
        return config_file.load(argparse.Namespace(config=str(path)))
    return config_file.parse(_CONFIG, str(path))


def plan(plan: Plan, path: Path) -> None:
    if not os.path.lexists(path) or files.content(path) == _CONFIG.encode():
        plan.file(path, _CONFIG.encode())
    elif str(path) not in plan.record.files:
        plan.notes.append(f"{path}: the config exists, and is left as it is")
