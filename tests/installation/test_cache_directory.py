"""The directory `cache` while two users write to it, and when it belongs to one again."""

from __future__ import annotations

import os
import stat

import pytest

from ocsp_cgi import cache, config
from ocsp_cgi.installation import cache_directory

NOBODY = 65534


@pytest.fixture
def ca(tmp_path):
    """The settings of a CA with a cache, in which there is a response, and a link out of it."""
    text = "[a]\ndb = db\nca = ca\nrsigner = s\nrkey = k\ncache = cache\ncache_size = 1\n"
    ca = config.parse(text, str(tmp_path / "conf")).cas[0]
    bucket = tmp_path / "cache" / f"{cache.BUCKETS}{cache.bucket_count(ca)}" / "0"
    bucket.mkdir(parents=True)
    (bucket / "x.ocsp").write_bytes(b"")
    (tmp_path / "cache").chmod(0o750)
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "elsewhere" / "precious").write_bytes(b"")
    (tmp_path / "cache" / "link").symlink_to(tmp_path / "elsewhere")
    return ca


def modes(directory) -> set[int]:
    return {stat.S_IMODE(os.stat(path).st_mode) for path, _, _ in os.walk(directory) if path}


def test_the_group_may_write_in_every_bucket(ca, tmp_path):
    cache_directory.share(ca, os.getgid())
    assert modes(tmp_path / "cache") == {0o770}
    [buckets] = (tmp_path / "cache").glob(f"{cache.BUCKETS}*")
    assert len(list(buckets.iterdir())) == cache.bucket_count(ca)
    assert modes(tmp_path / "elsewhere") == {0o755}
    cache_directory.give(ca.cache, os.getuid(), os.getgid())
    assert modes(tmp_path / "cache") == {0o750}
    assert (buckets / "0" / "x.ocsp").exists()


@pytest.mark.root
def test_what_others_have_left_is_removed(ca, tmp_path):
    cache_directory.give(ca.cache, NOBODY, NOBODY)
    for path, _, files in os.walk(tmp_path / "cache"):
        of = os.stat(path)
        assert (of.st_uid, of.st_gid, files) == (NOBODY, NOBODY, [])
    # A link to a directory would let its owner replace what the responder reads.
    assert not os.path.lexists(tmp_path / "cache" / "link")
    assert os.stat(tmp_path / "elsewhere").st_uid == 0
    assert (tmp_path / "elsewhere" / "precious").exists()
