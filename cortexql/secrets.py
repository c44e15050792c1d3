"""Encryption at rest of configuration secrets."""

import base64
import hashlib
from collections.abc import Iterable

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class SecretLostError(RuntimeError):
    """A stored secret was encrypted with another SECRET_KEY."""


class Cipher:
    """Authenticated encryption (Fernet: AES-128-CBC and HMAC-SHA256) under a key derived from SECRET_KEY."""

    def __init__(self, secret_key: str, old_keys: Iterable[str] = ()) -> None:
        """Derive the encryption key, and an id that stands beside each value; `old_keys` decrypt only."""
        self.key_id, self._fernet = _derive(secret_key)
        self._known = dict([*map(_derive, old_keys), (self.key_id, self._fernet)])

    def encrypt(self, plain: str) -> str:
        """Return `KEYID:TOKEN`."""
        return f"{self.key_id}:{self._fernet.encrypt(plain.encode()).decode()}"

    def decrypt(self, stored: str) -> str:
        """Return the plain text.

        Raises:
            SecretLostError: it was written under a key that is not known here.
        """
        key_id, _, token = stored.partition(":")
        try:
            return self._known.get(key_id, self._fernet).decrypt(token).decode()
        except (InvalidToken, ValueError) as error:
            raise SecretLostError(
                f"a secret was encrypted with key {key_id}, not with this {self.key_id}"
            ) from error

    def renew(self, stored: str) -> str:
        """Return a value encrypted with the present key; what is so already stays as it is."""
        if stored.startswith(f"{self.key_id}:"):
            return stored
        return self.encrypt(self.decrypt(stored))


def _derive(secret_key: str) -> tuple[str, Fernet]:
    derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"cortexql configuration secrets").derive(
        secret_key.encode()
    )
    return hashlib.sha256(b"id" + derived).hexdigest()[:8], Fernet(base64.urlsafe_b64encode(derived))
