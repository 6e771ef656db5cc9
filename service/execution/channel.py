"""Messages between a worker and its horse: a JSON header and raw bytes, over a socket pair."""

import json
import select
import socket
import struct
from typing import Any

_LENGTHS = struct.Struct(">II")
_READ_SIZE = 1 << 16

Message = tuple[dict[str, Any], bytes]


class Channel:
    """One end. Nothing is ever unpickled from it."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._received = bytearray()
        self._unsent = bytearray()

    @classmethod
    def pair(cls) -> "tuple[Channel, Channel]":
        """Both ends of a new channel."""
        one, other = socket.socketpair()
        return cls(one), cls(other)

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Raises `OSError` where the other end is gone."""
        self._end.sendall(_packed(header, body))

    def post(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Send it without waiting; what the other end has no room for yet goes with `flush`.

        Raises `OSError` where the other end is gone.
        """
        self._unsent += _packed(header, body)
        self.flush()

    def flush(self) -> None:
        """Send of what is left as much as there is room for. Raises `OSError`."""
        while self._unsent:
            try:
                sent = self._end.send(self._unsent, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            del self._unsent[:sent]

    @property
    def has_unsent(self) -> bool:
        """Whether something waits for room: then wait until it can be written to, and `flush`."""
        return bool(self._unsent)

    def receive(self) -> Message | None:
        """Wait for a message; None once the other end is closed."""
        while (message := self._complete()) is None:
            if not self.read_some():
                return None
        return message

    def read_some(self) -> bool:
        """Read what has arrived, waiting for it; False once the other end is closed."""
        try:
            arrived = self._end.recv(_READ_SIZE)
        except ConnectionResetError:
            return False
        self._received += arrived
        return bool(arrived)

    def has_arrived(self) -> bool:
        """Whether there is something to read, be it the end."""
        return bool(select.select([self._end], [], [], 0)[0])

    def message(self) -> Message | None:
        """A message, if one has arrived whole."""
        return self._complete()

    def close(self) -> None:
        self._end.close()

    def _complete(self) -> Message | None:
        if len(self._received) < _LENGTHS.size:
            return None
        head_length, body_length = _LENGTHS.unpack_from(self._received)
        body_start = _LENGTHS.size + head_length
        if len(self._received) < body_start + body_length:
            return None
        header = json.loads(self._received[_LENGTHS.size : body_start])
        body = bytes(self._received[body_start : body_start + body_length])
        del self._received[: body_start + body_length]
        return header, body


def _packed(header: dict[str, Any], body: bytes) -> bytes:
    head = json.dumps(header).encode()
    return _LENGTHS.pack(len(head), len(body)) + head + body
