"""Which Redis, how to speak to it, and whether it keeps what it is given."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from service.broker.embedded import socket_url
from service.broker.patience import Patience, PatientAsyncPool, PatientPool
from service.errors import RedisUnsuitable
from service.settings import Settings

SOCKET_TIMEOUT = 2.0  # seconds
CALLERS_TIMEOUT = 1.5  # seconds: within two, a caller is told "away" rather than kept waiting
MOST_CONNECTIONS = 64  # of one process's event loop; further requests wait for one of them
OLDEST_SERVER = (6, 2)  # RQ moves jobs with LMOVE, and idle workers wait on key tracking

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


@dataclass(frozen=True, slots=True)
class Durability:
    """How well a Redis keeps what it has acknowledged."""

    faults: list[str]  #: ways in which an acknowledged job could be lost, each with its remedy
    remarks: list[str]  #: smaller risks, which are the operator's to take


def durability(client: "redis.Redis") -> Durability:
    """Read it off the server. INFO is enough, since managed servers often forbid CONFIG.

    Raises `redis.RedisError` where the server can't be asked.
    """
    memory = client.info("memory")
    faults, remarks = [], []
    if not client.info("persistence").get("aof_enabled"):
        faults.append("it keeps no append-only file, so a restart loses jobs: set appendonly yes")
    elif (fsync := _configured(client, "appendfsync")) not in (None, "always"):
        remarks.append(
            f"appendfsync is {fsync!r}: a power cut may lose the last second of accepted jobs"
        )
    policy = memory.get("maxmemory_policy", "noeviction")
    if memory.get("maxmemory") and policy != "noeviction":
        faults.append(
            f"it may evict jobs when its memory is full (maxmemory-policy {policy}): "
            "set maxmemory-policy noeviction"
        )
    return Durability(faults, remarks)


def check_suitable(client: "redis.Redis", *, allow_volatile: bool) -> list[str]:
    """Refuse a Redis that would break promises; return remarks about the rest.

    Raises `RedisUnsuitable`, which says why and what to do.
    """
    try:
        _check_version(client)
        found = durability(client)
    except RedisError as error:
        raise RedisUnsuitable(f"Redis can't be reached or asked: {error}") from error
    if found.faults and not allow_volatile:
        raise RedisUnsuitable(
            f"This Redis would not keep accepted jobs: {'; '.join(found.faults)}. "
            "PADDOCK_ALLOW_VOLATILE=true accepts that."
        )
    return found.faults + found.remarks


def _check_version(client: "redis.Redis") -> None:
    version = str(client.info("server")["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        raise RedisUnsuitable(f"Redis {version} is too old: Paddock needs {oldest} or newer.")


def _configured(client: "redis.Redis", name: str) -> str | None:
    try:
        return client.config_get(name).get(name)
    except ResponseError:
        return None  # CONFIG is forbidden on many managed servers
