"""A lookup: one CertID of a request, the CA that it names, and the row of its serial number."""

from __future__ import annotations

from . import der, limits, times
from . import ocsp_response as response
from .answer import UNAUTHORIZED, OCSPError
from .ocsp_request import Extension
from .ocsp_response import CertStatus, SingleResponse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import CASettings
    from .index_row import Row
    from .issuer import Issuer
    from .ocsp_request import CertID
    from .signer import Signer


class Unauthorized(OCSPError):
    """This responder cannot answer authoritatively (RFC 9919 section 3.2.3): the request is about
    issuers that it does not serve, or about what nobody has signed a response to."""

    response_status = UNAUTHORIZED


class Lookup:
    """One CertID of a request, on its way to a SingleResponse.

    `issuers` are the sections of the CA that it names; `issuer` is the one whose database is asked,
    None if the signer may not speak for that CA; `row` is None if that database has none for the
    serial number.  OCSPError if the config has two databases for the CA: either could be the wrong
    one.
    """

    __slots__ = ("cert_id", "issuer", "issuers", "row")

    def __init__(self, cert_id: CertID, issuers: list[Issuer]):
        self.cert_id = cert_id
        self.issuer: Issuer | None = None
        self.row: Row | None = None
        named = [issuer for issuer in issuers if issuer.matches(cert_id)]
        self.issuers = [issuer for issuer in issuers if named and issuer.is_one_with(named[0])]
        if not all(self.issuers[0].shares_database_with(other) for other in self.issuers[1:]):
            names = " and ".join(f"[{issuer.settings.name}]" for issuer in self.issuers)
            raise OCSPError(
                f"{names} of the config are one CA by the certificates in `ca`, and have"
                " different `db`"
            )

    def choose_issuer(self, signing: Issuer, signer: Signer, now: int) -> None:
        """Set `issuer` to a section of the CA, if this signer of `signing` may speak for it.

        A delegated signer may for its issuer alone (RFC 6960 section 4.2.2.2); one that clients
        trust for its own sake, for each CA that names it.
        """
        self.issuer = None
        if signing in self.issuers:
            self.issuer = signing
            return
        for issuer in self.issuers:
            if signing.settings.signer_trust == issuer.settings.signer_trust == "local":
                try:
                    own = [one.certificate.der for one in issuer.signers(now)]
                    if signer.certificate.der in own:
                        self.issuer = issuer
                        return
                except OCSPError:
                    pass  # this section's own reason, for a request about it alone

    @property
    def is_unissued(self) -> bool:
        """Whether this is answered by `unissued = revoked` (RFC 6960 section 2.2)."""
        return (
            self.row is None
            and self._settings is not None
            and (self._settings.unissued == "revoked")
        )

    @property
    def cert_status(self) -> CertStatus:
        if self.row is not None:
            return self.row.cert_status
        if self.is_unissued:
            return CertStatus("revoked", times.EPOCH, response.CERTIFICATE_HOLD)
        return CertStatus("unknown")

    @property
    def is_unknown(self) -> bool:
        """Whether the database has nothing to say about the certificate."""
        return self.row is None or self.row.cert_status.name == "unknown"

    @property
    def max_age(self) -> int:
        """Seconds for which HTTP caches may keep the response; one about an unknown certificate
        must not outlive its issuance for long."""
        limit = self._settings.max_age_seconds if self._settings else limits.MAX_AGE_SECONDS
        return min(limit, limits.UNKNOWN_MAX_AGE_SECONDS) if self.is_unknown else limit

    def next_update(self, now: int, signer: Signer) -> int:
        """`nmin` minutes from now, but not past the end of the signer, nor past that of the CA."""
        lifetime, end = limits.UNKNOWN_LIFETIME_SECONDS, signer.certificate.not_after
        if self.issuer:
            configured = self.issuer.settings.nmin * 60
            lifetime = min(configured, lifetime) if self.is_unknown else configured
            end = min(end, self.issuer.signer(now).ca.not_after)
        return min(now + lifetime, end)

    def single_response(self, now: int, next_update: int) -> SingleResponse:
        extensions: dict[bytes, Extension] = {}
        if self.row and self.issuer:
            extensions = {**self.row.single_extensions, **_archive_cutoff(self.issuer, now)}
        return SingleResponse(self.cert_id, self.cert_status, now, next_update, extensions)

    def log_fields(self) -> list[tuple[str, str]]:
        status = self.cert_status
        fields = [("serial", self.cert_id.index_serial), ("status", status.name)]
        if status.revocation_reason is not None:
            fields.append(("reason", response.REASON_NAMES[status.revocation_reason]))
        return [*fields, ("ca", self._settings.name if self._settings else "-")]

    @property
    def _settings(self) -> CASettings | None:
        return self.issuer.settings if self.issuer else None


def never_issued_lines(issuer: Issuer, lookups: list[Lookup], index: str) -> list[str]:
    """Log lines about the serial numbers of a CA that its index does not have, each once."""
    own = [one for one in lookups if one.issuer is issuer and one.row is None]
    absent = {one.cert_id.serial_number: one.cert_id.index_serial for one in own}
    return [
        f"serial={serial} ca={issuer.settings.name} is not in {index}" for serial in absent.values()
    ]


def _archive_cutoff(issuer: Issuer, produced_at: int) -> dict[bytes, Extension]:
    """How far back this database knows about expired certificates (RFC 6960 section 4.4.4), if the
    config says so."""
    retention = issuer.settings.archive_cutoff
    if retention is None:
        return {}
    if isinstance(retention, int):
        cutoff = produced_at - retention * 24 * 60 * 60
    else:
        cutoff = min(one.not_before for one in issuer.certificates)
    value = der.tlv(der.GENERALIZED_TIME, times.generalized_time(cutoff))
    extn_id = response.ID_PKIX_OCSP_ARCHIVE_CUTOFF
    return {extn_id: Extension(extn_id, value)}
