"""Times.  Everywhere in this project a time is a whole number of seconds since 1970-01-01 UTC; here
is how they are written.

`datetime` would cost every response a millisecond, and its formats are not quite these.
"""

import time

EPOCH = 0
_FIRST, _LAST = -62135596800, 253402300799  # 0001-01-01 00:00:00 and 9999-12-31 23:59:59

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def generalized_time(seconds: int) -> bytes:
    """The contents of a GeneralizedTime as RFC 5280 section 4.1.2.5.2 has it: YYYYMMDDHHMMSSZ."""
    return b"%04d%02d%02d%02d%02d%02dZ" % time.gmtime(seconds)[:6]


def http_date(seconds: int) -> str:
    """An HTTP-date (RFC 9110 section 5.6.7), the same in every locale: Sun, 19 Mar 2023 01:00:00
    GMT."""
    year, month, day, hour, minute, second, weekday = time.gmtime(seconds)[:7]
    return (
        f"{_DAYS[weekday]}, {day:02} {MONTHS[month - 1]} {year:04}"
        f" {hour:02}:{minute:02}:{second:02} GMT"
    )


def log_time(seconds: int) -> str:
    """A time for people and their tools (RFC 3339): 2023-03-19T01:00:00Z."""
    return "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*time.gmtime(seconds)[:6])


def parse_generalized_time(text: bytes) -> int:
    """Seconds since 1970 of a GeneralizedTime.

    Reads what `openssl ca -crl_compromise` lets through as well: no seconds, a fraction (dropped),
    an offset. ValueError if it is not a time.
    """
    digits, zone = _split(text)
    if len(digits) not in (12, 14):
        raise ValueError(f"not a GeneralizedTime: {text!r}")
    return _seconds(int(digits[:4]), digits[4:], zone)


def parse_time(text: bytes) -> int:
    """Seconds since 1970 of an ASN.1 Time: a UTCTime, or a GeneralizedTime by its 14 digits.

    A two-digit year below 50 is in this century (RFC 5280 section 4.1.2.5.1).  ValueError if it is
    no time at all.
    """
    digits, zone = _split(text)
    if len(digits) == 14:
        return parse_generalized_time(text)
    if len(digits) not in (10, 12):
        raise ValueError(f"not a time: {text!r}")
    year = int(digits[:2])
    return _seconds(year + (2000 if year < 50 else 1900), digits[2:], zone)


def _split(text: bytes) -> tuple[bytes, int]:
    """The leading digits of a time, and the offset of its zone in minutes."""
    if text.endswith(b"Z"):
        number, offset = text[:-1], 0
    else:
        number, sign, zone = text[:-5], text[-5:-4], text[-4:]
        if sign not in (b"+", b"-") or len(zone) != 4 or not zone.isdigit():
            raise ValueError(f"no time zone: {text!r}")
        hours, minutes = int(zone[:2]), int(zone[2:])
        if hours > 12 or minutes > 59:
            raise ValueError(f"no time zone: {text!r}")
        offset = (60 * hours + minutes) * (-1 if sign == b"-" else 1)
    digits, point, fraction = number.partition(b".")
    if not digits.isdigit() or (point and not fraction.isdigit()):
        raise ValueError(f"not a time: {text!r}")
    return digits, offset


def _seconds(year: int, rest: bytes, offset: int) -> int:
    """Seconds since 1970; `rest` is MMDDHHMM or MMDDHHMMSS, `offset` minutes east of Greenwich."""
    month, day, hour, minute = (int(rest[i : i + 2]) for i in (0, 2, 4, 6))
    second = int(rest[8:10] or b"0")
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year < 1 or not 1 <= month <= 12 or hour > 23 or minute > 59 or second > 59:
        raise ValueError("no such time")
    if not 1 <= day <= _MONTH_LENGTHS[month - 1] + (leap and month == 2):
        raise ValueError("no such day")
    past = year - 1
    days = past * 365 + past // 4 - past // 100 + past // 400 - 719162
    days += sum(_MONTH_LENGTHS[: month - 1]) + (leap and month > 2) + day - 1
    seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second
    if not _FIRST <= seconds <= _LAST:
        raise ValueError("no such year")
    return seconds
