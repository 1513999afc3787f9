"""The package `cryptography`: imported under `python3 -S`, and what to say if it cannot be.

`site` takes 3 ms to find packages, so the interpreter starts without it, and sys.path is completed
here, once a signature is needed.
"""

from __future__ import annotations

import sys

from .answer import OCSPError, printable, reading


class SignerError(OCSPError):
    """No response can be signed; the text says why, and how to fix it."""


def require_cryptography() -> None:
    """Make `cryptography` importable.  SignerError if it is not installed."""
    try:
        reading("the package `cryptography`")
        if sys.flags.no_site and "site" not in sys.modules:
            _add_site_packages()
        import cryptography  # noqa: F401  # whether it can be imported is the question
    except ImportError as error:
        raise SignerError(
            f"{sys.executable} cannot import the package `cryptography`: {error}"
        ) from None


def crypto_library() -> str:
    """Name and version of `cryptography` and of its OpenSSL, "" if they cannot be loaded."""
    try:
        require_cryptography()
        import cryptography
        from cryptography.hazmat.backends.openssl import backend
    except (SignerError, ImportError):
        return ""

    return f"cryptography {cryptography.__version__} ({backend.openssl_version_text()})"


def name_and_version() -> str:
    """`cryptography` and its version, for messages.  It has been imported before."""
    import cryptography

    return f"`cryptography` {cryptography.__version__}"


def major_version() -> int:
    import cryptography

    return int(cryptography.__version__.partition(".")[0])


def reason(error: Exception) -> str:
    """The first sentence of an error of the library: the rest is for its developers."""
    text = str(error.args[0] if error.args else error).partition(". ")[0]
    return printable(text or type(error).__name__, 100)


def _add_site_packages() -> None:
    """Append to sys.path what `site` would, and load `site` only if that does not suffice.

    The directory of this package goes to the end: nothing else that will be imported is there, and
    looking costs time with each module.
    """
    prefix = sys.executable.rpartition("/bin/")[0]
    directories = _site_packages(prefix)
    if prefix != sys.base_prefix and _includes_system_packages(prefix):
        directories += _site_packages(sys.base_prefix)
    before = sys.path[:]
    sys.path += directories
    sys.path.sort(key=__file__.rpartition("/ocsp_cgi/")[0].__eq__)
    try:
        import cryptography  # noqa: F401  # whether it can be imported is the question
    except ModuleNotFoundError:
        import site

        sys.path = before
        site.main()


def _site_packages(prefix: str) -> list[str]:
    major, minor = sys.version_info[:2]
    version = f"python{major}.{minor}"
    directories = [
        f"{prefix}/lib/{version}/site-packages",
        f"{prefix}/lib64/{version}/site-packages",
    ]
    if prefix == "/usr":  # Debian's
        directories[:0] = [
            f"/usr/local/lib/{version}/dist-packages",
            "/usr/lib/python3/dist-packages",
        ]
    return directories


def _includes_system_packages(prefix: str) -> bool:
    """Whether this virtual environment also uses the packages of the Python it was made with."""
    try:
        with open(prefix + "/pyvenv.cfg", "rb") as file:
            return b"include-system-site-packages=true" in file.read().lower().replace(b" ", b"")
    except OSError:
        return False
