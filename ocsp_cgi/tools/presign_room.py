"""Whether the cache, and the disk that it is on, have room for the responses of all CAs that are
presigned there."""

from __future__ import annotations

import math
import os

from .. import cache, limits
from ..config import CASettings
from .entry import CommandError

_MEBIBYTE = 1024 * 1024
_BLOCK = 4096  # of the disk, which a response takes
_RESERVE = 0.02  # of the disk, which is left free


def check(ca: CASettings, number: int) -> None:
    """CommandError if the `cache` of a CA cannot take so many responses."""
    _check_buckets(ca, number)
    _check_disk(ca, number)


def _check_buckets(ca: CASettings, number: int) -> None:
    if _fits(number, ca.cache_size):
        return
    needed = ca.cache_size
    while not _fits(number, needed):
        needed += max(1, needed // 20)
    raise CommandError(
        f"[{ca.name}] `cache_size` is {ca.cache_size} MiB, which is too little for {number}"
        f" responses: some would push others out. Set `cache_size = {needed}` in each section"
        f" with `cache = {ca.cache}`"
    )


def _fits(number: int, mebibytes: int) -> bool:
    """Whether so many responses leave room in each bucket.

    They are spread over the buckets by chance, so the fullest has more than the mean.  That one has
    six standard deviations more is as unlikely as one in a thousand million.
    """
    size = mebibytes * _MEBIBYTE
    buckets = min(size // limits.BUCKET_BYTES, limits.BUCKETS)
    mean = number / buckets
    names = math.ceil(mean / 16)  # blocks of the directory itself
    fullest = mean + 6 * math.sqrt(mean) + 1
    return (fullest + names) * _BLOCK <= size // buckets


def _check_disk(ca: CASettings, number: int) -> None:
    directory = ca.cache or ""
    of = os.statvfs(directory)
    free = of.f_bavail * of.f_frsize - int(_RESERVE * of.f_blocks * of.f_frsize)
    missing = max(0, number - _present(ca))
    if missing * _BLOCK > free:
        raise CommandError(
            f"[{ca.name}] {directory}: its disk has room for {_mebibytes(free)} MiB more, and"
            f" {missing} responses take {_mebibytes(missing * _BLOCK)} MiB: give it room, or name"
            " a directory on another disk with `cache`"
        )
    if of.f_files and missing > of.f_favail:
        raise CommandError(
            f"[{ca.name}] {directory}: its file system can take {of.f_favail} files more, and"
            f" {missing} responses are a file each: name a directory on another one with `cache`"
        )


def _present(ca: CASettings) -> int:
    """How many responses are in the cache."""
    buckets = f"{ca.cache}/{cache.BUCKETS}{cache.bucket_count(ca)}"
    number = 0
    try:
        for bucket in os.scandir(buckets):
            number += sum(name.endswith(cache.SUFFIX) for name in os.listdir(bucket.path))
    except OSError:
        pass  # nothing has been cached yet
    return number


def _mebibytes(size: int) -> int:
    return max(0, size) // _MEBIBYTE
