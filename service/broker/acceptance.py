"""What becomes of a submission, read off what Redis answers to it, or doesn't."""

from typing import Any, Literal

from redis.exceptions import ResponseError
from rq.utils import as_text

from service.broker.exchange import Unanswered
from service.errors import (
    AlreadySubmitted,
    DependencyUnknown,
    IdempotencyKeyReused,
    QueueFull,
    RedisAway,
    RedisUnsuitable,
)

Kind = Literal["job", "batch"]

_ROUTES = {"job": "/jobs", "batch": "/batches"}


def not_taken(answer: list[Any], kind: Kind, queue: str, limit: int) -> Exception:
    """Why a script made no job or batch of it: it answered `[word, told]`, and not a number."""
    word, told = as_text(answer[0]), answer[1]
    match word:
        case "replayed" | "duplicate":
            return AlreadySubmitted(as_text(told), is_replay=word == "replayed")
        case "reused":
            return IdempotencyKeyReused(as_text(told), kind)
        case "unknown":
            return DependencyUnknown(as_text(told))
        case "full":
            return QueueFull(queue, limit, int(told))
        case _:
            raise AssertionError(f"the script knows no such answer: {word}")


def refused(error: ResponseError) -> RedisAway:
    """Redis answered that it won't."""
    return RedisAway(f"Redis refuses to write: {error}.", in_doubt=False)


def away(error: Unanswered, kind: Kind, found: str, reason: str | None = None) -> RedisAway:
    """It answered nothing. `found` is the id under which it would be found, if it was taken."""
    reason = reason or str(error.reason)
    if error.in_doubt:
        return RedisAway(
            f"Redis was lost while it took the {kind} ({reason}). It may have been accepted: look "
            f"for {_ROUTES[kind]}/{found} before submitting again.",
            in_doubt=True,
            **{kind: found},
        )
    if isinstance(error.reason, RedisUnsuitable):
        return RedisAway(f"{reason} Nothing was accepted.", in_doubt=False)
    return RedisAway(f"Redis can't be reached ({reason}); nothing was accepted.", in_doubt=False)
