"""What a stack makes up for itself once: passwords, a development CA with certificates, a token signing key.

For development only: every secret stands readable (mode 600) in the stack's folder.
"""

import datetime
import json
import os
import secrets
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from joserfc.jwk import ECKey

VALIDITY_DAYS = 3650
CLOCK_SKEW_DAYS = 1


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    scratch.replace(path)


def password() -> str:
    """A password of 192 random bits that needs no quoting in a URL, a shell or SQL."""
    return secrets.token_hex(24)


def make_signing_key(folder: Path) -> None:
    """Writes `signing-key.json` (private JWK, ES256) and `jwks.json` (its public half, RFC 7517), once."""
    if (folder / "jwks.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256", "kid": secrets.token_hex(8)})
    write_private(folder / "signing-key.json", json.dumps(key.as_dict(private=True), indent=2).encode())
    public = json.dumps({"keys": [key.as_dict(private=False)]}, indent=2)
    (folder / "jwks.json").write_text(public)


def make_secrets_folder(folder: Path) -> None:
    """Makes the folder for sellers' secrets (mode 700), which developers fill: `<seller's id>/<name>`."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def make_certificates(folder: Path, names: Sequence[str], now: datetime.datetime) -> None:
    """Writes `ca.pem` and for each name `<name>.pem` and `<name>.key` (EC P-256, server and client), once.

    A certificate is good for DNS:<name>.farthing.internal, DNS:localhost and IP:127.0.0.1.
    """
    if (folder / "ca.pem").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Farthing development CA")])
    authority = (
        _certificate(authority_name, authority_name, authority_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    for name in names:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name}.farthing.internal")])
        certificate = (
            _certificate(subject, authority_name, key.public_key(), now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.SubjectAlternativeName(
                    [
                        x509.DNSName(f"{name}.farthing.internal"),
                        x509.DNSName("localhost"),
                        x509.IPAddress(IPv4Address("127.0.0.1")),
                    ]
                ),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
            .sign(authority_key, hashes.SHA256())
        )
        write_private(folder / f"{name}.key", _private_pem(key))
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    # Last, because its presence says that all the others are there.
    (folder / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=CLOCK_SKEW_DAYS))
        .not_valid_after(now + datetime.timedelta(days=VALIDITY_DAYS))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
