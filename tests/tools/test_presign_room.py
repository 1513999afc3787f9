"""The room that `presign` asks for is enough, and not much more than enough."""

from __future__ import annotations

import random

import pytest

from ocsp_cgi import limits
from ocsp_cgi.tools import presign_room


@pytest.mark.parametrize("number", [10, 500, 20_000, 300_000])
def test_what_fits_by_chance_fits(number):
    """Each response takes a block of the disk, and goes to a bucket that its checksum chooses."""
    mebibytes = next(size for size in range(1, 10**6) if presign_room._fits(number, size))
    size = mebibytes * 1024 * 1024
    count = min(size // limits.BUCKET_BYTES, limits.BUCKETS)
    chance = random.Random(number)
    for _ in range(3):
        filled = [0] * count
        for _ in range(number):
            filled[chance.randrange(count)] += 1
        assert (max(filled) + 1) * 4096 <= size // count
    assert mebibytes <= max(1, 7 * number * 4096 / 1024**2)
