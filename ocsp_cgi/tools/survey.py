"""What the index of a CA says of some serial numbers, whether it can be trusted or not."""

from __future__ import annotations

import functools
import os
import time
from io import FileIO
from typing import NamedTuple

from .. import index_file, index_search, limits
from ..answer import OCSPError
from ..index_row import Row

_ATTEMPTS = 5


class Survey(NamedTuple):
    """`path` is the index, `changed` its time in seconds since 1970, None if that is unknown;
    `rows` has the row and the number of its line for each serial number that has one; `warnings`
    are about odd lines; `is_settled` is False if only revocations in it can be trusted; `problem`
    is why it cannot be read, "" if it can."""

    path: str
    changed: int | None = None
    rows: dict[int, tuple[Row, int]] = {}  # noqa: RUF012  nobody changes it
    warnings: list[str] = []  # noqa: RUF012
    is_settled: bool = True
    problem: str = ""


def of(db: str, serial_numbers: set[int]) -> Survey:
    """Look for serial numbers in the index of a `db` setting.

    While it is being written, this waits as long as the responder would.
    """
    path = db
    try:
        path = index_file.path_of(db)
        deadline = time.monotonic() + limits.DATABASE_WAIT_SECONDS
        index_file.wait_until_settled(db, deadline)
        for _ in range(_ATTEMPTS):
            # In `also` they are found however little the file can be trusted.
            found = index_search.find(db, set(), serial_numbers)
            rows = dict(found.rows)
            lines, changed = index_file.read(db, functools.partial(_line_numbers, rows))
            if len(lines) == len(rows):  # else the index was replaced between the two
                placed = {number: (row, lines[number]) for number, row in rows.items()}
                return Survey(path, changed, placed, found.warnings, found.is_settled)
        return Survey(path, problem=f"{path}: is replaced all the time")
    except OCSPError as error:
        return Survey(path, problem=str(error))
    except OSError as error:
        return Survey(path, problem=f"{error.filename or path}: {error.strerror}")


def _line_numbers(rows: dict[int, Row], file: FileIO) -> tuple[dict[int, int], int]:
    """The line number of each row that still is where it was found, and the file's mtime."""
    lines = index_search.line_numbers(file, sorted({row.offset for row in rows.values()}))
    there = {}
    for number, row in rows.items():
        file.seek(row.offset)
        if file.read(len(row.line)) == row.line:
            there[number] = lines[row.offset]
    return there, int(os.fstat(file.fileno()).st_mtime)
