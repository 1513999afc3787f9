"""Loads what a response needs, before a child process becomes the responder's user.

That user may be unable to read this program or its Python, if they are in a home directory.
Whether he can read the installed ones, the check of the machine tells.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import resource
import select
import unicodedata
import urllib.parse

from .. import admission, failure, file_kinds, producer, token_key, unusual_algorithms
from ..import_cryptography import SignerError, require_cryptography

LOADED = (
    difflib,
    fcntl,
    hashlib,
    resource,
    select,
    unicodedata,
    urllib.parse,
    admission,
    failure,
    file_kinds,
    producer,
    token_key,
    unusual_algorithms,
)


def everything() -> None:
    """Load them; without `cryptography` the child finds that out itself."""
    try:
        require_cryptography()
        from cryptography.hazmat.backends.openssl import backend  # noqa: F401
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: F401
        from cryptography.hazmat.primitives.asymmetric import (  # noqa: F401
            dsa,
            ec,
            ed448,
            ed25519,
            padding,
            rsa,
            utils,
        )
    except (ImportError, SignerError):
        pass
