"""What is never indexed: files that hold keys and passwords, known by their names or by what is in them."""

from __future__ import annotations

import re

_DATA = r"(?:json|ya?ml|toml|ini|env|conf|cfg|properties|tfvars|txt|xml|csv|enc)"
_NAMES = re.compile(
    rf"""
    \.env(?:\.(?!example$|sample$|template$|dist$|defaults?$).*)? | .+\.env
    | .+\.(?:pem|key|p12|pfx|p8|jks|jceks|bks|keystore|kdbx?|ppk|ovpn|kubeconfig|keytab|gpg|pgp|agekey)
    | keystore | truststore | id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?(?:[._-].*)?
    | \.(?:netrc|pgpass|my\.cnf|htpasswd|npmrc|pypirc|git-credentials|dockercfg|dockerconfigjson|vault-token|boto|s3cfg)
    | _netrc | kubeconfig | shadow | gshadow
    | (?:.*[._-])?(?:credentials?|secrets?|passwords?|passwd)(?:\.{_DATA})?
    | service[-_]?account.*\.json | client_secret.*\.json | .+\.tfstate(?:\..*)?
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_FOLDERS = re.compile(r"(?:^|/)\.(?:ssh|gnupg|aws|azure|kube|docker|password-store)/", re.IGNORECASE)

# A line that begins a key and, soon behind it, a run of what keys are written in. Code that only names the line passes.
_CONTENT = re.compile(
    rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----(?:(?!-----END)[\s\S]){0,400}?[A-Za-z0-9+/]{32}"
    rb"|PuTTY-User-Key-File-\d: [\s\S]{0,400}?Private-Lines:"
    rb"|client-key-data[\"']?\s{0,8}:\s{0,8}[\"']?[A-Za-z0-9+/]{32}"
    rb"|AGE-SECRET-KEY-1[0-9A-Z]{50}"
)
_HINTS = (b"PRIVATE KEY", b"PuTTY-User", b"client-key-data", b"AGE-SECRET-KEY")


def is_secret_name(path: str) -> bool:
    """Say whether a file is taken for a secret by its path below the root."""
    return _NAMES.fullmatch(path.rpartition("/")[2]) is not None or _FOLDERS.search(path) is not None


def holds_secret(content: bytes) -> bool:
    """Say whether a file holds a private key, whatever it is called."""
    return any(hint in content for hint in _HINTS) and _CONTENT.search(content) is not None
