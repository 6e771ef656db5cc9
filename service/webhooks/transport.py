"""One POST to an address that has been checked, within a time that nobody can stretch.

Redirects are not followed, proxies of the environment not asked, and of the answer no more is read
than the receiver needs to be rid of it politely.
"""

import contextlib
import functools
import io
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from typing import Any

from service.webhooks.target import PORTS, Target

CONNECT_TIMEOUT = 5.0  # seconds, for each address
MOST_ADDRESSES = 4  # tried, of a host that has many
MOST_READ = 64 * 1024  # bytes of the answer's body


class Unanswered(Exception):
    """No answer came, or none that can be understood."""


def post(
    target: Target,
    addresses: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    seconds: float,
) -> int:
    """Send it, and return the status of the answer. Raises `Unanswered`."""
    connection = _Connection(target, addresses, time.monotonic() + seconds)
    try:
        connection.request("POST", target.path, body, {**headers, "Connection": "close"})
        response = connection.getresponse()
        with contextlib.suppress(OSError, HTTPException):  # its status is what counts
            response.read(MOST_READ)
        return response.status
    except (OSError, HTTPException) as error:
        raise Unanswered(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


class _Connection(HTTPConnection):
    """To one of the addresses, whatever the host's name resolves to by now."""

    def __init__(self, target: Target, addresses: Sequence[str], deadline: float) -> None:
        super().__init__(target.host, target.port)
        self.default_port = PORTS[target.scheme]  # what the Host header leaves out
        self._target, self._addresses, self._deadline = target, addresses, deadline

    def connect(self) -> None:
        line = self._dial()
        if self._target.scheme == "https":
            with contextlib.ExitStack() as on_error:
                on_error.callback(line.close)
                line.settimeout(_left(self._deadline))
                line = _tls().wrap_socket(line, server_hostname=self._target.host)
                on_error.pop_all()
        self.sock: Any = _Timed(line, self._deadline)

    def _dial(self) -> socket.socket:
        failed: OSError = OSError("the host has no address")
        for address in self._addresses[:MOST_ADDRESSES]:
            timeout = min(CONNECT_TIMEOUT, _left(self._deadline))
            try:
                return socket.create_connection((address, self._target.port), timeout)
            except OSError as error:
                failed = error
        raise failed


class _Timed:
    """A socket, as far as `HTTPConnection` uses one, that works until the deadline."""

    def __init__(self, line: socket.socket, deadline: float) -> None:
        self._line, self._deadline = line, deadline

    def sendall(self, data: bytes) -> None:
        self._line.settimeout(_left(self._deadline))
        self._line.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._line, self._deadline))

    def close(self) -> None:
        self._line.close()


class _Reader(io.RawIOBase):
    def __init__(self, line: socket.socket, deadline: float) -> None:
        self._line, self._deadline = line, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._line.settimeout(_left(self._deadline))
        return self._line.recv_into(buffer)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the receiver took too long")
    return left


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
