"""What comes of a request: an Answer for the client, and a Log for the operator.

Every failure is an OCSPError with its reason; `responder.respond` alone turns it into the error
response that the client gets.  A failure that nobody foresaw, such as a failing disk, is explained
by the file that was being read: see `reading`.
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

# How a line of the log begins that is not the line of a request.  ERROR and WARNING need a person.
ERROR = "error: "  # something on this host kept a request from a response
WARNING = "warning: "  # it was answered, and there is something to look at
NEVER_ISSUED = "never-issued: "  # a serial number of a CA of ours that is not in its index
CLIENT_FAULT = ""  # what the client did wrong

REQUEST = "the request"
now_reading = REQUEST


class OCSPError(Exception):
    """Why a request gets no signed response, in words for the operator; `response_status` is what
    the client is told."""

    response_status = INTERNAL_ERROR


class Answer:
    """An OCSPResponse, and what HTTP has to know of it.

    `der` is the OCSPResponse, `response_status` the status in it.  Of a successful one also:
    `this_update` and `next_update`, seconds since 1970; `max_age`, the seconds for which HTTP
    caches may keep it; and `entity_tag`, the SHA-256 of `der` in hexadecimal, "" if it has a nonce
    and so is for one client alone.
    """

    __slots__ = ("der", "entity_tag", "max_age", "next_update", "response_status", "this_update")

    def __init__(
        self,
        response_status: int,
        der: bytes,
        this_update: int = 0,
        next_update: int = 0,
        max_age: int = 0,
        entity_tag: str = "",
    ):
        self.response_status = response_status
        self.der = der
        self.this_update = this_update
        self.next_update = next_update
        self.max_age = max_age
        self.entity_tag = entity_tag


class Log:
    """What the log will say of one request: `fields`, the (name, value) pairs of its line, and
    `notes`, the lines before it, each of which begins with its kind.

    With `only_problems` a request has no line unless a note or a field needs a person.
    """

    __slots__ = ("fields", "notes", "only_problems")

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.only_problems = False

    def note(self, kind: str, *texts: str) -> None:
        """Add a line for each text, of one of the kinds ERROR, WARNING, NEVER_ISSUED and
        CLIENT_FAULT."""
        self.notes += [kind + text for text in texts]

    def warn(self, *texts: str) -> None:
        self.note(WARNING, *texts)

    def lines(self) -> list[str]:
        """The notes, and the line of the request last; nothing if there is nothing to log."""
        if self.only_problems and not self._has_problem():
            return []
        return [*self.notes, " ".join([f"{name}={value}" for name, value in self.fields])]

    def _has_problem(self) -> bool:
        kinds = (ERROR, WARNING, NEVER_ISSUED)
        warned = any(name == "warning" for name, _ in self.fields)
        return warned or any(note.startswith(kinds) for note in self.notes)


def successful(
    encoded: bytes, this_update: int, next_update: int, now: int, max_age: int, entity_tag: str
) -> Answer:
    """The Answer for a signed response, which HTTP caches may keep for at most `max_age` seconds.

    They may keep it for half of its life, so that they ask again well before its end (BR 4.9.9),
    and never in its last second.
    """
    left = next_update - now
    max_age = max(0, min(left // 2, left - 1, max_age))
    return Answer(SUCCESSFUL, encoded, this_update, next_update, max_age, entity_tag)


def refusal(response_status: int, reason: str, log: Log, kind: "str | None" = None) -> Answer:
    """The Answer that says only what went wrong; the reason is for the log.

    It is an error there, unless the status blames the client, or `kind` says otherwise.
    """
    if kind is None:
        blamed = (MALFORMED_REQUEST, SIG_REQUIRED, UNAUTHORIZED)
        kind = CLIENT_FAULT if response_status in blamed else ERROR
    log.fields.append(("response", RESPONSE_STATUS_NAMES[response_status]))
    log.note(kind, reason)
    return Answer(response_status, error_response(response_status))


def expiry_warnings(expiries: list[tuple[str, int, int]], now: int) -> list[tuple[str, str]]:
    """Log fields that warn of certificates which expire soon.

    Each of `expiries` is what the certificate is, the time from which to warn, and its end.
    """
    return [
        ("warning", f"{name}-expires-in-{(end - now) // 86400}-days")
        for name, warned_from, end in expiries
        if now >= warned_from
    ]


def error_response(response_status: int) -> bytes:
    """The DER of an OCSPResponse without responseBytes: unsigned, five bytes."""
    return bytes((0x30, 3, 0x0A, 1, response_status))


def reading(path: str) -> None:
    """Remember which file is about to be read.

    The log names it if that hangs, or fails in a way that nobody foresaw.
    """
    global now_reading
    now_reading = path


def explain(error: BaseException) -> str:
    """What an exception that is not an OCSPError means, in words for the operator."""
    try:
        from . import failure

        return failure.explain(error)
    except Exception:  # out of memory again, or that module is damaged too
        return f"{now_reading}: {error!r}"


def printable(text: str, limit: int = 200) -> str:
    """Text from outside (a certificate, a message, a header, a file), safe to show in a terminal or
    a log.

    At most `limit` characters; control characters, surrogates, invisible characters and those that
    change the direction are escaped as in Python.  Applying it twice is harmless.
    """
    shown = text[: limit + 1]
    if not shown.isprintable():
        shown = "".join([one if one.isprintable() else ascii(one)[1:-1] for one in shown])
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
