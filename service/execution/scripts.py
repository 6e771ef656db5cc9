"""Sending several scripts to Redis in one go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """A registered script, with its keys and arguments."""

    script: Any
    keys: list[str]
    args: list[Any]

    def run(self) -> Any:
        """By itself; what it answers."""
        return self.script(keys=self.keys, args=self.args)


def run_together(client: Redis, calls: Sequence[ScriptCall]) -> list[Any]:
    """One round trip, and on a server that syncs at each write one sync, for all of them.

    Each runs by itself: an answer may be an exception, which is returned, not raised.
    """
    with client.pipeline(transaction=False) as pipe:
        for call in calls:
            pipe.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
        answers = pipe.execute(raise_on_error=False)
    return [
        # The server was started anew and does not know it; redis-py's own call then loads it.
        call.run() if isinstance(answer, NoScriptError) else answer
        for call, answer in zip(calls, answers, strict=True)
    ]
