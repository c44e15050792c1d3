"""Revoked certificates, by the revocation lists of a file that is read again when it changes.

RFC 5280, 5: each issuer has a list that it has signed. As with OpenSSL's CRL check, no certificate does without a
list of its issuer that is in force.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from cortexql.log import get_logger

log = get_logger(__name__)
_END = b"-----END X509 CRL-----"
_Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Read:
    version: _Version
    lists: Sequence[x509.CertificateRevocationList]


_known: dict[Path, _Read] = {}


def fault(certificate: x509.Certificate, issuers: Sequence[x509.Certificate], path: Path) -> str:
    """Return why a certificate does not do by the lists of its issuers, or an empty text."""
    now = datetime.now(UTC)
    told = "X509_CRL has no list of its authority"
    for one in _lists(path):
        if not any(_is_of(one, issuer) for issuer in issuers):
            continue
        if one.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            return "it is revoked"
        if one.last_update_utc > now or (one.next_update_utc is not None and one.next_update_utc < now):
            told = "its authority's list in X509_CRL is not in force"
        else:
            told = ""
    return told


def _is_of(one: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    # Its signature is by whatever key an authority can have.
    return one.issuer == issuer.subject and one.is_signature_valid(key)  # type: ignore[arg-type]


def _lists(path: Path) -> Sequence[x509.CertificateRevocationList]:
    try:
        found = path.stat()
        version = (found.st_mtime_ns, found.st_size, found.st_ino)
        known = _known.get(path)
        if known is None or known.version != version:
            known = _known[path] = _Read(version, _read(path.read_bytes()))
    except (OSError, ValueError) as error:
        log.error("x509.crl_unread", path=str(path), error=type(error).__name__)  # noqa: TRY400 its text may be long
        return ()
    return known.lists


def _read(content: bytes) -> list[x509.CertificateRevocationList]:
    """Read lists in PEM, one behind the other."""
    parts = content.split(_END)[:-1]
    return [x509.load_pem_x509_crl(part + _END) for part in parts]
