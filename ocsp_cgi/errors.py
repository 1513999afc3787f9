"""OCSPResponseStatus: what a client is told in the place of an answer, the exceptions that become
one, and how messages repeat text from outside.

What was not foreseen, such as a disk that fails, is explained by the file that was being read: see
`reading`.
"""

# OCSPResponseStatus, RFC 6960 section 4.2.1; 4 is not used
SUCCESSFUL = 0
MALFORMED_REQUEST = 1
INTERNAL_ERROR = 2
TRY_LATER = 3
SIG_REQUIRED = 5
UNAUTHORIZED = 6

RESPONSE_STATUS_NAMES = {
    SUCCESSFUL: "successful",
    MALFORMED_REQUEST: "malformedRequest",
    INTERNAL_ERROR: "internalError",
    TRY_LATER: "tryLater",
    SIG_REQUIRED: "sigRequired",
    UNAUTHORIZED: "unauthorized",
}


now_reading = "the request"


def reading(path: str) -> None:
    """Remember which file is about to be read: the log names it if that hangs, or fails in a way
    that nobody foresaw."""
    global now_reading
    now_reading = path


class OCSPError(Exception):
    """Why a request gets no signed answer, in words for the operator; `response_status` is what the
    client is told."""

    response_status = INTERNAL_ERROR


def printable(text: str, limit: int = 200) -> str:
    """Text from outside (a certificate, a message, a header, a file) as a terminal or log may show
    it: at most `limit` characters, the unprintable ones escaped as in Python: control characters,
    surrogates, invisible ones, and those that change the direction.  Applying it twice is
    harmless."""
    shown = text[: limit + 1]
    if not shown.isprintable():
        shown = "".join([one if one.isprintable() else ascii(one)[1:-1] for one in shown])
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def error_response(response_status: int) -> bytes:
    """The DER of an OCSPResponse that says only what went wrong: unsigned, five octets."""
    return bytes((0x30, 3, 0x0A, 1, response_status))


def explain(error: BaseException) -> str:
    """What an exception that is not an OCSPError means, in words for the operator."""
    try:
        from . import failure

        return failure.explain(error)
    except Exception:  # out of memory again, or that module is damaged too
        return f"{now_reading}: {error!r}"
