"""An OCSP responder (RFC 6960, RFC 9919) over the database of `openssl ca`, as a CGI of Apache."""

__version__ = "0.3.0"
