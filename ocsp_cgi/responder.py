"""The responder: the DER of a request in, an Answer out.

    request ─▶ cached, and still what a new response would say?   cache
            ─▶ else a new response                                producer

Time is a parameter: the clock is read before the database, so that thisUpdate never claims too
much.

This module and those it imports are the hot path: a CGI loads them for every request, also where
the response is cached.  Each costs a quarter of a millisecond, `__future__` as well, so annotations
that Python 3.9 cannot read are quoted.
"""

from . import cache
from .answer import INTERNAL_ERROR, Answer, Log, OCSPError, explain, reading, refusal

TYPE_CHECKING = False  # `typing` costs every response 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import Settings
    from .files import Files


def respond(
    encoded: "bytes | None",
    load_settings: "Callable[[], Settings]",
    now: int,
    log: Log,
    deadline: "float | None" = None,
    files: "Files | None" = None,
) -> Answer:
    """Answer the DER of an OCSPRequest (None if it was too long to read) at a time in seconds since
    1970.

    `load_settings` is called here so that an error in the config becomes an answer like any other.
    `deadline` is the time.monotonic() at which the process ends, None if it answers many requests.
    `files` is what a response is made from, by default read anew.
    Never raises: the worst answer is internalError.
    """
    try:
        settings = load_settings()
        cached = cache.get_unsearched(encoded, settings, now)
        if cached is not None:
            log.fields = cached.log_fields
            return cached.answer(now)
        reading(__file__.rpartition("/")[0])
        from . import producer  # with what it takes to sign, it costs more than all other modules

        return producer.produce(encoded, settings, now, log, deadline, files)
    except OCSPError as error:
        return refusal(error.response_status, str(error), log)
    except Exception as error:
        return refusal(INTERNAL_ERROR, explain(error), log)
