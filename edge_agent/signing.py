"""Ed25519 signatures (RFC 8032) of what head office publishes: a branch takes packs and rules from one signer only.

Keys are written as base64 of their 32 bytes. The signing key may lie at the hub or, safer, on the machine from which an
admin publishes.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
import tomllib
from typing import TYPE_CHECKING

from edge_agent.errors import KeyFileError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_CONTEXT = b"edge-agent publication 1\n"


class Signer:
    """A signing key; `public` is what branches are told."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = base64.b64encode(key.public_key().public_bytes_raw()).decode()

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
        return self._key.sign(_CONTEXT + message)

    @classmethod
    def new(cls, path: Path) -> Signer:
        """Make a key and write it, for its owner's eyes only; an existing file is never overwritten.

        Raises:
            KeyFileError: the file exists already, or can't be written.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.generate()
        signer = cls(key)
        secret = base64.b64encode(key.private_bytes_raw()).decode()
        text = (
            "# Ed25519 key of edge-agent. Whoever reads it can change dictionaries and rules at every branch.\n"
            f'public = "{signer.public}"\nsecret = "{secret}"\n'
        )
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError as error:
            raise KeyFileError(
                "a key is there already and is not overwritten", where=str(path), remedy="it is used as it is"
            ) from error
        except OSError as error:
            raise KeyFileError(
                f"the key can't be written: {error.strerror}", where=str(path), remedy="run this as the hub's user"
            ) from error
        return signer

    @classmethod
    def load(cls, path: Path) -> Signer:
        """Read a key.

        Raises:
            KeyFileError: the file is missing, damaged, or may be read by others than its owner.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise KeyFileError(
                    "others than its owner may use this key",
                    where=str(path),
                    remedy=f"chmod 600 {path}; if someone may have read it, make a new key",
                )
            table = tomllib.loads(path.read_text(encoding="ascii"))
            signer = cls(Ed25519PrivateKey.from_private_bytes(base64.b64decode(table["secret"], validate=True)))
        except FileNotFoundError as error:
            raise KeyFileError(
                "no such key", where=str(path), remedy="`edge-agent hub publisher-key` makes it"
            ) from error
        except OSError as error:
            raise KeyFileError(
                f"the key can't be read: {error.strerror}", where=str(path), remedy="run this as the key's owner"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise KeyFileError(
                "damaged, or not a key file", where=str(path), remedy="restore it from a backup"
            ) from error
        return signer


def is_public_key(text: str) -> bool:
    """Say whether a text is a public key."""
    try:
        return len(base64.b64decode(text, validate=True)) == 32
    except (binascii.Error, ValueError):
        return False


def is_signed(message: bytes, signature: bytes, public: str) -> bool:
    """Say whether a message was signed with the key of this public half."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True)).verify(
            signature, _CONTEXT + message
        )
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
