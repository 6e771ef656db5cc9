"""The socket that the API listens on, opened before any of its processes run."""

import socket

from service.errors import SettingsInvalid
from service.settings import Settings

BACKLOG = 2048  # connections that may wait to be accepted
STUCK = 60_000  # milliseconds after which one whose other end takes nothing is given up


def listen(settings: Settings) -> socket.socket:
    """Raises `SettingsInvalid` where somebody else does."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server(
            (settings.host, settings.port), family=family, backlog=BACKLOG
        )
    except OSError as error:
        raise SettingsInvalid(
            f"PADDOCK_PORT: can't listen on {settings.host}:{settings.port}: {error.strerror}. "
            "PADDOCK_PORT=0 takes a free one."
        ) from error
    # Uvicorn closes a connection once all is sent: never, where a reader is stuck. What is accepted
    # inherits this. Only Linux has it.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STUCK)
    return listener


def accepts(listener: socket.socket) -> bool:
    """Whether the API answers; its socket accepts connections before it does."""
    host, port = listener.getsockname()[:2]
    request = "GET /health/live HTTP/1.0\r\nHost: localhost\r\n\r\n"
    try:
        with socket.create_connection((_reachable(host), port), timeout=0.5) as connection:
            connection.sendall(request.encode())
            return connection.recv(16).startswith(b"HTTP/")
    except OSError:
        return False


def address(listener: socket.socket) -> str:
    """The URL of what it listens on."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
