"""What each kind of response loads and opens: this is its cost, and no clock is needed to see it
grow."""

from __future__ import annotations

import collections
import re
import subprocess
import sys
import time
import venv
from pathlib import Path

import cryptography
import pytest
from clients import cert_id, certificate, nonce, request, settle
from index_lines import ROW

from ocsp_cgi import der, limits, map_writer

CHECKOUT = Path(__file__).resolve().parent.parent

# Runs ocsp.cgi, and writes the modules it has loaded and the files it has opened to a file.
SPY = """\
import sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event == "open" else None)
bare = set(sys.modules)
import posix
leave = posix._exit
def _exit(status):
    ignored = {"__main__", "binascii"}  # binascii is not built-in everywhere
    modules = sorted(set(sys.modules) - bare - set(sys.builtin_module_names) - ignored)
    seen = repr((modules, [path for path in opened if isinstance(path, str)])).encode()
    with open(report, "wb") as file:
        file.write(seen)
    leave(status)
posix._exit = _exit
report, __file__ = sys.argv[1:]
sys.path.insert(0, __file__.rpartition("/")[0])
source = open(__file__, "rb").read()
opened.clear()
exec(compile(source, __file__, "exec"))
"""
CACHED = {
    "ocsp_cgi",
    *(
        f"ocsp_cgi.{name}"
        for name in (
            "cgi",
            "config",
            "answer",
            "ocsp_http",
            "index_file",
            "limits",
            "responder",
            "cache",
            "times",
        )
    ),
}
MORE = (
    "admission",
    "algorithms",
    "certificate",
    "index_row",
    "index_search",
    "der",
    "files",
    "import_cryptography",
    "issuer",
    "keys",
    "lookup",
    "ocsp_request",
    "ocsp_response",
    "producer",
    "reuse",
    "signer",
)
PRODUCED = CACHED | {"__future__", *(f"ocsp_cgi.{name}" for name in MORE)}
PUT = PRODUCED | {"ocsp_cgi.buckets"}
REMEMBERED = "ocsp_cgi.signer_memory"  # loaded to sign, with a `cache`


class Trace:
    """What a response has loaded, and how often it opened which of the CA's files."""

    def __init__(self, home: Path, modules: list[str], opened: list[str], log: str):
        self.modules = set(modules)
        below = [Path(path).resolve() for path in opened]
        self.files = dict(
            collections.Counter(
                str(path.relative_to(home)) for path in below if home in path.parents
            )
        )
        self.log = log


@pytest.fixture
def trace(ca, cgi):
    """trace(encoded) asks for a response, and returns its Trace."""
    (ca.home / "cache").mkdir(mode=0o750)
    with open(ca.home / "ocsp-cgi.conf", "w") as config:
        config.write(
            "[root-ca]\ndb = db\nca = root-ca.crt\nrsigner = root-ocsp.crt\nrkey ="
            " private/root-ocsp.key\ncache = cache\n"
        )

    def trace(encoded: bytes) -> Trace:
        environment = {
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": "application/ocsp-request",
            "CONTENT_LENGTH": str(len(encoded)),
            "SCRIPT_NAME": "/x",
            "REQUEST_URI": "/x",
            "OCSP_CGI_CONFIG": str(ca.home / "ocsp-cgi.conf"),
        }
        report = ca.home / "report"
        command = [sys.executable, "-IS", "-c", SPY, str(report), str(cgi)]
        run = subprocess.run(command, input=encoded, env=environment, capture_output=True, cwd="/")
        assert run.stdout.startswith(b"Content-Type: application/ocsp-response"), run.stderr
        modules, opened = eval(report.read_text())
        report.unlink()
        return Trace(ca.home.resolve(), modules, opened, run.stderr.decode())

    return trace


@pytest.fixture
def encoded_request(ca) -> bytes:
    return request(cert_id(certificate(ca.home / "root-ca.crt"), int(ca.serial("good"), 16)))


def cache_file(encoded: bytes) -> str:
    import base64
    import binascii

    bucket = binascii.crc32(encoded[8:]) % 2048
    return f"cache/buckets-2048/{bucket}/{base64.urlsafe_b64encode(encoded[8:]).decode()}.ocsp"


def test_a_cached_response(trace, encoded_request):
    """Only our modules and built-in ones; neither a key nor a certificate."""
    time.sleep(limits.DATABASE_SETTLING_SECONDS)
    trace(encoded_request)
    traced = trace(encoded_request)
    assert "cache=hit" in traced.log
    assert traced.modules == CACHED
    assert traced.files == {"ocsp-cgi.conf": 1, cache_file(encoded_request): 1, "db/index": 1}


@pytest.mark.slow
def test_a_cached_response_after_another_change_of_the_index(trace, encoded_request, ca):
    """The index is searched and the signer's row checked, but nothing signed; the next one need not
    search."""
    time.sleep(limits.DATABASE_SETTLING_SECONDS)
    trace(encoded_request)
    ca.issue("another")
    time.sleep(limits.DATABASE_SETTLING_SECONDS)
    traced = trace(encoded_request)
    assert "cache=hit" in traced.log
    assert traced.modules == PUT
    assert {
        name: count for name, count in traced.files.items() if not name.startswith("cache/")
    } == {
        "ocsp-cgi.conf": 1,
        "root-ocsp.crt": 1,
        "db/index": 2,
    }
    assert trace(encoded_request).modules == CACHED


@pytest.mark.slow
def test_a_response_that_another_host_has_signed(trace, encoded_request, ca):
    """No crypto library; the next one is as any cached one."""
    time.sleep(limits.DATABASE_SETTLING_SECONDS)
    trace(encoded_request)
    config = ca.home / "ocsp-cgi.conf"
    config.write_text(config.read_text().replace("rkey = private/root-ocsp.key\n", ""))
    traced = trace(encoded_request)
    assert "cache=hit" in traced.log
    assert traced.modules == PUT
    assert {"root-ocsp.crt", "root-ca.crt"} < set(traced.files)
    assert trace(encoded_request).modules == CACHED


def test_a_response_that_no_other_host_has_signed(trace, encoded_request, ca):
    """No crypto library, which would be loaded without waiting for a slot."""
    config = ca.home / "ocsp-cgi.conf"
    config.write_text(config.read_text().replace("rkey = private/root-ocsp.key\n", ""))
    traced = trace(encoded_request)
    assert "that may be used: there is none" in traced.log
    assert "ocsp_cgi.without_key" in traced.modules and "cryptography" not in traced.modules


@pytest.mark.slow
def test_a_new_response_from_a_long_index(trace, encoded_request, ca):
    """With its map, which needs two more modules, the index is opened once, and not searched."""
    index = ca.home / "db" / "index"
    rows = (ROW % b"%040X" % (n << 80) for n in range(1, 110_000))
    index.write_bytes(index.read_bytes() + b"".join(rows))
    settle(index)
    assert index.stat().st_size > limits.SEARCHED_BYTES
    time.sleep(limits.DATABASE_SETTLING_SECONDS)
    map_writer.save(map_writer.make(str(index), f"{index.parent}/map"), f"{index.parent}/map")
    traced = trace(encoded_request)
    assert "status=good" in traced.log and "cache=hit" not in traced.log
    own = {name for name in traced.modules if name.startswith("ocsp_cgi")} | {"__future__"}
    assert own == PUT | {REMEMBERED, "ocsp_cgi.sidecar", "ocsp_cgi.map_file"}
    assert {name: count for name, count in traced.files.items() if name.startswith("db/")} == {
        "db/index": 1,
        "db/map": 1,
    }
    assert not traced.modules & {"array", "fcntl", "subprocess"}
    assert trace(encoded_request).modules == CACHED


@pytest.mark.slow
def test_a_second_signer_is_read_only_if_it_may_be_needed(trace, encoded_request, ca):
    ca.issue("second", "ocsp_ext")
    with open(ca.home / "ocsp-cgi.conf", "a") as config:
        config.write("rsigner2 = second.crt\nrkey2 = private/second.key\n")
    time.sleep(limits.DATABASE_SETTLING_SECONDS)
    traced = trace(encoded_request)
    assert "cache=hit" not in traced.log and "root-ocsp.crt" in traced.files
    assert not {"second.crt", "private/second.key"} & set(traced.files)
    ours = {name for name in traced.modules if name.startswith("ocsp_cgi")}
    assert ours | {"__future__"} == PUT | {REMEMBERED}
    traced = trace(encoded_request)
    assert "cache=hit" in traced.log and traced.modules == CACHED
    assert traced.files == {"ocsp-cgi.conf": 1, cache_file(encoded_request): 1, "db/index": 1}


@pytest.mark.parametrize("kind", ["new", pytest.param("with a nonce", marks=pytest.mark.slow)])
def test_a_new_response(trace, encoded_request, ca, kind):
    """Each file once; as little of `cryptography` as possible, and no second crypto library."""
    encoded = (
        encoded_request
        if kind == "new"
        else request(encoded_request[8:], extensions=nonce(bytes(16)))
    )
    traced = trace(encoded)
    assert "status=good" in traced.log and "cache=hit" not in traced.log
    assert {name for name in traced.modules if name.startswith("ocsp_cgi")} | {"__future__"} == (
        (PUT if kind == "new" else PRODUCED) | {REMEMBERED}
    )
    assert {
        name: count for name, count in traced.files.items() if not name.startswith("cache")
    } == {
        "ocsp-cgi.conf": 1,
        "root-ca.crt": 1,
        "root-ocsp.crt": 1,
        "private/root-ocsp.key": 1,
        "db/index": 1,
    }
    assert not traced.modules & {"site", "ssl", "argparse", "json", "logging"}
    if int(cryptography.__version__.partition(".")[0]) > 38:  # which loads all of itself
        assert not traced.modules & {
            "hashlib",
            "socket",
            "cryptography.hazmat.backends",
            "cryptography.x509",
            "cryptography.hazmat.primitives.serialization",
        }


def test_what_needs_no_signature_loads_no_library(trace):
    refused = {
        b"": "not an OCSPRequest",
        b"hello": "not an OCSPRequest",
        b"0" * 70_000: "more than 65536",
    }
    for encoded, log in refused.items():
        traced = trace(encoded)
        assert log in traced.log
        assert traced.modules == PRODUCED
        assert traced.files == {"ocsp-cgi.conf": 1}


def test_object_identifiers_are_those_in_the_comments():
    """They are written as bytes, since encoding 40 of them at each start takes longer than reading
    the config."""
    checked = 0
    for path in (CHECKOUT / "ocsp_cgi").glob("*.py"):
        for encoded, dotted in re.findall(
            r'bytes\.fromhex\("([0-9a-f]+)"\).*  # ([\d.]+)', path.read_text()
        ):
            assert der.oid(dotted).hex() == encoded, (path, dotted)
            checked += 1
    assert checked > 25


@pytest.mark.process
@pytest.mark.parametrize("with_system", [True, False])
def test_packages_of_a_virtual_environment(place, with_system):
    """Found without loading `site`: its own, and those of the Python it was made with if it
    includes them."""
    venv.create(place / "venv", system_site_packages=with_system, with_pip=False)
    python = place / "venv" / "bin" / "python"

    def run(*command: str) -> list[str]:
        done = subprocess.run(
            [python, *command], capture_output=True, text=True, check=True, cwd="/"
        )
        return done.stdout.splitlines()

    by_site = run(
        "-c", "import site; print(*filter(site.os.path.isdir, site.getsitepackages()), sep='\\n')"
    )
    (Path(by_site[0]) / "cryptography.py").touch()  # whatever the base has
    found = run(
        "-IS",
        "-c",
        f"""if True:
        import sys
        sys.path.insert(0, {str(CHECKOUT)!r})
        from ocsp_cgi import import_cryptography
        import_cryptography._add_site_packages()
        assert "site" not in sys.modules
        print(*sys.path, sep="\\n")
    """,
    )
    assert [path for path in by_site if path not in found] == []
    outside = {
        path for path in found if path.endswith("-packages") and not path.startswith(str(place))
    }
    assert bool(outside) == with_system
