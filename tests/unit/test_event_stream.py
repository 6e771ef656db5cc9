"""What goes to those who read events, and to those who don't."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from service.api.event_stream import EventStream, event

SCOPE: dict[str, Any] = {"type": "http"}


class Events:
    """Three events, and whether they were closed."""

    def __init__(self, pause: float = 0) -> None:
        self.pause, self.is_closed = pause, False

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        try:
            for number in range(3):
                yield b"%d" % number
                await asyncio.sleep(self.pause)
        finally:
            self.is_closed = True


async def stay() -> Any:
    await asyncio.sleep(60)


def test_an_event_is_written_as_the_standard_has_it() -> None:
    told = event("log", b'{"text":"a\\nb"}', "3.1")
    assert told == b'id: 3.1\nevent: log\ndata: {"text":"a\\nb"}\n\n'
    assert event("queues", b"[]") == b"event: queues\ndata: []\n\n"


def test_a_stream_ends_with_its_events() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    events = Events()
    asyncio.run(EventStream(events())(SCOPE, stay, send))
    start, *bodies = sent
    assert dict(start["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert b"content-length" not in dict(start["headers"])
    assert [body["body"] for body in bodies[1:]] == [b"0", b"1", b"2", b""]
    assert not bodies[-1]["more_body"] and events.is_closed


def test_who_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.event_stream.SEND_PATIENCE", 0.05)
    sent = 0

    async def send(message: Any) -> None:
        nonlocal sent
        sent += 1
        if sent > 2:
            await stay()

    events = Events()
    asyncio.run(asyncio.wait_for(EventStream(events())(SCOPE, stay, send), 5))
    assert sent == 3 and events.is_closed


def test_who_leaves_is_not_waited_for() -> None:
    async def leave() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    events = Events(pause=60)
    asyncio.run(asyncio.wait_for(EventStream(events())(SCOPE, leave, send), 5))
