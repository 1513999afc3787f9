"""Why ocsp.cgi could not even load the responder, in words for the operator.

Must parse under Python 2.7 too.
"""

import sys


def explain(error, path):
    # type: (BaseException, str) -> str
    """What an exception means that ended ocsp.cgi; `path` is that file, past all links."""
    if sys.version_info < (3, 9):
        return "needs Python 3.9 or newer; %s, which the first line of %s names, is Python %s" % (
            sys.executable,
            path,
            sys.version.split()[0],
        )
    from . import failure

    directory = path.rpartition("/")[0] or "."
    return "%s; is the whole of ocsp_cgi in %s, or installed for %s?" % (
        failure.explain(error),
        directory,
        sys.executable,
    )
