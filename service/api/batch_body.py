"""A batch's body: parameter sets, each one checked as it arrives."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any

from fastapi import Request
from pydantic import ValidationError

from jobs import Task
from service.api.json_stream import ArrayItems, Item, Lines
from service.api.parameters import JSON, what_it_takes
from service.api.problems import failing_fields, in_words
from service.errors import (
    BatchTooLarge,
    MediaTypeUnsupported,
    ParametersInvalid,
)
from service.settings import Settings

LINES = ("application/x-ndjson", "application/jsonl")
BLOCK = 64 * 1024  # bytes taken apart at once: what trickles in is not gone over at each byte


class BatchBody:
    """The body of one request.

    What is wrong with it is raised as a `Problem`, which names the line (NDJSON) or the item (of
    an array), counted from 1.
    """

    def __init__(self, request: Request, task: Task[..., Any], settings: Settings) -> None:
        self._request, self._task = request, task
        self._most, self._longest = settings.max_batch, settings.max_body
        self._room = settings.queue_limit or settings.max_batch
        self._splitter = _splitter(request, settings.max_body)
        self._count = 0

    async def parameters(
        self, keep: Callable[[], Awaitable[None]]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Each set, as soon as it is there; `keep` is called now and then, also while none is."""
        held, received = bytearray(), 0
        async with aclosing(self._request.stream()) as pieces:
            async for piece in pieces:
                await keep()
                held += piece
                received += len(piece)
                if received > self._most * self._longest:
                    raise self._too_large()
                if len(held) >= BLOCK:
                    for item in self._splitter.feed(bytes(held)):
                        yield self._accepted(item)
                    held.clear()
        for rest in (self._splitter.feed(bytes(held)), self._splitter.finish()):
            for item in rest:
                yield self._accepted(item)
        if not self._count:
            raise self._invalid("The batch is empty: send one set of parameters or more", [])

    def _accepted(self, item: Item) -> dict[str, Any]:
        self._count += 1
        if self._count > self._most:
            raise self._too_large()
        if self._count > self._room:
            raise BatchTooLarge(
                f"No more than {self._room} jobs may wait on a queue (PADDOCK_QUEUE_LIMIT): this "
                "batch would never fit. Nothing was accepted: send several."
            )
        try:
            return self._task.parameters.accept(item.text)
        except ValidationError as error:
            raise self._refusal(error, item.number) from error

    def _refusal(self, error: ValidationError, number: int) -> ParametersInvalid:
        unit = self._splitter.unit
        where = f"{unit.capitalize()} {number}"
        place: dict[str, Any] = {unit: number}
        only = error.errors()[0]
        if only["type"] == "json_invalid":
            return self._invalid(f"{where} is not valid JSON: {only['ctx']['error']}", [], **place)
        rows = failing_fields(error, "body")
        return self._invalid(
            f"{where}: {in_words(rows, error)}", [place | row for row in rows], **place
        )

    def _invalid(
        self, told: str, rows: Iterable[dict[str, Any]], **place: Any
    ) -> ParametersInvalid:
        return ParametersInvalid(
            f"{told}. Nothing was accepted. {what_it_takes(self._request, self._task)}",
            task=self._task.name,
            **place,
            errors=list(rows),
        )

    def _too_large(self) -> BatchTooLarge:
        return BatchTooLarge(
            f"A batch may have {self._most} jobs at most (PADDOCK_MAX_BATCH), and so many times "
            f"{self._longest} bytes (PADDOCK_MAX_BODY). Nothing was accepted: send several."
        )


def _splitter(request: Request, longest: int) -> Lines | ArrayItems:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in LINES:
        return Lines(longest)
    if kind == JSON or kind.endswith("+json"):
        return ArrayItems(longest)
    raise MediaTypeUnsupported(
        f"{kind or 'A body without a Content-Type'} can't be read. Send a JSON array as {JSON}, "
        f"or one JSON object a line as {LINES[0]}."
    )
