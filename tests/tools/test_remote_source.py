"""Which `sync_from` is accepted, and what rsync is told."""

from __future__ import annotations

import re

import pytest

from ocsp_cgi.tools import remote_source
from ocsp_cgi.tools.entry import CommandError
from ocsp_cgi.tools.index_source import LocalSource


@pytest.mark.parametrize(
    "sync_from, host, path",
    [
        ("ca.example.com:/root/db/index", "ca.example.com", "/root/db/index"),
        ("root@ca:index", "root@ca", "index"),
        ("ca_1:~/root-ca/db/index", "ca_1", "~/root-ca/db/index"),
        ("[2001:db8::1]:/db/index", "[2001:db8::1]", "/db/index"),
        ("root@[fe80::1%eth0]:/db/index", "root@[fe80::1%eth0]", "/db/index"),
        ("ca:/srv/my ca/it's; $(x)/index", "ca", "/srv/my ca/it's; $(x)/index"),
        ("ca:/a:b/index", "ca", "/a:b/index"),
    ],
)
def test_another_host(sync_from, host, path):
    source = remote_source.parse(sync_from, False)
    assert (source.host, source.path, source.argument) == (host, path, sync_from)


def test_a_path_that_begins_with_a_dash_is_no_option():
    assert remote_source.parse("ca:--rsh=x", False).argument == "ca:./--rsh=x"


@pytest.mark.parametrize("path", ["/srv/push/index", "/srv/a:b/index", "./a:b", "-x/index"])
def test_a_local_file(path):
    assert isinstance(remote_source.parse(path, False), LocalSource)


@pytest.mark.parametrize(
    "sync_from",
    [
        "-oProxyCommand=x:index",
        "-l@ca:index",
        "root@-oProxyCommand=x:index",
        "ca;x:index",
        "ca host:index",
        "[::1:index",
        "::1:index",
        ":index",
        "ca:",
        "ca:/db/*",
        "ca:/db/inde[x]",
        "ca:/db/{index,serial}",
        "ca:/db/a\tb",
        "ca:/db\\index",
    ],
)
@pytest.mark.parametrize("insecure", [False, True])
def test_what_is_not_one_file_of_a_host(sync_from, insecure):
    with pytest.raises(CommandError, match=rf"^{re.escape(sync_from)}: "):
        remote_source.parse(sync_from, insecure)


@pytest.mark.parametrize(
    "sync_from", ["rsync://ca/module/index", "rsync://u@[::1]:873/m/index", "ca::module/index"]
)
def test_a_daemon_is_only_used_if_asked_for(sync_from):
    with pytest.raises(CommandError, match=r"not authenticated.*--insecure"):
        remote_source.parse(sync_from, False)
    source = remote_source.parse(sync_from, True)
    assert (source.host, source.argument) == ("", sync_from)
