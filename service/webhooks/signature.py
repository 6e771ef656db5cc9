"""Signing a delivery as Standard Webhooks describes, so that its receiver knows who sent it."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from collections.abc import Sequence

PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64  # of a secret, by the specification


def key_of(secret: str) -> bytes:
    """The bytes that sign, of `whsec_<base64>`. Raises `ValueError`, without the secret in it."""
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except (NoBase64, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise ValueError(
            f"a secret is {PREFIX} and {LEAST_BYTES} to {MOST_BYTES} bytes in base64; try "
            f"`echo {PREFIX}$(openssl rand -base64 32)`"
        )
    return key


def signed_headers(
    secrets: Sequence[str], message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The three headers of a delivery that is sent at this Unix time; a signature per secret."""
    content = b".".join([message_id.encode(), str(timestamp).encode(), body])
    digests = (hmac.digest(key_of(secret), content, hashlib.sha256) for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{b64encode(digest).decode()}" for digest in digests),
    }
