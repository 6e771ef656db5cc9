"""Sending several scripts to Redis in one go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.connection import ConnectionInterface
from redis.exceptions import NoScriptError, ResponseError


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """A registered script, with its keys and arguments."""

    script: Any
    keys: list[str]
    args: list[Any]
    whole: bool = False  #: sent with its text, so that the server need not know it

    def command(self) -> tuple[Any, ...]:
        """As Redis is sent it."""
        name, script = ("EVAL", "script") if self.whole else ("EVALSHA", "sha")
        return (name, getattr(self.script, script), len(self.keys), *self.keys, *self.args)

    def run(self) -> Any:
        """By itself; what it answers."""
        return self.script(keys=self.keys, args=self.args)


def run_together(client: Redis, calls: Sequence[ScriptCall]) -> list[Any]:
    """One round trip, and on a server that syncs at each write one sync, for all of them.

    Each runs by itself: an answer may be an exception, which is returned, not raised.
    """
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        # By hand: redis-py's pipeline takes longer than Redis does.
        commands = connection.pack_commands([call.command() for call in calls])
        connection.send_packed_command(commands)
        answers = [_answer(connection) for _ in calls]
    except BaseException:
        connection.disconnect()  # an answer may still be under way
        raise
    finally:
        pool.release(connection)
    return [
        # The server was started anew and does not know it; redis-py's own call then loads it.
        call.run() if isinstance(answer, NoScriptError) else answer
        for call, answer in zip(calls, answers, strict=True)
    ]


def _answer(connection: ConnectionInterface) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
