#!/usr/bin/python3 -IS
"""What Apache runs.  The package ocsp_cgi lies beside this file, or beside the file this is a link to, or is installed.

It must parse under Python 2.7 too, so that an interpreter which is too old can say so.
"""
import posix
import sys
import time

is_too_old = sys.version_info < (3, 9)
path = __file__
try:
    while True:
        directory = path.rpartition("/")[0] or "."
        target = posix.readlink(path)
        path = target if target[0] == "/" else directory + "/" + target
except OSError:
    sys.path.insert(0, directory)
try:
    if is_too_old:
        raise SystemError
    started = time.monotonic()
    try:
        import ocsp_cgi
    except ModuleNotFoundError:
        import site

        site.main()
    from ocsp_cgi import cgi

    cgi.main(started)
except BaseException as error:
    try:
        if is_too_old:
            reason = "needs Python 3.9 or newer; %s, which the first line of %s names, is Python %s" % (
                sys.executable, path, sys.version.split()[0])
        else:
            from ocsp_cgi import failure

            reason = failure.explain(error)
    except BaseException:
        reason = repr(error)
    if not is_too_old:
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
    if is_too_old:
        sys.exit(1)
