"""From rows of the outbox to jobs in Redis, and what becomes of each."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Row

from service.adapters.calls import parameters_invalid
from service.adapters.door import Door
from service.broker.broker import Broker
from service.broker.intake import Options, submission_of
from service.errors import AlreadySubmitted, DependencyUnknown, QueueFull, RedisAway
from service.submission import Submission

LONGEST_REASON = 2000  # characters


class Fate(Enum):
    SENT = "sent"  #: it is a job, now or since before
    LEFT = "left"  #: not now, for Redis is away or the queue is full
    REFUSED = "refused"  #: not while the catalogue, the settings and the row are what they are


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row."""

    row: Row[Any]
    fate: Fate
    error: Exception | None = None

    @property
    def reason(self) -> str:
        """Of what was not sent."""
        return f"{type(self.error).__name__}: {self.error}"[:LONGEST_REASON]

    @property
    def misses(self) -> str | None:
        """The job that it was to depend on, and which Redis does not know."""
        if not isinstance(self.error, DependencyUnknown):
            return None
        job_id: str = self.error.extra["job"]
        return job_id


class Sender:
    """Sends the rows of one sweep."""

    def __init__(self, door: Door) -> None:
        self._settings, self._catalogue = door.settings, door.catalogue
        self._full = set[str]()  # queues: what comes after a row that found no room waits as well

    async def send(self, broker: Broker, rows: Sequence[Row[Any]]) -> list[Outcome]:
        """Send them together; after these, in order, those that depend on others among them."""
        ids = {row.id for row in rows}
        ready, depending = list[_Made](), list[_Made]()
        for row in rows:
            made = self._made(row)
            is_ready = isinstance(made, Exception) or ids.isdisjoint(made.depends_on)
            (ready if is_ready else depending).append((row, made))
        outcomes = list(await asyncio.gather(*(self._sent(broker, *each) for each in ready)))
        outcomes += [await self._sent(broker, *each) for each in depending]
        return outcomes

    def _made(self, row: Row[Any]) -> Submission | Exception:
        """As it was checked when it was added: the task, or what is set, may be another by now."""
        try:
            task = self._catalogue[row.task]
            options, trace = _options(row.options)
            given = options.result_as or options.results_as
            try:
                parameters = task.parameters.accept(row.parameters.encode(), given)
            except ValidationError as error:
                return parameters_invalid(task, error)
            settings, catalogue = self._settings, self._catalogue
            submission = submission_of(task, parameters, options, settings, catalogue)
            return replace(submission, trace=trace) if trace else submission
        except Exception as error:  # noqa: BLE001  # anybody may have written anything
            return error

    async def _sent(self, broker: Broker, row: Row[Any], made: Submission | Exception) -> Outcome:
        if isinstance(made, Exception):
            return Outcome(row, Fate.REFUSED, made)
        queue = made.queue or made.task.policy.queue
        if queue in self._full:
            return Outcome(row, Fate.LEFT)
        try:
            await broker.enqueuer.submit(made, row.id)
        except AlreadySubmitted:  # the task has become a unique one since
            return Outcome(row, Fate.SENT)
        except QueueFull as error:
            self._full.add(queue)
            return Outcome(row, Fate.LEFT, error)
        except RedisAway as error:
            return Outcome(row, Fate.LEFT, error)
        except Exception as error:  # noqa: BLE001  # a task's concurrency_key may raise anything
            return Outcome(row, Fate.REFUSED, error)
        return Outcome(row, Fate.SENT)


_Made = tuple[Row[Any], Submission | Exception]


def _options(text: str) -> tuple[Options, dict[str, str]]:
    """And the trace that it was added in, where there was one."""
    given = json.loads(text)
    trace: dict[str, str] = given.pop("trace", {})
    times = {name: datetime.fromisoformat(given[name]) for name in given.keys() & {"at", "expires"}}
    return Options(**given | times), trace
