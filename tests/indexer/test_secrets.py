from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.secrets import holds_secret, is_secret_name

KEY = b"MIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn/ygWyF0qFDUAYXw3gxWOmVVOzCdCz"


@pytest.mark.parametrize(
    "path",
    [
        ".env", "app/.env.production", "prod.env", "tls/server.pem", "server.KEY", "a/id_rsa", "id_ed25519.pub",
        "credentials", "credentials.json", "db-credentials.yaml", "secrets.yml", "app.secret.json", "my_password.txt",
        "kubeconfig", "home/.kube/config", ".aws/config", ".docker/config.json", "release.keystore", "store.jks",
        "terraform.tfstate", "terraform.tfstate.backup", "service-account-prod.json", ".npmrc", ".netrc", "vault.kdbx",
    ],
)  # fmt: skip
def test_secrets_are_known_by_name(path: str) -> None:
    assert is_secret_name(path)


@pytest.mark.parametrize(
    "path",
    [
        "credentials.py", "src/secrets.go", "PasswordReset.java", "keys.py", "environment.ts", ".env.example", "env.py",
        "docs/credentials.md", "config/app.json", "keystore.rs", "kube/config.go", "monkey", "turkey.py", "id_rsaa.py",
    ],
)  # fmt: skip
def test_code_about_secrets_is_code(path: str) -> None:
    assert not is_secret_name(path)


@pytest.mark.parametrize(
    "content",
    [
        b"-----BEGIN RSA PRIVATE KEY-----\n" + KEY,
        b"-----BEGIN PRIVATE KEY-----\r\n" + KEY,
        b'KEY = """-----BEGIN EC PRIVATE KEY-----\n    ' + KEY,
        b'"private_key": "-----BEGIN PRIVATE KEY-----\\n' + KEY,
        b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00FF\n\n" + KEY,
        b"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n" + KEY,
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + KEY,
        b"users:\n- user:\n    client-key-data: " + KEY,
        b"PuTTY-User-Key-File-2: ssh-rsa\nEncryption: none\nPublic-Lines: 4\nPrivate-Lines: 8\n",
    ],
)
def test_keys_are_known_by_content(content: bytes) -> None:
    assert holds_secret(b"anything before\n" + content + b"\nanything behind")


@pytest.mark.parametrize(
    "content",
    [
        b'if text.startswith("-----BEGIN PRIVATE KEY-----"):\n    raise ValueError("no key")',
        b"-----BEGIN PRIVATE KEY----- and -----END PRIVATE KEY-----\n" + KEY,
        b"-----BEGIN CERTIFICATE-----\n" + KEY,
    ],
)
def test_code_that_names_keys_is_code(content: bytes) -> None:
    assert not holds_secret(content)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_a_key_is_found_wherever_it_stands(before: bytes, behind: bytes) -> None:
    assert holds_secret(before + b"\n-----BEGIN RSA PRIVATE KEY-----\n" + KEY + behind)
