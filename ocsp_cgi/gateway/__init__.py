"""The doors: how a request comes in and an answer goes out.  They differ in I/O alone; what is the same for all is here."""

from __future__ import annotations

from .. import config, http, responder


def handle(request: http.Request, config_path: str, url: str, now: int) -> tuple[http.Response, list[str]]:
    """Answer an HTTP request at a time in seconds since 1970; `url` is the address to show on the HTML page.

    Returns the response, and lines for the log: what the operator should look at first, and what was answered last.
    """
    try:
        encoded = http.ocsp_request(request)
    except http.NotOCSP as error:
        return _page(error.status, request.method, config_path, url)
    return answered(responder.respond(encoded, lambda: config.load(config_path), now), request.method)


def answered(answer: responder.Answer, method: str) -> tuple[http.Response, list[str]]:
    """An answer as `handle` returns it."""
    facts = " ".join(f"{name}={value}" for name, value in answer.facts)
    return http.response(answer, method), [*answer.remarks, facts]


def _page(status: int, method: str, config_path: str, url: str) -> tuple[http.Response, list[str]]:
    from .. import page, signer  # only people get pages, and they have time

    lines = []
    try:
        hyperlink = config.load(config_path).hyperlink
    except config.ConfigError as error:
        hyperlink = ""
        lines.append(str(error))
    body = page.render(status, url, hyperlink, signer.crypto_library())
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-cache"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if status == 405:
        headers.append(("Allow", "GET, HEAD, POST"))
    return http.Response(status, headers, b"" if method == "HEAD" else body), [*lines, f"page={status}"]
