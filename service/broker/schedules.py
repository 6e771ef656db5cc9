"""Schedules for the web side: look, make, replace, delete."""

from typing import Any

import redis

from jobs import Task
from jobs.catalogue import Catalogue
from jobs.schedule import Schedule
from service.errors import ScheduleDeclared, ScheduleNotFound
from service.schedule_store import Definition, Entry, ScheduleStore


class Schedules:
    """Those that callers make may be changed; those that tasks declare may be looked at."""

    def __init__(self, client: "redis.Redis", catalogue: Catalogue) -> None:
        self._store, self._catalogue = ScheduleStore(client), catalogue

    def all(self) -> list[Entry]:
        """By name."""
        return self._store.entries()

    def get(self, name: str) -> Entry:
        """Raises `ScheduleNotFound`."""
        entry = self._store.entry(name)
        if entry is None:
            raise ScheduleNotFound(name)
        return entry

    def put(self, name: str, task: Task[..., Any], schedule: Schedule) -> bool:
        """Make it, or replace the one of this name; say whether it is new.

        With another cron expression or time zone it begins anew: its first tick is the first from
        now on. Raises `ScheduleDeclared`.
        """
        self._refuse_declared(name)
        definition = Definition(name, task.name, schedule, "api")
        while True:
            over = self._store.text(name)
            if self._store.put(definition, over=over):
                return not over

    def delete(self, name: str) -> None:
        """Jobs that it has enqueued stay. Raises `ScheduleNotFound`, `ScheduleDeclared`."""
        self._refuse_declared(name)
        while over := self._store.text(name):
            if self._store.remove(name, over=over):
                return
        raise ScheduleNotFound(name)

    def _refuse_declared(self, name: str) -> None:
        """What no task declares any more is free, whoever entered it."""
        if any(task.name == name and task.schedule for task in self._catalogue):
            raise ScheduleDeclared(name)
