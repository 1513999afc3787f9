"""What ocsp.cgi does when it cannot even load the responder: say why, in words for the operator.

Must parse under Python 2.7 too.
"""

import os
import sys
import time

_INTERNAL_ERROR = b"\x30\x03\x0a\x01\x02"
_HEAD = (
    b"Content-Type: application/ocsp-response\r\nContent-Length: 5\r\n"
    b"Cache-Control: no-cache, no-store\r\n\r\n"
)


def refuse(error):
    # type: (BaseException) -> None
    """Log what the exception means that ended ocsp.cgi, and answer internalError."""
    script = os.path.realpath(sys.argv[0])
    try:
        reason = explain(error, script)
    except BaseException:  # out of memory again, or `failure` is damaged too
        reason = _with_place(repr(error), script)
    log_time = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = "%s ocsp.cgi: error: %s\n" % (log_time, " ".join(reason.split()))
    try:
        os.write(2, line.encode("ascii", "backslashreplace"))
        for _ in range(1024):  # mod_cgid cuts off the response of a script that leaves input unread
            if not os.read(0, 65536):
                break
    except OSError:
        pass
    os.write(1, _HEAD + _INTERNAL_ERROR)


def explain(error, script):
    # type: (BaseException, str) -> str
    """What an exception means that ended ocsp.cgi; `script` is that file, past all links."""
    if sys.version_info < (3, 9):
        return "needs Python 3.9 or newer; %s, which the first line of %s names, is Python %s" % (
            sys.executable,
            script,
            sys.version.split()[0],
        )
    from . import failure

    return _with_place(failure.explain(error), script)


def _with_place(reason, script):
    # type: (str, str) -> str
    return "%s; is the whole of ocsp_cgi in %s, or installed for %s?" % (
        reason,
        os.path.dirname(script),
        sys.executable,
    )
