"""Celery's results of several jobs together."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from service.adapters import operations
from service.adapters.door import Door, the_door
from service.adapters.result import AsyncResult, refuse_signal, revocation
from service.broker.records import JobRecord
from service.broker.status import Status
from service.errors import JobNotFound, StatusConflict

AT_ONCE = 500  # jobs that are waited for, or acted on, at the same time


class ResultSet:
    """Several jobs, in the order of their results."""

    def __init__(self, results: Iterable[AsyncResult[Any]] = (), *, door: Door | None = None):
        self.results = list(results)
        self._door = door or the_door()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(map(str, self.results))}]>"

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[AsyncResult[Any]]:
        return iter(self.results)

    def __getitem__(self, index: int) -> AsyncResult[Any]:
        return self.results[index]

    def add(self, result: AsyncResult[Any]) -> None:
        """One job more, unless it is there already."""
        if result not in self.results:
            self.results.append(result)

    def ready(self) -> bool:
        """Whether all have ended."""
        return all(record.status.is_final for record in self._records())

    def waiting(self) -> bool:
        """Whether any has not ended."""
        return not self.ready()

    def successful(self) -> bool:
        """Whether all have finished."""
        return all(record.status is Status.FINISHED for record in self._records())

    def failed(self) -> bool:
        """Whether any has failed."""
        return any(record.status is Status.FAILED for record in self._records())

    def completed_count(self) -> int:
        """How many have finished."""
        return sum(record.status is Status.FINISHED for record in self._records())

    def get(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5
    ) -> list[Any]:
        """All results in order, as `AsyncResult.get`: raises for the first that has none."""
        until = None if timeout is None else time.monotonic() + timeout
        outcomes: list[Any] = []
        for some in self._some():
            left = None if until is None else max(until - time.monotonic(), 0)
            endings = [each.begin(operations.await_end, left) for each in some]
            try:
                for each, ending in zip(some, endings, strict=True):
                    outcomes.append(each.ended(ending, timeout, propagate))
            finally:
                for ending in endings:
                    ending.cancel()
        return outcomes

    join = get

    def revoke(self, *, terminate: bool = False, signal: object = None) -> None:
        """Each of them, as `AsyncResult.revoke`."""
        refuse_signal(signal)
        gone: list[JobNotFound] = []
        for some in self._some():
            for revoked in [each.begin(revocation(terminate)) for each in some]:
                try:
                    revoked.result()
                except StatusConflict:
                    continue  # it has ended
                except JobNotFound as error:
                    gone.append(error)
        if gone:
            raise gone[0]

    def forget(self) -> None:
        """Each of them, as `AsyncResult.forget`."""
        for each in self.results:
            each.forget()

    def _some(self) -> Iterator[Sequence[AsyncResult[Any]]]:
        for start in range(0, len(self.results), AT_ONCE):
            yield self.results[start : start + AT_ONCE]

    def _records(self) -> list[JobRecord]:
        ids = [each.id for each in self.results]
        records = self._door.begin(operations.find_all, ids).result()
        for job_id, record in zip(ids, records, strict=True):
            if record is None:
                raise JobNotFound(job_id)
        return [record for record in records if record is not None]


class GroupResult(ResultSet):
    """The jobs of a group."""

    def __init__(
        self,
        id: str | None = None,  # Celery's name for it
        results: Iterable[AsyncResult[Any]] = (),
        parent: "AsyncResult[Any] | GroupResult | None" = None,
        *,
        door: Door | None = None,
    ) -> None:
        """`id` is that of the batch, where the group is one; `parent` what it was to run after."""
        super().__init__(results, door=door)
        self.id, self.parent = id, parent

    @classmethod
    def restore(cls, id: str, *, door: Door | None = None) -> "GroupResult":
        """The jobs of a batch that was accepted before. Raises `BatchNotFound`."""
        door = door or the_door()
        jobs = door.begin(operations.jobs_of_batch, id).result()
        return cls(id, [AsyncResult(each, door=door) for each in jobs], door=door)
