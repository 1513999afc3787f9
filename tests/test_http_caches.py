"""HTTP caches in front of the responder: what they keep, for how long, and that they mix nothing
up."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import random
import re
import socket
import time

import pytest
from caches import KINDS, Cached, apache, ask, cached, seen, store, uncached
from clients import (
    SPELLINGS,
    base64_of,
    cert_id,
    cert_id_of,
    certificate,
    nonce,
    request,
    settle,
    verified,
)

from ocsp_cgi.tools import httpd

pytestmark = [pytest.mark.apache, pytest.mark.slow]

MAX_AGE = 30  # with `nmin = 1`
APACHES = [kind for kind in KINDS if not kind.startswith(("nginx", "varnish"))]
_unused_serials = itertools.count(0x7F01)


@pytest.fixture(scope="module")
def ca(pki, workspace):
    """A copy of the CA that the web server can read, with `cache`."""
    ca = pki.copy(workspace / "caches-ca")
    config = ca.home / "ocsp-cgi.conf"
    config.write_text(config.read_text().replace("[root-ca]\n", "[root-ca]\ncache = cache\n"))
    settle(ca.home / "db" / "index")
    httpd.let_read(ca.home)
    httpd.let_write(ca.home / "cache")
    return ca


@pytest.fixture(scope="module")
def root(ca):
    return certificate(ca.home / "root-ca.crt")


@pytest.fixture(scope="module", params=KINDS)
def site(request, workspace, ca, cgi):
    home = workspace / f"behind {request.param}".replace(" ", "-").replace(",", "")
    with cached(request.param, home, cgi, ca.home / "ocsp-cgi.conf") as site:
        yield site


@pytest.fixture
def path(root):
    """path(): that of a GET about a serial nobody has asked about; path(serial) about this one."""

    def path(serial: int | None = None, **options) -> str:
        return "/" + base64_of(request(cert_id(root, serial or next(_unused_serials)), **options))

    return path


def serial_of(ca, name: str) -> int:
    return int(ca.serial(name), 16)


def test_a_response_fetched_through_one_server_is_served_by_every(site, path, root, ca):
    about, before = path(), len(site.asked())
    first = site.ask(about)
    again = [site.ask(about, server=server) for server in range(len(site.ports)) for _ in range(3)]
    assert len(site.asked()) == before + 1
    verified(first.body, root)
    for response in again:
        assert (response.status, response.body) == (200, first.body)
        validators = () if site.is_rewritten else ("etag", "last-modified")
        for name in ("content-type", "cache-control", "expires", *validators):
            assert response.headers[name] == first.headers[name], name
        assert response.headers["content-length"] == str(len(first.body))
    for one in site.apaches:
        assert not re.search(r"AH00036|AH01630|:(error|crit)\] (?!.*ocsp\.cgi: )", one.error_log)


def test_if_none_match_gives_304(site, root, ca):
    about = "/" + base64_of(request(cert_id(root, serial_of(ca, "good"))))
    site.ask(about, "Cache-Control: no-cache")
    etag = site.ask(about, "Cache-Control: no-cache").headers["etag"]
    before = len(site.asked())
    unchanged = site.ask(about, f"If-None-Match: {etag}")
    assert (unchanged.status, unchanged.body) == (304, b"")
    # The shared cache has no ETag of its own, so the responder answers.
    assert len(site.asked()) == before + site.is_rewritten
    assert site.ask(about, 'If-None-Match: "another"').status == 200


@pytest.mark.parametrize("validator", [(), ("If-None-Match",)])
def test_an_entry_that_the_responder_confirms_is_still_whole(site, root, ca, validator):
    """A client can ask for that; else it is so when max-age is over, and the response still in use.

    mod_cache_socache loses the body of an entry that is confirmed by 304."""
    about = "/" + base64_of(request(cert_id(root, serial_of(ca, "good"))))
    whole = site.ask(about)
    verified(whole.body, root)
    conditions = [f"{name}: {whole.headers.get('etag', 'none')}" for name in validator]
    for server in (0, -1):
        site.ask(about, "Cache-Control: max-age=0", *conditions, server=server)
        again = [site.ask(about, server=one) for one in (0, -1)]
        assert [(one.status, one.body) for one in again] == [(200, whole.body)] * 2


def test_a_response_with_a_nonce_is_not_cached(site, path, root):
    about, before = path(extensions=nonce(b"\xff" * 16)), len(site.asked())
    bodies = {site.ask(about).body for _ in range(3)}
    assert len(site.asked()) == before + 3
    for body in bodies:
        assert verified(body, root).extensions


@pytest.mark.parametrize("kind", ["malformed", "another CA", "page", "no such page", "tryLater"])
def test_an_error_is_not_cached(site, ca, path, kind):
    about = {
        "malformed": path()[:-8],
        "another CA": "/"
        + base64_of(request(cert_id_of("sha1", bytes(20), bytes(20), next(_unused_serials)))),
        "page": "",
        "no such page": "/favicon.ico",
        "tryLater": path(),
    }[kind]
    index = ca.home / "db" / "index"
    rows, before = index.read_bytes(), len(site.asked())
    if kind == "tryLater":
        index.write_bytes(b"not an index\n")
        settle(index)
    try:
        answers = {seen(site.ask(about, server=n % len(site.ports))) for n in range(3)}
    finally:
        if kind == "tryLater":
            index.write_bytes(rows)
            settle(index)
    assert len(site.asked()) == before + 3
    assert answers == {
        {
            "malformed": (200, "MALFORMED_REQUEST"),
            "another CA": (200, "UNAUTHORIZED"),
            "page": (200,),
            "no such page": (404,),
            "tryLater": (200, "TRY_LATER"),
        }[kind]
    }
    if kind == "tryLater":
        assert seen(site.ask(about))[1] == "SUCCESSFUL"


def test_a_post_is_not_cached(site, ca, root):
    serial = serial_of(ca, "bad")
    encoded, before = request(cert_id(root, serial)), len(site.asked())
    for _ in range(3):
        response = site.ask("", method="POST", body=encoded)
        assert seen(response) == (200, "SUCCESSFUL", "REVOKED", serial)
    assert len(site.asked()) == before + 3


POISONS = {
    "a range": ["Range: bytes=0-9"],
    "ranges": ["Range: bytes=0-0,-1"],
    "a range if": ["Range: bytes=0-9", 'If-Range: "x"'],
    "what is forwarded": [
        "X-Forwarded-Host: evil.example.com",
        "X-Forwarded-Proto: https",
        "X-Forwarded-For: 192.0.2.66",
        "X-Original-URL: /",
        "X-Rewrite-URL: /",
        "Forwarded: host=evil.example.com",
    ],
    "another method": ["X-HTTP-Method-Override: POST"],
    "any tag": ["If-None-Match: *"],
    "a date": ["If-Modified-Since: Sun, 19 Mar 2034 01:00:00 GMT"],
    "a failing condition": ['If-Match: "another"'],
    "encodings": ["Accept-Encoding: gzip, br", "TE: trailers"],
    "languages": ["Accept: text/html", "Accept-Language: de"],
    "a password": ["Authorization: Basic eDp5"],
    "a cookie": ["Cookie: a=b"],
    "a type": ["Content-Type: text/html"],
    "only if cached": ["Cache-Control: only-if-cached"],
    "stale": ["Cache-Control: max-stale=99999999"],
    "no store": ["Cache-Control: no-store"],
    "hop by hop": ["Connection: close, ETag, Cache-Control, Content-Length"],
}


@pytest.mark.parametrize("headers", POISONS.values(), ids=POISONS)
def test_a_client_cannot_spoil_what_others_get(site, path, root, headers):
    serial = next(_unused_serials)
    about = path(serial)
    for method in ("GET", "HEAD"):
        site.ask(about, *headers, method=method)
    for _ in range(2):
        response = site.ask(about)
        assert seen(response) == (200, "SUCCESSFUL", "UNKNOWN", serial)
        verified(response.body, root)
        assert response.headers["content-length"] == str(len(response.body))
        assert not {"vary", "content-encoding", "content-range"} & set(response.headers)
        assert response.headers["cache-control"].endswith("public, no-transform, must-revalidate")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "GET"])
def test_another_method_or_a_body_does_not_spoil_it_either(site, path, root, ca, method):
    serial = next(_unused_serials)
    about = path(serial)
    other = request(cert_id(root, serial_of(ca, "bad")))
    for body in (b"", other) if method != "HEAD" else (b"",):
        site.ask(about, method=method, body=body)
    assert seen(site.ask(about)) == (200, "SUCCESSFUL", "UNKNOWN", serial)


def test_a_range_is_cut_from_the_whole(site, path):
    about = path()
    whole = site.ask(about).body
    part = site.ask(about, "Range: bytes=5-14")
    assert (part.status, part.body) in ((206, whole[5:15]), (200, whole))
    assert site.ask(about).body == whole


HOSTS = ("ocsp.example.com", "OCSP.EXAMPLE.COM:80", "evil.example.com", "127.0.0.1", "a" * 200)
QUERIES = ("", "?", "?x=y", "?" + "x" * 200, "?/MEkwRzBF", "?%2F%2F")


def damaged(path: str, draw: random.Random) -> list[str]:
    """A path with a request, in ways in which it may arrive and that change what is asked."""
    at = draw.randrange(1, len(path) - 1)
    return [
        path[:at] + path[at + 1 :],
        path[:at] + "/" + path[at:],
        path[:-at],
        path.replace("//", "/"),
        path.replace("/", "//"),
        path.replace("/", "/./", 1),
        path.swapcase(),
        f"/x/..{path}",
        path + "%2F",
        path + "%00",
    ]


@pytest.fixture(scope="module")
def answers(workspace, ca, root, cgi):
    """answers(site): what the responder behind a site answers to GET with requests in every
    spelling, and damaged ones, without the cache: [(path, seen)]."""
    draw = random.Random(15)
    texts = [
        base64_of(request(cert_id(root, serial_of(ca, name), hash_name)))
        for name, hash_name in (("good", "sha1"), ("bad", "sha1"), ("held", "sha256"))
    ]
    # Apache may merge these slashes: the path without one is another request, which is damaged.
    by_serial = (base64_of(request(cert_id(root, n))) for n in itertools.count(0xFFFFFFFF0000))
    texts.append(next(text for text in by_serial if "//" in text))
    paths = [write(text) for text in texts for write in SPELLINGS.values()]
    for text, spelling in itertools.product(texts[2:], ("escaped", "unescaped", "doubled slash")):
        paths += damaged(SPELLINGS[spelling](text), draw)
    paths = [path for path in dict.fromkeys(paths) if path.startswith("/")]
    known: dict[bool, list[tuple[str, tuple]]] = {}

    def answers(site: Cached) -> list[tuple[str, tuple]]:
        if site.is_rewritten not in known:
            home = workspace / f"direct-{site.is_rewritten}"
            with uncached(site.is_rewritten, home, cgi, ca.home / "ocsp-cgi.conf") as server:
                known[site.is_rewritten] = [
                    (path, seen(ask(server.port, f"/cgi-bin/ocsp.cgi{path}"))) for path in paths
                ]
        return known[site.is_rewritten]

    return answers


def test_entries_are_never_mixed(site, answers, root, ca):
    draw = random.Random(site.kind)
    asked = [
        (path + draw.choice(QUERIES), answer)
        for path, answer in answers(site) * 2
        if "%00" not in path or not site.kind.startswith("nginx")  # which refuses it
    ]
    draw.shuffle(asked)
    before = len(site.asked())
    got = set()
    for path, answer in asked:
        server, host = draw.randrange(len(site.ports)), draw.choice(HOSTS)
        response = site.ask(path, server=server, host=host, version=draw.choice(["1.0", "1.1"]))
        assert seen(response) == answer, (path, host)
        got.add(answer[1:3])
    assert {("SUCCESSFUL", status) for status in ("GOOD", "REVOKED", "UNKNOWN")} < got
    assert ("MALFORMED_REQUEST",) in got and len(asked) > 150
    assert len(site.asked()) < before + len(asked)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_answered_and_cached(site, ca, root, spelling):
    serial = serial_of(ca, "bad")
    text = base64_of(request(cert_id(root, serial, "sha384")))
    path, before = SPELLINGS[spelling](text), len(site.asked())
    for _ in range(3):
        assert seen(site.ask(path)) == (200, "SUCCESSFUL", "REVOKED", serial)
    assert len(site.asked()) <= before + 1


@pytest.mark.parametrize("site", APACHES, indirect=True)
def test_what_apache_leaves_out_of_the_key(site, path):
    about, before = path(), len(site.asked())
    for host in HOSTS:
        assert site.ask(about, host=host).status == 200
    for query in QUERIES:
        for _ in range(2):
            assert site.ask(about + query).status == 200
    # where the key has the request line, each query string has an entry
    entries = len(QUERIES) if site.is_rewritten else 1
    assert len(site.asked()) == before + entries


@pytest.mark.parametrize("site", APACHES, indirect=True)
def test_a_client_can_ask_for_a_new_response(site, path):
    about = path()
    old = site.ask(about).body
    time.sleep(1.1)  # until thisUpdate is another
    new = site.ask(about, "Cache-Control: no-cache").body
    assert new != old
    assert site.ask(about).body == new


@pytest.mark.parametrize("kind", ["memcache, wsgi", "redis, cgi"])
def test_without_its_store_the_cache_asks_the_responder(place, ca, cgi, path, kind):
    with cached(kind, place / "site", cgi, ca.home / "ocsp-cgi.conf") as site:
        about = path()
        site.ask(about)
        site.stop()
        assert [site.ask(about, server=server).status for server in (0, 1)] == [200, 200]
        assert len(site.asked()) == 3


def _seconds_left(kind: str, port: int) -> list[int]:
    """For how long the entries of a store will still be there, -1 for ever."""
    address = "127.0.0.1", port
    with socket.create_connection(address, 30) as client, client.makefile("rwb") as stored:

        def lines(command: bytes, last: bytes) -> list[bytes]:
            stored.write(command + b"\r\n")
            stored.flush()
            return list(itertools.takewhile(lambda line: not line.startswith(last), stored))

        if kind == "memcache":
            entries = lines(b"lru_crawler metadump all", b"END")
            ends = [int(re.search(rb" exp=(-?\d+) ", entry)[1]) for entry in entries]
            return [max(-1, end - int(time.time())) for end in ends]
        keys = [line.strip() for line in lines(b"KEYS *\r\nPING", b"+PONG")]
        keys = [key for key in keys if not key.startswith((b"*", b"$"))]
        return [int(lines(b"TTL %s\r\nPING" % key, b"+PONG")[0][1:]) for key in keys]


@pytest.mark.parametrize("kind", ["memcache", "redis"])
def test_a_shared_store_drops_an_entry_after_max_age(place, ca, cgi, path, kind):
    """So that a host whose clock is behind does not take it for new."""
    with (
        store(kind, place / "store") as (text, _),
        apache(place / "apache", "cgi", cgi, ca.home / "ocsp-cgi.conf", text, kind) as server,
    ):
        response = ask(server.port, f"/cgi-bin/ocsp.cgi{path()}")
        max_age = int(re.search(r"max-age=(\d+)", response.headers["cache-control"])[1])
        left = _seconds_left(kind, int(re.search(rf'(?m)^CacheSocache "{kind}:.*:(\d+)', text)[1]))
        assert len(left) == 1 and max_age - 10 < left[0] <= max_age + 1


def test_a_cache_answers_with_nothing_older_than_max_age(place, pki, cgi):
    """Behind all of them at once, since it takes more than half a minute: a revocation, and what
    comes if the responder is gone."""
    ca = pki.copy(place / "ca")
    ca.issue("leaver")
    ca.issue("crowded")
    config = ca.home / "ocsp-cgi.conf"
    config.write_text(
        config.read_text().replace("[root-ca]\n", "[root-ca]\ncache = cache\nnmin = 1\n")
    )
    httpd.let_read(ca.home)
    httpd.let_write(ca.home / "cache")
    script = place / "cgi-bin" / "ocsp.cgi"
    script.parent.mkdir()
    for link in (script, script.with_suffix(".wsgi")):
        link.symlink_to(cgi.with_suffix(link.suffix))
    httpd.let_read(place)
    root = certificate(ca.home / "root-ca.crt")
    leaver, crowded, good = paths = [
        "/" + base64_of(request(cert_id(root, serial_of(ca, name))))
        for name in ("leaver", "crowded", "good")
    ]
    with contextlib.ExitStack() as stack:
        sites = [
            stack.enter_context(cached(kind, place / f"site{number}", script, config))
            for number, kind in enumerate(KINDS)
        ]
        over = {}
        for site in sites:
            assert {seen(site.ask(path))[2] for path in paths} == {"GOOD"}
            over[site.kind] = time.monotonic() + MAX_AGE + 1  # ages are whole seconds
        for name in ("leaver", "crowded"):
            ca.revoke(name, "-crl_reason", "keyCompromise")
        httpd.let_read(ca.home)
        rounds, revoked = 0, set()
        while rounds < 10 or time.monotonic() < max(over.values()):
            for site in sites:
                for server in range(len(site.ports)):
                    is_over = time.monotonic() > over[site.kind]
                    response = site.ask(leaver, server=server)
                    status = seen(response)[2]
                    assert status == "REVOKED" or not (is_over or site.kind in revoked), site.kind
                    max_age = re.search(r"max-age=(\d+)", response.headers["cache-control"])[1]
                    assert int(response.headers.get("age", 0)) <= int(max_age), site.kind
                    if status == "REVOKED":
                        revoked.add(site.kind)
            rounds += 1
            time.sleep(0.5)
        assert revoked == set(KINDS)
        for site in sites:
            about_it = [line for line in site.asked() if f"serial={ca.serial('leaver')} " in line]
            assert len(about_it) < rounds / 2, site.kind
        with concurrent.futures.ThreadPoolExecutor(8) as clients:
            for site in sites:
                at_once = list(clients.map(site.ask, [crowded] * 16))
                assert {seen(response)[2] for response in at_once} == {"REVOKED"}, site.kind
        script.unlink()
        script.with_suffix(".wsgi").unlink()
        for site in sites:
            if site.kind.startswith(("nginx", "varnish")):
                site.stop()
            for server in range(len(site.ports)):
                assert site.ask(good, server=server).status in (404, 500, 502, 503, 504), site.kind
