"""What goes from a horse to its worker while a job runs: pieces of its output, and its progress.

They go over a pipe, each in one write that the system does not divide. So the threads and forked
children of a job may all send, one that is killed leaves no half of anything, and what was written
is in the system's hands at once, whatever happens to the horse next.
"""

import select
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

LARGEST = max(select.PIPE_BUF, 4096)  # bytes of a frame; macOS promises it for 512 only

_HEAD = struct.Struct(">HBBBId")


class Kind(IntEnum):
    """What a frame carries."""

    STDOUT = 0  #: a piece of output
    STDERR = 1
    LOG = 2  #: a piece of what was logged
    PROGRESS = 3  #: JSON: [fraction, message]
    DROPPED = 4  #: a mark: so many lines did not fit into the pipe


class Garbled(ValueError):
    """Something else has written into the pipe."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One piece."""

    kind: Kind
    execution: str  #: whose it is; "" where it is no job's
    level: str | None  #: of what was logged
    source: int  #: the thread that logged it, so that long lines of several do not mix
    at: float  #: Unix seconds
    content: bytes


def room(execution: bytes, level: bytes) -> int:
    """Bytes of content that a frame of these has room for."""
    return LARGEST - _HEAD.size - len(execution) - len(level)


def packed(
    kind: Kind, execution: bytes, level: bytes, source: int, at: float, content: bytes
) -> bytes:
    """A frame as it is sent."""
    size = len(execution) + len(level) + len(content)
    head = _HEAD.pack(size, kind, len(execution), len(level), source & 0xFFFFFFFF, at)
    return head + execution + level + content


class Frames:
    """Reads them out of what arrives."""

    def __init__(self) -> None:
        self._arrived = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with this. Raises `Garbled`."""
        arrived, start = self._arrived + data, 0
        while len(arrived) - start >= _HEAD.size:
            size, kind, name, level, source, at = _HEAD.unpack_from(arrived, start)
            begin, end = start + _HEAD.size, start + _HEAD.size + size
            if kind >= len(Kind) or end - start > LARGEST or name + level > size:
                raise Garbled
            if end > len(arrived):
                break
            execution = arrived[begin : begin + name].decode()
            content = begin + name + level
            yield Frame(
                Kind(kind),
                execution,
                arrived[begin + name : content].decode() or None,
                source,
                at,
                arrived[content:end],
            )
            start = end
        self._arrived = arrived[start:]
