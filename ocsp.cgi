#!/usr/bin/python3 -IS
"""What Apache runs.  The package ocsp_cgi is beside this file or what it links to, or installed.

It must parse under Python 2.7 too, so that an interpreter that is too old can be named.
"""
import posix
import sys
import time

path = __file__
try:
    while True:
        directory = path.rpartition("/")[0] or "."
        target = posix.readlink(path)
        path = target if target[0] == "/" else directory + "/" + target
except OSError:
    sys.path.insert(0, directory)
try:
    if sys.version_info < (3, 9):
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
        from ocsp_cgi import last_resort

        reason = last_resort.explain(error, path)
    except BaseException:
        reason = "%r; is the whole of ocsp_cgi in %s, or installed for %s?"
        reason %= (error, directory, sys.executable)
    try:
        line = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line += " ocsp.cgi: error: " + " ".join(reason.split()) + "\n"
        posix.write(2, line.encode("ascii", "backslashreplace"))
        for _ in range(1024):
            if not posix.read(0, 65536):
                break
    except OSError:
        pass
    head = b"Content-Type: application/ocsp-response\r\nContent-Length: 5\r\n"
    head += b"Cache-Control: no-cache, no-store\r\n\r\n"
    posix.write(1, head + b"\x30\x03\x0a\x01\x02")
