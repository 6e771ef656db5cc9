"""Which Redis, and how to speak to it."""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
import redis.asyncio

from service.broker.embedded import socket_url
from service.broker.patience import Patience, PatientAsyncPool, PatientPool
from service.settings import Settings

SOCKET_TIMEOUT = 2.0  # seconds
CALLERS_TIMEOUT = 1.2  # seconds: within two, a caller is told "away" rather than kept waiting
MOST_CONNECTIONS = 64  # of one process's event loop; further requests wait for one of them

# No retries by redis-py: it would send an EXEC again whose reply was lost, and push a job twice.
# A connection that went stale in the pool is noticed when it is taken out, so none are needed.
# RESP2, and no CLIENT SETINFO or maintenance notices: four round trips less for each connection.
_CLIENT: dict[str, Any] = {
    "protocol": 2,
    "driver_info": None,
    "socket_timeout": SOCKET_TIMEOUT,
    "socket_connect_timeout": SOCKET_TIMEOUT,
}
_CALLERS = {"socket_timeout": CALLERS_TIMEOUT, "socket_connect_timeout": CALLERS_TIMEOUT}


def redis_url(settings: Settings) -> str:
    """The user's own Redis, or else the embedded server of this data folder."""
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    return socket_url(settings.data_dir)


def connect(url: str) -> "redis.Redis":
    """A client for threads. No connection is made yet."""
    return redis.Redis.from_url(url, **_CLIENT)


def connect_for_callers(url: str, patience: Patience) -> "redis.Redis":
    """The same for those who answer callers, and mustn't keep them waiting."""
    options = _CLIENT | _CALLERS
    return redis.Redis.from_pool(PatientPool.from_url(url, patience=patience, **options))


def connect_async(url: str, patience: Patience | None = None) -> "redis.asyncio.Redis":
    """A client for the event loop. No connection is made yet.

    Those that find no connection free wait for one; redis-py's usual pool raises instead, and a
    Redis that pauses for a second would have callers turned away.
    """
    pool = PatientAsyncPool.from_url(
        url,
        max_connections=MOST_CONNECTIONS,
        timeout=CALLERS_TIMEOUT,
        patience=patience or Patience(CALLERS_TIMEOUT),
        **_CLIENT | _CALLERS,
    )
    return redis.asyncio.Redis.from_pool(pool)


def without_password(url: str) -> str:
    """The same URL, fit to be printed: redis-py takes passwords before the @ and in the query."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")
    shown = f"***@{place[2]}" if place[1] else parts.netloc
    query = [
        (name, "***" if name in ("password", "username") else value)
        for name, value in parse_qsl(parts.query)
    ]
    text = urlencode(query, safe="*/:")
    return f"{parts.scheme}://{shown}{parts.path}{f'?{text}' if text else ''}"
