"""Calls about tasks, queues and workers, for both clients."""

from service.client.exchange import Caller
from service.client.overview import Queue, Task, Worker
from service.client.reading import read_list
from service.client.requests import get


class OverviewCalls(Caller):
    """What there is."""

    async def tasks(self) -> list[Task]:
        """The catalogue: what can be submitted."""
        return read_list(Task, await self._document(get("tasks")))

    async def queues(self) -> list[Queue]:
        """The queues, and how many jobs stand where on each."""
        return read_list(Queue, await self._document(get("queues")))

    async def workers(self) -> list[Worker]:
        """The living workers, and what each runs."""
        return read_list(Worker, await self._document(get("workers")))
