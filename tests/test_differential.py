"""The responder against two others: `openssl ocsp` for responses, `cryptography` for reading
requests.

Thousands of generated requests and databases, from a seed, are answered by us and by the command
this project replaces. Where the responses differ the difference must be one that DIFFERENCES names:
each is a rule that turns openssl's response into ours, with the place of the conformance table that
asks for it.  All else must be the same, byte for byte.
"""

from __future__ import annotations

import collections
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import (
    NULL,
    OCSP_NONCE,
    cert_id,
    cert_id_of,
    certificate,
    extension,
    nonce,
    octets,
    oid,
    request,
    respond,
    settle,
)
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import ocsp

from ocsp_cgi import config, der, index_search, ocsp_request
from ocsp_cgi.answer import error_response
from ocsp_cgi.issuer import Issuer
from ocsp_cgi.tools import comparison

pytestmark = pytest.mark.slow

DATABASES, REQUESTS_EACH = 150, 20

DIFFERENCES = {
    "unreadable request": "1: malformedRequest, where openssl writes no response",
    "bytes behind the request": "0: malformedRequest, where openssl does not look",
    "version": "4: malformedRequest, where openssl does not look",
    "critical": "6: malformedRequest, where openssl does not look",
    "nonce length": "22: malformedRequest, where openssl echoes any",
    "nonce twice": "0: malformedRequest, where openssl echoes the first",
    "nonce critical": "26: echoed without the flag",
    "foreign": "52: unauthorized when every issuer is foreign, where openssl signs unknown",
    "unknown hash": "0: a foreign issuer, where openssl sends internalError for all",
    "other hash": "15: a foreign issuer, for a hash that no client uses",
    "E": "3: good, where openssl leaves the certificate out",
    "S": "3: revoked, certificateHold, where openssl leaves the certificate out",
    "spelling": "2: found, where openssl compares letters",
    "reason 0 or 8": "43, 44: no reason",
    "reason of RFC 5280": "3: its number, where openssl loses it",
    "keyTime": "35: a time of 15 bytes, where openssl copies what it finds",
    "argument": "3: the reason stays when its argument cannot be read",
    "date": "0: revoked, where openssl sends internalError for all",
    "odd line": "2: skipped, where openssl refuses the database",
}

# What an operator reads about each of these, as a key of comparison.REASONS.
REASON_OF = {
    **{name: name for name in DIFFERENCES},
    "bytes behind the request": "unreadable request",
    "version": "unreadable request",
    "nonce twice": "unreadable request",
    "critical": "unknown critical extension",
    "other hash": "foreign",
    "S": "type",
    "reason 0 or 8": "no reason",
    "reason of RFC 5280": "reason",
    "keyTime": "date of a reason",
    "argument": "date of a reason",
    "odd line": "index",
}

MALFORMED, UNAUTHORIZED = error_response(1), error_response(6)
ISSUED = b"\x18\x0f20261122135115Z"


def revoked(contents: bytes) -> bytes:
    return der.tlv(der.context(1), contents)


def invalid_since(text: bytes) -> bytes:
    value = der.sequence(oid("2.5.29.24"), octets(der.tlv(der.GENERALIZED_TIME, text)))
    return der.tlv(der.context(1), der.sequence(value))


def reason(number: int) -> bytes:
    return bytes((0xA0, 3, 0x0A, 1, number))


# type, field 3, spelling of the serial; and where we differ from openssl: why, CertStatus,
# singleExtensions
ROWS = [
    (b"V", b"", "%X", None),
    (b"V", b"", "%X", None),
    (b"V", b"", "00%X", None),
    (b"V", b"", "%x.", ("spelling", b"\x80\x00", b"")),
    (b"R", b"261122135115Z", "%x.", ("spelling", revoked(ISSUED), b"")),
    (b"E", b"", "%X", ("E", b"\x80\x00", b"")),
    (b"S", b"261122135115Z", "%X", ("S", revoked(ISSUED + reason(6)), b"")),
    (b"R", b"261122135115Z", "%X", None),
    (b"R", b"2611221351Z", "%X", None),
    (b"R", b"261122145115+0100", "%X", None),
    (b"R", b"501122135115Z", "%X", None),
    *[
        (b"R", b"261122135115Z," + word, "%X", None)
        for word in (
            b"keyCompromise",
            b"CACompromise",
            b"affiliationChanged",
            b"superseded",
            b"cessationOfOperation",
            b"certificateHold",
            b"KEYCOMPROMISE",
            b"keyCompromise,extra",
            b"nonsense",
            b"holdInstruction,holdInstructionReject",
            b"holdInstruction,1.2.3.4",
            b"keyTime,20260101000000Z",
            b"CAkeyTime,20260101000000Z",
        )
    ],
    (b"R", b"261122135115Z,unspecified", "%X", ("reason 0 or 8", revoked(ISSUED), b"")),
    (b"R", b"261122135115Z,removeFromCRL", "%X", ("reason 0 or 8", revoked(ISSUED), b"")),
    (
        b"R",
        b"261122135115Z,privilegeWithdrawn",
        "%X",
        ("reason of RFC 5280", revoked(ISSUED + reason(9)), b""),
    ),
    (
        b"R",
        b"261122135115Z,AACompromise",
        "%X",
        ("reason of RFC 5280", revoked(ISSUED + reason(10)), b""),
    ),
    (
        b"R",
        b"261122135115Z, superseded",
        "%X",
        ("reason of RFC 5280", revoked(ISSUED + reason(4)), b""),
    ),
    (
        b"R",
        b"261122135115Z,keyTime,20260101000000.5Z",
        "%X",
        ("keyTime", revoked(ISSUED + reason(1)), invalid_since(b"20260101000000Z")),
    ),
    (
        b"R",
        b"261122135115Z,CAkeyTime,202601010000Z",
        "%X",
        ("keyTime", revoked(ISSUED + reason(2)), invalid_since(b"20260101000000Z")),
    ),
    (b"R", b"261122135115Z,keyTime,never", "%X", ("argument", revoked(ISSUED + reason(1)), b"")),
    (
        b"R",
        b"261122135115Z,holdInstruction,ours",
        "%X",
        ("argument", revoked(ISSUED + reason(6)), b""),
    ),
    (b"R", b"20261122135115Z,superseded", "%X", ("date", revoked(ISSUED + reason(4)), b"")),
    (b"R", b"yesterday,superseded", "%X", ("date", revoked(b"\x18\x0f19700101000000Z"), b"")),
]
ODD_LINES = [b"\n", b"V\t270220135115Z\t\tDEAD\tunknown\n", b" # comment\n", b"hello\n"]


class Case:
    """One request: what it asks, and the names of what in it openssl and we take differently."""

    def __init__(self, draw: random.Random, root, serials: dict[int, tuple | None]):
        self.differences: set[str] = set()
        self.foreign: list[bool] = []
        self.serials: list[int] = []
        self.kind = "response"
        ids = [self._cert_id(draw, root, serials) for _ in range(draw.choice((1, 1, 1, 2, 3, 7)))]
        options: dict[str, bytes] = {"extensions": b""}
        for difference, field, value in (
            (
                "nonce",
                "extensions",
                nonce(draw.randbytes(draw.choice((1, 8, 16, 20, 32, 33, 128)))),
            ),
            ("raw nonce", "extensions", extension(OCSP_NONCE, b"\xff" * draw.choice((1, 16, 32)))),
            ("unknown", "extensions", extension("1.2.3.4", draw.randbytes(9))),
            (
                "service locator",
                "single_extensions",
                extension("1.3.6.1.5.5.7.48.1.7", der.sequence()),
            ),
            (
                "acceptable",
                "extensions",
                extension("1.3.6.1.5.5.7.48.1.4", der.sequence(oid("1.3.6.1.5.5.7.48.1.1"))),
            ),
            ("requestor", "requestor", der.tlv(der.context(1), b"\x82\x0bexample.com")),
            ("v1", "version", der.tlv(der.context(0), der.integer(0))),
        ):
            if draw.random() < (0.5 if difference == "nonce" else 0.12) and not (
                "nonce" in difference and options["extensions"]
            ):
                options[field] = options.get(field, b"") + value
        has_nonce = der.oid(OCSP_NONCE) in options["extensions"]
        odd = draw.choice(
            ("version", "critical", "nonce length", "nonce twice", "nonce critical", *[None] * 25)
        )
        if odd == "version":
            self.refuse(odd)
            options["version"] = der.tlv(der.context(0), der.integer(draw.choice((1, 99))))
        elif odd == "critical":
            self.refuse(odd)
            options[draw.choice(("extensions", "single_extensions"))] = extension(
                "1.2.3.4", b"x", b"\x01\x01\xff"
            )
        elif odd == "nonce length" and not has_nonce:
            self.refuse(odd)
            options["extensions"] += nonce(bytes(draw.choice((0, 129, 1000))))
        elif odd == "nonce twice":
            self.refuse(odd)
            options["extensions"] = nonce(b"1") + nonce(b"2")
        elif odd == "nonce critical" and not has_nonce:
            self.differences.add(odd)
            options["extensions"] += extension(
                OCSP_NONCE, octets(b"12345678"), draw.choice((b"\x01\x01\xff", b"\x01\x01\x00"))
            )
        self.encoded = request(*ids, **options)
        odd = draw.choice(("bytes behind the request", "unreadable request", *[None] * 40))
        if odd == "bytes behind the request":
            self.refuse(odd)
            self.encoded += draw.choice((b"\0", b"garbage", self.encoded))
        elif odd == "unreadable request":
            self.refuse(odd)
            self.encoded = draw.choice(
                (b"", b"hello", self.encoded[:-1], self.encoded[:20], b"\x30\x80", request())
            )

    def refuse(self, difference: str) -> None:
        self.kind = "malformed"
        self.differences.add(difference)

    def _cert_id(self, draw: random.Random, root, serials) -> bytes:
        serial = (
            draw.choice(list(serials))
            if draw.random() < 0.85
            else draw.choice((0, -1, 1, 2**64, 2**159, -(2**159), 2**800))
        )
        self.serials.append(serial)
        odd = draw.random()
        self.foreign.append(odd < 0.08)
        if odd < 0.02:
            self.differences.add("unknown hash")
            return cert_id_of("1.2.3.4", bytes(32), bytes(32), serial)
        if odd < 0.04:
            self.differences.add("other hash")
            return cert_id(root, serial, "sha1").replace(
                der.oid("1.3.14.3.2.26"), der.oid("1.3.14.3.2.29")
            )
        if odd < 0.08:
            return cert_id_of(
                "sha1", draw.randbytes(20), draw.randbytes(20), serial, draw.choice((NULL, b""))
            )
        return cert_id(
            root,
            serial,
            draw.choice(("sha1", "sha1", "sha1", "sha224", "sha256", "sha384", "sha512")),
            draw.choice((NULL, b"")),
        )


def database(draw: random.Random) -> tuple[bytes, dict[int, tuple | None], bool]:
    """An index, its serials with how we differ from openssl about each, and whether it has a line
    that stops openssl."""
    serials: dict[int, tuple | None] = {}
    lines = []
    for _ in range(draw.choice((1, 3, 12))):
        row_type, field, spelling, difference = draw.choice(ROWS)
        serial = draw.choice(
            (draw.getrandbits(160), draw.getrandbits(127), draw.randrange(16, 256))
        )
        if "%x" in spelling:
            serial |= 0xA << 12  # a letter, or there is no other spelling
        if serial in serials:
            continue
        serials[serial] = difference
        digits = (spelling.rstrip(".") % serial).encode()
        digits = b"0" * (len(digits) % 2) + digits
        lines.append(
            b"\t".join(
                (row_type, b"270220135115Z", field, digits, b"unknown", b"/CN=x%d" % len(lines))
            )
            + b"\n"
        )
    odd = draw.random() < 0.04
    if odd:
        lines.insert(draw.randrange(len(lines) + 1), draw.choice(ODD_LINES))
    return b"".join(lines), serials, odd


def singles(response: bytes) -> tuple[list[tuple[bytes, bytes, bytes]], bytes]:
    """(CertID, CertStatus, singleExtensions) of each SingleResponse, and the responseExtensions, as
    bytes."""
    outer = der.read(response, der.SEQUENCE).elements()
    assert outer.expect(der.ENUMERATED).contents == b"\0"
    response_bytes = outer.expect(der.context(0)).only(der.SEQUENCE).elements()
    next(response_bytes)
    tbs = next(
        der.read(response_bytes.expect(der.OCTET_STRING).contents, der.SEQUENCE).elements()
    ).elements()
    next(tbs), next(tbs)
    responses = []
    for single in next(tbs).elements():
        fields = single.elements()
        one, status, _ = (
            next(fields).encoded,
            next(fields).encoded,
            fields.expect(der.GENERALIZED_TIME),
        )
        fields.optional(der.context(0))
        extensions = fields.optional(der.context(1))
        responses.append((one, status, extensions.encoded if extensions else b""))
    extensions = tbs.optional(der.context(1))
    return responses, extensions.encoded if extensions else b""


def compare(case: Case, serials, odd_line: bool, ours: bytes, theirs: bytes | None) -> set[str]:
    """Assert that our response is openssl's but for the named differences.  Returns those found."""
    if case.kind == "malformed":
        assert ours == MALFORMED
        assert theirs != ours or request() == case.encoded
        return set(case.differences) if theirs != ours else set()
    if all(case.foreign):
        assert ours == UNAUTHORIZED
        return {"foreign"}
    assert ocsp.load_der_ocsp_response(ours).response_status == ocsp.OCSPResponseStatus.SUCCESSFUL
    our_singles, our_extensions = singles(ours)
    asked = [one.req_cert for one in ocsp_request.OCSPRequest.from_der(case.encoded).request_list]
    assert [one for one, _, _ in our_singles] == [one.encoded for one in asked]

    shown: set[str] = set()
    for serial, foreign, (_, status, extensions) in zip(case.serials, case.foreign, our_singles):
        difference = None if foreign else serials.get(serial)
        if difference:
            shown.add(difference[0])
            assert (status, extensions) == difference[1:]
        elif foreign or serial not in serials:
            assert (status, extensions) == (b"\x82\x00", b"")
    if odd_line:
        assert theirs is None
        return shown | {"odd line"}
    assert theirs is not None
    if theirs == error_response(2):
        assert shown & {"date"} or "unknown hash" in case.differences
        return shown | case.differences & {"unknown hash"}

    their_singles, their_extensions = singles(theirs)
    if "nonce critical" in case.differences:
        assert (
            their_extensions
            != our_extensions
            == der.tlv(der.context(1), der.sequence(extension(OCSP_NONCE, octets(b"12345678"))))
        )
        shown.add("nonce critical")
    else:
        assert their_extensions == our_extensions
    remaining = iter(their_singles)
    for serial, foreign, single in zip(case.serials, case.foreign, our_singles):
        difference = None if foreign else serials.get(serial)
        if difference and difference[0] in ("E", "S"):
            continue  # openssl leaves it out
        their_single = next(remaining)
        if difference or (foreign and "other hash" in case.differences and their_single != single):
            assert their_single[0] == single[0] and their_single != single
            shown |= set() if difference else {"other hash"}
        else:
            assert their_single == single
    assert next(remaining, None) is None
    return shown


def judge(settings: config.Settings, index_is_refused: bool) -> comparison.Judge:
    ca = settings.cas[0]

    def row_of(number: int):
        return index_search.find(ca.db, {number}).rows.get(number)

    return comparison.Judge(ca, row_of, Issuer(ca).matches, -1, index_is_refused)


def test_every_difference_from_openssl_ocsp_is_intended(pki, tmp_path):
    root = certificate(pki.home / "root-ca.crt")
    draw = random.Random(6960)
    shown: collections.Counter[str] = collections.Counter()
    answered = 0
    explained: set[str] = set()
    for number in range(DATABASES):
        home = tmp_path / str(number)
        home.mkdir()
        index, serials, odd_line = database(draw)
        (home / "index").write_bytes(index)
        settle(home / "index")
        (home / "index.attr").write_text("unique_subject = no\n")
        (home / "conf").write_text(
            f"[root-ca]\ndb = .\nca = {pki.home}/root-ca.crt\nrsigner ="
            f" {pki.home}/root-ocsp.crt\nrkey = {pki.home}/private/root-ocsp.key\n"
        )
        cases = [Case(draw, root, serials) for _ in range(REQUESTS_EACH)]

        def by_openssl(indexed: tuple[int, Case], home=home) -> bytes | None:
            place, case = indexed
            request_file, response = home / f"{place}.req", home / f"{place}.resp"
            request_file.write_bytes(case.encoded)
            subprocess.run(
                [
                    "openssl",
                    "ocsp",
                    "-index",
                    home / "index",
                    "-CA",
                    "root-ca.crt",
                    "-rsigner",
                    "root-ocsp.crt",
                    "-rkey",
                    "private/root-ocsp.key",
                    "-nmin",
                    "60",
                    "-reqin",
                    request_file,
                    "-respout",
                    response,
                ],
                cwd=pki.home,
                capture_output=True,
                timeout=60,
            )
            return response.read_bytes() if response.exists() and response.stat().st_size else None

        with ThreadPoolExecutor(2) as pool:
            theirs = list(pool.map(by_openssl, enumerate(cases)))
        for case, their_response in zip(cases, theirs):
            settings = config.load(str(home / "conf"))
            ours = respond(case.encoded, lambda settings=settings: settings, int(time.time()))
            try:
                differences = compare(case, serials, odd_line, ours.der, their_response)
            except (AssertionError, StopIteration) as error:
                raise AssertionError(
                    f"database {number}: {case.encoded.hex()}\n{index!r}\n{ours.warnings}"
                    f" {case.differences}"
                ) from error
            verdict = judge(settings, odd_line).compare(
                case.encoded, ours.der, their_response or b""
            )
            assert not verdict.is_different, (case.encoded.hex(), index, verdict)
            # `critical` spelled out as FALSE is another encoding of the same.
            if differences != {"nonce critical"}:
                assert bool(verdict.reasons) == bool(differences), (verdict, differences)
            allowed = {REASON_OF[one] for one in differences}
            if "hash" in " ".join(case.differences):  # of two reasons for internalError, both
                allowed.add("unknown hash")
            assert verdict.reasons <= allowed, (verdict, differences)
            explained |= verdict.reasons
            shown.update(differences)
            answered += not differences
    assert set(shown) == set(DIFFERENCES), set(DIFFERENCES) ^ set(shown)
    assert explained == set(REASON_OF.values())
    print(
        f"{DATABASES * REQUESTS_EACH} requests, {answered} answered alike; differences:"
        f" {dict(shown.most_common())}"
    )
    assert answered > DATABASES * REQUESTS_EACH / 3


# What `cryptography` takes for a request that we do not, or the other way round

READING = {
    "several CertIDs": "11: `cryptography` reads one",
    "explicit defaults": (
        "section 3: version v1 and critical FALSE spelled out are let through, since openssl lets"
        " them"
    ),
    "hash we do not know": (
        "0: a CertID with any hash is read, whatever its parameters; a foreign issuer's"
    ),
    "parameters of a hash": "14: NULL or absent; older versions of `cryptography` take any",
    "the same extension twice": "0: `cryptography` finds it when the extensions are looked at",
}


def mutated(draw: random.Random, encoded: bytes) -> bytes:
    """The same with something changed, removed or inserted somewhere."""
    changed = bytearray(encoded)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        at = draw.randrange(len(changed))
        how = draw.randrange(4)
        if how == 0:
            changed[at] ^= 1 << draw.randrange(8)
        elif how == 1:
            changed[at] = draw.choice((0, 1, 2, 4, 5, 6, 0x30, 0x7F, 0x80, 0x81, 0xA0, 0xA2, 0xFF))
        elif how == 2:
            del changed[at : at + draw.choice((1, 1, 2, 5))]
        else:
            changed[at:at] = draw.randbytes(draw.choice((1, 1, 2)))
        if not changed:
            changed = bytearray(b"0")
    return bytes(changed)


def read_by_cryptography(encoded: bytes):
    """The fields of a request, "rejected", or the name of what `cryptography` cannot read in it."""
    try:
        read = ocsp.load_der_ocsp_request(encoded)
        hash_name = read.hash_algorithm.name
    except NotImplementedError:
        return "several CertIDs"
    except UnsupportedAlgorithm:
        return "hash we do not know"
    except ValueError:
        return "rejected"
    try:
        extensions = {der.oid(one.oid.dotted_string): one.critical for one in read.extensions}
    except Exception as error:  # extensions that it knows and cannot read, and duplicates
        extensions = type(error).__name__
    return hash_name, read.issuer_name_hash, read.issuer_key_hash, read.serial_number, extensions


def read_by_us(encoded: bytes):
    try:
        read = ocsp_request.OCSPRequest.from_der(encoded)
    except ocsp_request.MalformedRequest as error:
        return next(
            (
                name
                for name in ("the same extension twice", "parameters of a hash")
                if name in str(error)
            ),
            "rejected",
        )
    extensions = {one.extn_id: one.critical for one in read.request_extensions.values()}
    one = read.request_list[0].req_cert
    return one.hash_name, one.issuer_name_hash, one.issuer_key_hash, one.serial_number, extensions


EXPLICIT_DEFAULTS = (b"\xa0\x03\x02\x01\x00", b"\x01\x01\x00")


def test_requests_are_read_as_cryptography_reads_them(pki):
    root = certificate(pki.home / "root-ca.crt")
    draw = random.Random(9919)
    outcomes: collections.Counter[str] = collections.Counter()
    for _ in range(20000):
        ids = [
            cert_id(
                root,
                draw.getrandbits(draw.choice((8, 64, 159))),
                draw.choice(("sha1", "sha256")),
                draw.choice((NULL, b"")),
            )
        ]
        options = {"extensions": nonce(draw.randbytes(16))} if draw.random() < 0.5 else {}
        if draw.random() < 0.1:
            options["single_extensions"] = extension("1.2.3.4", b"x")
        if draw.random() < 0.02:
            options["version"] = der.tlv(der.context(0), der.integer(0))
        if draw.random() < 0.02:
            options["extensions"] = nonce(b"1") + nonce(b"2")
        encoded = (
            mutated(draw, request(*ids, **options))
            if draw.random() < 0.9
            else request(*ids * draw.choice((1, 2)), **options)
        )
        theirs, ours = read_by_cryptography(encoded), read_by_us(encoded)
        if isinstance(theirs, tuple) and isinstance(ours, tuple) and isinstance(theirs[4], str):
            theirs, ours = theirs[:4], ours[:4]
        if theirs == ours:
            outcomes["rejected alike" if theirs == "rejected" else "read alike"] += 1
        elif theirs in ("several CertIDs", "hash we do not know"):
            outcomes[theirs] += 1
        elif ours in ("the same extension twice", "parameters of a hash"):
            outcomes[ours if theirs != "rejected" else "rejected alike"] += 1
        elif theirs == "rejected" and isinstance(ours, tuple) and ours[0] is None:
            outcomes["hash we do not know"] += 1
        elif (
            theirs == "rejected"
            and isinstance(ours, tuple)
            and any(default in encoded for default in EXPLICIT_DEFAULTS)
        ):
            outcomes["explicit defaults"] += 1
        else:
            raise AssertionError(f"{encoded.hex()}\n`cryptography`: {theirs}\nus: {ours}")
    print(dict(outcomes))
    assert outcomes["rejected alike"] > 5000 and outcomes["read alike"] > 4000
    assert set(outcomes) - {"rejected alike", "read alike"} | {"parameters of a hash"} == set(
        READING
    )
