"""Calls about tasks, queues and workers, for both clients."""

from service.client.exchange import Caller
from service.client.overview import Queue, Task, Worker
from service.client.reading import read, read_list
from service.client.requests import get, post


class OverviewCalls(Caller):
    """What there is."""

    async def tasks(self) -> list[Task]:
        """The catalogue: what can be submitted."""
        return read_list(Task, await self._document(get("tasks")))

    async def queues(self) -> list[Queue]:
        """The queues, and how many jobs stand where on each."""
        return read_list(Queue, await self._document(get("queues")))

    async def pause_queue(self, queue: Queue | str) -> Queue:
        """Have its jobs wait, also those still to come; those that run go on.

        Raises `QueueNotFound`.
        """
        return read(Queue, await self._document(post("queues", _name(queue), "pause")))

    async def resume_queue(self, queue: Queue | str) -> Queue:
        """Have the jobs of a paused queue run again. Raises `QueueNotFound`."""
        return read(Queue, await self._document(post("queues", _name(queue), "resume")))

    async def workers(self) -> list[Worker]:
        """The living workers, and what each runs."""
        return read_list(Worker, await self._document(get("workers")))


def _name(queue: Queue | str) -> str:
    return queue.name if isinstance(queue, Queue) else queue
