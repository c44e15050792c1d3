"""A private certificate authority, and servers' certificates from it."""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """A private authority."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, folder: Path, *names: str) -> tuple[Path, Path]:
        """Write a certificate for addresses and names, good for servers and clients, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_name(name) for name in names])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = _builder(_subject(names[0]), self.certificate.subject, key)
        builder = builder.add_extension(alternatives, critical=False).add_extension(usage, critical=False)
        return _write(folder, builder.sign(self.key, hashes.SHA256()), key)

    def issue_client(
        self,
        folder: Path,
        login: str,
        *others: x509.GeneralName,
        lasts: timedelta = _DAY,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    ) -> tuple[Path, Path]:
        """Write a certificate of somebody in the unit `soc`, with other names, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        unit = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "soc")
        subject = x509.Name([unit, x509.NameAttribute(NameOID.COMMON_NAME, login)])
        builder = _builder(subject, self.certificate.subject, key, lasts)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if others:
            builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
        return _write(folder, builder.sign(self.key, hashes.SHA256()), key)

    def revocation_list(self, *revoked: Path, lasts: timedelta = _DAY) -> str:
        """Return a list, in PEM, of the certificates of some files; one that lasts a negative time is over."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(now - 10 * _DAY).next_update(now + lasts)
        for path in revoked:
            number = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
            one = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now - _DAY)
            builder = builder.add_revoked_certificate(one.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def server_context(self, folder: Path, *names: str) -> ssl.SSLContext:
        """Return a server's TLS context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(folder, *names))
        return context


def make_authority(name: str = "test authority", lasts: timedelta = 90 * _DAY) -> Authority:
    """Make an authority; one that lasts a negative time has ended."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_subject(name), _subject(name), key, lasts)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Authority(key, builder.sign(key, hashes.SHA256()))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lasts: timedelta = _DAY
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * _DAY)
        .not_valid_after(now + lasts)
    )


def _write(folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[Path, Path]:
    number = len(list(folder.iterdir()))
    paths = folder / f"{number}.crt", folder / f"{number}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
