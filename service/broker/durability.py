"""Whether a Redis keeps what it is given, and what to wait for until it is as safe as was asked."""

from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import RedisError, ResponseError

from service.errors import RedisUnsuitable
from service.settings import Wanted

OLDEST_SERVER = (6, 2)  # RQ moves jobs with LMOVE, and idle workers wait on key tracking

Wait = tuple[str, *tuple[int, ...]]  # a command, but for its last argument: milliseconds


@dataclass(frozen=True, slots=True)
class Durability:
    """How well a Redis keeps what it has acknowledged."""

    faults: list[str]  #: ways in which an acknowledged job could be lost, each with its remedy
    remarks: list[str]  #: smaller risks, which are the operator's to take
    wait: Wait | None = None  #: what to send after a submission, which is kept once that answers


@dataclass(frozen=True, slots=True)
class _Server:
    has_file: bool  #: an append-only one
    fsync: str | None  #: its appendfsync; None where that may not be asked
    knows_waitaof: bool  #: asked only where it matters
    replicas: int


def durability(client: "redis.Redis", wanted: Wanted) -> Durability:
    """Read it off the server. INFO is enough, since managed servers often forbid CONFIG.

    Raises `redis.RedisError` where the server can't be asked.
    """
    fsync = _configured(client, "appendfsync")
    matters = wanted == "replica" or (wanted == "fsync" and fsync != "always")
    server = _Server(
        has_file=bool(client.info("persistence").get("aof_enabled")),
        fsync=fsync,
        knows_waitaof=matters and _knows_waitaof(client),
        replicas=int(client.info("replication").get("connected_slaves", 0)),
    )
    faults, remarks = _of_file(server, wanted)
    if wanted == "replica" and not server.replicas:
        faults.append(
            "PADDOCK_DURABILITY is 'replica', and no replica is connected: start one, or set fsync"
        )
    memory = client.info("memory")
    policy = memory.get("maxmemory_policy", "noeviction")
    if memory.get("maxmemory") and policy != "noeviction":
        faults.append(
            f"it may evict jobs when its memory is full (maxmemory-policy {policy}): "
            "set maxmemory-policy noeviction"
        )
    return Durability(faults, remarks, _wait(server, wanted))


def check_suitable(
    client: "redis.Redis", *, allow_volatile: bool, wanted: Wanted = "fsync"
) -> list[str]:
    """Refuse a Redis that would break promises; return remarks about the rest.

    Raises `RedisUnsuitable`, which says why and what to do.
    """
    try:
        _check_version(client)
        found = durability(client, wanted)
    except RedisError as error:
        raise RedisUnsuitable(f"Redis can't be reached or asked: {error}") from error
    if found.faults and not allow_volatile:
        raise RedisUnsuitable(refusal(found.faults))
    return found.faults + found.remarks


def refusal(faults: list[str]) -> str:
    """The words for these faults."""
    return (
        f"This Redis would not keep accepted jobs: {'; '.join(faults)}. "
        "PADDOCK_ALLOW_VOLATILE=true accepts that."
    )


def _of_file(server: _Server, wanted: Wanted) -> tuple[list[str], list[str]]:
    """Faults of its append-only file, and remarks."""
    if not server.has_file:
        return ["it keeps no append-only file, so a restart loses jobs: set appendonly yes"], []
    if server.fsync == "always" or (server.fsync is None and not server.knows_waitaof):
        return [], []
    lags = f"appendfsync is {server.fsync!r}"
    if wanted == "memory":
        return [], [f"{lags}: a power cut may lose the last second of accepted jobs"]
    if server.fsync == "no" or not server.knows_waitaof:
        why = "" if server.knows_waitaof else ", and without WAITAOF (Redis or Valkey 7.2) "
        why = why or ", so "
        return [
            f"{lags}{why}nobody can tell when a job is on the disk: set appendfsync always, or "
            "PADDOCK_DURABILITY=memory, with which a power cut may lose the last second"
        ], []
    if server.fsync is None:
        return [], []
    return [], [f"{lags}: each submission waits for it, up to a second; always is faster"]


def _wait(server: _Server, wanted: Wanted) -> Wait | None:
    if wanted == "memory" or not server.has_file:
        return None
    if wanted == "replica":
        return ("WAITAOF", 1, 1) if server.knows_waitaof else ("WAIT", 1)
    # A server that syncs always answers only then; nothing else is to be waited for.
    if server.fsync == "always" or not server.knows_waitaof:
        return None
    return ("WAITAOF", 1, 0)


def _check_version(client: "redis.Redis") -> None:
    version = str(client.info("server")["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        raise RedisUnsuitable(f"Redis {version} is too old: Paddock needs {oldest} or newer.")


def _knows_waitaof(client: "redis.Redis") -> bool:
    try:
        client.execute_command("WAITAOF", 0, 0, 1)
    except ResponseError:
        return False  # or may not use it
    return True


def _configured(client: "redis.Redis", name: str) -> Any:
    try:
        return client.config_get(name).get(name)
    except ResponseError:
        return None  # CONFIG is forbidden on many managed servers
