"""Why a query has no result: the exceptions of `client.query`."""

from __future__ import annotations

from .answer import printable

MESSAGE_CHARACTERS = 500


class QueryError(Exception):
    """The certificate's status could not be determined; the text says why."""

    def __init__(self, text: str):
        super().__init__(printable(text, MESSAGE_CHARACTERS))


class UnusableCertificate(QueryError):
    """A certificate cannot be read, was not issued by this issuer, or names no usable address."""


class Unreachable(QueryError):
    """No OCSP response over HTTP: no connection, too slow, unexpected status or content type."""


class ErrorResponse(QueryError):
    """The responder sent an error instead; `response_status` is its name, such as "tryLater"
    (RFC 6960 section 4.2.1)."""

    def __init__(self, text: str, response_status: str):
        super().__init__(text)
        self.response_status = response_status


class Malformed(QueryError):
    """Not an OCSPResponse, or one with a critical extension that is not understood."""


class Untrusted(QueryError):
    """The response is not signed by the issuer or a responder it authorized, or the algorithm or
    key is weak."""


class Mismatch(QueryError):
    """The response belongs to another request: about another certificate, or with another nonce."""


class Stale(QueryError):
    """The response is not current: expired, too old, or from the future."""
