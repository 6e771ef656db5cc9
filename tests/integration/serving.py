"""The API as a process of its own."""

import socket
import sys

import httpx2 as httpx

from tests.conftest import Start, eventually

TIMEOUT = 60.0  # seconds that a client waits


def serve(start: Start, **environment: str) -> str:
    """Start `paddock serve`; return its URL once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    start(sys.executable, "-m", "service.cli", "serve", "--port", port, **environment)
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: is_live(url))
    return url


def is_live(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", timeout=TIMEOUT).is_success
    except httpx.TransportError:
        return False
