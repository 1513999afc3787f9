#!/usr/bin/python3 -EsS
"""What Apache runs.  The package ocsp_cgi is beside this file or what it links to, or installed.

With -EsS Python puts the directory of this file, past all links, on sys.path, and neither PYTHON*
variables nor the user's site-packages.  This file is compiled for each request, so it is short.
It must parse under Python 2.7 too, so that an interpreter that is too old can be named.
"""
import gc

gc.disable()  # a process that ends in milliseconds need not collect garbage
try:
    try:
        from ocsp_cgi import cgi
    except ImportError:
        import site

        site.main()
        from ocsp_cgi import cgi
    cgi.main()
except BaseException as error:
    try:
        from ocsp_cgi import last_resort

        last_resort.refuse(error)
    except BaseException:  # there is no package, or very little of it
        import posix
        import sys
        import time

        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = "%s ocsp.cgi: error: %r; is the whole of ocsp_cgi in %s, or installed for %s?\n"
        sys.stderr.write(line % (now, error, sys.path[0], sys.executable))
        for _ in range(1024):
            posix.read(0, 65536)
        head = b"Content-Type: application/ocsp-response\r\nContent-Length: 5\r\n"
        head += b"Cache-Control: no-cache, no-store\r\n\r\n"
        posix.write(1, head + b"\x30\x03\x0a\x01\x02")
