"""A Redis within the tests' own process: fakeredis, behind a socket that is connected to by URL.

So threads, event loops and child processes find it as they find a real one, and none of them has to
know. It holds everything in memory, runs Lua, and pushes nothing (no SUBSCRIBE, no RESP3).
"""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingMixIn, UnixStreamServer
from typing import Any

import hiredis
import lupa  # noqa: F401  # else fakeredis would run no Lua
from fakeredis import FakeRedisConnection, FakeServer
from redis.exceptions import ExecAbortError, NoScriptError, RedisError, ResponseError

READ_SIZE = 1 << 16
POLL_INTERVAL = 0.02  # seconds until it is seen that the server is to end

# fakeredis has no INFO, by which Paddock is told what it may expect of a Redis.
INFO = b"redis_version:7.4.0\r\naof_enabled:0\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n"

# Only clients that ask for it are sent anything but answers, and those would wait in vain.
_REFUSED = {b"HELLO", b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"MONITOR"}

# redis-py has read these off the errors; clients want to read them as well.
_CODES: dict[type[Exception], str] = {NoScriptError: "NOSCRIPT", ExecAbortError: "EXECABORT"}


@contextmanager
def fake_redis() -> Iterator[str]:
    """Its URL, for as long as the block lasts."""
    # Not pytest's tmp_path: a socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="paddock-") as folder:
        path = Path(folder, "redis.sock")
        with _Server(str(path)) as server:
            serving = threading.Thread(
                target=server.serve_forever, args=[POLL_INTERVAL], name="fake Redis", daemon=True
            )
            serving.start()
            try:
                yield f"unix://{path}?protocol=2"
            finally:
                server.shutdown()
                serving.join()


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 1024  # an event loop connects many times at once

    def __init__(self, path: str) -> None:
        self.data = FakeServer(version=(7, 4))
        super().__init__(path, _Line)


class _Line(BaseRequestHandler):
    """One client's connection."""

    server: _Server

    def handle(self) -> None:
        requests = hiredis.Reader()
        with closing(_Client(self.server.data)) as client, suppress(ConnectionError):
            while received := self.request.recv(READ_SIZE):
                requests.feed(received)
                while (command := requests.gets()) is not False:
                    self.request.sendall(_encoded(client.answer(command)))


class _Client:
    def __init__(self, data: FakeServer) -> None:
        self._connection = FakeRedisConnection(server=data, protocol=2, driver_info=None)

    def answer(self, command: list[bytes]) -> Any:
        """What Redis answers, be it an error."""
        name = command[0].upper()
        if name == b"INFO":
            return INFO
        if name in _REFUSED:
            return ResponseError(f"unknown command '{name.decode()}': this Redis is a fake")
        try:
            self._connection.send_command(*command)
            return self._connection.read_response()
        except RedisError as error:
            return error

    def close(self) -> None:
        self._connection.disconnect()


def _encoded(answer: Any) -> bytes:
    """As RESP2 has it, but for simple strings, which clients take for the same as others."""
    match answer:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % answer
        case Exception():
            return f"-{_CODES.get(type(answer), 'ERR')} {answer}\r\n".encode()
        case list() | tuple():
            return b"*%d\r\n" % len(answer) + b"".join(map(_encoded, answer))
        case _:
            text = answer if isinstance(answer, bytes) else str(answer).encode()
            return b"$%d\r\n%s\r\n" % (len(text), text)
