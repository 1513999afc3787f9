#!/usr/bin/python3 -IS
"""What Apache runs.  The package ocsp_cgi lies beside this file, or beside the file this is a link to, or is installed."""
import time

started = time.monotonic()

import posix
import sys

path = __file__
try:
    while True:
        directory = path.rpartition("/")[0] or "."
        target = posix.readlink(path)
        path = target if target[0] == "/" else directory + "/" + target
except OSError:
    sys.path.insert(0, directory)
try:
    try:
        import ocsp_cgi
    except ModuleNotFoundError:
        import site

        site.main()
    from ocsp_cgi import cgi

    cgi.main(started)
except BaseException as error:
    try:
        from ocsp_cgi import failure

        reason = failure.explain(error)
    except BaseException:
        reason = repr(error)
    reason += "; is the whole of ocsp_cgi in %s, or installed for %s?" % (directory, sys.executable)
    try:
        posix.write(2, ("ocsp.cgi: " + " ".join(reason.split()) + "\n").encode("ascii", "backslashreplace"))
        for _ in range(1024):
            if not posix.read(0, 65536):
                break
    except OSError:
        pass
    head = b"Content-Type: application/ocsp-response\r\nContent-Length: 5\r\nCache-Control: no-cache, no-store\r\n\r\n"
    posix.write(1, head + b"\x30\x03\x0a\x01\x02")
