"""Calls about batches, for both clients."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Unpack
from uuid import uuid4

from service.client.answers import json_in
from service.client.batches import Batch, BatchCanceled, BatchRetried, BatchRow, BatchStatus
from service.client.errors import RequestFailed, WaitTimeout
from service.client.exchange import Caller
from service.client.lines import AsyncSets, Lines, Sets
from service.client.options import BatchOptions, as_query
from service.client.reading import read
from service.client.requests import batch, get, post
from service.client.waiting import Deadline, looks


class BatchCalls(Caller):
    """Submit many jobs at once, look at them, wait for them, act on them."""

    async def batch(
        self,
        task: str,
        parameters: Sets | AsyncSets,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[BatchOptions],
    ) -> Batch:
        """Have the service accept a job for each set of parameters: all of them or none, once.

        They are sent as a stream, so that it takes no memory how many they are. A list, or a
        function that returns the sets anew each time, is sent again like any request. An iterator
        can be read only once: a failure after that was begun is raised, and the same sets under its
        `idempotency_key` are accepted once at most. An `AsyncClient` takes async ones, too.

        Raises what `submit` does, and `BatchTooLarge`.
        """
        key = idempotency_key or str(uuid4())
        lines = Lines(parameters)
        request = batch(task, lines, key, as_query(options, BatchOptions))
        return read(Batch, await self._document(request))

    async def batch_status(self, batch: Batch | BatchStatus | str) -> BatchStatus:
        """How many of its jobs stand where. Raises `BatchNotFound`."""
        return read(BatchStatus, await self._document(get("batches", _id(batch))))

    async def batch_results(
        self, batch: Batch | BatchStatus | str
    ) -> AsyncGenerator[BatchRow, None]:
        """A row for each of its jobs, in their order, as they are now.

        They are read as they come; where the connection breaks, it goes on from there. Raises
        `BatchNotFound`.
        """
        request = get("batches", _id(batch), "results")
        exchange, last, last_then = self._exchange(request), -1, -1
        while True:
            try:
                async with aclosing(exchange.lines()) as lines:
                    async for line in lines:
                        row = read(BatchRow, json_in(line))
                        if row.index > last:
                            last = row.index
                            yield row
                return
            except RequestFailed as failure:
                if last > last_then:  # it went on: this is a new failure, with all its tries
                    exchange, last_then = self._exchange(request), last
                await exchange.pause_after(failure)

    async def wait_batch(
        self, batch: Batch | BatchStatus | str, timeout: float | None = None
    ) -> BatchStatus:
        """The batch, once each of its jobs has ended, in whichever way.

        The service is asked every two seconds at least. Raises `WaitTimeout` after `timeout`
        seconds, and `BatchNotFound`.
        """
        deadline, request = Deadline(timeout), get("batches", _id(batch))
        for pause in looks():
            seen = read(BatchStatus, await self._document(request, deadline))
            if seen.has_ended:
                return seen
            if not (left := deadline.left()):
                break
            await self._port.pause(min(pause, left))
        raise WaitTimeout(f"the batch {_id(batch)} has not ended after {timeout} s")

    async def cancel_batch(self, batch: Batch | BatchStatus | str) -> BatchCanceled:
        """Cancel every job of it that has not ended; those that run are interrupted.

        Where the service is asked again, it counts what was left then. Raises `BatchNotFound`.
        """
        answer = await self._document(post("batches", _id(batch), "cancel"))
        return read(BatchCanceled, answer)

    async def retry_batch(self, batch: Batch | BatchStatus | str) -> int:
        """Run every failed job of it again; how many those are. Raises `BatchNotFound`."""
        answer = await self._document(post("batches", _id(batch), "retry"))
        return read(BatchRetried, answer).retried


def _id(batch: Batch | BatchStatus | str) -> str:
    return batch if isinstance(batch, str) else batch.id
