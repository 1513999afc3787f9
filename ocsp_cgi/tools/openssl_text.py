"""Requests and responses as text, much like that of `openssl ocsp -text`, with every CertID."""

from __future__ import annotations

import time

from .. import algorithms, der, times
from ..answer import RESPONSE_STATUS_NAMES, SUCCESSFUL, printable
from ..certificate import index_serial
from ..ocsp_request import (
    ID_PKIX_OCSP_NONCE,
    ID_PKIX_OCSP_PREF_SIG_ALGS,
    ID_PKIX_OCSP_RESPONSE,
    ID_PKIX_OCSP_SERVICE_LOCATOR,
    CertID,
    Extension,
    MalformedRequest,
    OCSPRequest,
)
from ..ocsp_response import (
    HOLD_INSTRUCTION_CODE,
    ID_PKIX_OCSP_ARCHIVE_CUTOFF,
    ID_PKIX_OCSP_EXTENDED_REVOKE,
    INVALIDITY_DATE,
    MalformedResponse,
    OCSPResponse,
    SingleResponse,
    reason_name,
)

_ATTRIBUTE_NAMES = {
    bytes.fromhex("550403"): "CN",  # 2.5.4.3
    bytes.fromhex("550406"): "C",  # 2.5.4.6
    bytes.fromhex("550407"): "L",  # 2.5.4.7
    bytes.fromhex("550408"): "ST",  # 2.5.4.8
    bytes.fromhex("55040a"): "O",  # 2.5.4.10
    bytes.fromhex("55040b"): "OU",  # 2.5.4.11
    bytes.fromhex("0992268993f22c640119"): "DC",  # 0.9.2342.19200300.100.1.25
    bytes.fromhex("2a864886f70d010901"): "emailAddress",  # 1.2.840.113549.1.9.1
}
_EXTENSION_NAMES = {
    ID_PKIX_OCSP_NONCE: "OCSP Nonce",
    ID_PKIX_OCSP_RESPONSE: "Acceptable OCSP Responses",
    ID_PKIX_OCSP_ARCHIVE_CUTOFF: "OCSP Archive Cutoff",
    ID_PKIX_OCSP_SERVICE_LOCATOR: "OCSP Service Locator",
    ID_PKIX_OCSP_PREF_SIG_ALGS: "Preferred Signature Algorithms",
    ID_PKIX_OCSP_EXTENDED_REVOKE: "Extended Revoke",
    HOLD_INSTRUCTION_CODE: "Hold Instruction Code",
    INVALIDITY_DATE: "Invalidity Date",
}
_BMP_STRING = 0x1E
_NAME_CHARACTERS = 1000
_HEXADECIMAL_CHARACTERS = 600  # of an extension; a nonce and preferences fit


def openssl_time(seconds: int) -> str:
    """A time as openssl prints it: Nov  2 19:30:27 2026 GMT."""
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{times.MONTHS[month - 1]} {day:2} {hour:02}:{minute:02}:{second:02} {year} GMT"


def request(encoded: bytes | None) -> str:
    """An OCSPRequest as text, whether its DER is valid or not; None is a body too long to read."""
    if encoded is None:
        return "OCSP Request Data: too long to be read\n"
    try:
        ocsp_request = OCSPRequest.from_der(encoded)
    except MalformedRequest as error:
        return f"OCSP Request Data: {printable(str(error))}\n"
    lines = ["OCSP Request Data:", "    Version: 1 (0x0)", "    Requestor List:"]
    for single in ocsp_request.request_list:
        lines += _indent(_cert_id(single.req_cert), 8)
        lines += _extensions("Request Single Extensions", single.single_request_extensions, 10)
    lines += _extensions("Request Extensions", ocsp_request.request_extensions, 4)
    return "\n".join(lines) + "\n"


def response(encoded: bytes) -> str:
    """An OCSPResponse as text, whether its DER is valid or not."""
    try:
        ocsp_response = OCSPResponse.from_der(encoded)
    except MalformedResponse as error:
        return f"OCSP Response Data: {printable(str(error))}\n"
    name = RESPONSE_STATUS_NAMES[ocsp_response.response_status]
    lines = [
        "OCSP Response Data:",
        f"    OCSP Response Status: {name} ({ocsp_response.response_status:#x})",
    ]
    if ocsp_response.response_status == SUCCESSFUL:
        responder = _hexadecimal(ocsp_response.responder_key_hash or b"")
        if ocsp_response.responder_name is not None:
            responder = distinguished_name(ocsp_response.responder_name)
        lines += [
            "    Response Type: Basic OCSP Response",
            "    Version: 1 (0x0)",
            f"    Responder Id: {responder}",
            f"    Produced At: {openssl_time(ocsp_response.produced_at)}",
            "    Responses:",
        ]
        for single in ocsp_response.responses:
            lines += [*_indent(_single_response(single), 4), ""]
        lines += _extensions("Response Extensions", ocsp_response.response_extensions, 4)
        lines.append(
            f"    Signature Algorithm: {_signature_algorithm(ocsp_response.signature_algorithm)}"
        )
        for signer in ocsp_response.certificates():
            issuer = distinguished_name(signer.issuer)
            lines.append(
                f"    Certificate: {distinguished_name(signer.subject)}, issued by {issuer},"
            )
            serial = _serial(signer.serial_number)
            end = openssl_time(signer.not_after)
            lines.append(f"        valid until {end}, serial number {serial}")
    return "\n".join(lines) + "\n"


def _status(single: SingleResponse) -> list[str]:
    """Time and reason of a revocation; no lines for any other CertStatus."""
    if single.cert_status.revocation_time is None:
        return []
    lines = [f"Revocation Time: {openssl_time(single.cert_status.revocation_time)}"]
    reason = single.cert_status.revocation_reason
    if reason is not None:
        lines.append(f"Revocation Reason: {reason_name(reason) or '(UNKNOWN)'} ({reason:#x})")
    return lines


def _single_response(single: SingleResponse) -> list[str]:
    lines = [*_cert_id(single.cert_id), f"Cert Status: {single.cert_status.name}", *_status(single)]
    lines.append(f"This Update: {openssl_time(single.this_update)}")
    if single.next_update is not None:
        lines.append(f"Next Update: {openssl_time(single.next_update)}")
    return lines + _extensions("Response Single Extensions", single.single_extensions, 0)


def _cert_id(cert_id: CertID) -> list[str]:
    return [
        "Certificate ID:",
        f"  Hash Algorithm: {cert_id.hash_name or 'unknown'}",
        f"  Issuer Name Hash: {_hexadecimal(cert_id.issuer_name_hash)}",
        f"  Issuer Key Hash: {_hexadecimal(cert_id.issuer_key_hash)}",
        f"  Serial Number: {cert_id.index_serial}",
    ]


def extension_name(extn_id: bytes) -> str:
    """openssl's name of an extension, from the contents of its OBJECT IDENTIFIER."""
    return _EXTENSION_NAMES.get(extn_id) or _oid(extn_id)


def _extensions(title: str, extensions: dict[bytes, Extension], indent: int) -> list[str]:
    lines = [f"{title}:"] if extensions else []
    for extension in extensions.values():
        critical = " critical" if extension.critical else ""
        lines.append(f"    {extension_name(extension.extn_id)}:{critical}")
        lines.append("        " + _extension_value(extension))
    return _indent(lines, indent)


def _extension_value(extension: Extension) -> str:
    if extension.extn_id in (ID_PKIX_OCSP_ARCHIVE_CUTOFF, INVALIDITY_DATE):
        try:
            return openssl_time(
                times.parse_generalized_time(
                    der.read(extension.value, der.GENERALIZED_TIME).contents
                )
            )
        except ValueError:
            pass
    return _hexadecimal(extension.value)


def _signature_algorithm(identifier: bytes) -> str:
    try:
        algorithm = algorithms.SignatureAlgorithm.from_der(identifier)
    except algorithms.Unsupported:
        return f"unknown or weak ({_hexadecimal(identifier)})"
    if not algorithm.hash_name:
        return algorithm.key_type
    return f"{algorithm.key_type} with {algorithm.hash_name}"


def distinguished_name(encoded: bytes) -> str:
    """A Name (RFC 5280 section 4.1.2.4) as `openssl ocsp` prints it, or its bytes if malformed."""
    attributes = []
    try:
        for relative in der.read(encoded, der.SEQUENCE).elements():
            for attribute in relative.elements():
                fields = attribute.elements()
                kind = fields.expect(der.OBJECT_IDENTIFIER).contents
                value = next(fields, None)
                text = (
                    value.contents.decode(
                        "utf-16-be" if value.tag == _BMP_STRING else "utf-8", "replace"
                    )
                    if value
                    else ""
                )
                name = _ATTRIBUTE_NAMES.get(kind) or _oid(kind)
                attributes.append(f"{name} = {printable(text)}")
    except der.DERError:
        return _hexadecimal(encoded)
    return printable(", ".join(attributes), _NAME_CHARACTERS)


def _oid(contents: bytes) -> str:
    return "OID " + printable(contents.hex())


def _serial(number: int) -> str:
    return printable(index_serial(number))


def _hexadecimal(data: bytes) -> str:
    return printable(data.hex().upper(), _HEXADECIMAL_CHARACTERS)


def _indent(lines: list[str], width: int) -> list[str]:
    return [" " * width + line for line in lines]
