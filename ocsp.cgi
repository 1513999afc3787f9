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
    sys.stderr.write("ocsp.cgi: %r; is the whole of ocsp_cgi in %s, or installed for %s?\n" % (error, directory, sys.executable))
    try:
        for _ in range(16):
            if not posix.read(0, 65536):
                break
    except OSError:
        pass
    posix.write(1, b"Content-Type: application/ocsp-response\r\nCache-Control: no-cache, no-store\r\n\r\n\x30\x03\x0a\x01\x02")
