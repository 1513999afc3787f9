"""The installed program while another version takes its place."""

from __future__ import annotations

import threading

import pytest

from ocsp_cgi.tools import program


def test_no_request_finds_the_package_gone(place):
    package, new = place / "package", place / "new"
    new.mkdir()
    if not program._exchange(new, new):
        pytest.skip("this file system cannot exchange two names")
    package.mkdir()
    (package / "module").touch()
    is_over, missing = threading.Event(), []

    def look() -> None:
        while not is_over.is_set():
            if not (package / "module").exists():
                missing.append(1)

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(300):
        new.mkdir(exist_ok=True)
        (new / "module").touch()
        program._replace(package, new)
    is_over.set()
    thread.join()
    assert missing == []
    assert sorted(path.name for path in place.iterdir()) == ["package"]
