"""One CA's responses from two responders, compared and told to a person."""

from __future__ import annotations

import argparse
import collections
import functools
import os
import secrets
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from .. import certificate, index_file, index_search, ocsp_http, responder
from ..answer import Log, printable
from ..config import CASettings, Settings
from ..import_cryptography import SignerError, require_cryptography
from ..index_row import Row
from ..issuer import Issuer
from . import sample_requests, token_user
from .comparison import REASONS, Judge, Verdict, minutes_valid
from .entry import CommandError
from .old_responder import HTTPResponse, OldResponder, Pipeline
from .sample_requests import Sample

_ROWS = 20
_MOST_SHOWN = 20
_PAGE = "a web page"


class _Result(NamedTuple):
    """`log` is what either said about it; `minutes` how long the response of each is valid."""

    sample: Sample
    verdict: Verdict
    log: str = ""
    minutes: tuple[int | None, int | None] = (None, None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows",
        metavar="N",
        type=_positive,
        default=_ROWS,
        help=f"how many rows of each type to ask about (default: {_ROWS})",
    )
    parser.add_argument(
        "--save",
        metavar="DIR",
        help="write the requests that are answered differently, and both responses, into DIR",
    )


def compare(
    settings: Settings,
    ca: CASettings,
    old: OldResponder,
    account: dict[str, Any],
    most_rows: int,
    save: str | None = None,
) -> int:
    """Ask the old responder and ours the same about a CA, and print how the responses differ.

    `account` is the user that Apache runs as, as arguments for subprocess; `most_rows` is how many
    rows of each type are asked about.  Returns how many responses are different without a reason;
    CommandError if the files of the CA cannot be read.
    """
    for section in settings.cas:
        token_user.leave_cache(section)  # files in it belong to the web server's user
    issuer, samples, rows = _samples(ca, most_rows)
    pipeline = Pipeline(ca, account)
    samples = [one for one in samples if old.speaks_http or _is_plain(one)]
    judge = Judge(
        ca,
        functools.partial(_row_of, ca.db),
        issuer.matches,
        _cut_line(ca.db),
        pipeline.refuses_index(samples[0].http),
    )
    counts = ", ".join(f"{count} {kind}" for kind, count in rows.counts.items()) or "none"
    print(f"[{ca.name}] {old.name} and ocsp.cgi, about {len(rows.chosen)} certificates")
    print(f"(rows in the index: {counts}), and {len(samples) - len(rows.chosen)} odd requests:")
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        before = pool.map(old.ask, [one.http for one in samples])
        results = [
            _compare(judge, settings, sample, response) for sample, response in zip(samples, before)
        ]
    return _report(results, save)


def _samples(ca: CASettings, most_rows: int) -> tuple[Issuer, list[Sample], sample_requests.Rows]:
    try:
        require_cryptography()
        issuer = Issuer(ca)
        if issuer.unreadable:
            raise issuer.unreadable
        signer = issuer.signer(int(time.time())).certificate
        with open(index_file.path_of(ca.db), "rb") as file:
            rows = sample_requests.choose_rows(file, most_rows)
    except (SignerError, index_file.DatabaseUnavailable) as error:
        raise CommandError(f"[{ca.name}] {error}") from None
    except OSError as error:
        raise CommandError(f"[{ca.name}] {error.filename}: {error.strerror}") from None
    known = certificate.newest(issuer.certificates, int(time.time()))
    if signer.serial_number not in rows.chosen.values():
        rows.chosen[f"{certificate.index_serial(signer.serial_number)}, the signer"] = (
            signer.serial_number
        )
    serials = list(rows.chosen.values())
    unissued = secrets.randbits(126) | 1 << 126
    samples = sample_requests.about_rows(known, rows.chosen)
    samples += sample_requests.odd_requests(known, serials[0], serials[-1], unissued)
    return issuer, samples, rows


def _is_plain(sample: Sample) -> bool:
    http = sample.http
    return http.method == "POST" and http.content_type == ocsp_http.OCSP_REQUEST


def _row_of(db: str, serial_number: int) -> Row | None:
    try:
        return index_search.find(db, {serial_number}).rows.get(serial_number)
    except index_file.DatabaseUnavailable:
        return None


def _cut_line(db: str) -> int:
    """The offset of the index's last line if it has no newline, -1 if it has."""
    try:
        with open(index_file.path_of(db), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 65536))
            end = file.read()
    except OSError:
        return -1
    return -1 if not end or end.endswith(b"\n") else size - len(end) + end.rfind(b"\n") + 1


def _compare(judge: Judge, settings: Settings, sample: Sample, theirs: HTTPResponse) -> _Result:
    log = Log()
    http = sample.http
    try:
        encoded = ocsp_http.ocsp_request(http)
    except ocsp_http.NotOCSP as error:
        ours = f"{_PAGE} (HTTP status {error.status})"
        if theirs.is_ocsp:
            verdict = Verdict(error.status != 405, frozenset({"method"}), ours, "a response")
        else:
            verdict = Verdict(sample.encoded is not None, frozenset(), ours, _PAGE)
        return _Result(sample, verdict)
    answer = responder.respond(encoded, lambda: settings, int(time.time()), log)
    body = theirs.body if theirs.is_ocsp else b""
    verdict = judge.compare(sample.encoded or b"", answer.der, body)
    if not theirs.is_ocsp and theirs.body:
        # What is asked in another way is to be answered as what is asked plainly.
        reason = "GET" if http.method == "GET" else "content type"
        alone = judge.compare(sample.encoded or b"", answer.der, answer.der)
        is_different = alone.is_different or _is_plain(sample)
        verdict = Verdict(is_different, frozenset({reason}), verdict.ours, _PAGE)
    told = " ".join(log.notes) or " ".join(theirs.log.decode(errors="replace").split())
    minutes = minutes_valid(answer.der), minutes_valid(body)
    return _Result(sample, verdict, told, minutes)


def _report(results: list[_Result], save: str | None) -> int:
    """Print what was found.  Returns how many are different."""
    different = [one for one in results if one.verdict.is_different]
    better: dict[str, list[_Result]] = collections.defaultdict(list)
    same = 0
    for result in results:
        if result.verdict.is_different:
            continue
        same += not result.verdict.reasons
        for reason in sorted(result.verdict.reasons):
            better[reason].append(result)
    print(f"  same       {same:5}")
    print(f"  better     {len(results) - same - len(different):5}")
    for reason in REASONS:
        if reason in better:
            _say(f"{len(better[reason]):5}  {REASONS[reason]}", "         ")
            titles = [one.sample.title for one in better[reason]]
            more = f" and {len(titles) - 3} more" if len(titles) > 3 else ""
            _say(f"       ({'; '.join(titles[:3])}{more})", "        ")
    print(f"  different  {len(different):5}")
    for result in different[:_MOST_SHOWN]:
        verdict = result.verdict
        _say(f"       {result.sample.title}: before {verdict.theirs}; now {verdict.ours}", " " * 9)
        if result.log:
            _say(f"         {result.log}", " " * 9)
    if len(different) > _MOST_SHOWN:
        print(f"       and {len(different) - _MOST_SHOWN} more")
    for mine, other in sorted({one.minutes for one in results if None not in one.minutes}):
        if mine != other:
            print(f"  Responses are valid for {mine} minutes; before, for {other} (`nmin`).")
            break
    if different and save:
        _save(different, Path(save))
    elif different:
        print("  (--save DIR keeps these requests.)")
    return len(different)


def _save(results: list[_Result], directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for number, result in enumerate(results, 1):
            http = result.sample.http
            path = directory / f"{number}.der"
            path.write_bytes(result.sample.encoded or http.body or b"")
            print(f"  {path}: {result.sample.title}")
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None


def _say(text: str, indent: str) -> None:
    print(textwrap.fill(printable(text, 1000), 79, subsequent_indent=indent))


def _positive(word: str) -> int:
    if not (word.isascii() and word.isdigit()) or len(word) > 9 or word.strip("0") == "":
        raise argparse.ArgumentTypeError(f"`{word}` should be a number of rows, 1 or more")
    return int(word)
