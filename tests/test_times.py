"""Times, held against datetime and against what openssl writes."""

from __future__ import annotations

import locale
from datetime import datetime, timedelta, timezone

import pytest

from ocsp_cgi import times

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def seconds(*fields: int) -> int:
    return int((datetime(*fields, tzinfo=timezone.utc) - EPOCH).total_seconds())


@pytest.mark.parametrize(
    "text, value",
    [
        (b"260101000000Z", (2026, 1, 1)),
        (b"491231235959Z", (2049, 12, 31, 23, 59, 59)),
        (b"500101000000Z", (1950, 1, 1)),
        (b"2601010000Z", (2026, 1, 1)),
        (b"260101000000+0100", (2025, 12, 31, 23)),
        (b"2601010000-0130", (2026, 1, 1, 1, 30)),
        (b"20600101000000Z", (2060, 1, 1)),
        (b"99991231235959Z", (9999, 12, 31, 23, 59, 59)),
        (b"20240229120000Z", (2024, 2, 29, 12)),
        (b"20000229120000Z", (2000, 2, 29, 12)),
    ],
)
def test_parse_time(text, value):
    assert times.parse_time(text) == seconds(*value)


@pytest.mark.parametrize(
    "text, value",
    [
        (b"20260101000000Z", (2026, 1, 1)),
        (b"20260101000000.5Z", (2026, 1, 1)),
        (b"202601010000Z", (2026, 1, 1)),
        (b"20260101013000+0130", (2026, 1, 1)),
    ],
)
def test_parse_generalized_time(text, value):
    assert times.parse_generalized_time(text) == seconds(*value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"Z",
        b"garbage",
        b"260101000000",
        b"261301000000Z",
        b"260001000000Z",
        b"260230000000Z",
        b"230229000000Z",
        b"19000229000000Z",
        b"260100000000Z",
        b"260101240000Z",
        b"260101006000Z",
        b"260101000060Z",
        b"26010100000Z",
        b"2601010000000Z",
        b"260101000000+1",
        b"+0100",
        b"260101000000+9900",
        b"260101000000+0060",
        b"00000101000000Z",
        b"99991231235959-1200",
        b"260101000000.Z",
        b"26 101000000Z",
        "２６０１０１００００００Z".encode(),
        b"-60101000000Z",
    ],
)
def test_not_a_time(text):
    with pytest.raises(ValueError):
        times.parse_time(text)


def test_a_generalized_time_has_four_digits_of_year():
    with pytest.raises(ValueError):
        times.parse_generalized_time(b"2601010000Z")


def test_every_day_of_five_centuries_round_trip():
    for days in range(0, 366 * 500, 13):
        day = datetime(1800, 1, 1, 23, 59, 58, tzinfo=timezone.utc) + timedelta(days)
        text = day.strftime("%Y%m%d%H%M%SZ").encode()
        assert times.parse_generalized_time(text) == int((day - EPOCH).total_seconds())
        assert times.generalized_time(times.parse_generalized_time(text)) == text


def test_http_date_is_that_of_rfc_9110():
    assert times.http_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert times.http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_http_date_is_the_same_in_every_locale(monkeypatch):
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, "C")
        expected = [
            datetime.fromtimestamp(day * 86400, timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
            for day in range(0, 40000, 17)
        ]
    finally:
        locale.setlocale(locale.LC_ALL, before)
    assert [times.http_date(day * 86400) for day in range(0, 40000, 17)] == expected


def test_log_time():
    assert times.log_time(784111777) == "1994-11-06T08:49:37Z"
