"""The HTML page for a browser at the responder's address, and for requests that are not OCSP.

One self-contained page.  It says what this address is, how to use it, and, unless the config has
`versions = hide`, the versions of ocsp.cgi, `cryptography` and OpenSSL.  It names no files and no
details of a failure; those are in the log.
"""

from __future__ import annotations

from html import escape

from . import __version__

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")

_NOTES = {
    200: "",
    404: "What follows the address is not an OCSP request.",
    405: "An OCSP request is a POST or a GET; this was neither.",
    415: (
        "A POST to this address must have the type <code>application/ocsp-request</code>; this one"
        " did not."
    ),
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>OCSP responder</title>
<style>
:root {{
  --ground: #fdfdfc; --text: #1d1f21; --quiet: #5c6166; --block: #f0f1ee; --edge: #d9dcd5;
  --link: #0b5cad; --note: #8a3b00;
}}
@media (prefers-color-scheme: dark) {{
  :root {{
    --ground: #16181a; --text: #e4e6e7; --quiet: #a0a6ab; --block: #212427; --edge: #383d41;
    --link: #7fb8f5; --note: #ffb27a;
  }}
}}
body {{
  margin: 0; background: var(--ground); color: var(--text); font: 1rem/1.55 system-ui, sans-serif;
}}
main {{ max-width: 44rem; margin: 0 auto; padding: 2rem 1.25rem }}
h1 {{ font-size: 1.5rem; margin: 0 0 1rem }}
h2 {{ font-size: 1.05rem; margin: 2rem 0 .5rem }}
pre {{
  background: var(--block); border: 1px solid var(--edge); border-radius: .4rem;
  padding: .75rem 1rem; margin: .5rem 0; white-space: pre-wrap; overflow-wrap: anywhere;
}}
pre, code {{ font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .9rem }}
a {{ color: var(--link); overflow-wrap: anywhere }}
.note {{ border-left: .25rem solid var(--note); padding-left: .75rem }}
footer {{
  margin-top: 2.5rem; padding-top: .75rem; border-top: 1px solid var(--edge);
  color: var(--quiet); font-size: .875rem;
}}
</style>
</head>
<body>
<main>
<h1>OCSP responder</h1>
{note}
<p>Programs ask this address whether a certificate has been revoked (the Online Certificate Status
Protocol, RFC&nbsp;6960). There is nothing here to read in a browser.</p>
<h2>Ask about a certificate</h2>
<pre>openssl ocsp \\
  -issuer ca.crt \\
  -CAfile ca.crt \\
  -cert server.crt \\
  -url {url}</pre>
<p>Here <code>ca.crt</code> is the certificate of the CA that issued <code>server.crt</code>.</p>
<h2>Ask about a certificate from an issuing CA</h2>
<pre>openssl ocsp \\
  -issuer issuing-ca.crt \\
  -CAfile issuing-ca.crt \\
  -partial_chain \\
  -cert server.crt \\
  -url {url}</pre>
<p>An issuing CA is one whose own certificate comes from another CA, the root. With
<code>-partial_chain</code> it is trusted without the root's certificate. To ask about
<code>issuing-ca.crt</code> itself, take the first command, with the root's certificate as
<code>ca.crt</code>.</p>
<h2>Ask about a serial number</h2>
<pre>openssl ocsp \\
  -issuer ca.crt \\
  -CAfile ca.crt \\
  -partial_chain \\
  -serial 0x1234 \\
  -url {url}</pre>
<p>Below, the first command prints the serial number of a certificate in a file, the second that of
the certificate that a server uses. For <code>serial=1234</code>, write <code>0x1234</code>.</p>
<pre>openssl x509 -noout -serial -in server.crt</pre>
<pre>openssl s_client -connect server.example.com:443 &lt;/dev/null |
  openssl x509 -noout -serial</pre>
<h2>On Windows</h2>
<pre>certutil -url server.crt</pre>
<p>opens a window in which to choose <em>OCSP (from AIA)</em> and then <em>Retrieve</em>. It asks
the address that is in the certificate.</p>
{hyperlink}
<footer>{software}</footer>
</main>
</body>
</html>
"""


def render(status: int, url: str, hyperlink: str, crypto_library: str | None) -> bytes:
    """The page in UTF-8, for one of the HTTP statuses 200, 404, 405 and 415.

    `url` is the responder's own, `hyperlink` the operator's or "", `crypto_library` a name and
    version, "" if it cannot be loaded, None to show no versions at all.
    """
    note = _NOTES[status]
    link = escape(hyperlink)
    software = "ocsp.cgi" if crypto_library is None else f"ocsp.cgi {__version__}"
    if crypto_library:
        software += f" with {crypto_library}"
    return _PAGE.format(
        note=f'<p class="note">{note}</p>' if note else "",
        url=escape(url),
        hyperlink=(
            f'<p>More about this service: <a href="{link}" rel="noreferrer">{link}</a></p>'
            if link
            else ""
        ),
        software=escape(software),
    ).encode()


def quote(path: str) -> str:
    """A path, with one character per byte, quoted for a URL that can be pasted into a shell."""
    return "".join(
        [character if character in _UNRESERVED else f"%{ord(character):02X}" for character in path]
    )
