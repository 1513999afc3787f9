"""The responder: the DER of a request in, the DER of an answer out.

    request ─▶ has the same been answered, and would it be answered so again?   store
            ─▶ else a new answer                                                producer

Whatever stands in the way is raised as an OCSPError with its reason and becomes the error the
client gets in `respond`, nowhere else.  Time is a parameter: the clock is read before the database,
so that thisUpdate never claims too much.

The road of a kept answer, this room and those it imports, is made to start fast, since a CGI starts
for each request.  Each module there costs a quarter of a millisecond, and `__future__` would be one
more: so annotations are quoted where Python 3.9 could not read them.
"""

from . import errors, limits, store


class Answer:
    """An OCSPResponse, and what a door has to know of it.

    `der` and `response_status`: the DER of the OCSPResponse, and the OCSPResponseStatus in it.
    `this_update`, `next_update`: seconds since 1970; `max_age`: seconds it may be kept in HTTP
    caches; `has_nonce`: whether it is for one client alone; `entity_tag`: the SHA-256 of `der` in
    hexadecimal, if it has no nonce.  These five of a successful answer only. `facts`: (name, value)
    pairs for the log.  `remarks`: lines for the log on what the operator should look at.
    """

    __slots__ = (
        "der",
        "response_status",
        "this_update",
        "next_update",
        "max_age",
        "has_nonce",
        "entity_tag",
        "facts",
        "remarks",
    )

    der: bytes
    response_status: int
    this_update: int
    next_update: int
    max_age: int
    has_nonce: bool
    entity_tag: str

    def __init__(self) -> None:
        self.facts: list[tuple[str, str]] = []
        self.remarks: list[str] = []

    def succeed(
        self, encoded: bytes, this_update: int, next_update: int, now: int, max_age: int
    ) -> None:
        """Be this successful answer, which HTTP caches may keep for `max_age` seconds at the most."""
        self.der = encoded
        self.response_status = errors.SUCCESSFUL
        self.this_update = this_update
        self.next_update = next_update
        left = next_update - now
        # Half of its life, so that a cache asks again well before the end (BR 4.9.9), and never in
        # the last second.
        self.max_age = max(0, min(left // 2, left - 1, max_age))

    def be_kept(self, kept: store.Kept, now: int) -> None:
        """Be an answer that was kept."""
        self.succeed(kept.der, kept.this_update, kept.next_update, now, max_age(kept.ca))
        self.has_nonce = False
        self.entity_tag = kept.entity_tag
        self.facts = [*kept.facts, ("cache", "hit")]

    def refuse(self, response_status: int, reason: str) -> None:
        """Be this error, for this reason."""
        self.response_status = response_status
        self.der = errors.error_response(response_status)
        self.facts.append(("response", errors.RESPONSE_STATUS_NAMES[response_status]))
        self.remarks.append(reason)


def respond(
    encoded: "bytes | None", load_settings, now: int, deadline: "float | None" = None
) -> Answer:
    """Answer the DER of an OCSPRequest (None for one that was too long to read) at a time in
    seconds since 1970.

    `load_settings` returns the config.Settings to answer by; it is called here so that an error in
    the config becomes an answer like any other.  `deadline` is the time.monotonic() at which the
    process ends, None if it answers many requests. Never raises: the worst answer is internalError.
    """
    answer = Answer()
    try:
        settings = load_settings()
        kept = store.find_same(encoded, settings, now)
        if kept is not None:
            answer.be_kept(kept, now)
        else:
            errors.reading(__file__.rpartition("/")[0])
            from . import (
                producer,
            )  # with what it takes to sign, it costs far more than everything else together

            producer.produce(answer, encoded, settings, now, deadline)
    except errors.OCSPError as error:
        answer.refuse(error.response_status, str(error))
    except Exception as error:
        answer.refuse(errors.INTERNAL_ERROR, errors.explain(error))
    return answer


def max_age(ca) -> int:
    """Seconds for which HTTP caches may keep an answer about a certificate of a CA; `ca` are its
    CASettings, None if it is not ours."""
    configured = ca and ca.max_age
    return (
        limits.MAX_AGE_SECONDS
        if configured is None
        else min(limits.MAX_AGE_SECONDS, configured * 60)
    )
