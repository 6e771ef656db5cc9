"""One group of script calls over one connection: sent in one write, answered one by one."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis.asyncio
from hiredis import pack_command
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MaxConnectionsError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.broker.durability import Wait

LONGEST = 2.0  # seconds for an exchange; those who wait for it have left by then
WAIT = 1500  # milliseconds that Redis may take to make a group durable

# Redis's answers that redis-py holds for lost connections: the call did not run.
_REFUSALS = (AuthenticationError, BusyLoadingError, MaxConnectionsError)


class Unanswered(Exception):
    """A call came to nothing in time. `in_doubt` tells whether it may have run all the same."""

    def __init__(self, reason: Exception, *, in_doubt: bool) -> None:
        super().__init__(str(reason))
        self.reason, self.in_doubt = reason, in_doubt


@dataclass(eq=False, slots=True)
class Call:
    """A call of the script, and the caller who waits for what it answers."""

    packed: bytes
    answer: "asyncio.Future[Any]"
    in_flight: bool = False  #: sent, and not yet known to have run, or not
    lost: bool = False  #: sent once, and that it never came to be known of

    def settle(self, reply: Any) -> None:
        """Answer the caller, unless they have left."""
        if self.answer.done():
            return
        if not isinstance(reply, Exception):
            self.answer.set_result(reply)
        elif isinstance(reply, ResponseError) and not self.lost:
            self.answer.set_exception(reply)
        else:
            in_doubt = self.lost or self.in_flight
            self.answer.set_exception(Unanswered(reply, in_doubt=in_doubt))


class ScriptCaller:
    """Has a Redis run calls of one script, a group at a time."""

    def __init__(self, client: "redis.asyncio.Redis", script: str) -> None:
        self._pool = client.connection_pool
        self._sha = hashlib.sha1(script.encode()).hexdigest()
        self._load = _packed("SCRIPT", "LOAD", script)
        self._is_loaded = True  # until Redis says otherwise

    def packed(self, keys: Sequence[str], args: Sequence[Any]) -> bytes:
        """A call as it is sent."""
        return _packed("EVALSHA", self._sha, len(keys), *keys, *args)

    async def exchange(self, group: Sequence[Call], wait: Wait | None) -> None:
        """Send them, and settle those that are answered once `wait` has come true.

        Those that are left may be sent again. Raises `redis.RedisError` where it would be no use
        to do so at once.
        """
        connection = await self._pool.get_connection()
        # Some were told meanwhile that nothing came of theirs; from here on it is in doubt.
        group = [call for call in group if not call.answer.done()]
        try:
            if not group:
                return
            async with asyncio.timeout(LONGEST):
                loads = not self._is_loaded
                await connection.send_packed_command(self._request(group, wait, loads=loads))
                await self._settle(connection, group, wait, loads=loads)
        except TimeoutError as error:
            raise RedisTimeoutError("Timeout reading from Redis") from error
        finally:
            if unknown := [call for call in group if call.in_flight]:
                for call in unknown:
                    call.in_flight, call.lost = False, True
                await connection.disconnect(nowait=True)  # its answers may still come
            await self._pool.release(connection)

    def _request(self, group: Sequence[Call], wait: Wait | None, *, loads: bool) -> bytes:
        for call in group:
            call.in_flight = True
        before = [self._load] if loads else []
        after = [_packed(*wait, WAIT)] if wait else []
        return b"".join([*before, *(call.packed for call in group), *after])

    async def _settle(
        self, connection: Any, group: Sequence[Call], wait: Wait | None, *, loads: bool
    ) -> None:
        trouble: RedisError | None = None
        if loads:
            loaded = await _reply(connection)
            self._is_loaded = not isinstance(loaded, RedisError)
            trouble = None if self._is_loaded else loaded
        ran: list[tuple[Call, Any]] = []
        for call in group:
            reply = await _reply(connection)
            if wait and not isinstance(reply, RedisError):
                ran.append((call, reply))
                continue
            call.in_flight = False
            if isinstance(reply, NoScriptError):
                self._is_loaded = False  # the server was started anew
            elif isinstance(reply, _REFUSALS):
                trouble = reply
            else:
                call.settle(reply)
        doubt = _doubt(wait, await _reply(connection)) if wait else None
        for call, reply in ran:
            call.settle(doubt or reply)
            call.in_flight = False
        if trouble:
            raise trouble


def _packed(*command: Any) -> bytes:
    packed: bytes = pack_command(command)
    return packed


async def _reply(connection: Any) -> Any:
    """The next one; an error that Redis answers with is returned, not raised."""
    try:
        # No time limit of its own, and the line stays open: more replies are to come.
        return await connection.read_response(timeout=float("inf"), disconnect_on_error=False)
    except (ResponseError, *_REFUSALS) as error:
        return error


def _doubt(wait: Wait, reply: Any) -> Exception | None:
    """What keeps calls that ran from being durable, if anything does."""
    if isinstance(reply, RedisError):
        return RedisError(f"{wait[0]}: {reply}")  # the calls themselves were not refused
    reached = reply if isinstance(reply, list) else [reply]
    if all(count >= least for count, least in zip(reached, wait[1:], strict=True)):
        return None
    return RedisTimeoutError(f"{' '.join(map(str, wait))} was not met within {WAIT} ms")
