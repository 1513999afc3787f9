"""Which kind of file it is, if it has no readable certificate or key, and the command that converts
it.  Loaded only then."""

from __future__ import annotations

import shlex

from . import der

_PKCS7 = bytes.fromhex("2a864886f70d0107")  # 1.2.840.113549.1.7, the prefix of PKCS#7's types
_KEYS = ("private key", "encrypted private key")
# By PEM label (RFC 7468).
_LABELS = {
    b"CERTIFICATE": "certificate",
    b"X509 CERTIFICATE": "certificate",
    b"TRUSTED CERTIFICATE": "certificate",
    b"CERTIFICATE REQUEST": "certificate request",
    b"NEW CERTIFICATE REQUEST": "certificate request",
    b"X509 CRL": "revocation list (CRL)",
    b"PKCS7": "PKCS#7 file",
    b"CMS": "PKCS#7 file",
    b"PUBLIC KEY": "public key",
    b"RSA PUBLIC KEY": "public key",
    b"PRIVATE KEY": "private key",
    b"RSA PRIVATE KEY": "private key",
    b"EC PRIVATE KEY": "private key",
    b"DSA PRIVATE KEY": "private key",
    b"ENCRYPTED PRIVATE KEY": "encrypted private key",
    b"OPENSSH PRIVATE KEY": "private key of OpenSSH",
    b"EC PARAMETERS": "name of a curve",
}
_EXPLAINED = {
    "certificate request": "the CA has yet to issue the certificate for it",
    "private key of OpenSSH": "make a key for the signer with `openssl req -new -newkey`",
    "UTF-16 text": "save it as plain text: `iconv -f UTF-16 -t UTF-8 {path} > {path}.pem`",
}


def kind(content: bytes) -> tuple[str, str]:
    """What a file contains, "" if that is unknown; and its form: PEM, DER or ""."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "UTF-16 text", ""
    try:
        outer = der.Elements(content, 0, len(content)).expect(der.SEQUENCE)
        if not content[outer.end :].strip():
            return _kind_of_der(outer), "DER"
    except der.DERError:
        pass
    kinds = _kinds_in_pem(content)
    known = [one for one in kinds if one not in ("", "name of a curve")]
    return (known or kinds or [""])[0], "PEM"


def _kinds_in_pem(content: bytes) -> list[str]:
    blocks = content.split(b"-----BEGIN ")[1:]
    return [_LABELS.get(block.partition(b"-----")[0], "") for block in blocks]


def _kind_of_der(outer: der.Element) -> str:
    """The kind of a file in DER: the first elements of each structure are different."""
    try:
        fields = outer.elements()
        first, second = next(fields), next(fields)
        if first.tag == der.OBJECT_IDENTIFIER:
            return "PKCS#7 file" if first.contents.startswith(_PKCS7) else ""
        if first.tag == der.INTEGER:
            if second.tag != der.SEQUENCE:  # PKCS#1 (RFC 8017), SEC 1 (RFC 5915)
                return "private key"
            is_pkcs12 = second.elements().expect(der.OBJECT_IDENTIFIER).contents.startswith(_PKCS7)
            return "PKCS#12 file" if is_pkcs12 else "private key"
        if second.tag == der.SEQUENCE:
            return _kind_of_signed(first)
        return {
            der.OCTET_STRING: "encrypted private key",
            der.BIT_STRING: "public key",
        }.get(second.tag, "")
    except (der.DERError, StopIteration):
        return ""


def _kind_of_signed(signed: der.Element) -> str:
    """A certificate (RFC 5280 section 4.1), a request (RFC 2986 section 4.1) or a CRL, by the tags
    in the signed part."""
    tags = [one.tag for one in signed.elements()]
    if tags == [der.INTEGER, der.SEQUENCE, der.SEQUENCE, der.context(0)]:
        return "certificate request"
    v1 = [der.INTEGER, *[der.SEQUENCE] * 5]
    return "certificate" if tags[:1] == [der.context(0)] or tags == v1 else "revocation list (CRL)"


def _article(what: str) -> str:
    return f"an {what}" if what[0] == "e" else f"a {what}"


def _convert(path: str, *command: str) -> str:
    quoted, target = shlex.quote(path), shlex.quote(f"{path}.pem")
    return f"convert it: `{' '.join(command)} -in {quoted} -out {target}`"


def certificate_hint(path: str, content: bytes) -> str:
    """Why a file has no readable certificate, and what to do; "" if that is unknown."""
    what, form = kind(content)
    inform = ("-inform", "DER") if form == "DER" else ()
    if what == "" or "certificate" in (what, *_kinds_in_pem(content)):
        return ""
    if what == "PKCS#12 file":
        return f"a {what}; {_convert(path, 'openssl pkcs12 -nokeys')}, and name that file instead"
    if what == "PKCS#7 file":
        convert = _convert(path, "openssl pkcs7 -print_certs", *inform)
        return f"a {what}; {convert}, and name that file instead"
    explained = _EXPLAINED.get(what, "").format(path=shlex.quote(path))
    return f"{_article(what)}, not a certificate" + (f": {explained}" if explained else "")


def encrypted_key(path: str, suffix: str = "") -> str:
    """What to do about an encrypted key in PEM if the config names no pass phrase; `suffix` as in
    CASettings."""
    return (
        f"{path}: the key is encrypted. Put its pass phrase in a file and name it with"
        f" `passin{suffix}`, or remove the pass phrase: `openssl pkey -in {shlex.quote(path)} -out"
        f" {shlex.quote(path + '.pem')}`, and name that file with `rkey{suffix}`"
    )


def unreadable_key(
    path: str, content: bytes, passin: str | None, reason: str, library: str, suffix: str = ""
) -> str:
    """Why the library cannot read the private key in a file, and what to do; `reason` is its own
    message, `suffix` as in CASettings."""
    what, form = kind(content)
    name_it = f"and name that file with `rkey{suffix}`"
    test = f"`openssl pkey -in {shlex.quote(path)} -noout`"
    if form == "DER" and what in _KEYS:
        convert = _convert(path, "openssl pkey -inform DER")
        return f"{path}: {_article(what)} in DER, not PEM; {convert}, {name_it}"
    if what == "PKCS#12 file":
        convert = _convert(path, "openssl pkcs12 -nocerts -nodes")
        return f"{path}: a {what}, not a key in PEM; {convert}, {name_it}"
    if what == "":
        return f"{path}: no private key in PEM; try {test}"
    if what not in _KEYS:
        explained = _EXPLAINED.get(what, "").format(path=shlex.quote(path))
        return f"{path}: a {what}, not a private key in PEM" + (
            f": {explained}" if explained else f"; `rkey{suffix}` names it"
        )
    if what == "encrypted private key" or b"4,ENCRYPTED" in content:
        if "decrypt" in reason.lower():
            tested = test.replace("-noout", f"-passin file:{shlex.quote(passin or '')} -noout")
            return f"{path}: the pass phrase in {passin} is wrong; try {tested}"
        return (
            f"{path}: encrypted in a way that {library} cannot read ({reason});"
            f" {_convert(path, 'openssl pkey -aes256')}, with the same pass phrase (with OpenSSL 3"
            f" an old cipher also needs `-provider legacy -provider default`), {name_it}"
        )
    if _has_more_primes(content):
        return (
            f"{path}: an RSA key of more than two primes, which {library} does not support:"
            " make a new key, and issue a certificate for it"
        )
    return (
        f"{path}: damaged, or of a kind that {library} does not support ({reason}):"
        f" {test.replace('-noout', '-check -noout')} tests it. Restore it from a copy, or make a"
        " new key and issue a certificate for it"
    )


def wrong_key(path: str, rsigner: str, is_own: bool) -> str:
    """What to do about a private key whose signatures do not fit the certificate in `rsigner`.

    `is_own` is whether it claims to belong to that certificate.
    """
    check = f"`openssl pkey -in {shlex.quote(path)} -check -noout` tests it"
    if is_own:
        return (
            f"{path}: damaged: it belongs to the certificate in {rsigner}, but its signatures"
            f" are wrong ({check}). Restore it from a copy, or make a new key and issue a"
            " certificate for it"
        )
    return (
        f"{path}: not the private key of the certificate in {rsigner}, or damaged ({check}): name"
        " the key that the certificate was issued for"
    )


def _has_more_primes(content: bytes) -> bool:
    """Whether this is an RSA key with otherPrimeInfos (RFC 8017 appendix A.1.2)."""
    try:
        label, encoded = der.from_pem(content, b"PRIVATE KEY", b"RSA PRIVATE KEY")
        fields = der.read(encoded, der.SEQUENCE).elements()
        if label == b"PRIVATE KEY":
            fields.expect(der.INTEGER)
            fields.expect(der.SEQUENCE)
            key = der.read(fields.expect(der.OCTET_STRING).contents, der.SEQUENCE)
            fields = key.elements()
        return fields.expect(der.INTEGER).integer() == 1 and len(list(fields)) == 9
    except der.DERError:
        return False
