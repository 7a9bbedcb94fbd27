"""The shop's own certificate authority, and the bank's certificate which it signs."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS_VALID = 90


def ensure(folder: Path) -> None:
    """Create the authority and the bank's certificate when they are missing."""
    if not (folder / "ca.pem").exists():
        _create_authority(folder)
    if not (folder / "bank.pem").exists():
        now = datetime.now(UTC)
        issue_bank_certificate(folder, now - timedelta(days=1), now + timedelta(days=DAYS_VALID))


def describe(folder: Path) -> str:
    """The serial number and the dates of the bank's certificate."""
    certificate = x509.load_pem_x509_certificate(
        (folder / "bank.pem").read_bytes().partition(b"-----END PRIVATE KEY-----")[2]
    )
    dates = f"from {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} to {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    return f"bank {certificate.serial_number:x}, valid {dates}"


def issue_bank_certificate(folder: Path, not_before: datetime, not_after: datetime) -> None:
    """Sign a new certificate and key for the bank, and put both in place at once (one file, one rename)."""
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    authority_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{folder / 'ca.key'} is not an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName("bank"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name("bank"))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(names, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)  # type: ignore[arg-type]  # ours is an elliptic curve key
        .sign(authority_key, hashes.SHA256())
    )
    part = folder / "bank.part"
    part.touch(mode=0o600)
    part.write_bytes(_pem(key) + certificate.public_bytes(serialization.Encoding.PEM))
    part.replace(folder / "bank.pem")


def _create_authority(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name("Shop Internal CA"))
        .issuer_name(_name("Shop Internal CA"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=365))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_authority_key_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.key").touch(mode=0o600)
    (folder / "ca.key").write_bytes(_pem(key))
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _authority_key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
