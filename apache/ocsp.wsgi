"""What mod_wsgi loads: ocsp-cgi-wsgi.conf names it.  The package ocsp_cgi is beside the directory of
this file or what it links to, or installed."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
from ocsp_cgi.wsgi import application  # noqa: E402, F401  # which mod_wsgi calls
